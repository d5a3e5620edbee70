use super::follow::{Ended, Scope, Session, Turn, follow, work_through};
use super::worker_process::{EndArgs, WorkerArgs};
use super::{CliError, Context};
use crate::coordinator::{CoordinatorError, LEASE};
use crate::vocabulary::SweepId;

/// Work on what was submitted; with no coordinator running, be one meanwhile.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Work on this sweep only.
    #[arg(long, value_name = "SWEEP")]
    sweep: Option<SweepId>,
    /// Exit when every job has ended.
    #[arg(long)]
    until_drained: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    end: EndArgs,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let Args { sweep, until_drained, quiet, mut worker, end } = args;
    worker.end = end;
    let scope = Scope { sweep, until_drained };
    work_through(LEASE, context, async |session| {
        if let Some(sweep) = sweep {
            ensure_there(sweep, session).await?;
        }
        match follow(session, &scope, &worker, quiet, context).await? {
            Ended::Orphaned => Ok(Turn::Orphaned),
            Ended::Drained => Ok(Turn::Over(session.linger(context).await)),
            Ended::Interrupted => Ok(Turn::Over(Ok(()))),
        }
    })
    .await
}

/// A sweep that isn't there has no work, which would look like being done.
async fn ensure_there(sweep: SweepId, session: &Session) -> Result<(), CliError> {
    let status = session.access().status().await?;
    match status.sweeps.iter().any(|found| found.id == sweep) {
        true => Ok(()),
        false => Err(CoordinatorError::NoSuchSweep(sweep).into()),
    }
}
