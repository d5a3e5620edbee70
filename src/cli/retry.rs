use super::access::Access;
use super::{CliError, Context};
use crate::vocabulary::SweepId;

/// Put a sweep's failed and cancelled trials back into the queue.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id, as `sweep status` shows it.
    sweep: SweepId,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let reopened = access.retry(args.sweep).await;
    access.close().await;
    context.output.note(&format!("{} jobs are queued again", reopened?));
    Ok(())
}
