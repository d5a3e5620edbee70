use super::access::Access;
use super::{CliError, Context};
use crate::report::counted;
use crate::vocabulary::SweepId;

/// Go on with a sweep that was paused.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id, as `sweep status` shows it.
    sweep: SweepId,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let sweep = access.resume(args.sweep).await;
    access.close().await;
    let sweep = sweep?;
    let queued = counted(sweep.trials.queued, "trial is queued", "trials are queued");
    context.output.note(&format!("sweep {} `{}` goes on: {queued}", sweep.id, sweep.name));
    Ok(())
}
