use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use clap::ValueEnum;

use super::access::Access;
use super::looking::LookingArgs;
use super::written::NewFile;
use super::{CliError, Context};
use crate::protocol::http::{ResultsResponse, TrialResult};
use crate::protocol::insight::Curve;
use crate::report::json::{Destination, ExportDocument};
use crate::report::{LinedTrial, View, report_lines};
use crate::vocabulary::{SweepId, TrialNumber};

mod checkpoint;
mod script;

/// Reported numbers that are in memory at a time, as far as can be told from those of the trials before: some ten megabytes.
const NUMBERS_AT_A_TIME: usize = 400_000;
/// Trials whose reports are read at a time, the most and at first.
const TRIALS_AT_A_TIME: (usize, usize) = (500, 16);

/// What stands for stdout.
const STDOUT: &str = "-";

/// Hand a sweep to another tool, every trial with its parameters, its metrics and what it reported epoch by epoch; or a trial's network
/// to PyTorch.
///
/// A small Python script does it with the tool's own package, where it needs one. Doing it again changes what has changed and makes
/// nothing twice.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub(super) struct ExportArgs {
    #[command(subcommand)]
    action: Option<Action>,
    // Two, since an optional group that has another one in it is never there.
    #[command(flatten)]
    looking: Option<LookingArgs>,
    #[command(flatten)]
    tool: Option<ToolArgs>,
}

/// What there is to export beside a sweep. A sweep that is called so is named by its id.
#[derive(Debug, clap::Subcommand)]
enum Action {
    Checkpoint(checkpoint::Args),
}

#[derive(Debug, clap::Args)]
struct ToolArgs {
    /// To which tool.
    #[arg(long, value_name = "TOOL", value_enum)]
    to: Tool,
    /// Where: a folder (tensorboard, wandb), a file or an URL of a database (optuna), the address of a server (mlflow), a file or `-`
    /// for stdout (jsonl).
    #[arg(long, short, value_name = "WHERE")]
    output: String,
    /// The Python that has the tool's package.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Print one JSON document about what was handed over.
    #[arg(long)]
    json: bool,
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
    /// A JSON object a line, for each epoch of each trial (docs/ANALYSIS.md).
    Jsonl,
}

impl Tool {
    /// As it is written behind `--to`.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What speaks to it, where it is another program.
    fn script(self) -> Option<&'static str> {
        match self {
            Tool::Tensorboard => Some(include_str!("../../templates/export/tensorboard.py")),
            Tool::Mlflow => Some(include_str!("../../templates/export/mlflow.py")),
            Tool::Wandb => Some(include_str!("../../templates/export/wandb.py")),
            Tool::Optuna => Some(include_str!("../../templates/export/optuna.py")),
            Tool::Jsonl => None,
        }
    }
}

pub(super) async fn run(args: &ExportArgs, context: &Context) -> Result<(), CliError> {
    match (&args.action, &args.looking, &args.tool) {
        (Some(Action::Checkpoint(args)), ..) => checkpoint::run(args, context).await,
        (None, Some(looking), Some(tool)) => export(looking, tool, context).await,
        (None, ..) => Err(CliError::usage("name a sweep and `--to TOOL`, or `checkpoint`")),
    }
}

async fn export(looking: &LookingArgs, tool: &ToolArgs, context: &Context) -> Result<(), CliError> {
    if tool.json && tool.output == STDOUT {
        return Err(CliError::usage(
            "with `-o -` the lines are what is printed, and there is no place for `--json`; name a file",
        ));
    }
    let access = Access::open(context).await?;
    let exported = gather(looking, tool, &access, context).await;
    // The table is free while a tool takes its time.
    access.close().await;
    let Gathered { sweep, trials, to } = exported?;
    let said = match to {
        To::Written(said) => said,
        To::Script { script, lines } => script::run(script, lines, tool, context).await?,
    };
    if !tool.json {
        return context.output.data(&said);
    }
    let destination = Destination { to: tool.to.name(), output: tool.output.clone() };
    context.output.json(&ExportDocument::new(sweep, trials, destination, &said))
}

/// All of a sweep that is exported.
struct Gathered {
    sweep: SweepId,
    trials: usize,
    to: To,
}

enum To {
    /// It is where it belongs; what is said of it.
    Written(String),
    /// A script's input.
    Script { script: &'static str, lines: File },
}

async fn gather(
    looking: &LookingArgs,
    tool: &ToolArgs,
    access: &Access,
    context: &Context,
) -> Result<Gathered, CliError> {
    let found = looking.find(access).await?;
    let results = &found.results;
    let view = View::new(results, &looking.options(&found))?;
    let handed = Handed::new(results, &view);
    let to = match tool.to.script() {
        Some(script) => To::Script { script, lines: script::lines(tool, &handed, access).await? },
        None => To::Written(write_lines(&tool.output, &handed, access, context).await?),
    };
    Ok(Gathered { sweep: results.sweep, trials: results.trials.len(), to })
}

/// The trials that are handed over, a portion at a time.
struct Handed<'a> {
    results: &'a ResultsResponse,
    view: &'a View<'a>,
    configuration_of: BTreeMap<TrialNumber, &'a str>,
}

impl<'a> Handed<'a> {
    fn new(results: &'a ResultsResponse, view: &'a View<'a>) -> Handed<'a> {
        let configurations = view.configurations.iter().flat_map(|configuration| {
            configuration.trials.iter().map(|trial| (trial.trial, configuration.hash.as_str()))
        });
        Handed { results, view, configuration_of: configurations.collect() }
    }

    fn portions(&self) -> Portions<'a> {
        Portions { rest: &self.results.trials, size: TRIALS_AT_A_TIME.1 }
    }

    fn configuration_of(&self, trial: &TrialResult) -> &'a str {
        self.configuration_of.get(&trial.trial).copied().unwrap_or_default()
    }

    /// What each of these trials reported.
    async fn curves(&self, trials: &[TrialResult], access: &Access) -> Result<Reported, CliError> {
        let numbers: BTreeSet<TrialNumber> = trials.iter().map(|trial| trial.trial).collect();
        let curves = access.curves(self.results.sweep, &numbers, None).await?.trials;
        Ok(curves.into_iter().map(|curves| (curves.trial, curves.metrics)).collect())
    }
}

/// Trials that are left to hand over. A portion is as large as what the one before it reported allows: sweeps have ten epochs or
/// ten thousand.
struct Portions<'a> {
    rest: &'a [TrialResult],
    size: usize,
}

/// What trials reported.
type Reported = BTreeMap<TrialNumber, BTreeMap<String, Curve>>;

impl<'a> Portions<'a> {
    /// The next trials, with what they reported.
    async fn next(
        &mut self,
        handed: &Handed<'a>,
        access: &Access,
    ) -> Result<Option<(&'a [TrialResult], Reported)>, CliError> {
        let (trials, rest) = self.rest.split_at(self.size.min(self.rest.len()));
        if trials.is_empty() {
            return Ok(None);
        }
        let curves = handed.curves(trials, access).await?;
        let lengths = curves.values().flat_map(BTreeMap::values).map(|curve| curve.values.len());
        self.size = portion_after(trials.len(), lengths.sum());
        self.rest = rest;
        Ok(Some((trials, curves)))
    }
}

/// How many trials come after so many that reported so many numbers. Not all at once: those may be longer.
fn portion_after(trials: usize, numbers: usize) -> usize {
    let room = NUMBERS_AT_A_TIME.saturating_mul(trials) / numbers.max(1);
    room.min(trials.saturating_mul(4)).clamp(1, TRIALS_AT_A_TIME.0)
}

/// Writes a line for each epoch. Only a file has something said of it: what comes from stdout is what was asked for.
async fn write_lines(
    output: &str,
    handed: &Handed<'_>,
    access: &Access,
    context: &Context,
) -> Result<String, CliError> {
    let mut file = (output != STDOUT).then(|| NewFile::begin(Path::new(output), context)).transpose()?;
    let mut count = 0_u64;
    let mut portions = handed.portions();
    while let Some((trials, curves)) = portions.next(handed, access).await? {
        let mut text = Vec::new();
        for trial in trials {
            let Some(curves) = curves.get(&trial.trial) else { continue };
            let lined = LinedTrial {
                sweep: handed.results.sweep,
                trial,
                configuration: handed.configuration_of(trial),
                swept: &handed.results.swept,
            };
            report_lines(&lined, curves, |line| {
                count += 1;
                serde_json::to_writer(&mut text, line).map(|()| text.push(b'\n'))
            })
            .map_err(CliError::failed)?;
        }
        match &mut file {
            Some(file) => file.write(&text)?,
            None => context.output.data(&String::from_utf8_lossy(&text))?,
        }
    }
    let Some(file) = file else { return Ok(String::new()) };
    file.finish()?;
    Ok(format!("{count} lines in {}\n", Path::new(output).display()))
}

#[cfg(test)]
mod tests {
    use super::portion_after;

    #[test]
    fn a_portion_fits_what_trials_report() {
        // Fifty epochs of eight metrics, then a hundred thousand.
        assert_eq!(portion_after(16, 16 * 400), 64);
        assert_eq!(portion_after(400, 400 * 400), 500);
        assert_eq!(portion_after(64, 64 * 800_000), 1);
        assert_eq!(portion_after(1, 0), 4);
    }
}
