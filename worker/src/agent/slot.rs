//! A slot at work: it runs the jobs that it is given, one after the other, and keeps its trainer warm in between.

use std::future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use sweep::protocol::http::{EpochMetrics, Lease, LeaseToken, Report, Work};
use tokio::sync::{mpsc, watch};

use super::event::{Event, Stop, TrialEnd};
use super::output::AttemptLog;
use super::trainer_process::TrainerProcess;
use super::{Inbox, command, trainer_process};

/// What all slots of an agent share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) logs: PathBuf,
    /// Holds the report files of running programs; absolute, since programs run in folders of their own.
    pub(crate) spool: PathBuf,
    pub(crate) datasets: PathBuf,
    /// Where trainers keep their checkpoints.
    pub(crate) artifacts: PathBuf,
    pub(crate) trainer: PathBuf,
}

/// One job for a slot.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) lease: Lease,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
}

/// What a trial's supervisor has at hand: where things lie, whether to stop, and whom to tell.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) token: LeaseToken,
    pub(crate) place: Arc<Place>,
    /// Value of `CUDA_VISIBLE_DEVICES`; empty for a CPU slot.
    pub(crate) visible_gpus: String,
    stop: watch::Receiver<Option<Stop>>,
    inbox: Inbox,
}

impl Trial {
    /// The next wish that it end. Dropping the future loses nothing.
    pub(crate) async fn asked_to_stop(&mut self) -> Stop {
        loop {
            if self.stop.changed().await.is_err() {
                // Nobody is left who could ask.
                future::pending::<()>().await;
            }
            if let Some(how) = *self.stop.borrow_and_update() {
                return how;
            }
        }
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
pub(crate) async fn work(
    place: Arc<Place>,
    visible_gpus: String,
    mut jobs: mpsc::Receiver<Assignment>,
    inbox: Inbox,
) {
    let mut trainer: Option<TrainerProcess> = None;
    while let Some(Assignment { lease, stop }) = jobs.recv().await {
        let Lease { token, work, .. } = lease;
        let (place, visible_gpus, inbox_of_trial) = (place.clone(), visible_gpus.clone(), inbox.clone());
        let mut trial = Trial { token, place, visible_gpus, stop, inbox: inbox_of_trial };
        let started = Instant::now();
        let end = match work {
            Work::Command(work) => command::run(&work, &mut trial).await,
            Work::Resnet(request) => trainer_process::run(&mut trainer, request, &mut trial).await,
        };
        log_end(token, &end);
        tell(&inbox, Event::Ended { token, end, wall: started.elapsed() }).await;
    }
    if let Some(trainer) = trainer {
        trainer.end().await;
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
