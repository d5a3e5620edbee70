//! A slot at work: it runs the jobs that it is given, one after the other, and keeps its trainer warm in between.

use std::future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use sweep::protocol::http::{EpochMetrics, Lease, LeaseToken, Report, Work};
use sweep::vocabulary::{FailureReason, Metrics};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::event::{Event, Stop, TrialEnd};
use super::log_stream::LogStream;
use super::memory::MemoryTable;
use super::output::AttemptLog;
use super::remote::Remote;
use super::shipment::{Shipment, Which};
use super::spawn::Inheritance;
use super::trainer_process::TrainerProcess;
use super::watchdog::{Due, Watchdog};
use super::{Inbox, command, self_test, trainer_process};

/// Signals that are sent to several processes at once arrive within this time, also on a busy node.
const HINDSIGHT: Duration = Duration::from_millis(300);
/// Jobs of a slot whose processes have ended and whose last state is on its way. Where the network is slower than the trials, the
/// next one waits.
const MOST_CONCLUSIONS: usize = 2;

/// What all slots of an agent share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) logs: PathBuf,
    /// Holds the report files of running programs; absolute, since programs run in folders of their own.
    pub(crate) spool: PathBuf,
    pub(crate) datasets: PathBuf,
    /// Where trainers keep their checkpoints.
    pub(crate) artifacts: PathBuf,
    /// The way to the coordinator's files, where they are not this node's.
    pub(crate) remote: Option<Arc<Remote>>,
    /// Where programs have copies of their code, and what they leave in these.
    pub(crate) attempts: PathBuf,
    pub(crate) trainer: PathBuf,
    /// How long a trial has between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    /// Whoever ends this agent from outside, as Slurm does, sends the same signal to its trials.
    pub(crate) ends_with_its_trials: bool,
    pub(crate) memory: Mutex<MemoryTable>,
    pub(crate) inheritance: Inheritance,
}

impl Place {
    /// What has to be writable.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        vec![self.artifacts.clone(), self.logs.clone(), self.spool.clone()]
    }
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
    /// A look at its memory that is under way, beside everything else: with many processes it takes a while.
    measurement: Option<JoinHandle<u64>>,
    /// Where the coordinator doesn't see this node's files.
    way: Option<Way>,
    inbox: Inbox,
}

/// How what a trial leaves gets to its coordinator.
#[derive(Debug)]
struct Way {
    shipment: Shipment,
    log: LogStream,
}

impl Trial {
    /// The next wish that it end, of the agent or because its processes, which are of this group, use more than they may.
    /// Dropping the future loses nothing.
    pub(crate) async fn asked_to_stop(&mut self, group: Option<Pid>) -> Stop {
        loop {
            let next_look = self.watchdog.next_look();
            tokio::select! {
                how = next_stop(&mut self.stop) => return how,
                () = until(next_look) => match self.watchdog.look(Instant::now()) {
                    Some(Due::Stop(how)) => return how,
                    Some(Due::Memory { limit_bytes }) => self.measure(group, limit_bytes),
                    None => {}
                },
                bytes = finished(&mut self.measurement) => {
                    self.measurement = None;
                    if let Some(how) = self.watchdog.measured(Instant::now(), bytes) {
                        return how;
                    }
                }
            }
        }
    }

    /// Begins to look at the memory of the processes in `group`.
    fn measure(&mut self, group: Option<Pid>, limit_bytes: u64) {
        let place = self.place.clone();
        self.measurement = Some(spawn_blocking(move || {
            // Whoever panicked over the table left nothing half done in it.
            let mut table = place.memory.lock().unwrap_or_else(PoisonError::into_inner);
            group.map_or(0, |group| table.of_group(group, limit_bytes, Instant::now()))
        }));
    }

    /// It has reported or printed something.
    pub(crate) fn has_progressed(&mut self) {
        self.watchdog.progressed(Instant::now());
    }

    /// Whether the trial was ended together with the agent, or asked to end before. Where the same signal goes to both, the agent
    /// may hear of the trial's end first.
    pub(crate) async fn was_asked_to_stop(&self) -> bool {
        if self.place.ends_with_its_trials && self.stop.borrow().is_none() {
            tokio::time::sleep(HINDSIGHT).await;
        }
        self.stop.borrow().is_some()
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
        let checkpoint = match (&self.way, checkpoint) {
            (Some(way), Some(checkpoint)) => {
                way.shipment.add(checkpoint);
                if metrics.is_empty() {
                    return;
                }
                None
            }
            (_, checkpoint) => checkpoint,
        };
        let report = Report { token: self.token, epoch, metrics, checkpoint };
        tell(&self.inbox, Event::Reported(report)).await;
    }

    pub(crate) fn log(&self) -> AttemptLog {
        AttemptLog::new(log_path(&self.place, self.token))
    }
}

/// Runs jobs until there come no more; then its trainer ends too.
pub(crate) async fn work(place: Arc<Place>, mut jobs: mpsc::Receiver<Assignment>, inbox: Inbox) {
    let mut trainer: Option<TrainerProcess> = None;
    // Given up where the slot ends before them: then the agent has no lease any more.
    let mut conclusions = JoinSet::new();
    while let Some(Assignment { lease, visible_gpus, mut stop }) = jobs.recv().await {
        let prepared = tokio::select! {
            prepared = prepare(&place, &lease.work, &mut conclusions) => Some(prepared),
            _ = next_stop(&mut stop) => None,
        };
        let Lease { token, limits, work, keeps_checkpoints, .. } = lease;
        let started = Instant::now();
        let watchdog = Watchdog::new(limits, place.grace, started);
        let way = place.remote.as_ref().map(|remote| Way {
            shipment: Shipment::begin(
                remote.clone(),
                if keeps_checkpoints { Which::Every } else { Which::Newest },
                token,
                inbox.clone(),
            ),
            log: LogStream::begin(log_path(&place, token), token, inbox.clone()),
        });
        let (place_of_trial, inbox_of_trial) = (place.clone(), inbox.clone());
        let mut trial = Trial {
            token,
            place: place_of_trial,
            visible_gpus,
            stop,
            watchdog,
            measurement: None,
            way,
            inbox: inbox_of_trial,
        };
        let end = match (prepared, work) {
            (Some(Ok(())), Work::Command(work)) => command::run(&work, &mut trial).await,
            (Some(Ok(())), Work::Resnet(request)) => {
                trainer_process::run(&mut trainer, request, &mut trial).await
            }
            (Some(Err(message)), _) => node_fault(message),
            // It was asked to stop before it had begun.
            (None, _) => TrialEnd::Stopped(None),
        };
        if let TrialEnd::Failed { .. } = end {
            // Before it is told: what looks like a failure may be the agent's own end.
            let _asked = trial.was_asked_to_stop().await;
        }
        let end = blame_node(end, &place).await;
        let wall = started.elapsed();
        match trial.way.take() {
            None => conclude(token, end, wall, &inbox).await,
            Some(Way { shipment, log }) => {
                tell(&inbox, Event::Vacated { token }).await;
                let (mut stop, inbox) = (trial.stop, inbox.clone());
                conclusions.spawn(async move {
                    log.finish().await;
                    let end = tokio::select! {
                        end = shipment.conclude(end) => end,
                        () = killed(&mut stop) => TrialEnd::Stopped(None),
                    };
                    conclude(token, end, wall, &inbox).await;
                });
            }
        }
    }
    if let Some(trainer) = trainer {
        trainer.end().await;
    }
}

/// Makes sure that a job's files are here, and that those of the jobs before it don't pile up.
async fn prepare(place: &Place, work: &Work, conclusions: &mut JoinSet<()>) -> Result<(), String> {
    while conclusions.try_join_next().is_some() {}
    while conclusions.len() >= MOST_CONCLUSIONS {
        conclusions.join_next().await;
    }
    match &place.remote {
        Some(remote) => remote.fetch(work).await,
        None => Ok(()),
    }
}

async fn conclude(token: LeaseToken, end: TrialEnd, wall: Duration, inbox: &Inbox) {
    log_end(token, &end);
    tell(inbox, Event::Ended { token, end, wall }).await;
}

/// The next wish of the agent that a trial end.
async fn next_stop(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    loop {
        if stop.changed().await.is_err() {
            // Nobody is left who could ask.
            future::pending::<()>().await;
        }
        if let Some(how) = *stop.borrow_and_update() {
            return how;
        }
    }
}

/// Comes back when there is no more time to end in order.
async fn killed(stop: &mut watch::Receiver<Option<Stop>>) {
    if *stop.borrow() != Some(Stop::Kill) {
        while next_stop(stop).await != Stop::Kill {}
    }
}

fn node_fault(message: String) -> TrialEnd {
    TrialEnd::Failed { reason: FailureReason::NodeFault, message, log_tail: String::new() }
}

fn log_path(place: &Place, LeaseToken { job, attempt, .. }: LeaseToken) -> PathBuf {
    place.logs.join(format!("job-{job}-attempt-{attempt}.log"))
}

/// Where the node can't keep what jobs leave, a job that fails is not to blame for it, whatever it says.
async fn blame_node(end: TrialEnd, place: &Arc<Place>) -> TrialEnd {
    let TrialEnd::Failed { message, log_tail, .. } = &end else { return end };
    match self_test::examine(place.folders()).await {
        Ok(()) => end,
        Err(problem) => TrialEnd::Failed {
            reason: FailureReason::NodeFault,
            message: format!("{problem} (the trial: {message})"),
            log_tail: log_tail.clone(),
        },
    }
}

/// What was measured; never comes back where nothing is. Dropping the future loses nothing.
async fn finished(measurement: &mut Option<JoinHandle<u64>>) -> u64 {
    match measurement {
        // A look that panicked has found nothing.
        Some(measurement) => measurement.await.unwrap_or(0),
        None => future::pending().await,
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
