use super::access::Access;
use super::choice::{SweepArg, find_trial};
use super::{CliError, Context};
use crate::report::explanation;
use crate::report::json::ExplainDocument;

/// Say why a trial is not running: what it waits for, or how it ended, and what to do about it.
///
/// The causes are in the order in which they have to go away.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id or name, or `last`.
    sweep: SweepArg,
    /// The trial: its number, `last`, or what it alone is, such as `lr=0.1 seed=3` (docs/SELECTORS.md).
    #[arg(value_name = "TRIAL")]
    trial: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let explained = async {
        let sweep = args.sweep.find(&access).await?;
        let trial = find_trial("one trial is explained at a time", &args.trial, sweep, &access).await?;
        access.explain(sweep, trial).await
    }
    .await;
    access.close().await;
    let explained = explained?;
    match args.json {
        true => context.output.json(&ExplainDocument::from(explained)),
        false => context.output.data(&explanation(&explained)),
    }
}
