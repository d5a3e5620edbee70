use super::access::Access;
use super::choice::{ChangeArgs, SweepsArgs};
use super::{CliError, Context};
use crate::protocol::http::SweepStatus;
use crate::report::counted;
use crate::report::json::SweepsDocument;
use crate::vocabulary::SweepState;

/// Start no more trials of a sweep; what runs goes on.
///
/// What other sweeps need of it is run all the same. `sweep resume` takes it back.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    sweeps: SweepsArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let done = pause(args, &access, context).await;
    access.close().await;
    done
}

async fn pause(args: &Args, access: &Access, context: &Context) -> Result<(), CliError> {
    let at_work = |sweep: &SweepStatus| matches!(sweep.state, SweepState::Queued | SweepState::Running);
    let sweeps = args.sweeps.find(access, at_work).await?;
    if !args.change.goes_on("pause", &sweeps, context)? {
        return Ok(());
    }
    let mut paused = Vec::new();
    for sweep in &sweeps {
        let sweep = access.pause(sweep.id).await?;
        if !args.change.json {
            context.output.note(&describe(&sweep));
        }
        paused.push(sweep);
    }
    if args.change.json { context.output.json(&SweepsDocument::from(paused)) } else { Ok(()) }
}

fn describe(sweep: &SweepStatus) -> String {
    let goes_on = match sweep.trials.running {
        0 => String::new(),
        running => format!("; {}", counted(running, "trial that runs goes on", "trials that run go on")),
    };
    format!("sweep {} `{}` is paused{goes_on}", sweep.id, sweep.name)
}
