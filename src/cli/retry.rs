use super::access::Access;
use super::cancel::chosen;
use super::{CliError, Context};
use crate::report::counted;
use crate::vocabulary::{SweepId, TrialNumber};

/// Put a sweep's failed and cancelled trials back into the queue, all or some of them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id, as `sweep status` shows it.
    sweep: SweepId,
    /// Only these trials, by their numbers.
    #[arg(value_name = "TRIAL")]
    trials: Vec<TrialNumber>,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let reopened = access.retry(args.sweep, &chosen(args.trials)).await;
    access.close().await;
    context.output.note(&counted(reopened?, "job is queued again", "jobs are queued again"));
    Ok(())
}
