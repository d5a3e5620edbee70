use super::access::Access;
use super::choice::{ChangeArgs, Chosen, SweepArg, TrialArgs, choose, rehearse};
use super::{CliError, Context};
use crate::report::counted;
use crate::report::json::RetryDocument;
use crate::vocabulary::TrialState;

/// Put a sweep's failed and cancelled trials back into the queue, all or some of them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id or name, or `last`.
    sweep: SweepArg,
    #[command(flatten)]
    trials: TrialArgs,
    /// Only trials that failed, not those that were cancelled.
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let done = retry(args, &access, context).await;
    access.close().await;
    done
}

async fn retry(args: &Args, access: &Access, context: &Context) -> Result<(), CliError> {
    const ENDED_BADLY: [TrialState; 2] = [TrialState::Failed, TrialState::Cancelled];
    let sweep = args.sweep.find(access).await?;
    let mut selector = args.trials.selector()?;
    if args.failed {
        selector = selector.and_state([TrialState::Failed]);
    }
    let chosen = choose(access, sweep, &selector, &ENDED_BADLY, args.change.dry_run).await?;
    if args.change.dry_run {
        return rehearse("retry", sweep, &chosen, args.change.json, context);
    }
    let Chosen { request, count, .. } = &chosen;
    let what = format!("retry {} of sweep {sweep}", counted(*count, "trial", "trials"));
    args.change.confirm(&what, *count, context)?;
    let jobs = if chosen.is_empty() { 0 } else { access.retry(sweep, request).await? };
    if args.change.json {
        return context.output.json(&RetryDocument::new(sweep, jobs));
    }
    context.output.note(&match jobs {
        0 => format!("nothing to retry: no trial of sweep {sweep} that is meant has failed or was cancelled"),
        jobs => counted(jobs, "job is queued again", "jobs are queued again"),
    });
    Ok(())
}
