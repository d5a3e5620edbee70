use super::spec_file::SpecArgs;
use super::{CliError, Context};
use crate::coordinator::outline;
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

pub(super) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let (all, tree, json) = (args.all, args.tree, args.json);
    let request = args.spec.into_request(context)?;
    let (spec, plan) = outline(&request)?;
    let extent = plan.extent();
    if json {
        return context.output.json(&report::json::ExpandDocument::new(&spec, &plan));
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
            "{} epochs one by one, {} with shared beginnings; at most {} of their checkpoints are kept at a time by one worker",
            grouped(extent.epochs_unshared),
            grouped(extent.epochs_shared),
            extent.live_checkpoints
        ));
    }
    Ok(())
}
