//! The scripts that speak to other tools: they read a head, and then a line for each trial, from their standard input.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};

use super::{Handed, ToolArgs};
use crate::cli::access::Access;
use crate::cli::{CliError, Context};
use crate::protocol::http::{TrialResult, TrialState};
use crate::vocabulary::{Goal, Metric, Metrics, Parameters};

/// The first line that a script reads.
#[derive(Serialize)]
struct Head<'a> {
    sweep: i64,
    name: &'a str,
    /// Names the sweep among those of other tables: its id and the start of a hash of what was submitted.
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

/// What the script says in the end.
pub(super) async fn hand_over(
    script: &str,
    tool: &ToolArgs,
    handed: &Handed<'_>,
    access: &Access,
    context: &Context,
) -> Result<String, CliError> {
    let results = handed.results;
    let request = access.request(results.sweep).await?;
    let hash =
        blake3::hash([request.spec.as_str(), &request.overrides.join("\n")].join("\n").as_bytes()).to_hex();
    let ranking = handed.view.ranking();
    let head = Head {
        sweep: results.sweep.0,
        name: &results.name,
        key: format!("{}-{}", results.sweep, &hash[..8]),
        metric: ranking
            .map(|metric| Metric { name: metric.name.clone(), goal: metric.goal.unwrap_or(Goal::Maximize) }),
        swept: &results.swept,
        spec: &request.spec,
    };
    let mut child = Command::new(&tool.python)
        .args(["-c", script, &tool.output])
        .current_dir(&context.environment.working_directory)
        // Modules that happen to lie in this folder are not meant.
        .env("PYTHONSAFEPATH", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            CliError::usage(format!(
                "`{}` can't be started: {error}; name a Python with `--python`",
                tool.python
            ))
        })?;
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(CliError::failed(anyhow::anyhow!("the script's pipes are gone")));
    };
    let writing = async {
        let mut written = write_line(&mut stdin, &head).await?;
        for trials in handed.portions() {
            // A script that has ended has said why.
            if !written {
                break;
            }
            let mut curves = handed.curves(trials, access).await?;
            for trial in trials {
                let own = curves.remove(&trial.trial).unwrap_or_default();
                let own = own
                    .into_iter()
                    .map(|(metric, curve)| (metric, curve.epochs.into_iter().zip(curve.values).collect()));
                let line = line(trial, handed.configuration_of(trial), own.collect());
                written = written && write_line(&mut stdin, &line).await?;
            }
        }
        drop(stdin);
        Ok::<(), CliError>(())
    };
    let (mut said, mut complaint) = (String::new(), String::new());
    let (written, read, heard) =
        tokio::join!(writing, stdout.read_to_string(&mut said), stderr.read_to_string(&mut complaint));
    written?;
    read.and(heard).map_err(CliError::failed)?;
    let status = child.wait().await.map_err(CliError::failed)?;
    match status.success() {
        true => Ok(said),
        false => Err(CliError::failed(anyhow::anyhow!("{}", last_words(&complaint, &status.to_string())))),
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

/// Says whether the script still reads.
async fn write_line(stdin: &mut ChildStdin, line: &impl Serialize) -> Result<bool, CliError> {
    let mut text = serde_json::to_vec(line).map_err(CliError::failed)?;
    text.push(b'\n');
    match stdin.write_all(&text).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::failed(error)),
    }
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
