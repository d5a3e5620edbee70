use super::access::Access;
use super::{CliError, Context};
use crate::report::counted;
use crate::vocabulary::SweepId;

/// Start no more trials of a sweep; what runs goes on.
///
/// What other sweeps need of it is run all the same. `sweep resume` takes it back.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id, as `sweep status` shows it.
    sweep: SweepId,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let sweep = access.pause(args.sweep).await;
    access.close().await;
    let sweep = sweep?;
    let goes_on = match sweep.trials.running {
        0 => String::new(),
        running => format!("; {}", counted(running, "trial that runs goes on", "trials that run go on")),
    };
    context.output.note(&format!("sweep {} `{}` is paused{goes_on}", sweep.id, sweep.name));
    Ok(())
}
