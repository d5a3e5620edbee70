//! The only place that writes to stdout and stderr.

use std::io::{BufRead, IsTerminal, Write};

use super::CliError;
use crate::spec::Colour;

/// Where text goes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    colour: Colour,
    is_live: bool,
}

impl Output {
    /// `no_color`: the user asked for none.
    #[must_use]
    pub fn new(no_color: bool) -> Output {
        let is_terminal = std::io::stderr().is_terminal();
        let colour = if is_terminal && !no_color { Colour::Ansi } else { Colour::None };
        Output { colour, is_live: is_terminal }
    }

    /// Whether stderr can show a view that redraws itself.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    /// What was asked for. A reader that has gone away (`| head`) is no error; a full disk is.
    pub(crate) fn data(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(CliError::failed(anyhow::Error::new(error).context("the output can't be written")))
            }
            _ => Ok(()),
        }
    }

    /// One JSON document.
    pub(crate) fn json(&self, document: &impl serde::Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(document).map_err(CliError::failed)?;
        self.data(&format!("{text}\n"))
    }

    /// Asks the user and waits for the answer; nothing where there is nobody at a terminal.
    pub(crate) fn ask(&self, question: &str) -> Option<bool> {
        let stdin = std::io::stdin();
        if !self.is_live || !stdin.is_terminal() {
            return None;
        }
        let _nobody_reads = write!(std::io::stderr().lock(), "{question} [y/N] ");
        let mut line = String::new();
        stdin.lock().read_line(&mut line).ok()?;
        Some(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// A line that accompanies the work.
    pub(crate) fn note(&self, line: &str) {
        let _nobody_reads = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Says what went wrong before a command could even start.
    #[must_use]
    pub fn report_failure(&self, message: String) -> std::process::ExitCode {
        let error = CliError::Failed(anyhow::Error::msg(message));
        self.error(&error);
        error.exit_status().into()
    }

    pub(super) fn error(&self, error: &CliError) {
        match error {
            CliError::Unsuccessful => {}
            CliError::Spec(error) => self.note(error.render(self.colour).trim_end()),
            CliError::SpecElsewhere(error) => self.note(error.trim_end()),
            CliError::Usage(error) | CliError::Failed(error) => {
                let label = match self.colour {
                    Colour::Ansi => "\x1b[1;31merror:\x1b[0m",
                    Colour::None => "error:",
                };
                self.note(&format!("{label} {}", chain(error)));
            }
        }
    }
}

/// The error and its causes, each once: some errors already contain what caused them.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}
