//! The only place that writes to stdout and stderr.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal, Write};

use super::CliError;
use crate::spec::Colour;

/// When there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColourChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also where the output goes to a file, and whatever NO_COLOR says.
    Always,
    /// Nowhere.
    Never,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Colour,
    Plain,
}

impl Paint {
    fn new(choice: ColourChoice, no_color: bool, is_terminal: bool) -> Paint {
        match choice {
            ColourChoice::Always => Paint::Colour,
            ColourChoice::Auto if is_terminal && !no_color => Paint::Colour,
            ColourChoice::Auto | ColourChoice::Never => Paint::Plain,
        }
    }

    /// What has to be seen.
    pub(super) fn alarm(self, text: &str) -> String {
        match self {
            Paint::Colour => format!("\x1b[31m{text}\x1b[0m"),
            Paint::Plain => text.to_owned(),
        }
    }
}

/// Where text goes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// On stderr.
    paint: Paint,
    /// On stdout.
    data_paint: Paint,
    is_live: bool,
    /// Nothing accompanies the work.
    is_silent: bool,
}

impl Output {
    /// For a program that asks, in whose terminal nothing else may appear.
    #[must_use]
    pub fn silent() -> Output {
        Output { paint: Paint::Plain, data_paint: Paint::Plain, is_live: false, is_silent: true }
    }

    /// `no_color`: the environment asks for none.
    #[must_use]
    pub fn new(choice: ColourChoice, no_color: bool) -> Output {
        let is_live = std::io::stderr().is_terminal();
        Output {
            paint: Paint::new(choice, no_color, is_live),
            data_paint: Paint::new(choice, no_color, std::io::stdout().is_terminal()),
            is_live,
            is_silent: false,
        }
    }

    pub(super) fn paint(&self) -> Paint {
        self.paint
    }

    /// Of what is written with [`Output::data`].
    pub(super) fn data_paint(&self) -> Paint {
        self.data_paint
    }

    fn colour(&self) -> Colour {
        match self.paint {
            Paint::Colour => Colour::Ansi,
            Paint::Plain => Colour::None,
        }
    }

    /// Whether stderr can show a view that redraws itself.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    /// How many characters fit into a line of stdout, where it is a terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        let terminal = console::Term::stdout();
        let (_, columns) = terminal.is_term().then(|| terminal.size_checked()).flatten()?;
        Some(usize::from(columns))
    }

    /// What was asked for. A reader that has gone away (`| head`) is no error; a full disk is.
    pub(crate) fn data(&self, text: &str) -> Result<(), CliError> {
        match std::io::stdout().is_terminal() {
            true => self.raw(&tame(text)),
            false => self.raw(text),
        }
    }

    /// The same, to a terminal too as it is: what a trial printed.
    pub(crate) fn raw(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
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

    /// Something that may well be a mistake, though nothing has failed.
    pub(crate) fn warn(&self, line: &str) {
        let label = match self.colour() {
            Colour::Ansi => "\x1b[1;33mwarning:\x1b[0m",
            Colour::None => "warning:",
        };
        self.note(&format!("{label} {line}"));
    }

    /// One document that is no text.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        if stdout.is_terminal() {
            return Err(CliError::usage("this is nothing for a terminal; write it to a file with `-o FILE`"));
        }
        written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// A line that accompanies the work.
    pub(crate) fn note(&self, line: &str) {
        if self.is_silent {
            return;
        }
        let line = if self.is_live { tame(line) } else { Cow::Borrowed(line) };
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
            CliError::Spec(error) => self.note(error.render(self.colour()).trim_end()),
            CliError::SpecElsewhere(error) => self.note(error.trim_end()),
            CliError::Usage(error) | CliError::Failed(error) => {
                let label = match self.colour() {
                    Colour::Ansi => "\x1b[1;31merror:\x1b[0m",
                    Colour::None => "error:",
                };
                self.note(&format!("{label} {}", chain(error)));
            }
        }
    }
}

fn written(outcome: std::io::Result<()>) -> Result<(), CliError> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(anyhow::Error::new(error).context("the output can't be written")))
        }
        _ => Ok(()),
    }
}

/// Shows control characters instead of sending them to a terminal: names, messages and values are whatever a program or a peer
/// has sent, and must neither overwrite what is there nor pass for something else. Lines, tabs and colours stay.
pub(super) fn tame(text: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut tamed = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let length = colour_at(rest).unwrap_or(character.len_utf8());
        match is_harmless(character) || length > character.len_utf8() {
            true => tamed.push_str(&rest[..length]),
            false => tamed.extend(character.escape_default()),
        }
        rest = &rest[length..];
    }
    Cow::Owned(tamed)
}

/// The length of a sequence that begins `text` and does nothing but choose a colour: `ESC [ 1;31 m`.
fn colour_at(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_on_terminals_unless_somebody_says_otherwise() {
        let paint =
            |choice, no_color, is_terminal| Paint::new(choice, no_color, is_terminal) == Paint::Colour;
        assert_eq!(
            [paint(ColourChoice::Auto, false, true), paint(ColourChoice::Auto, false, false)],
            [true, false]
        );
        assert!(!paint(ColourChoice::Auto, true, true), "NO_COLOR");
        assert!(paint(ColourChoice::Always, true, false), "who asks twice means it");
        assert!(!paint(ColourChoice::Never, false, true));
    }

    #[test]
    fn at_a_terminal_nothing_from_outside_does_more_than_colour() {
        assert_eq!(tame("a\tb\nµ"), "a\tb\nµ");
        assert_eq!(tame("\x1b[1;31merror:\x1b[0m x"), "\x1b[1;31merror:\x1b[0m x");
        assert_eq!(tame("done\r\x1b[2Jnothing is wrong"), "done\\r\\u{1b}[2Jnothing is wrong");
        assert_eq!(tame("\x1b]0;title\x07\u{9b}5n\x1b["), "\\u{1b}]0;title\\u{7}\\u{9b}5n\\u{1b}[");
    }
}
