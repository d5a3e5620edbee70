use super::access::Access;
use super::follow::{Ended, Scope, Session, follow};
use super::worker_process::WorkerArgs;
use super::{CliError, Context};
use crate::coordinator::LEASE;
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
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let scope = Scope { sweep: args.sweep, until_drained: args.until_drained };
    loop {
        let session = Session::start(Access::open_or_create(context, LEASE).await?, context).await?;
        if let Some(sweep) = args.sweep {
            // A sweep that isn't there has no work, which would look like being done.
            if let Err(error) = session.access().results(sweep).await {
                session.stop().await;
                return Err(error);
            }
        }
        let outcome = match follow(&session, &scope, &args.worker, args.quiet, context).await {
            Ok(Ended::Orphaned) => {
                context.output.note("the coordinator is gone; this command takes over");
                session.stop().await;
                continue;
            }
            Ok(Ended::Drained) => session.linger(context).await,
            Ok(Ended::Interrupted) => Ok(()),
            Err(_) if session.access().has_ended().await => {
                session.stop().await;
                continue;
            }
            Err(error) => Err(error),
        };
        session.stop().await;
        return outcome;
    }
}
