use super::access::Access;
use super::choice::SweepArg;
use super::{CliError, Context};
use crate::protocol::http::ResultsResponse;
use crate::report;

/// Show a sweep's results, best first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id or name, or `last`.
    sweep: SweepArg,
    /// Print one JSON document with every trial.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let results = find(args, &access).await;
    access.close().await;
    let results = results?;
    if args.json {
        return context.output.json(&report::json::ResultsDocument::from(&results));
    }
    context.output.data(&report::results_table(&results))
}

async fn find(args: &Args, access: &Access) -> Result<ResultsResponse, CliError> {
    access.results(args.sweep.find(access).await?).await
}
