use super::access::Access;
use super::{CliError, Context};
use crate::report::json::DoctorDocument;

/// Examine the job table and the files that it names; say what is wrong and what to do.
///
/// Takes as long as reading the whole table. Changes nothing. Exits 1 where something is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let examined = access.examine().await;
    access.close().await;
    let examined = examined?;
    let is_well = examined.findings.is_empty();
    if args.json {
        context.output.json(&DoctorDocument::from(examined))?;
    } else {
        for finding in &examined.findings {
            context.output.data(&format!("wrong: {}\n  help: {}\n", finding.what, finding.help))?;
        }
        if is_well {
            context.output.data("the job table and the files that it names are as they should be\n")?;
        }
    }
    if is_well { Ok(()) } else { Err(CliError::Unsuccessful) }
}
