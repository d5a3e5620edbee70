use std::time::Duration;

use super::access::Access;
use super::choice::{SweepArg, find_trial};
use super::{CliError, Context};
use crate::protocol::http::TrialState;
use crate::protocol::logs::{AttemptName, LogExtent, LogQuery, LoggedAttempt, LoggedStage};
use crate::report::json::{LogDocument, WholeLog};
use crate::vocabulary::{Attempt, JobId, SweepId, TrialNumber};

/// How often a log that is followed is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Print what a trial printed: the newest attempt of the last of its jobs that was begun.
///
/// Workers on other hosts send what their trials print within a second or two. Of a trial that prints without measure they leave
/// something out and say so in its place; all of it lies on the host where it ran, which is said on stderr.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id or name, or `last`.
    sweep: SweepArg,
    /// The trial: its number, `last`, or what it alone is, such as `lr=0.1 seed=3` (docs/SELECTORS.md).
    #[arg(value_name = "TRIAL")]
    trial: Vec<String>,
    /// Go on until the trial has ended, with the attempts and jobs that follow; or until the attempt that is named has.
    #[arg(long, short)]
    follow: bool,
    /// Of this attempt; they are counted from 1.
    #[arg(long, value_name = "N")]
    attempt: Option<Attempt>,
    /// Of this job, where the trial consists of several.
    #[arg(long, value_name = "JOB")]
    job: Option<JobId>,
    /// Print one JSON document, with what is there now.
    #[arg(long, conflicts_with = "follow")]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let found = find_and_print(args, &access, context).await;
    access.close().await;
    let logged = found?;
    if args.follow { follow(&logged, context).await } else { Ok(()) }
}

/// Prints what is there, unless it is followed.
async fn find_and_print<'a>(
    args: &'a Args,
    access: &Access,
    context: &Context,
) -> Result<Logged<'a>, CliError> {
    let sweep = args.sweep.find(access).await?;
    let trial = find_trial("a log is one trial's", &args.trial, sweep, access).await?;
    let logged = Logged { sweep, trial, args };
    if args.json {
        print_document(&logged, access, context).await?;
    } else if !args.follow {
        print(&logged, access, context).await?;
    }
    Ok(logged)
}

/// The trial whose log is printed.
struct Logged<'a> {
    sweep: SweepId,
    trial: TrialNumber,
    args: &'a Args,
}

/// Prints what is there now.
async fn print(logged: &Logged<'_>, access: &Access, context: &Context) -> Result<(), CliError> {
    let Logged { sweep, trial, args } = *logged;
    let mut query = args.query();
    loop {
        let part = access.log(sweep, trial, &query).await?;
        let Some(logged) = &part.attempt else {
            context.output.note("nothing of it was begun yet; `-f` waits for it");
            return Ok(());
        };
        if query.offset == 0 {
            introduce(logged, &part.stages, context);
        }
        context.output.raw(&part.text)?;
        if part.next_offset == query.offset {
            account(logged, context);
            return Ok(());
        }
        query = continued(logged.name, part.next_offset);
    }
}

/// The same as one document, which has to be in memory: a log that is kept here has an end.
async fn print_document(logged: &Logged<'_>, access: &Access, context: &Context) -> Result<(), CliError> {
    let Logged { sweep, trial, args } = *logged;
    let mut query = args.query();
    let mut text = String::new();
    loop {
        let part = access.log(sweep, trial, &query).await?;
        text += &part.text;
        match &part.attempt {
            Some(attempt) if part.next_offset != query.offset => {
                query = continued(attempt.name, part.next_offset);
            }
            _ => {
                let log = WholeLog { state: part.state, attempt: part.attempt, stages: part.stages, text };
                return context.output.json(&LogDocument::new(sweep, trial, log));
            }
        }
    }
}

/// Prints what is there and what is added, until the trial has ended, or the attempt that was asked for.
async fn follow(logged: &Logged<'_>, context: &Context) -> Result<(), CliError> {
    let Logged { sweep, trial, args } = *logged;
    let mut query = args.query();
    let mut shown = None;
    let mut remote = None;
    loop {
        let access = match remote.take() {
            Some(remote) => remote,
            None => Access::open(context).await?,
        };
        let part = access.log(sweep, trial, &query).await;
        // One that worked for a while only, as with `sweep worker`, leaves its table to whoever comes next.
        if part.is_err() && access.has_ended().await {
            continue;
        }
        match access {
            Access::Remote(_) => remote = Some(access),
            // Opened anew each time: while it is waited for, the table must be free for whoever runs the trial.
            Access::Local(_) => access.close().await,
        }
        let part = part?;
        let is_over = match part.state {
            TrialState::Queued | TrialState::Running => false,
            TrialState::Succeeded | TrialState::Failed | TrialState::Cancelled => true,
        };
        let Some(logged) = &part.attempt else {
            if is_over {
                context.output.note("it has ended before any of it was begun");
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        };
        if shown != Some(logged.name) {
            introduce(logged, &part.stages, context);
            shown = Some(logged.name);
        }
        context.output.raw(&part.text)?;
        let is_all = logged.has_ended && part.next_offset == query.offset;
        let next = part.next.filter(|_| args.attempt.is_none());
        query = continued(logged.name, part.next_offset);
        if is_all && (next.is_some() || is_over || args.attempt.is_some()) {
            account(logged, context);
            match next {
                Some(next) => query = continued(next, 0),
                None => return Ok(()),
            }
        } else if part.text.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Args {
    fn query(&self) -> LogQuery {
        LogQuery { job: self.job, attempt: self.attempt, offset: 0 }
    }
}

/// The rest of this attempt's log, even if another has begun meanwhile.
fn continued(name: AttemptName, offset: u64) -> LogQuery {
    LogQuery { job: Some(name.job), attempt: Some(name.attempt), offset }
}

/// Says whose log follows.
fn introduce(logged: &LoggedAttempt, stages: &[LoggedStage], context: &Context) {
    let AttemptName { job, attempt } = logged.name;
    let place = stages.iter().position(|stage| stage.newest.job == job).unwrap_or(0);
    for before in &stages[..place] {
        let LoggedStage { newest, first_epoch, last_epoch } = before;
        context.output.note(&format!("epochs {first_epoch}–{last_epoch}: see `--job {}`", newest.job));
    }
    let epochs = match stages.get(place) {
        Some(stage) if stages.len() > 1 => format!("epochs {}–{}: ", stage.first_epoch, stage.last_epoch),
        _ => String::new(),
    };
    context.output.note(&format!("{epochs}job {job}, attempt {attempt}, on {}", logged.host));
}

/// Says where the rest is.
fn account(logged: &LoggedAttempt, context: &Context) {
    let LoggedAttempt { host, file_name, .. } = logged;
    let place = format!("on {host}, as logs/{file_name} in the state folder of the worker there");
    match logged.extent {
        LogExtent::Whole => {}
        LogExtent::Tail => context.output.note(&format!("this is its end; all of it lies {place}")),
        LogExtent::Nothing => {
            let so_far = if logged.has_ended { "" } else { " so far" };
            context.output.note(&format!("if it printed anything{so_far}, it lies {place}"));
        }
    }
}
