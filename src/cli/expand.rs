use super::access::Access;
use super::spec_file::{CheckedSpec, SpecArgs};
use super::{CliError, Context};
use crate::coordinator::{StateFolder, outline};
use crate::protocol::http::SubmitRequest;
use crate::report::{self, grouped};

/// Trials that are listed unless all are asked for.
const LISTED: usize = 20;

/// Show a spec's trials and how much of their training is shared; nothing is stored.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spec: SpecArgs,
    /// List all trials, not only the first ones.
    #[arg(long, conflicts_with = "tree")]
    all: bool,
    /// Draw the stage tree: which epochs are trained once for which trials.
    #[arg(long)]
    tree: bool,
    /// Print one JSON document.
    #[arg(long, conflicts_with_all = ["all", "tree"])]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let (all, tree, json) = (args.all, args.tree, args.json);
    let request = args.spec.into_request(context)?;
    let (spec, plan) = outline(&request)?;
    let extent = plan.extent();
    let epochs_to_run = epochs_to_run(request, context).await.unwrap_or(extent.epochs_shared);
    if json {
        return context.output.json(&report::json::ExpandDocument::new(&spec, &plan, epochs_to_run));
    }
    let trials = plan.trials.len();
    if tree {
        context.output.data(&report::stage_tree(&spec, &plan))?;
    } else {
        let listed = if all { trials } else { LISTED.min(trials) };
        let shown: Vec<_> = spec.trials().take(listed).collect();
        context.output.data(&report::trials_table(&spec.swept(), shown.iter()))?;
        if listed < trials {
            context.output.note(&format!("… and {} more (--all)", grouped((trials - listed) as u64)));
        }
    }
    let count = |n: usize| grouped(n as u64);
    context.output.note(&format!(
        "`{}`: {} trials, {} jobs",
        spec.name,
        count(trials),
        count(plan.jobs().len())
    ));
    if extent.epochs_unshared > trials as u64 {
        context.output.note(&format!(
            "{} epochs one by one, {} with shared beginnings, {} to run",
            grouped(extent.epochs_unshared),
            grouped(extent.epochs_shared),
            grouped(epochs_to_run)
        ));
        context.output.note(&format!(
            "at most {} of their checkpoints are kept at a time by one worker",
            extent.live_checkpoints
        ));
    }
    Ok(())
}

/// Epochs that are left after what other sweeps have trained; nothing where nobody can say, since there is no table or a
/// dataset is missing.
async fn epochs_to_run(request: SubmitRequest, context: &Context) -> Option<u64> {
    if context.coordinator.is_none() {
        StateFolder::find(&context.environment.working_directory)?;
    }
    let spec = CheckedSpec::new(request, context).ok()?;
    let access = Access::open(context).await.ok()?;
    let rehearsed = access.rehearse(spec).await;
    access.close().await;
    Some(rehearsed.ok()?.epochs_to_run)
}
