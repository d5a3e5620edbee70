//! Before a long sweep is stored: whether all that it asks of the built-in trainer works at all (`smoke.rs`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::access::Access;
use super::smoke::Smoke;
use super::spec_file::CheckedSpec;
use super::worker_process::{WorkerArgs, find_worker};
use super::{CliError, Context, needed, state_folder};
use crate::coordinator::outline;
use crate::dataset::{Manifest, TRAIN};
use crate::report::smoke_failures;
use crate::spec::{Spec, Trainer};

/// Sweeps that train on fewer images than this, each counted in every epoch, are over, or have failed, within minutes: twenty epochs
/// of CIFAR-10.
const LONG_IMAGES: u64 = 1_000_000;

/// Images of a training set that is not on this host: as many as CIFAR-10 and CIFAR-100 have.
const USUAL_IMAGES: u64 = 50_000;

/// A trainer that loads its libraries over a slow network says its version sooner.
const LONGEST_START: Duration = Duration::from_secs(180);

const TRAINER: &str = "sweep-trainer";

/// Whether to try first.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct PreflightArgs {
    /// Don't try first, in small, what a long sweep asks of the trainer (1,000,000 images or more to train on, counted in every
    /// epoch).
    #[arg(long)]
    no_preflight: bool,
}

/// Where a sweep is going to be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrainingPlace {
    /// By this command; without a trainer it can't be.
    Here,
    /// By workers, perhaps of other hosts.
    Anywhere,
}

/// Tries what a long sweep asks of the trainer. Nothing was stored so far.
///
/// # Errors
/// When some of it does not work, it has to be trained here and no trainer starts, or the user stopped it.
pub(super) async fn preflight(
    args: PreflightArgs,
    spec: &CheckedSpec,
    worker: &WorkerArgs,
    place: TrainingPlace,
    quiet: bool,
    context: &Context,
) -> Result<(), CliError> {
    let is_tried = !args.no_preflight && is_long(spec, context).await?;
    let is_needed = place == TrainingPlace::Here && is_built_in(spec)?;
    if !is_tried && !is_needed {
        return Ok(());
    }
    match find_trainer(worker, context).await {
        Err(why) if is_needed => {
            let help = "say where it is with `--trainer PATH`, or `sweep submit` the sweep and let another host train it";
            return Err(CliError::Usage(anyhow::anyhow!("{why}; nothing is stored ({help})")));
        }
        Err(why) => {
            context.output.note(&format!("no preflight: {why}"));
            return Ok(());
        }
        Ok(()) if !is_tried => return Ok(()),
        Ok(()) => {}
    }
    let smoke = match &spec.prepared {
        Some(prepared) => Smoke::of(&prepared.spec)?,
        None => Smoke::of_request(&spec.request)?,
    };
    if !quiet {
        let what = smoke.describe();
        context
            .output
            .note(&format!("preflight: {what}, each in a small form (--no-preflight leaves it out)"));
    }
    let name = smoke.name.clone();
    let Some(tried) = smoke.run(worker, true, context).await? else {
        context.output.note("stopped before it began; nothing is stored");
        return Err(CliError::Unsuccessful);
    };
    match smoke_failures(&name, &tried) {
        None => Ok(()),
        Some(failures) => Err(CliError::Failed(anyhow::anyhow!(
            "the preflight failed, and nothing is stored; `--no-preflight` goes on all the same\n{failures}"
        ))),
    }
}

/// Whether the built-in trainer trains it.
fn is_built_in(spec: &CheckedSpec) -> Result<bool, CliError> {
    Ok(match &spec.prepared {
        Some(prepared) => prepared.spec.trainer == Trainer::Resnet,
        None => outline(&spec.request)?.0.trainer == Trainer::Resnet,
    })
}

/// Whether there is much left to train of what was not submitted before.
async fn is_long(spec: &CheckedSpec, context: &Context) -> Result<bool, CliError> {
    let outlined;
    let (planned, plan) = match &spec.prepared {
        Some(prepared) => (&prepared.spec, &prepared.plan),
        None => {
            outlined = outline(&spec.request)?;
            (&outlined.0, &outlined.1)
        }
    };
    let images = images_of(planned, context)?;
    if images.saturating_mul(plan.extent().epochs_shared) < LONG_IMAGES {
        return Ok(false);
    }
    let has_table = context.coordinator.is_some() || state_folder::find(context).is_some();
    if !has_table {
        return Ok(true);
    }
    let access = Access::open(context).await?;
    let left = left(spec, &access).await;
    access.close().await;
    Ok(left?.is_none_or(|epochs| images.saturating_mul(epochs) >= LONG_IMAGES))
}

/// Epochs that a sweep has yet to train; all where what it needs has yet to be submitted.
async fn left(spec: &CheckedSpec, access: &Access) -> Result<Option<u64>, CliError> {
    if needed::is_missing(access, spec).await? {
        return Ok(None);
    }
    let rehearsed = access.rehearse(CheckedSpec::to_be_checked(spec.request.clone())).await?;
    // Where all its jobs are there, it goes on; that it works was tried when it began.
    Ok(Some(if rehearsed.jobs_new > 0 { rehearsed.epochs_to_run } else { 0 }))
}

/// Images in the largest training set of those that a spec's trials use; none where they run a program.
fn images_of(spec: &Spec, context: &Context) -> Result<u64, CliError> {
    if spec.trainer != Trainer::Resnet {
        return Ok(0);
    }
    let root = context.datasets()?;
    let names: BTreeSet<String> = spec
        .trials()
        .filter_map(|trial| trial.parameters.get("dataset").and_then(Value::as_str).map(str::to_owned))
        .collect();
    let images = names.iter().map(|name| {
        let manifest = Manifest::read(&root, name).ok();
        let train = manifest.as_ref().and_then(|manifest| manifest.files.get(TRAIN));
        train.map_or(USUAL_IMAGES, |train| train.count as u64)
    });
    Ok(images.max().unwrap_or(USUAL_IMAGES))
}

/// Looks for the programs that train and lets the trainer say its version.
///
/// # Errors
/// Why this host can't train, in a line.
async fn find_trainer(worker: &WorkerArgs, context: &Context) -> Result<(), String> {
    let agent = find_worker(context).map_err(|_| "`sweep-worker` is not on this host".to_owned())?;
    let trainer = worker.trainer().map(ToOwned::to_owned).unwrap_or_else(|| {
        let beside = agent.with_file_name(TRAINER);
        if beside.is_file() { beside } else { PathBuf::from(TRAINER) }
    });
    let mut command = Command::new(&trainer);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let name = trainer.display();
    match tokio::time::timeout(LONGEST_START, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let why = said.lines().next_back().map_or_else(|| output.status.to_string(), str::to_owned);
            Err(format!("`{name}` does not start on this host: {why}"))
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("there is no `{name}` on this host"))
        }
        Ok(Err(error)) => Err(format!("`{name}` does not start on this host: {error}")),
        Err(_) => Err(format!("`{name}` does not start on this host within {} s", LONGEST_START.as_secs())),
    }
}
