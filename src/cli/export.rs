use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};

use super::access::Access;
use super::looking::{Found, LookingArgs};
use super::{CliError, Context};
use crate::protocol::http::{TrialResult, TrialState};
use crate::report::View;
use crate::vocabulary::{Goal, Metric, Metrics, Parameters, TrialNumber};

/// Trials whose reports are in memory at a time.
const TRIALS_AT_A_TIME: usize = 500;

/// Hand a sweep to another tool: every trial with its parameters, its metrics and what it reported epoch by epoch.
///
/// A small Python script does it with the tool's own package, where it needs one. Doing it again changes what has changed and makes
/// nothing twice.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    looking: LookingArgs,
    /// To which tool.
    #[arg(long, value_name = "TOOL", value_enum)]
    to: Tool,
    /// Where: a folder (tensorboard, wandb), a file or an URL of a database (optuna), the address of a server (mlflow).
    #[arg(long, short, value_name = "WHERE")]
    output: String,
    /// The Python that has the tool's package.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Tool {
    /// Event files, a run a trial.
    Tensorboard,
    /// An experiment of a server, a run a trial.
    Mlflow,
    /// Offline runs in a group, ready for `wandb sync`.
    Wandb,
    /// A study, for optuna-dashboard.
    Optuna,
}

impl Tool {
    fn script(self) -> &'static str {
        match self {
            Tool::Tensorboard => include_str!("../../templates/export/tensorboard.py"),
            Tool::Mlflow => include_str!("../../templates/export/mlflow.py"),
            Tool::Wandb => include_str!("../../templates/export/wandb.py"),
            Tool::Optuna => include_str!("../../templates/export/optuna.py"),
        }
    }
}

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

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let exported = export(args, &access, context).await;
    access.close().await;
    context.output.data(&exported?)
}

/// What the script says in the end.
async fn export(args: &Args, access: &Access, context: &Context) -> Result<String, CliError> {
    let Found { results, .. } = args.looking.find(access).await?;
    let view = View::new(&results, &args.looking.options())?;
    let request = access.request(results.sweep).await?;
    let hash =
        blake3::hash([request.spec.as_str(), &request.overrides.join("\n")].join("\n").as_bytes()).to_hex();
    let head = Head {
        sweep: results.sweep.0,
        name: &results.name,
        key: format!("{}-{}", results.sweep, &hash[..8]),
        metric: view
            .ranking()
            .map(|metric| Metric { name: metric.name.clone(), goal: metric.goal.unwrap_or(Goal::Maximize) }),
        swept: &results.swept,
        spec: &request.spec,
    };
    let configuration_of: BTreeMap<TrialNumber, &str> = view
        .configurations
        .iter()
        .flat_map(|configuration| {
            configuration.trials.iter().map(|trial| (trial.trial, configuration.hash.as_str()))
        })
        .collect();
    let mut child = Command::new(&args.python)
        .args(["-c", args.to.script(), &args.output])
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
                args.python
            ))
        })?;
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(CliError::failed(anyhow::anyhow!("the script's pipes are gone")));
    };
    let writing = async {
        let mut written = write_line(&mut stdin, &head).await?;
        for trials in results.trials.chunks(TRIALS_AT_A_TIME) {
            // A script that has ended has said why.
            if !written {
                break;
            }
            let numbers: BTreeSet<TrialNumber> = trials.iter().map(|trial| trial.trial).collect();
            let curves = access.curves(results.sweep, &numbers).await?.trials;
            let mut curves: BTreeMap<TrialNumber, _> =
                curves.into_iter().map(|curves| (curves.trial, curves.metrics)).collect();
            for trial in trials {
                let own = curves.remove(&trial.trial).unwrap_or_default();
                let own = own
                    .into_iter()
                    .map(|(metric, curve)| (metric, curve.epochs.into_iter().zip(curve.values).collect()));
                let configuration = configuration_of.get(&trial.trial).copied().unwrap_or_default();
                written =
                    written && write_line(&mut stdin, &line(trial, configuration, own.collect())).await?;
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
