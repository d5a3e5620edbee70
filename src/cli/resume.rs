use super::access::Access;
use super::choice::{ChangeArgs, SweepsArgs};
use super::{CliError, Context};
use crate::protocol::http::SweepStatus;
use crate::report::counted;
use crate::report::json::SweepsDocument;
use crate::vocabulary::SweepState;

/// Go on with a sweep that was paused.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    sweeps: SweepsArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let done = resume(args, &access, context).await;
    access.close().await;
    done
}

async fn resume(args: &Args, access: &Access, context: &Context) -> Result<(), CliError> {
    let is_paused = |sweep: &SweepStatus| sweep.state == SweepState::Paused;
    let sweeps = args.sweeps.find(access, is_paused).await?;
    if !args.change.goes_on("resume", &sweeps, context)? {
        return Ok(());
    }
    let mut resumed = Vec::new();
    for sweep in &sweeps {
        let sweep = access.resume(sweep.id).await?;
        if !args.change.json {
            let queued = counted(sweep.trials.queued, "trial is queued", "trials are queued");
            context.output.note(&format!("sweep {} `{}` goes on: {queued}", sweep.id, sweep.name));
        }
        resumed.push(sweep);
    }
    if args.change.json { context.output.json(&SweepsDocument::from(resumed)) } else { Ok(()) }
}
