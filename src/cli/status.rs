use super::access::Access;
use super::{CliError, Context};
use crate::report;

/// Show sweeps and workers.
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
    let status = status?;
    if args.json {
        return context.output.json(&report::json::StatusDocument::from(status));
    }
    context.output.data(&report::status_tables(&status))
}
