use super::access::Access;
use super::{CliError, Context};
use crate::report;
use crate::slurm::{self, SlurmView};

/// Show sweeps and workers, and what Slurm does with what was submitted to it.
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
    let slurm = slurm::look(&status).await;
    if let Err(error) = &slurm {
        context.output.note(&format!("note: what Slurm does with its jobs is not known: {error}"));
    }
    if args.json {
        return context.output.json(&report::json::StatusDocument::new(status, slurm.ok()));
    }
    let slurm = report::slurm_table(&slurm.unwrap_or_else(|_| SlurmView::default()));
    let gap = if slurm.is_empty() { "" } else { "\n" };
    context.output.data(&format!("{}{gap}{slurm}", report::status_tables(&status)))
}
