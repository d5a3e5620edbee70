use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tempfile::TempDir;

use super::access::Access;
use super::apart::Apart;
use super::choice::SweepArg;
use super::follow::{Ended, Hands, Scope, Turn, follow, work_through};
use super::spec_file::CheckedSpec;
use super::stint::Stint;
use super::worker_process::WorkerArgs;
use super::{CliError, Context};
use crate::coordinator::{LEASE, lend_code, lend_weights};
use crate::protocol::http::{ResultsResponse, Sharing, SubmitRequest, TrialHistory, TrialState};
use crate::report::audit::{Audited, first_difference};
use crate::report::json::AuditDocument;
use crate::report::{count, counted};
use crate::vocabulary::{CheckpointHash, StateHash, SweepId};

/// How the folders are called in which trials are trained again.
const PREFIX: &str = "audit-";

/// Train some of a sweep's finished trials again, alone and from their first epoch, and compare every number.
///
/// Reports and final weights must be the same bit for bit; those of trials on a GPU that was not asked for the same bits
/// (`deterministic: true`) within two points of accuracy. Exits 1 and names the first difference otherwise. Nothing that
/// is stored changes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id or name, or `last`.
    sweep: SweepArg,
    /// How many trials, drawn at random.
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    trials: u32,
    /// Draws the same trials again.
    #[arg(long, value_name = "N")]
    draw: Option<u64>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    worker: WorkerArgs,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let drawn = draw(&access, &args).await;
    let drawn = match drawn {
        Ok(drawn) => drawn,
        Err(error) => {
            access.close().await;
            return Err(error);
        }
    };
    // The table is let go of before the work begins, so that others can use it meanwhile.
    access.close().await;
    let again = train_again(&drawn, &args, context).await?;
    let Drawn { sweep, stored, .. } = drawn;
    let audited: Vec<_> = stored
        .iter()
        .zip(&again)
        .map(|(stored, again)| Audited {
            trial: stored.trial,
            inherited_epochs: stored.inherited_epochs,
            difference: first_difference(stored, again),
        })
        .collect();
    show(sweep, args.json, &audited, &stored, context)
}

/// The trials to train again.
struct Drawn {
    sweep: SweepId,
    request: SubmitRequest,
    /// What the table holds of them.
    stored: Vec<TrialHistory>,
    /// Files from which the networks were read that taught them.
    teachers: BTreeSet<CheckpointHash>,
    /// The code that programs ran, where it was kept, in a folder of artifacts of its own.
    code: Option<(CheckpointHash, TempDir)>,
}

async fn draw(access: &Access, args: &Args) -> Result<Drawn, CliError> {
    let sweep = args.sweep.find(access).await?;
    let results = access.results(sweep).await?;
    let succeeded = results.trials.iter().filter(|trial| trial.state == TrialState::Succeeded);
    let mut numbers: Vec<_> = succeeded.map(|trial| trial.trial).collect();
    if numbers.is_empty() {
        return Err(CliError::usage(format!("sweep {sweep} has no finished trial to audit")));
    }
    let draw = args.draw.unwrap_or_else(|| u64::from(std::process::id()));
    numbers.sort_by_cached_key(|number| StateHash::of(format!("audit {draw} {number}").as_bytes()));
    numbers.truncate(usize::try_from(args.trials).unwrap_or(usize::MAX));
    numbers.sort_unstable();
    let mut stored = Vec::new();
    for &number in &numbers {
        stored.push(access.history(sweep, number).await?);
    }
    let request = access.request(sweep).await?;
    let files = files_of_teachers(&results, &stored);
    // The networks that taught are taken as they are: whether they can be trained again is their own sweep's audit.
    let selected = request.selected.into_iter().map(|(selector, names)| {
        let file = |name: String| files.get(&name).map_or(name, ToString::to_string);
        (selector, names.into_iter().map(file).collect())
    });
    let request = SubmitRequest {
        sharing: Sharing::Nothing,
        selected: selected.collect(),
        only: Some(numbers),
        ..request
    };
    let code = borrow_code(access, &request).await?;
    Ok(Drawn { sweep, request, stored, teachers: files.into_values().collect(), code })
}

async fn borrow_code(
    access: &Access,
    request: &SubmitRequest,
) -> Result<Option<(CheckpointHash, TempDir)>, CliError> {
    let kept = request.code.as_ref().and_then(|code| code.kept.as_ref());
    let Some(kept) = kept else { return Ok(None) };
    let hash = kept.hash.parse().map_err(CliError::failed)?;
    let folder = tempfile::tempdir().map_err(CliError::failed)?;
    access.lend_code(&hash, folder.path()).await?;
    Ok(Some((hash, folder)))
}

/// The files from which trials have read the networks that taught them, by the names of these in their parameters.
fn files_of_teachers(results: &ResultsResponse, stored: &[TrialHistory]) -> BTreeMap<String, CheckpointHash> {
    let mut files = BTreeMap::new();
    for history in stored {
        let trial = results.trials.iter().find(|trial| trial.trial == history.trial);
        let names = trial.and_then(|trial| trial.parameters.get("teachers")?.as_array());
        let names = names.into_iter().flatten().filter_map(|name| name.as_str());
        let named = names.zip(&history.record.teachers);
        files.extend(named.filter_map(|(name, file)| Some((name.to_owned(), file.parse().ok()?))));
    }
    files
}

/// Copies the networks that taught into the state folder in which the trials are trained again.
fn lend_teachers(teachers: &BTreeSet<CheckpointHash>, from: &Path, to: &Path) -> Result<(), CliError> {
    for hash in teachers {
        if !lend_weights(hash, from, to).map_err(CliError::failed)? {
            return Err(CliError::failed(anyhow::anyhow!(
                "the weights {hash}, which taught, are gone from {}; the trials can't be trained again as they were. With \
                 `keep: last` the weights of trials stay",
                from.display()
            )));
        }
    }
    Ok(())
}

/// Trains the trials in a state folder of their own, which goes when they are done.
async fn train_again(drawn: &Drawn, args: &Args, context: &Context) -> Result<Vec<TrialHistory>, CliError> {
    let Drawn { sweep, request, teachers, code, .. } = drawn;
    let apart = Apart::begin(PREFIX, context).await?;
    let artifacts = apart.beside().map(|folder| folder.artifacts()).unwrap_or_default();
    lend_teachers(teachers, &artifacts, &apart.folder().artifacts())?;
    if let Some((hash, from)) = code {
        lend_code(hash, from.path(), &apart.folder().artifacts()).map_err(CliError::failed)?;
    }
    let alone = apart.context();
    let stint = Stint::endless();
    let mut spec = CheckedSpec::to_be_checked(request.clone());
    let mut again = Vec::new();
    work_through(LEASE, alone, async |session| {
        let submitted = session.access().submit(&mut spec).await?;
        if !args.quiet {
            let trials = counted(count(request.only.as_ref().map_or(0, Vec::len)), "trial", "trials");
            context.output.note(&format!("training {trials} of sweep {sweep} again"));
        }
        let scope = Scope { sweep: Some(submitted.sweep), until_drained: true };
        let hands = Hands { args: &args.worker, stint: &stint };
        match follow(session, &scope, hands, args.quiet, alone).await? {
            Ended::Orphaned => return Ok(Turn::Orphaned),
            Ended::Interrupted => {
                context.output.note("stopped; nothing was compared");
                return Ok(Turn::Over(Err(CliError::Unsuccessful)));
            }
            Ended::Drained => {}
        }
        let results = session.access().results(submitted.sweep).await?;
        if let Some(failed) = results.trials.iter().find(|trial| trial.state != TrialState::Succeeded) {
            let why =
                failed.failure.as_ref().map_or_else(String::new, |failure| format!(": {}", failure.message));
            let message = format!("trial {} can't be trained again{why}", failed.trial);
            return Ok(Turn::Over(Err(CliError::failed(anyhow::anyhow!(message)))));
        }
        for number in request.only.iter().flatten() {
            again.push(session.access().history(submitted.sweep, *number).await?);
        }
        Ok(Turn::Over(Ok(())))
    })
    .await?;
    Ok(again)
}

fn show(
    sweep: SweepId,
    json: bool,
    audited: &[Audited],
    stored: &[TrialHistory],
    context: &Context,
) -> Result<(), CliError> {
    let differing = audited.iter().filter(|audited| audited.difference.is_some()).count();
    if json {
        context.output.json(&AuditDocument::new(sweep, audited))?;
    } else {
        for Audited { trial, inherited_epochs, difference } in audited {
            let shared = match inherited_epochs {
                0 => String::new(),
                epochs => format!(" ({epochs} epochs of it were shared)"),
            };
            let verdict = difference.as_ref().map_or_else(|| "the same".to_owned(), ToString::to_string);
            context.output.data(&format!("trial {trial}{shared}: {verdict}\n"))?;
        }
        let reports: usize = stored.iter().map(|history| history.reports.len()).sum();
        context.output.note(&match differing {
            0 => format!(
                "{}, {} and the final weights: all the same",
                counted(count(audited.len()), "trial", "trials"),
                counted(count(reports), "report", "reports")
            ),
            some => format!("{some} of {} trials differ", audited.len()),
        });
    }
    if differing == 0 { Ok(()) } else { Err(CliError::Unsuccessful) }
}
