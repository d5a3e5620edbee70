use std::path::PathBuf;

use crate::cli::access::Access;
use crate::cli::choice::{SweepArg, find_trial};
use crate::cli::written::write_file;
use crate::cli::{CliError, Context};
use crate::coordinator::CoordinatorError;
use crate::protocol::http::{KeptCheckpoint, ResultsResponse, TrialResult, TrialState};
use crate::report::json::{CheckpointDocument, WrittenNetwork};
use crate::report::{ExportedNetwork, WeightsOrigin, state_dict};
use crate::vocabulary::{CheckpointHash, EpochChoice, Goal, SweepId, TrialNumber};

/// Write a trial's network as a safetensors file that PyTorch loads with `load_state_dict` (docs/PYTORCH.md).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id or name, or `last`.
    sweep: SweepArg,
    /// The trial: its number, `last`, or what it alone is, such as `lr=0.1 seed=3` (docs/SELECTORS.md).
    #[arg(value_name = "TRIAL")]
    trial: Vec<String>,
    /// After which epoch: `last`, or where more was kept (`keep` in the spec) a number, or `best` by the sweep's metric.
    #[arg(long, value_name = "EPOCH", default_value_t)]
    epoch: EpochChoice,
    /// Which of the trial's networks.
    #[arg(long, value_name = "NETWORK", value_enum, default_value = "evaluated")]
    network: Network,
    /// Where it goes; a file that is there gives way when the new one is whole.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Network {
    /// The one whose `top1` is reported: the student, or under `eval_weights: average` its average.
    Evaluated,
    /// The one that is trained.
    Student,
    /// The one that teaches within the trial, which `ema_top1` is about where it is an average.
    Reference,
}

impl From<Network> for ExportedNetwork {
    fn from(network: Network) -> ExportedNetwork {
        match network {
            Network::Evaluated => ExportedNetwork::Evaluated,
            Network::Student => ExportedNetwork::Student,
            Network::Reference => ExportedNetwork::Reference,
        }
    }
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let exported = export(args, &access).await;
    access.close().await;
    let Exported { file, kept, sweep, trial } = exported?;
    write_file(&args.output, &file, context)?;
    if args.json {
        let network = WrittenNetwork {
            sweep,
            trial,
            epoch: kept.epoch,
            checkpoint: kept.hash,
            file: args.output.display().to_string(),
            size_bytes: file.len(),
        };
        return context.output.json(&CheckpointDocument::from(network));
    }
    let what = format!("trial {trial} of sweep {sweep} after epoch {}", kept.epoch);
    context.output.note(&format!("`{}`: {what}", args.output.display()));
    Ok(())
}

struct Exported {
    file: Vec<u8>,
    kept: KeptCheckpoint,
    sweep: SweepId,
    trial: TrialNumber,
}

async fn export(args: &Args, access: &Access) -> Result<Exported, CliError> {
    let sweep = args.sweep.find(access).await?;
    let number = find_trial("a checkpoint is one trial's", &args.trial, sweep, access).await?;
    let results = access.results(sweep).await?;
    let trial = results.trials.iter().find(|trial| trial.trial == number);
    let trial = trial.ok_or(CoordinatorError::UnknownTrial { sweep, trial: number })?;
    refuse_programs(trial, &results, access).await?;
    let kept = choose(args.epoch, trial, &results)?;
    let hash: CheckpointHash = kept.hash.parse().map_err(CliError::failed)?;
    let contents = access.checkpoint(&hash).await?;
    let origin = WeightsOrigin {
        sweep,
        trial: number,
        seed: trial.seed,
        epoch: kept.epoch,
        checkpoint: &kept.hash,
        parameters: &trial.parameters,
    };
    let file = state_dict(&contents, args.network.into(), &origin).map_err(|error| {
        let what = format!("the checkpoint of trial {number} of sweep {sweep} can't be exported");
        CliError::Usage(anyhow::Error::new(error).context(what))
    })?;
    Ok(Exported { file, kept: kept.clone(), sweep, trial: number })
}

/// What a program saves is its own, and has its own form.
async fn refuse_programs(
    trial: &TrialResult,
    results: &ResultsResponse,
    access: &Access,
) -> Result<(), CliError> {
    let (sweep, number) = (results.sweep, trial.trial);
    if trial.state != TrialState::Succeeded {
        return Ok(());
    }
    let record = access.history(sweep, number).await?.record;
    if !record.weights_hash.is_empty() {
        return Ok(());
    }
    let saved = trial.checkpoints.last().map_or_else(String::new, |kept| {
        format!("; what it saved is .sweep/artifacts/{}.safetensors, whatever is in it", kept.hash)
    });
    Err(CliError::usage(format!(
        "trial {number} of sweep {sweep} is a program's, and only networks of the built-in trainer are exported{saved}"
    )))
}

/// The state that is meant among those that stayed.
fn choose<'a>(
    epoch: EpochChoice,
    trial: &'a TrialResult,
    results: &ResultsResponse,
) -> Result<&'a KeptCheckpoint, CliError> {
    let (sweep, number) = (results.sweep, trial.trial);
    let is_over = trial.state == TrialState::Succeeded;
    if let (false, EpochChoice::Last | EpochChoice::Best) = (is_over, epoch) {
        let help = match trial.state {
            TrialState::Failed | TrialState::Cancelled => {
                format!("`sweep retry {sweep} {number}` runs it again")
            }
            TrialState::Queued | TrialState::Running | TrialState::Succeeded => {
                format!("`sweep explain {sweep} {number}` says how far it is")
            }
        };
        return Err(CliError::usage(format!(
            "trial {number} of sweep {sweep} has no last state: it is {}; {help}",
            trial.state
        )));
    }
    let kept = match epoch {
        EpochChoice::Last => trial.checkpoints.iter().max_by_key(|kept| kept.epoch),
        EpochChoice::At(epoch) => trial.checkpoints.iter().find(|kept| kept.epoch == epoch),
        EpochChoice::Best => best(trial, results),
    };
    kept.ok_or_else(|| {
        let there: Vec<String> = trial.checkpoints.iter().map(|kept| kept.epoch.to_string()).collect();
        let help = match there.is_empty() {
            true => "`keep` in the spec says what stays (docs/SPEC.md)".to_owned(),
            false => format!("there are those after epochs {}", there.join(", ")),
        };
        let which = match epoch {
            EpochChoice::Last => String::new(),
            EpochChoice::Best => " with a value of the sweep's metric".to_owned(),
            EpochChoice::At(epoch) => format!(" after epoch {epoch}"),
        };
        CliError::usage(format!("no checkpoint{which} of trial {number} of sweep {sweep} was kept; {help}"))
    })
}

/// Of equally good ones the earliest.
fn best<'a>(trial: &'a TrialResult, results: &ResultsResponse) -> Option<&'a KeptCheckpoint> {
    let sign = match results.metric.as_ref()?.goal {
        Goal::Maximize => -1.0,
        Goal::Minimize => 1.0,
    };
    let valued = trial.checkpoints.iter().filter_map(|kept| Some((sign * kept.value?, kept)));
    Some(valued.min_by(|one, other| one.0.total_cmp(&other.0))?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{Metric, SweepId, TrialNumber};

    fn trial(state: TrialState, kept: &[(u32, Option<f64>)]) -> TrialResult {
        TrialResult {
            trial: TrialNumber(3),
            state,
            seed: 0,
            parameters: crate::vocabulary::Parameters::new(),
            metrics: crate::vocabulary::Metrics::new(),
            epoch: None,
            checkpoints: kept
                .iter()
                .map(|&(epoch, value)| KeptCheckpoint { epoch, hash: epoch.to_string(), value })
                .collect(),
            failure: None,
        }
    }

    fn results() -> ResultsResponse {
        ResultsResponse {
            sweep: SweepId(1),
            name: "s".to_owned(),
            metric: Some(Metric { name: "top1".to_owned(), goal: Goal::Maximize }),
            swept: vec![],
            code: None,
            trials: vec![],
        }
    }

    fn chosen(epoch: EpochChoice, trial: &TrialResult) -> Result<u32, String> {
        match choose(epoch, trial, &results()) {
            Ok(kept) => Ok(kept.epoch),
            Err(CliError::Usage(error)) => Err(error.to_string()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_state_is_taken_unless_another_one_is_named() {
        let trial =
            trial(TrialState::Succeeded, &[(1, Some(7.0)), (2, Some(9.0)), (3, Some(9.0)), (4, None)]);
        assert_eq!(chosen(EpochChoice::Last, &trial), Ok(4));
        assert_eq!(chosen(EpochChoice::At(1), &trial), Ok(1));
        assert_eq!(chosen(EpochChoice::Best, &trial), Ok(2));
        assert_eq!(
            chosen(EpochChoice::At(9), &trial),
            Err("no checkpoint after epoch 9 of trial 3 of sweep 1 was kept; there are those after epochs 1, 2, 3, 4"
                .to_owned())
        );
    }

    #[test]
    fn a_trial_that_has_not_succeeded_has_no_last_state() {
        let running = trial(TrialState::Running, &[(2, None)]);
        assert_eq!(
            chosen(EpochChoice::Last, &running),
            Err(
                "trial 3 of sweep 1 has no last state: it is running; `sweep explain 1 3` says how far it is"
                    .to_owned()
            )
        );
        assert_eq!(chosen(EpochChoice::At(2), &running), Ok(2), "what is kept can be had before");
        let failed = chosen(EpochChoice::Best, &trial(TrialState::Failed, &[])).unwrap_err();
        assert!(failed.ends_with("it is failed; `sweep retry 1 3` runs it again"), "{failed}");
    }

    #[test]
    fn where_nothing_was_kept_the_key_of_the_spec_is_named() {
        let refused = chosen(EpochChoice::Last, &trial(TrialState::Succeeded, &[])).unwrap_err();
        assert_eq!(
            refused,
            "no checkpoint of trial 3 of sweep 1 was kept; `keep` in the spec says what stays (docs/SPEC.md)"
        );
    }
}
