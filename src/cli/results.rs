use super::access::Access;
use super::{CliError, Context};
use crate::report;
use crate::vocabulary::SweepId;

/// Show a sweep's results, best first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id, as `sweep status` shows it.
    sweep: SweepId,
    /// Print one JSON document with every trial.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let results = access.results(args.sweep).await;
    access.close().await;
    let results = results?;
    if args.json {
        return context.output.json(&report::json::ResultsDocument::from(&results));
    }
    context.output.data(&report::results_table(&results))
}
