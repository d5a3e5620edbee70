use super::access::Access;
use super::choice::SweepArg;
use super::follow::{Ended, Hands, Scope, Turn, follow, work_through};
use super::stint::{EndArgs, Stint};
use super::worker_process::WorkerArgs;
use super::{CliError, Context};
use crate::coordinator::LEASE;
use crate::report::json::{ReleaseDocument, ReleaseOutcome};

/// Work on what was submitted; with no coordinator running, be one meanwhile.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Work on this sweep only: its id, its name, or `last`, the newest when the worker begins.
    #[arg(long, value_name = "SWEEP")]
    sweep: Option<SweepArg>,
    /// Exit when every job has ended.
    #[arg(long)]
    until_drained: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    end: EndArgs,
}

/// What there is to do with workers that are there.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Give a node another chance on which jobs kept failing.
    Release {
        /// Its name, as `sweep workers` shows it.
        node: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    match args.action {
        Some(Action::Release { node, json }) => release(&node, json, context).await,
        None => work(args, context).await,
    }
}

async fn release(node: &str, json: bool, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let (released, status) = (access.release(node).await, access.status().await);
    access.close().await;
    let outcome = match released? {
        true => ReleaseOutcome::Released,
        false if status?.workers.iter().any(|worker| worker.host == node) => ReleaseOutcome::NotInQuarantine,
        false => ReleaseOutcome::NoWorkers,
    };
    if json {
        return context.output.json(&ReleaseDocument::new(node, outcome));
    }
    let what = match outcome {
        ReleaseOutcome::Released => {
            context.output.note(&format!("{node} gets jobs again"));
            return Ok(());
        }
        ReleaseOutcome::NotInQuarantine => "was not in quarantine",
        ReleaseOutcome::NoWorkers => "has no workers",
    };
    context.output.note(&format!("{node} {what}; `sweep workers` shows who is there"));
    Ok(())
}

async fn work(args: Args, context: &Context) -> Result<(), CliError> {
    let Args { sweep, until_drained, quiet, worker, end, .. } = args;
    let stint = Stint::begin(end);
    Access::await_coordinator(context, stint.patience()).await?;
    // Looked up once: what a name means, and which sweep is the newest, may change while the worker works.
    let mut found = None;
    work_through(LEASE, context, async |session| {
        if let (Some(sweep), None) = (&sweep, found) {
            found = Some(sweep.find_present(session.access()).await?);
        }
        let scope = Scope { sweep: found, until_drained };
        let hands = Hands { args: &worker, stint: &stint };
        match follow(session, &scope, hands, quiet, context).await? {
            Ended::Orphaned => Ok(Turn::Orphaned),
            Ended::Drained => Ok(Turn::Over(session.linger(context).await)),
            Ended::Interrupted => Ok(Turn::Over(Ok(()))),
        }
    })
    .await
}
