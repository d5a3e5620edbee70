//! A slot at work: it runs the jobs that it is given, one after the other, and keeps its trainer warm in between.

use std::future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use sweep::protocol::http::{EpochMetrics, Lease, LeaseToken, Report, Work};
use sweep::vocabulary::{FailureReason, Metrics};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::event::{Event, Stop, TrialEnd};
use super::memory::MemoryTable;
use super::output::AttemptLog;
use super::trainer_process::TrainerProcess;
use super::watchdog::Watchdog;
use super::{Inbox, command, self_test, trainer_process};

/// What all slots of an agent share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) logs: PathBuf,
    /// Holds the report files of running programs; absolute, since programs run in folders of their own.
    pub(crate) spool: PathBuf,
    pub(crate) datasets: PathBuf,
    /// Where trainers keep their checkpoints.
    pub(crate) artifacts: PathBuf,
    /// Where programs have copies of their code, and what they leave in these.
    pub(crate) attempts: PathBuf,
    pub(crate) trainer: PathBuf,
    /// How long a trial has between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    pub(crate) memory: Mutex<MemoryTable>,
}

/// One job for a slot.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) lease: Lease,
    /// Value of `CUDA_VISIBLE_DEVICES`; empty where the job has no GPU.
    pub(crate) visible_gpus: String,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
}

/// What a trial's supervisor has at hand: where things lie, whether to stop, and whom to tell.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) token: LeaseToken,
    pub(crate) place: Arc<Place>,
    pub(crate) visible_gpus: String,
    stop: watch::Receiver<Option<Stop>>,
    watchdog: Watchdog,
    inbox: Inbox,
}

impl Trial {
    /// The next wish that it end, of the agent or because its processes, which are of this group, use more than they may.
    /// Dropping the future loses nothing.
    pub(crate) async fn asked_to_stop(&mut self, group: Option<Pid>) -> Stop {
        loop {
            let next_look = self.watchdog.next_look();
            tokio::select! {
                changed = self.stop.changed() => {
                    if changed.is_err() {
                        // Nobody is left who could ask.
                        future::pending::<()>().await;
                    }
                    if let Some(how) = *self.stop.borrow_and_update() {
                        return how;
                    }
                }
                () = until(next_look) => {
                    if let Some(how) = self.look(group) {
                        return how;
                    }
                }
            }
        }
    }

    fn look(&mut self, group: Option<Pid>) -> Option<Stop> {
        let now = Instant::now();
        let memory = || {
            // Whoever panicked over the table left nothing half done in it.
            let mut table = self.place.memory.lock().unwrap_or_else(PoisonError::into_inner);
            group.map_or(0, |group| table.of_group(group, now))
        };
        self.watchdog.look(now, memory)
    }

    /// It has reported or printed something.
    pub(crate) fn has_progressed(&mut self) {
        self.watchdog.progressed(Instant::now());
    }

    /// The end as it counts: who was ended for using too much has failed by that, whatever it says about it.
    pub(crate) async fn judge(&self, end: TrialEnd, log: &mut AttemptLog) -> TrialEnd {
        let Some((reason, message)) = self.watchdog.verdict() else { return end };
        match end {
            // It was done before it heard of it.
            TrialEnd::Trained(_) => return end,
            TrialEnd::Stopped(Some(checkpoint)) => {
                let (epoch, metrics) = (checkpoint.epoch, Metrics::new());
                self.report(EpochMetrics { epoch, metrics, checkpoint: Some(checkpoint) }).await;
            }
            TrialEnd::Stopped(None) | TrialEnd::ExitedCleanly | TrialEnd::Failed { .. } => {}
        }
        let log_tail = log.tail();
        log.note(&format!("the trial was ended: it {message}")).await;
        TrialEnd::Failed { reason, message: format!("the trial {message}"), log_tail }
    }

    pub(crate) async fn report(&self, EpochMetrics { epoch, metrics, checkpoint }: EpochMetrics) {
        let report = Report { token: self.token, epoch, metrics, checkpoint };
        tell(&self.inbox, Event::Reported(report)).await;
    }

    pub(crate) fn log(&self) -> AttemptLog {
        let LeaseToken { job, attempt } = self.token;
        AttemptLog::new(self.place.logs.join(format!("job-{job}-attempt-{attempt}.log")))
    }
}

/// Runs jobs until there come no more; then its trainer ends too.
pub(crate) async fn work(place: Arc<Place>, mut jobs: mpsc::Receiver<Assignment>, inbox: Inbox) {
    let mut trainer: Option<TrainerProcess> = None;
    while let Some(Assignment { lease, visible_gpus, stop }) = jobs.recv().await {
        let Lease { token, limits, work, .. } = lease;
        let started = Instant::now();
        let watchdog = Watchdog::new(limits, place.grace, started);
        let (place_of_trial, inbox_of_trial) = (place.clone(), inbox.clone());
        let mut trial =
            Trial { token, place: place_of_trial, visible_gpus, stop, watchdog, inbox: inbox_of_trial };
        let end = match work {
            Work::Command(work) => command::run(&work, &mut trial).await,
            Work::Resnet(request) => trainer_process::run(&mut trainer, request, &mut trial).await,
        };
        let end = blame_node(end, &place).await;
        log_end(token, &end);
        tell(&inbox, Event::Ended { token, end, wall: started.elapsed() }).await;
    }
    if let Some(trainer) = trainer {
        trainer.end().await;
    }
}

/// Where the node can't keep what jobs leave, a job that fails is not to blame for it, whatever it says.
async fn blame_node(end: TrialEnd, place: &Arc<Place>) -> TrialEnd {
    let TrialEnd::Failed { message, log_tail, .. } = &end else { return end };
    match self_test::examine(place.clone()).await {
        Ok(()) => end,
        Err(problem) => TrialEnd::Failed {
            reason: FailureReason::NodeFault,
            message: format!("{problem} (the trial: {message})"),
            log_tail: log_tail.clone(),
        },
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => future::pending().await,
    }
}

fn log_end(token: LeaseToken, end: &TrialEnd) {
    let (job, attempt) = (token.job.0, token.attempt.0);
    match end {
        TrialEnd::Failed { reason, message, .. } => {
            tracing::info!(job, attempt, %reason, "trial ended: {message}");
        }
        TrialEnd::Trained(_) | TrialEnd::Stopped(_) | TrialEnd::ExitedCleanly => {
            tracing::debug!(job, attempt, "trial ended")
        }
    }
}

async fn tell(inbox: &Inbox, event: Event) {
    // It fails only when the agent is on its way out and nobody listens.
    let _ = inbox.send(Ok(event)).await;
}
