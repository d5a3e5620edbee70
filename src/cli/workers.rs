use super::access::Access;
use super::{CliError, Context};
use crate::report;

/// Show workers: what they run, what their nodes are doing, and whether they are well.
///
/// `sweep worker release NODE` gives a node another chance on which jobs kept failing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let status = access.status().await;
    access.close().await;
    let workers = status?.workers;
    if args.json {
        return context.output.json(&report::json::WorkersDocument::from(workers));
    }
    context.output.data(&report::workers_table(&workers))
}
