use super::access::Access;
use super::spec_file::SpecArgs;
use super::{CliError, Context};
use crate::coordinator::LEASE;
use crate::protocol::http::SubmitResponse;
use crate::report::json::SubmitDocument;

/// Store a sweep; workers then run it (`sweep worker`).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spec: SpecArgs,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let mut spec = args.spec.into_checked(context)?;
    let access = Access::open_or_create(context, LEASE).await?;
    let submitted = access.submit(&mut spec).await;
    access.close().await;
    let submitted = submitted?;
    if args.json {
        return context.output.json(&SubmitDocument::from(submitted));
    }
    context.output.data(&format!("{}\n", submitted.sweep))?;
    context.output.note(&describe(&submitted));
    Ok(())
}

/// One line about a sweep that was stored or found.
pub(super) fn describe(submitted: &SubmitResponse) -> String {
    let SubmitResponse { sweep, name, trials, trials_reused, jobs, is_existing, .. } = submitted;
    if *is_existing {
        return format!("sweep {sweep} `{name}` was there already: {trials} trials");
    }
    let reused =
        if *trials_reused > 0 { format!(", {trials_reused} of them done before") } else { String::new() };
    format!("sweep {sweep} `{name}`: {trials} trials{reused}, {jobs} jobs")
}
