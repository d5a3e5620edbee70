use super::access::Access;
use super::choice::{ChangeArgs, SweepsArgs};
use super::{CliError, Context};
use crate::protocol::http::SweepStatus;
use crate::protocol::steering::{BumpRequest, BumpResponse};
use crate::report::json::BumpDocument;
use crate::vocabulary::HIGHEST_PRIORITY;

/// Run a sweep before others: before all of them, or as its priority says.
///
/// Trials of the sweep with the highest priority start first; those that run already go on. Priorities go from -1000 to
/// 1000, and a spec that says nothing has 0.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    sweeps: SweepsArgs,
    /// Give it this priority.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-HIGHEST_PRIORITY..=HIGHEST_PRIORITY))]
    priority: Option<i64>,
    /// Raise its priority by so much; may be negative.
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with = "priority")]
    by: Option<i64>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Args {
    fn request(&self) -> BumpRequest {
        match (self.priority, self.by) {
            (Some(priority), _) => BumpRequest::Set { priority },
            (None, Some(by)) => BumpRequest::Raise { by },
            (None, None) => BumpRequest::First,
        }
    }
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let done = bump(args, &access, context).await;
    access.close().await;
    done
}

async fn bump(args: &Args, access: &Access, context: &Context) -> Result<(), CliError> {
    let is_live = |sweep: &SweepStatus| sweep.state.is_live();
    let sweeps = args.sweeps.find(access, is_live).await?;
    if !args.change.goes_on("bump", &sweeps, context)? {
        return Ok(());
    }
    let mut bumped = Vec::new();
    for sweep in &sweeps {
        let priority = access.bump(sweep.id, args.request()).await?;
        if !args.change.json {
            let BumpResponse { before, after } = priority;
            context.output.note(&match before == after {
                true => format!("sweep {} has priority {after}, as before", sweep.id),
                false => format!("sweep {} has priority {after} (it was {before})", sweep.id),
            });
        }
        bumped.push((sweep.id, priority));
    }
    if args.change.json { context.output.json(&BumpDocument::from(bumped)) } else { Ok(()) }
}
