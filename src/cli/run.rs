use std::time::Duration;

use super::access::Access;
use super::follow::{Ended, Scope, Session, follow};
use super::spec_file::SpecArgs;
use super::submit::describe;
use super::worker_process::WorkerArgs;
use super::{CliError, Context};
use crate::coordinator::LEASE;
use crate::protocol::http::{ResultsResponse, SubmitRequest, TrialState};
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
    let request = args.spec.into_checked_request(context)?;
    let lease = Duration::from_secs(args.lease);
    loop {
        let session = Session::start(Access::open_or_create(context, lease).await?, context).await?;
        let outcome = match work(&request, &session, &args.worker, args.quiet, context).await {
            Ok(Outcome::Orphaned) => {
                context.output.note("the coordinator is gone; this command takes over");
                session.stop().await;
                continue;
            }
            Ok(Outcome::Interrupted) => {
                context.output.note("stopped; the same command goes on from here");
                Err(CliError::Unsuccessful)
            }
            Ok(Outcome::Done(results)) => {
                let shown = show(&results, args.json, context);
                shown.and(session.linger(context).await)
            }
            Err(_) if session.access().has_ended().await => {
                session.stop().await;
                continue;
            }
            Err(error) => Err(error),
        };
        session.stop().await;
        return outcome;
    }
}

enum Outcome {
    Done(ResultsResponse),
    Interrupted,
    Orphaned,
}

async fn work(
    request: &SubmitRequest,
    session: &Session,
    worker: &WorkerArgs,
    quiet: bool,
    context: &Context,
) -> Result<Outcome, CliError> {
    let submitted = session.access().submit(request).await?;
    if !quiet {
        context.output.note(&describe(&submitted));
    }
    let scope = Scope { sweep: Some(submitted.sweep), until_drained: true };
    match follow(session, &scope, worker, quiet, context).await? {
        Ended::Interrupted => Ok(Outcome::Interrupted),
        Ended::Orphaned => Ok(Outcome::Orphaned),
        Ended::Drained => Ok(Outcome::Done(session.access().results(submitted.sweep).await?)),
    }
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
