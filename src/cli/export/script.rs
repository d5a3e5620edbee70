//! The scripts that speak to other tools: they read a head, and then a line for each trial, from their standard input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, Write};

use serde::Serialize;
use tokio::process::Command;

use super::{Handed, Tool, ToolArgs};
use crate::cli::access::Access;
use crate::cli::{CliError, Context};
use crate::protocol::http::{TrialResult, TrialState};
use crate::vocabulary::{Goal, Metric, Metrics, Parameters};

/// The first line that a script reads.
#[derive(Serialize)]
struct Head<'a> {
    sweep: i64,
    name: &'a str,
    /// Names the sweep among those of other tables: its id and the start of a hash of the table's name and of what was submitted.
    key: String,
    metric: Option<Metric>,
    swept: &'a [String],
    spec: &'a str,
}

/// A line for each trial.
#[derive(Serialize)]
struct Line<'a> {
    trial: i64,
    state: TrialState,
    seed: u64,
    configuration: &'a str,
    parameters: &'a Parameters,
    metrics: &'a Metrics,
    /// By metric, epochs with values.
    curves: BTreeMap<String, Vec<(u32, f64)>>,
    failure: Option<String>,
}

/// What a script reads, all of it: one that is started finds its whole input, whatever becomes of the coordinator.
pub(super) async fn lines(tool: &ToolArgs, handed: &Handed<'_>, access: &Access) -> Result<File, CliError> {
    let results = handed.results;
    let request = access.request(results.sweep).await?;
    let ranking = handed.view.ranking();
    if matches!(tool.to, Tool::Optuna) && ranking.is_some_and(|metric| metric.goal.is_none()) {
        return Err(CliError::usage(
            "an Optuna study is ranked, and whether more or less is better isn't known: say `--metric NAME --goal minimize` \
             or `maximize`",
        ));
    }
    let named = [access.table()?, request.spec.clone(), request.overrides.join("\n")].join("\n");
    let head = Head {
        sweep: results.sweep.0,
        name: &results.name,
        key: format!("{}-{}", results.sweep, &blake3::hash(named.as_bytes()).to_hex()[..8]),
        metric: ranking
            .map(|metric| Metric { name: metric.name.clone(), goal: metric.goal.unwrap_or(Goal::Maximize) }),
        swept: &results.swept,
        spec: &request.spec,
    };
    let mut lines = BufWriter::new(tempfile::tempfile().map_err(unwritten)?);
    write_line(&mut lines, &head)?;
    let mut portions = handed.portions();
    while let Some((trials, mut curves)) = portions.next(handed, access).await? {
        for trial in trials {
            let own = curves.remove(&trial.trial).unwrap_or_default();
            let own = own
                .into_iter()
                .map(|(metric, curve)| (metric, curve.epochs.into_iter().zip(curve.values).collect()));
            write_line(&mut lines, &line(trial, handed.configuration_of(trial), own.collect()))?;
        }
    }
    let mut lines = lines.into_inner().map_err(|error| unwritten(error.into_error()))?;
    lines.rewind().map_err(unwritten)?;
    Ok(lines)
}

/// What the script says in the end.
pub(super) async fn run(
    script: &str,
    lines: File,
    tool: &ToolArgs,
    context: &Context,
) -> Result<String, CliError> {
    let ended = Command::new(&tool.python)
        .args(["-c", script, &tool.output])
        .current_dir(&context.environment.working_directory)
        // Modules that happen to lie in this folder are not meant.
        .env("PYTHONSAFEPATH", "1")
        .stdin(lines)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            CliError::usage(format!(
                "`{}` can't be started: {error}; name a Python with `--python`",
                tool.python
            ))
        })?;
    match ended.status.success() {
        true => Ok(String::from_utf8_lossy(&ended.stdout).into_owned()),
        false => {
            let complaint = String::from_utf8_lossy(&ended.stderr);
            Err(CliError::failed(anyhow::anyhow!("{}", last_words(&complaint, &ended.status.to_string()))))
        }
    }
}

fn line<'a>(
    trial: &'a TrialResult,
    configuration: &'a str,
    curves: BTreeMap<String, Vec<(u32, f64)>>,
) -> Line<'a> {
    Line {
        trial: trial.trial.0,
        state: trial.state,
        seed: trial.seed,
        configuration,
        parameters: &trial.parameters,
        metrics: &trial.metrics,
        curves,
        failure: trial.failure.as_ref().map(|failure| format!("{}: {}", failure.reason, failure.message)),
    }
}

fn write_line(lines: &mut impl Write, line: &impl Serialize) -> Result<(), CliError> {
    serde_json::to_writer(&mut *lines, line).map_err(CliError::failed)?;
    lines.write_all(b"\n").map_err(unwritten)
}

fn unwritten(error: std::io::Error) -> CliError {
    CliError::failed(
        anyhow::Error::new(error).context("what is to be exported can't be written to a temporary file"),
    )
}

/// A script's own message stands alone; of a traceback the end is what counts.
fn last_words(complaint: &str, status: &str) -> String {
    let lines: Vec<&str> = complaint.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines.iter().any(|line| line.starts_with("Traceback")) {
        true => {
            format!("the script ended with {status}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        }
        false => {
            lines.last().map_or_else(|| format!("the script ended with {status}"), |last| (*last).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn a_message_stands_alone_and_a_traceback_is_shown() {
        assert_eq!(
            last_words("a warning\nOptuna is not installed\n", "exit status: 1"),
            "Optuna is not installed"
        );
        let traceback = "Traceback (most recent call last):\n  File\nValueError: x\n";
        assert!(last_words(traceback, "exit status: 1").ends_with("ValueError: x"));
        assert_eq!(last_words("", "exit status: 9"), "the script ended with exit status: 9");
    }
}
