use std::time::Duration;

use super::follow::{Ended, Hands, Scope, Turn, follow, work_through};
use super::looking::warn;
use super::preflight::{PreflightArgs, TrainingPlace, preflight};
use super::spec_file::SpecArgs;
use super::stint::Stint;
use super::submit::note_submitted;
use super::worker_process::WorkerArgs;
use super::{CliError, Context, needed};
use crate::coordinator::LEASE;
use crate::protocol::http::{ResultsResponse, TrialState};
use crate::report::json::ResultsDocument;
use crate::report::{self, TableOrigin, View};

/// Submit a sweep, work on it on this machine, and print its results.
///
/// Ctrl-C stops it cleanly; the same command goes on where it stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spec: SpecArgs,
    /// Only try whether it works: each code path of the trainer that trials take, once, in seconds, on images that come with
    /// the program. Nothing is stored.
    #[arg(long)]
    smoke: bool,
    #[command(flatten)]
    preflight: PreflightArgs,
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
    let Args { spec, smoke, preflight: first, json, quiet, lease, worker } = args;
    if smoke {
        return super::smoke::run(&spec.into_request(context)?, &worker, json, quiet, context).await;
    }
    let mut spec = spec.into_checked(context)?;
    preflight(first, &spec, &worker, TrainingPlace::Here, quiet, context).await?;
    let stint = Stint::endless();
    work_through(Duration::from_secs(lease), context, async |session| {
        let submitted = needed::submit(session.access(), &mut spec, context).await?;
        if !quiet {
            note_submitted(&submitted, context);
        }
        let scope = Scope { sweep: Some(submitted.sweep), until_drained: true };
        let hands = Hands { args: &worker, stint: &stint };
        match follow(session, &scope, hands, quiet, context).await? {
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
    let view = View::usual(results);
    if json {
        let origin = TableOrigin::of_last_epoch(results);
        context.output.json(&ResultsDocument::new(&view, &origin, None))?;
    } else {
        context.output.data(&report::results_table(results, context.output.width()))?;
    }
    warn(&view, context);
    if results.trials.iter().all(|trial| trial.state == TrialState::Succeeded) {
        return Ok(());
    }
    context.output.note(&format!("`sweep retry {}` queues what failed again", results.sweep));
    Err(CliError::Unsuccessful)
}
