use super::access::Access;
use super::{CliError, Context};
use crate::protocol::steering::{BumpRequest, BumpResponse};
use crate::vocabulary::{HIGHEST_PRIORITY, SweepId};

/// Run a sweep before others: before all of them, or as its priority says.
///
/// Trials of the sweep with the highest priority start first; those that run already go on. Priorities go from -1000 to
/// 1000, and a spec that says nothing has 0.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id, as `sweep status` shows it.
    sweep: SweepId,
    /// Give it this priority.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-HIGHEST_PRIORITY..=HIGHEST_PRIORITY))]
    priority: Option<i64>,
    /// Raise its priority by so much; may be negative.
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with = "priority")]
    by: Option<i64>,
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
    let bumped = access.bump(args.sweep, args.request()).await;
    access.close().await;
    let BumpResponse { before, after } = bumped?;
    context.output.note(&match before == after {
        true => format!("sweep {} has priority {after}, as before", args.sweep),
        false => format!("sweep {} has priority {after} (it was {before})", args.sweep),
    });
    Ok(())
}
