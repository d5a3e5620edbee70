//! Puts spec, plan, lease and store together: the one process that owns a state folder's job table.
//!
//! It has the clock. Whatever reaches it, over HTTP or by a direct call, is one method of [`Coordinator`] that answers
//! in the wire types of `protocol`. Waiting workers are woken when something changes, so nobody polls in a busy loop.
//! Start with `mod.rs` for what it does, `prepare.rs` for how a spec becomes rows.

mod activity;
mod artifacts;
mod changes;
mod clock;
mod context;
mod feed;
mod folder;
mod lock;
mod prepare;
mod processes;
mod transfers;
mod vitals;
mod weights;
mod wire;

pub use activity::Counts;
use activity::{Activity, Sent};
use artifacts::Artifacts;
pub use clock::Clock;
use feed::Feed;
pub use feed::{EventId, Follower};
pub use folder::{Announcement, FolderError, StateFolder};
pub use lock::{DatabaseLock, LockError};
pub use prepare::{Around, PrepareError, Prepared, outline, prepare};
pub use transfers::{Artifact, ArtifactError, LARGEST_ARTIFACT_BYTES, Upload};
pub use vitals::Vitals;
pub use wire::ReportError;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::protocol::http::{
    HeartbeatRequest, HeartbeatResponse, LeaseRequest, LeaseResponse, OutcomesRequest, RegisterRequest,
    RegisterResponse, ReportsRequest, ResultsResponse, StatusResponse, SubmitRequest, SubmitResponse,
    TrialHistory, WriteResponse,
};
use crate::store::{self, Beat, Grant, Leased, RefusedLease, Store, StoreError};
use crate::vocabulary::{SweepId, Timestamp, TrialNumber, WorkerId};

/// A lease lasts this long without a heartbeat: a worker may miss two before its jobs go to somebody else.
pub const LEASE: Duration = Duration::from_secs(60);

/// A worker sends this many heartbeats while a lease lasts.
const HEARTBEATS_PER_LEASE: u32 = 4;

/// A lease request never waits longer, whatever it asks for, so that a connection through a proxy is not cut.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// At most this many jobs leave in one answer, so that one worker can't empty the queue.
const LARGEST_BATCH: u32 = 256;

/// A worker that holds nothing and was silent for this many leases is taken off the list.
const SILENT_LEASES: u32 = 3;

/// What a coordinator needs to know beside its table.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a lease lasts without a heartbeat.
    pub lease: Duration,
    /// Where imported datasets lie.
    pub datasets: PathBuf,
    /// Where the checkpoints of this state folder's agents lie, and copies of the weights that specs name.
    pub artifacts: PathBuf,
}

/// The coordinator of one state folder. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    store: Store,
    clock: Clock,
    settings: Settings,
    artifacts: Arc<Artifacts>,
    activity: Arc<Activity>,
    feed: Arc<Feed>,
    /// Woken whenever a job may have become leasable, or the last one may have ended.
    changed: Arc<Notify>,
}

/// What a request can run into.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    #[error("the disk that holds the job table is full")]
    DiskFull,
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("there is no sweep {0}")]
    NoSuchSweep(SweepId),
    #[error("sweep {sweep} has no trial {trial} that has succeeded")]
    NoSuchTrial { sweep: SweepId, trial: TrialNumber },
    #[error("there is no worker {0}")]
    NoSuchWorker(WorkerId),
}

impl From<StoreError> for CoordinatorError {
    fn from(error: StoreError) -> CoordinatorError {
        match error {
            StoreError::DiskFull => CoordinatorError::DiskFull,
            other => CoordinatorError::Store(other),
        }
    }
}

impl Coordinator {
    #[must_use]
    pub fn new(store: Store, clock: Clock, settings: Settings) -> Coordinator {
        let artifacts = Arc::new(Artifacts::new(settings.artifacts.clone()));
        let activity = Arc::default();
        let feed = Arc::new(Feed::new(clock.now()));
        Coordinator { store, clock, settings, artifacts, activity, feed, changed: Arc::new(Notify::new()) }
    }

    /// Commits what is waiting and closes the table.
    pub async fn close(self) {
        self.store.close().await;
    }

    /// Stores a sweep, or finds the one with the same expansion.
    ///
    /// # Errors
    /// When the spec is wrong, a dataset is missing, or the disk refuses; then nothing is stored.
    pub async fn submit(&self, request: &SubmitRequest) -> Result<SubmitResponse, CoordinatorError> {
        let Settings { datasets, artifacts, .. } = &self.settings;
        let prepared = prepare(request, Around { datasets, artifacts: Some(artifacts) })?;
        match request.is_rehearsal {
            true => self.rehearse_prepared(prepared).await,
            false => self.submit_prepared(prepared).await,
        }
    }

    /// What would become of a sweep that was prepared before; nothing is stored.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn rehearse_prepared(&self, prepared: Prepared) -> Result<SubmitResponse, CoordinatorError> {
        let sweep = prepared.into_row();
        let (name, jobs) = (sweep.name.clone(), sweep.jobs.len());
        let rehearsed = self.store.rehearse(sweep, self.clock.now()).await?;
        Ok(wire::submitted(rehearsed, name, jobs))
    }

    /// Stores a sweep that was prepared before.
    ///
    /// # Errors
    /// When weights that it names can't be copied, or the disk refuses; then nothing is stored.
    pub async fn submit_prepared(&self, prepared: Prepared) -> Result<SubmitResponse, CoordinatorError> {
        prepared.keep_weights(&self.settings.artifacts)?;
        let sweep = prepared.into_row();
        let (name, jobs) = (sweep.name.clone(), sweep.jobs.len());
        let submitted = self.store.submit(sweep, self.clock.now()).await?;
        self.note_change();
        Ok(wire::submitted(submitted, name, jobs))
    }

    /// Reopens a sweep's failed and cancelled jobs; says how many.
    ///
    /// # Errors
    /// When there is no such sweep, or the disk refuses.
    pub async fn retry(&self, sweep: SweepId) -> Result<u64, CoordinatorError> {
        self.find(sweep).await?;
        let reopened = self.store.retry(sweep, self.clock.now()).await?;
        self.note_change();
        Ok(reopened)
    }

    /// Notes a new agent.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn register(&self, request: RegisterRequest) -> Result<RegisterResponse, CoordinatorError> {
        let worker = self.store.register(request.into(), self.clock.now()).await?;
        self.feed.touch();
        let heartbeat = self.settings.lease / HEARTBEATS_PER_LEASE;
        Ok(RegisterResponse {
            worker,
            heartbeat_millis: wire::millis(heartbeat),
            lease_millis: wire::millis(self.settings.lease),
        })
    }

    /// Leases jobs to an agent; where there is none, waits for one as long as the agent asks.
    ///
    /// # Errors
    /// When the sweep or the worker is unknown, or the disk refuses.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<LeaseResponse, CoordinatorError> {
        let wait = Duration::from_millis(request.wait_millis).min(LONGEST_WAIT);
        let give_up_at = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listen before looking: what changes in between must not be missed.
            changed.as_mut().enable();
            let leases = self.lease_now(request).await?;
            let is_drained = leases.is_empty() && self.is_drained(request.sweep).await?;
            if !leases.is_empty() || is_drained || tokio::time::Instant::now() >= give_up_at {
                return Ok(LeaseResponse { leases, is_drained });
            }
            let look_again_at = match self.next_due(request.sweep).await? {
                Some(due) => give_up_at.min(tokio::time::Instant::now() + due),
                None => give_up_at,
            };
            // Either way the queue is looked at again.
            let _woken = tokio::time::timeout_at(look_again_at, changed).await;
        }
    }

    async fn lease_now(
        &self,
        request: &LeaseRequest,
    ) -> Result<Vec<crate::protocol::http::Lease>, CoordinatorError> {
        let grant = Grant {
            worker: request.worker,
            sweep: request.sweep,
            // Nobody asks for no job; taken by its word, such a request would spin while a job is due.
            most: request.most.clamp(1, LARGEST_BATCH),
            lasts: self.settings.lease,
        };
        // The deadline counts from before the commit: a slow sync must not lengthen a lease.
        let leased = match self.store.lease(grant, self.clock.now()).await? {
            Leased::Jobs(jobs) => jobs,
            Leased::NoSuchWorker => return Err(CoordinatorError::NoSuchWorker(request.worker)),
        };
        if !leased.is_empty() {
            self.feed.touch();
        }
        leased.into_iter().map(|job| wire::lease(job).map_err(CoordinatorError::from)).collect()
    }

    /// Time until the first job that waits for its next try may be leased.
    async fn next_due(&self, sweep: Option<SweepId>) -> Result<Option<Duration>, CoordinatorError> {
        let due = store::find_next_due(&mut self.store.reader().await?, sweep).await?;
        Ok(due.map(|due| due.since(self.clock.now())))
    }

    async fn is_drained(&self, sweep: Option<SweepId>) -> Result<bool, CoordinatorError> {
        let sweeps = match sweep {
            Some(id) => vec![self.find(id).await?],
            None => store::list_sweeps(&mut self.store.reader().await?).await?,
        };
        Ok(sweeps.iter().all(|sweep| sweep.counts.queued + sweep.counts.running == 0))
    }

    /// Extends an agent's leases and tells it which are no longer its own.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatResponse, CoordinatorError> {
        let beat = Beat {
            worker: request.worker,
            leases: request.leases.iter().map(|&token| token.into()).collect(),
            lasts: self.settings.lease,
        };
        let refused = self.store.heartbeat(beat, self.clock.now()).await?;
        Ok(HeartbeatResponse { stop: refused.into_iter().map(Into::into).collect() })
    }

    /// Stores reports of running jobs.
    ///
    /// # Errors
    /// When one of them can't be meant, or the disk refuses; then none is stored.
    pub async fn report(&self, request: ReportsRequest) -> Result<WriteResponse, CoordinatorError> {
        let sent: Vec<Sent> = request.reports.iter().map(Sent::from).collect();
        let reports = request.reports.into_iter().map(wire::report).collect::<Result<_, _>>()?;
        let answer = answer(self.store.report(reports, self.clock.now()).await?);
        self.activity.note_reports(&sent, &answer.refused);
        Ok(answer)
    }

    /// Ends attempts.
    ///
    /// # Errors
    /// When one of their reports can't be meant, or the disk refuses; then nothing is stored.
    pub async fn finish(&self, request: OutcomesRequest) -> Result<WriteResponse, CoordinatorError> {
        let sent: Vec<Sent> = request.outcomes.iter().flat_map(Sent::list).collect();
        let outcomes =
            request.outcomes.into_iter().map(wire::outcome).collect::<Result<_, CoordinatorError>>()?;
        let answer = answer(self.store.finish(outcomes, self.clock.now()).await?);
        self.activity.note_reports(&sent, &answer.refused);
        self.note_change();
        Ok(answer)
    }

    /// Notes that an agent has gone, and takes back what it still holds.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn leave(&self, worker: WorkerId) -> Result<(), CoordinatorError> {
        self.store.leave(worker, self.clock.now()).await?;
        self.note_change();
        Ok(())
    }

    /// Sweeps, workers and running jobs.
    ///
    /// # Errors
    /// When the table can't be read.
    pub async fn status(&self) -> Result<StatusResponse, CoordinatorError> {
        let now = self.clock.now();
        let mut reader = self.store.reader().await?;
        let sweeps = store::list_sweeps(&mut reader).await?;
        let workers = store::list_workers(&mut reader).await?;
        let running = store::list_running(&mut reader).await?;
        Ok(StatusResponse {
            sweeps: sweeps.into_iter().map(Into::into).collect(),
            workers: workers.into_iter().map(|worker| wire::worker(worker, now)).collect(),
            running: running.into_iter().map(Into::into).collect(),
        })
    }

    /// Everything that is known of a sweep's trials.
    ///
    /// # Errors
    /// When there is no such sweep, or the table can't be read.
    pub async fn results(&self, sweep: SweepId) -> Result<ResultsResponse, CoordinatorError> {
        let row = self.find(sweep).await?;
        let trials = store::list_trials(&mut self.store.reader().await?, sweep).await?;
        Ok(ResultsResponse {
            sweep,
            name: row.name,
            metric: row.metric,
            swept: row.swept,
            trials: trials.into_iter().map(wire::trial).collect::<Result<_, _>>()?,
        })
    }

    /// What was submitted as a sweep, as far as its trials depend on it.
    ///
    /// # Errors
    /// When there is no such sweep, or the table can't be read.
    pub async fn request(&self, sweep: SweepId) -> Result<SubmitRequest, CoordinatorError> {
        let row = store::find_request(&mut self.store.reader().await?, sweep).await?;
        row.ok_or(CoordinatorError::NoSuchSweep(sweep)).and_then(|row| Ok(wire::request(sweep, row)?))
    }

    /// How a trial was trained that has succeeded.
    ///
    /// # Errors
    /// When there is no such trial, or the table can't be read.
    pub async fn history(
        &self,
        sweep: SweepId,
        trial: TrialNumber,
    ) -> Result<TrialHistory, CoordinatorError> {
        let row = store::find_history(&mut self.store.reader().await?, sweep, trial).await?;
        let row = row.ok_or(CoordinatorError::NoSuchTrial { sweep, trial })?;
        Ok(wire::history(trial, row)?)
    }

    /// Wakes whoever waits for a job, and whoever tells what happens.
    fn note_change(&self) {
        self.changed.notify_waiters();
        self.feed.touch();
    }

    async fn find(&self, sweep: SweepId) -> Result<store::SweepRow, CoordinatorError> {
        store::find_sweep(&mut self.store.reader().await?, sweep)
            .await?
            .ok_or(CoordinatorError::NoSuchSweep(sweep))
    }

    /// Ends the leases of workers of this machine whose process is gone, so that nobody waits for their deadlines.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn bury_dead_workers(&self) -> Result<(), CoordinatorError> {
        for worker in self.store.list_live_workers().await? {
            if processes::is_gone(&worker) {
                let leases = self.store.bury(worker.id, self.clock.now()).await?;
                tracing::info!(
                    worker = worker.id.0,
                    leases,
                    "worker {} is dead; its leases ended",
                    worker.id
                );
            }
        }
        self.note_change();
        Ok(())
    }

    /// Ends leases that nobody extended, for as long as the coordinator runs. Stops when the table is closed.
    ///
    /// Nothing expires until a whole lease's length was listened to: while the coordinator was away (not started yet,
    /// stopped by Ctrl-Z, on a laptop that slept) no heartbeat could reach it, and that is no worker's fault.
    pub async fn watch_deadlines(self) {
        // Often enough that an expired lease is noticed within a small part of its length.
        let mut tick = tokio::time::interval((self.settings.lease / 20).max(Duration::from_millis(50)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut presence = Presence::since(self.clock.now());
        loop {
            tick.tick().await;
            if presence.at(self.clock.now(), self.settings.lease) < self.settings.lease {
                continue;
            }
            match self.expire_overdue().await {
                Ok(()) => {}
                Err(CoordinatorError::Store(StoreError::Closed)) => return,
                // The store has said so. Heartbeats were refused as well, which is no worker's fault.
                Err(CoordinatorError::DiskFull) => presence = Presence::since(self.clock.now()),
                Err(error) => tracing::error!(%error, "expired leases could not be ended"),
            }
        }
    }

    /// Ends the leases whose deadline is over.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn expire_overdue(&self) -> Result<(), CoordinatorError> {
        let now = self.clock.now();
        let silent_since = Timestamp(now.0.saturating_sub(
            i64::try_from((self.settings.lease * SILENT_LEASES).as_millis()).unwrap_or(i64::MAX),
        ));
        // Looking costs the writer nothing; most of the time there is nothing to do.
        if !store::is_anything_overdue(&mut self.store.reader().await?, now, silent_since).await? {
            return Ok(());
        }
        let expired = self.store.expire(now, silent_since).await?;
        self.activity.note_expired(expired);
        if expired > 0 {
            tracing::warn!(expired, "{expired} leases expired");
            self.note_change();
        }
        Ok(())
    }
}

fn answer(refused: Vec<RefusedLease>) -> WriteResponse {
    WriteResponse { refused: refused.into_iter().map(Into::into).collect() }
}

/// Since when the coordinator has been listening without a gap.
#[derive(Debug, Clone, Copy)]
struct Presence {
    since: Timestamp,
    last_seen: Timestamp,
}

impl Presence {
    fn since(now: Timestamp) -> Presence {
        Presence { since: now, last_seen: now }
    }

    /// How long it has been there at `now`; a gap in which heartbeats may have been missed starts it anew.
    fn at(&mut self, now: Timestamp, lease: Duration) -> Duration {
        if now.since(self.last_seen) > lease / HEARTBEATS_PER_LEASE {
            self.since = now;
        }
        self.last_seen = now;
        now.since(self.since)
    }
}

#[cfg(test)]
mod tests;
