use std::time::Duration;

use super::follow::{Ended, Scope, Turn, follow, work_through};
use super::spec_file::SpecArgs;
use super::submit::{describe, note_earlier, note_selected};
use super::worker_process::WorkerArgs;
use super::{CliError, Context};
use crate::coordinator::LEASE;
use crate::protocol::http::{ResultsResponse, TrialState};
use crate::report;

/// Submit a sweep, work on it on this machine, and print its results.
///
/// Ctrl-C stops it cleanly; the same command goes on where it stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spec: SpecArgs,
    /// Print the results as one JSON document.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    /// How long a job stays with a worker that is not heard of.
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lease: u64,
    #[command(flatten)]
    worker: WorkerArgs,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let Args { spec, json, quiet, lease, worker } = args;
    let mut spec = spec.into_checked(context)?;
    work_through(Duration::from_secs(lease), context, async |session| {
        let submitted = session.access().submit(&mut spec).await?;
        if !quiet {
            context.output.note(&describe(&submitted));
            note_earlier(&submitted, context);
            note_selected(&submitted.selected, context);
        }
        let scope = Scope { sweep: Some(submitted.sweep), until_drained: true };
        match follow(session, &scope, &worker, quiet, context).await? {
            Ended::Orphaned => Ok(Turn::Orphaned),
            Ended::Interrupted => {
                context.output.note("stopped; the same command goes on from here");
                Ok(Turn::Over(Err(CliError::Unsuccessful)))
            }
            Ended::Drained => {
                let shown = show(&session.access().results(submitted.sweep).await?, json, context);
                Ok(Turn::Over(shown.and(session.linger(context).await)))
            }
        }
    })
    .await
}

fn show(results: &ResultsResponse, json: bool, context: &Context) -> Result<(), CliError> {
    if json {
        context.output.json(&report::json::ResultsDocument::from(results))?;
    } else {
        context.output.data(&report::results_table(results))?;
    }
    if results.trials.iter().all(|trial| trial.state == TrialState::Succeeded) {
        return Ok(());
    }
    context.output.note(&format!("`sweep retry {}` queues what failed again", results.sweep));
    Err(CliError::Unsuccessful)
}
