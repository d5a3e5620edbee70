//! Working on this machine and watching it: the worker beside this process, the view, and the user's Ctrl-C.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::access::Access;
use super::host::{Door, Host};
use super::progress::Progress;
use super::signals::StopSignals;
use super::stint::Stint;
use super::worker_process::{Assignment, WorkerArgs, WorkerProcess};
use super::{CliError, Context, state_folder};
use crate::protocol::http::StatusResponse;
use crate::vocabulary::SweepId;

/// An answer that takes longer comes from a coordinator that is stopped; the user's Ctrl-C must not wait for it.
const LONGEST_REFRESH: Duration = Duration::from_secs(2);

/// How often the view is brought up to date.
const REFRESH: Duration = Duration::from_millis(250);

/// A coordinator that has not answered this often in a row, for some seconds at least, is away.
const MISSED_REFRESHES: u32 = 20;

/// A worker that ends without being asked is started again this often; then something is wrong with the machine.
const MOST_RESTARTS: u32 = 3;

/// One that was at work for this long was sound: what ended it is another matter than what ended those before.
const SOUND_WORK: Duration = Duration::from_secs(600);

/// A coordinator to work for: one in this process, or one that runs elsewhere.
pub(super) struct Session {
    access: Access,
    host: Option<Host>,
    url: String,
    token: String,
    state_folder: PathBuf,
}

/// What is worked on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    pub(super) sweep: Option<SweepId>,
    pub(super) until_drained: bool,
}

/// What the work is done with, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hands<'a> {
    pub(super) args: &'a WorkerArgs,
    pub(super) stint: &'a Stint,
}

/// Why the work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing is left to do, or the stint is over.
    Drained,
    Interrupted,
    /// The coordinator, in another process, has died; this one can be the next.
    Orphaned,
}

/// What came of working in one session.
pub(super) enum Turn {
    /// The command is over, well or not.
    Over(Result<(), CliError>),
    /// The coordinator, in another process, has died; this command takes over.
    Orphaned,
}

/// Works with the coordinator that runs, or as the coordinator, and takes over from one that dies meanwhile.
pub(super) async fn work_through(
    lease: Duration,
    context: &Context,
    mut work: impl AsyncFnMut(&Session) -> Result<Turn, CliError>,
) -> Result<(), CliError> {
    let mut is_first = true;
    loop {
        let session = Session::start(Access::open_or_create(context, lease).await?, context).await?;
        if !is_first {
            context.output.note(match session.host {
                Some(_) => "the coordinator is gone; this command takes over",
                None => "the coordinator is gone; there is another",
            });
        }
        is_first = false;
        let outcome = match work(&session).await {
            Ok(Turn::Over(outcome)) => Some(outcome),
            Ok(Turn::Orphaned) => None,
            Err(_) if session.access.has_ended().await => None,
            Err(error) => Some(Err(error)),
        };
        session.stop().await;
        if let Some(outcome) = outcome {
            return outcome;
        }
    }
}

impl Session {
    /// Starts a coordinator in this process unless one runs already.
    async fn start(access: Access, context: &Context) -> Result<Session, CliError> {
        match &access {
            Access::Local(local) => {
                let host = Host::start(local, &Door::Command).await?;
                let token = local.folder.ensure_token().map_err(CliError::failed)?;
                let (url, state_folder) = (host.url().to_owned(), local.folder.path().to_owned());
                Ok(Session { access, host: Some(host), url, token, state_folder })
            }
            Access::Remote(remote) => {
                let folder = state_folder::ensure(context)?;
                let (url, token) = (remote.url.clone(), remote.token.clone());
                Ok(Session { access, host: None, url, token, state_folder: folder.path().to_owned() })
            }
        }
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    fn assignment(&self, scope: &Scope) -> Assignment<'_> {
        Assignment {
            url: &self.url,
            token: &self.token,
            state_folder: &self.state_folder,
            sweep: scope.sweep,
            until_drained: scope.until_drained,
        }
    }

    /// Notices at once that a worker of this machine has died.
    async fn bury_dead_workers(&self) -> Result<(), CliError> {
        if let Access::Local(local) = &self.access {
            local.coordinator.bury_dead_workers().await?;
        }
        Ok(())
    }

    /// Goes on coordinating for as long as workers of other commands are at work here, or until the user has had enough.
    pub(super) async fn linger(&self, context: &Context) -> Result<(), CliError> {
        if self.host.is_none() {
            return Ok(());
        }
        let mut stop = StopSignals::catch()?;
        let mut is_said = false;
        loop {
            self.bury_dead_workers().await?;
            let others = self.access.status().await?.workers.len();
            if others == 0 {
                return Ok(());
            }
            if !is_said {
                context.output.note(&format!(
                    "still coordinating for workers of other commands ({others}); Ctrl-C ends it"
                ));
                is_said = true;
            }
            tokio::select! {
                () = stop.asked() => return Ok(()),
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
    }

    async fn stop(self) {
        if let Some(host) = self.host {
            host.stop().await;
        }
        self.access.close().await;
    }
}

/// Starts a worker and watches it until the scope is drained or the user has had enough.
pub(super) async fn follow(
    session: &Session,
    scope: &Scope,
    hands: Hands<'_>,
    quiet: bool,
    context: &Context,
) -> Result<Ended, CliError> {
    if scope.until_drained && is_drained(&session.access.status().await?, scope) {
        return Ok(Ended::Drained);
    }
    let progress = Progress::start(scope.sweep, quiet, context.output);
    let next_progress_at = Instant::now();
    let mut follower = Follower { session, scope, hands, context, progress, next_progress_at, restarts: 0 };
    let ended = follower.run().await;
    follower.progress.end();
    ended
}

fn is_drained(status: &StatusResponse, scope: &Scope) -> bool {
    let sweeps = status.sweeps.iter().filter(|sweep| scope.sweep.is_none_or(|id| sweep.id == id));
    sweeps.map(|sweep| sweep.trials.left()).sum::<u64>() == 0
}

struct Follower<'a> {
    session: &'a Session,
    scope: &'a Scope,
    hands: Hands<'a>,
    context: &'a Context,
    progress: Progress,
    next_progress_at: Instant,
    restarts: u32,
}

/// Everything that a follower waits for.
enum Happening {
    WorkerEnded(ExitStatus),
    StopAsked,
    RefreshDue,
}

impl Follower<'_> {
    async fn run(&mut self) -> Result<Ended, CliError> {
        let mut stop = StopSignals::catch()?;
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let Some(mut worker) = self.start_worker()? else { return Ok(Ended::Drained) };
        let mut is_interrupted = false;
        let mut missed = 0;
        loop {
            if missed > 0 && self.session.access.is_orphaned().await {
                // The worker has nobody to give its jobs back to; it ends with this function.
                return Ok(if is_interrupted { Ended::Interrupted } else { Ended::Orphaned });
            }
            match next(&mut worker, &mut stop, &mut refresh).await? {
                Happening::StopAsked => {
                    if !is_interrupted {
                        self.progress.note("stopping; once more to stop at once");
                    }
                    is_interrupted = true;
                    worker.ask_to_stop();
                }
                Happening::RefreshDue => missed = self.refresh(missed).await?,
                Happening::WorkerEnded(_) if is_interrupted => return Ok(Ended::Interrupted),
                Happening::WorkerEnded(status) if status.success() => {
                    self.refresh(missed).await?;
                    return Ok(Ended::Drained);
                }
                Happening::WorkerEnded(status) => match self.restart(status, &worker).await? {
                    Some(another) => worker = another,
                    None => return Ok(Ended::Drained),
                },
            }
        }
    }

    fn start_worker(&self) -> Result<Option<WorkerProcess>, CliError> {
        let Hands { args, stint } = self.hands;
        WorkerProcess::start(args, &self.session.assignment(self.scope), stint, self.context)
    }

    /// Shows what there is to see; says how many times in a row there was nothing.
    async fn refresh(&mut self, missed: u32) -> Result<u32, CliError> {
        let answer = tokio::time::timeout(LONGEST_REFRESH, self.session.access.status());
        let answer =
            answer.await.unwrap_or_else(|_| Err(CliError::failed(anyhow::anyhow!("no answer in time"))));
        match answer {
            Ok(status) => {
                if missed >= MISSED_REFRESHES {
                    self.progress.note("the coordinator is there again");
                }
                self.ask_for_progress(&status).await;
                self.progress.show(&status);
                Ok(0)
            }
            // This process's own: nothing will change by waiting.
            Err(error) if missed >= MISSED_REFRESHES && self.session.host.is_some() => Err(error),
            // The worker decides how long it waits, about an hour: what it does meanwhile must not be lost.
            Err(_) => {
                if missed + 1 == MISSED_REFRESHES {
                    let url = &self.session.url;
                    self.progress
                        .note(&format!("the coordinator at {url} does not answer and is waited for"));
                }
                Ok(missed.saturating_add(1))
            }
        }
    }

    /// How far the sweeps are is not asked at each refresh: the larger they are, the less often.
    async fn ask_for_progress(&mut self, status: &StatusResponse) {
        if self.progress.is_shown() && Instant::now() >= self.next_progress_at {
            let begun = Instant::now();
            note_progress(&mut self.progress, status, &self.session.access).await;
            self.next_progress_at = Instant::now() + next_in(begun.elapsed());
        }
    }

    async fn restart(
        &mut self,
        status: ExitStatus,
        ended: &WorkerProcess,
    ) -> Result<Option<WorkerProcess>, CliError> {
        /// The worker's exit code for arguments that it can't use; it says the same again.
        const USAGE: i32 = 2;
        self.restarts = count_restart(self.restarts, ended.age());
        let what = format!("the worker ended unexpectedly ({status})");
        let tail = ended.log_tail();
        if status.code() == Some(USAGE) {
            return Err(CliError::usage(format!("the worker can't do what it was asked for:\n{tail}")));
        }
        if self.restarts > MOST_RESTARTS {
            return Err(CliError::failed(anyhow::anyhow!("{what}; its log ends with:\n{tail}")));
        }
        self.progress.note(&format!("{what}; starting another"));
        self.session.bury_dead_workers().await?;
        self.start_worker()
    }
}

/// Asks how far the sweeps are that are shown. What can't be had now is shown as it was.
pub(super) async fn note_progress(progress: &mut Progress, status: &StatusResponse, access: &Access) {
    let sweeps: Vec<SweepId> = progress.shown(status).iter().map(|sweep| sweep.id).collect();
    for sweep in sweeps {
        let answer = tokio::time::timeout(LONGEST_REFRESH, access.progress(sweep)).await;
        if let Ok(Ok(answer)) = answer {
            progress.note_progress(answer);
        }
    }
}

/// When to ask again for what took so long: a tenth of the time at most.
fn next_in(took: Duration) -> Duration {
    const SOONEST: Duration = Duration::from_secs(1);
    (took * 9).max(SOONEST)
}

/// How often a worker was started again, given that the last one worked for this long.
fn count_restart(before: u32, worked: Duration) -> u32 {
    if worked >= SOUND_WORK { 1 } else { before + 1 }
}

async fn next(
    worker: &mut WorkerProcess,
    stop: &mut StopSignals,
    refresh: &mut tokio::time::Interval,
) -> Result<Happening, CliError> {
    Ok(tokio::select! {
        status = worker.ended() => Happening::WorkerEnded(status?),
        () = stop.asked() => Happening::StopAsked,
        _ = refresh.tick() => Happening::RefreshDue,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_ends_again_and_again_is_given_up_and_one_that_worked_for_a_while_is_not() {
        let restarts =
            |worked: Duration| (0..MOST_RESTARTS + 1).fold(0, |before, _| count_restart(before, worked));
        assert!(restarts(Duration::from_secs(1)) > MOST_RESTARTS);
        assert!(restarts(SOUND_WORK) <= MOST_RESTARTS);
        assert_eq!(count_restart(MOST_RESTARTS, SOUND_WORK), 1, "counting begins anew");
    }
}
