use std::collections::BTreeSet;

use super::access::Access;
use super::spec_file::{CheckedSpec, SpecArgs};
use super::submit::{self, note_selected};
use super::{CliError, Context, needed};
use crate::coordinator::{outline, selectors_of};
use crate::protocol::http::{SubmitRequest, SubmitResponse};
use crate::report::{self, counted, grouped};

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
    let mut request = args.spec.into_request(context)?;
    let (mut spec, mut plan) = outline(&request)?;
    let rehearsed = rehearse(request.clone(), context).await;
    // What a spec of its own says is shown without a table; what it selects in the table is not. Of a sweep whose spec is here
    // the trials are named as the spec names them.
    let rehearsed = match rehearsed {
        Err(CliError::Usage(why)) if plan.reads_trials() && has_needed(&request, context)? => {
            context.output.note(&format!("note: which trials teach was not looked up: {why:#}"));
            None
        }
        rehearsed if plan.reads_trials() => Some(rehearsed?),
        rehearsed => rehearsed.ok(),
    };
    let selected = rehearsed.as_ref().map(|rehearsed| rehearsed.selected.clone()).unwrap_or_default();
    if !selected.is_empty() {
        request.selected =
            selected.iter().map(|found| (found.selector.clone(), found.weights.clone())).collect();
        (spec, plan) = outline(&request)?;
    }
    let extent = plan.extent();
    let epochs_to_run = rehearsed.map_or(extent.epochs_shared, |rehearsed| rehearsed.epochs_to_run);
    if json {
        let document = report::json::ExpandDocument::new(&spec, &plan, epochs_to_run, selected);
        return context.output.json(&document);
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
    let networks: BTreeSet<u32> = plan.trials.iter().map(|trial| trial.job).collect();
    if networks.len() < trials {
        let alike = (trials - networks.len()) as u64;
        context.output.note(&format!(
            "{} what another one does, since what they differ in has no effect there: each is run once",
            counted(alike, "trial does", "trials do")
        ));
    }
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
    note_selected(&selected, context);
    Ok(())
}

/// Whether specs of sweeps that it needs are found.
fn has_needed(request: &SubmitRequest, context: &Context) -> Result<bool, CliError> {
    Ok(!needed::find(&request.source_name, selectors_of(request), context)?.is_empty())
}

/// What would become of a submission: what is left after what other sweeps have trained, and what is selected there. Nobody
/// can say where there is no table, or a dataset is missing.
async fn rehearse(request: SubmitRequest, context: &Context) -> Result<SubmitResponse, CliError> {
    let spec = CheckedSpec::new(request, context)?;
    if !spec.needed.is_empty() {
        return submit::rehearse(spec, context).await;
    }
    let access = Access::open(context).await?;
    let rehearsed = access.rehearse(spec).await;
    access.close().await;
    rehearsed
}
