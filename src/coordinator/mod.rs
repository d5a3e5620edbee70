//! Puts spec, plan, lease and store together: the one process that owns a state folder's job table.
//!
//! It has the clock. Whatever reaches it, over HTTP or by a direct call, is one method of [`Coordinator`] that answers
//! in the wire types of `protocol`. Waiting workers are woken when something changes, so nobody polls in a busy loop.
//! Start with `mod.rs` for what it does, `prepare.rs` for how a spec becomes rows.

mod activity;
mod artifacts;
mod backup;
mod changes;
mod clock;
mod code;
mod context;
mod explain;
mod exports;
mod feed;
mod folder;
mod forecast;
mod listing;
mod loads;
mod lock;
mod logs;
mod nodes;
mod pictures;
mod placement;
mod prepare;
mod processes;
mod progress;
mod resources;
mod selection;
mod slurm;
mod steering;
mod transfers;
mod vitals;
mod watch;
mod weights;
mod wire;

pub use activity::Counts;
use activity::{Activity, Sent};
use artifacts::Artifacts;
pub use backup::partial_in;
pub use clock::Clock;
pub use code::{Code, CodeError, lend_code};
use feed::Feed;
pub use feed::{EventId, Follower};
pub use folder::{FolderError, StateFolder, own_host};
use forecast::Outline;
use loads::Loads;
pub use lock::{DatabaseLock, LockError};
use logs::SentLogs;
use nodes::{Luck, Nodes, Permit, Present, Turn};
pub use placement::{DatabaseFiles, PlacementError};
pub use prepare::{Around, PrepareError, Prepared, outline, prepare, selectors_of};
pub use selection::Selections;
pub use slurm::SilentWorker;
pub use transfers::{Artifact, ArtifactError, LARGEST_ARTIFACT_BYTES, Upload};
pub use vitals::Vitals;
pub use watch::Watch;
pub use weights::lend_weights;
pub use wire::ReportError;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::protocol::http::{
    EarlierSweep, HeartbeatRequest, HeartbeatResponse, Lease, LeaseRequest, LeaseResponse, OutcomesRequest,
    PROTOCOL, Refused, RegisterRequest, RegisterResponse, ReportsRequest, ResultsQuery, ResultsResponse,
    StatusResponse, SubmitRequest, SubmitResponse, TrialHistory, WorkerStatus, WriteResponse,
};
use crate::store::{self, Beat, Earlier, Grant, Leased, RefusedLease, Store, StoreError, WorkerRow};
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
    /// Where the checkpoints of this state folder's agents lie, copies of the weights that specs name, and the code of programs.
    pub artifacts: PathBuf,
    /// The state folder itself, for files that are on their way.
    pub state: PathBuf,
    /// Where this state folder's agents keep the logs of their trials.
    pub logs: PathBuf,
}

/// The coordinator of one state folder. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    store: Store,
    clock: Clock,
    settings: Settings,
    artifacts: Arc<Artifacts>,
    loads: Arc<Loads>,
    nodes: Arc<Nodes>,
    sent_logs: Arc<SentLogs>,
    activity: Arc<Activity>,
    feed: Arc<Feed>,
    /// How often a job may have become leasable, or the last one may have ended.
    changes: Arc<tokio::sync::watch::Sender<u64>>,
    /// It is about to end: nobody is kept waiting any more.
    is_ending: Arc<AtomicBool>,
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
    #[error("sweep {sweep} has no trial {trial}")]
    UnknownTrial { sweep: SweepId, trial: TrialNumber },
    #[error("sweep {sweep} has nothing {what}: {which} have ended")]
    HasEnded { sweep: SweepId, what: &'static str, which: &'static str },
    #[error("trial {trial} of sweep {sweep} has no such log: {what}")]
    NoSuchLog { sweep: SweepId, trial: TrialNumber, what: String },
    #[error("{what}")]
    File { what: String, source: std::io::Error },
    #[error("there is no worker {0}")]
    NoSuchWorker(WorkerId),
    #[error(
        "the worker on `{host}` (sweep-worker {version}) speaks protocol {protocol}, this coordinator (sweep {}) protocol {PROTOCOL}",
        env!("CARGO_PKG_VERSION")
    )]
    OtherProtocol { host: String, version: String, protocol: u32 },
    #[error("sweep {0} has no metric by which an epoch could be best; name one")]
    NoMetric(SweepId),
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
        let feed = Arc::new(Feed::new(clock.now()));
        let sent_logs = Arc::new(SentLogs::new(settings.logs.clone()));
        let (changes, is_ending) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        Coordinator {
            store,
            clock,
            settings,
            artifacts,
            activity: Arc::default(),
            feed,
            loads: Arc::default(),
            nodes: Arc::default(),
            sent_logs,
            changes,
            is_ending,
        }
    }

    /// Answers whoever waits for jobs, at once and with none, now and from now on. For the end: the agents ask again, and
    /// find the coordinator's successor.
    pub fn stop_waiting(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.note_change();
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
        let prepared = self.prepare(request).await?;
        match request.is_rehearsal {
            true => self.rehearse_prepared(prepared).await,
            false => self.submit_prepared(prepared).await,
        }
    }

    async fn prepare(&self, request: &SubmitRequest) -> Result<Prepared, CoordinatorError> {
        let Settings { datasets, artifacts, .. } = &self.settings;
        let prepare_with = |selections: &Selections| {
            prepare(request, Around { datasets, artifacts: Some(artifacts), selections })
        };
        match prepare_with(&Selections::default()) {
            Err(PrepareError::Selectors(selectors)) => {
                let selections = Selections::find(&mut self.store.reader().await?, &selectors).await?;
                Ok(prepare_with(&selections)?)
            }
            prepared => Ok(prepared?),
        }
    }

    /// What would become of a sweep that was prepared before; nothing is stored.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn rehearse_prepared(&self, prepared: Prepared) -> Result<SubmitResponse, CoordinatorError> {
        let (selected, code) = (prepared.selected(), prepared.code().clone());
        let facts = prepared.facts();
        let sweep = prepared.into_row();
        let (name, jobs) = (sweep.name.clone(), sweep.jobs.len());
        let outline = Outline::of(&sweep, &facts);
        let rehearsed = self.store.rehearse(sweep, self.clock.now()).await?;
        let earlier = self.earlier(rehearsed.earlier, &code).await?;
        let forecast = Some(self.forecast(&outline).await?);
        Ok(SubmitResponse { selected, earlier, forecast, ..wire::submitted(rehearsed, name, jobs) })
    }

    /// Stores a sweep that was prepared before.
    ///
    /// # Errors
    /// When weights that it names or the code that it runs can't be copied, or the disk refuses; then nothing is stored.
    pub async fn submit_prepared(&self, prepared: Prepared) -> Result<SubmitResponse, CoordinatorError> {
        prepared.keep(&self.settings.artifacts)?;
        let (selected, code) = (prepared.selected(), prepared.code().clone());
        let sweep = prepared.into_row();
        let (name, jobs) = (sweep.name.clone(), sweep.jobs.len());
        let submitted = self.store.submit(sweep, self.clock.now()).await?;
        self.note_change();
        let earlier = self.earlier(submitted.earlier, &code).await?;
        Ok(SubmitResponse { selected, earlier, ..wire::submitted(submitted, name, jobs) })
    }

    /// The unfinished sweep of the same spec, with the files that have changed since.
    async fn earlier(
        &self,
        earlier: Option<Earlier>,
        code: &Code,
    ) -> Result<Option<EarlierSweep>, CoordinatorError> {
        let Some(Earlier { sweep, unfinished }) = earlier else { return Ok(None) };
        let row = store::find_request(&mut self.store.reader().await?, sweep).await?;
        let before = row.and_then(|row| row.code).as_deref().map(wire::read_code).transpose()?;
        let changed = code::changes(&before.unwrap_or_default(), code, &self.settings.artifacts);
        Ok(Some(EarlierSweep { sweep, unfinished, changed }))
    }

    /// Notes a new agent.
    ///
    /// # Errors
    /// When the agent speaks another protocol, or the disk refuses.
    pub async fn register(&self, request: RegisterRequest) -> Result<RegisterResponse, CoordinatorError> {
        if request.protocol != PROTOCOL {
            let RegisterRequest { host, version, protocol, .. } = request;
            return Err(CoordinatorError::OtherProtocol { host, version, protocol });
        }
        let (host, now) = (request.host.clone(), self.clock.now());
        let worker = self.store.register(request.into(), now).await?;
        self.nodes.worker_is_on(worker, &host, now);
        // Where Slurm has started it again, what it held before may be leased anew.
        self.note_change();
        let heartbeat = self.settings.lease / HEARTBEATS_PER_LEASE;
        Ok(RegisterResponse {
            worker,
            heartbeat_millis: wire::millis(heartbeat),
            lease_millis: wire::millis(self.settings.lease),
            protocol: PROTOCOL,
        })
    }

    /// Leases jobs to an agent; where there is none, waits for one as long as the agent asks.
    ///
    /// # Errors
    /// When the sweep or the worker is unknown, or the disk refuses.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<LeaseResponse, CoordinatorError> {
        let wait = Duration::from_millis(request.wait_millis).min(LONGEST_WAIT);
        let give_up_at = tokio::time::Instant::now() + wait;
        let mut changes = self.changes.subscribe();
        loop {
            // Before looking: what changes in between must not be missed.
            changes.mark_unchanged();
            let permit = self.permit(request).await?;
            let leases = self.lease_within(permit, request).await?;
            let is_drained = leases.is_empty() && self.is_drained(request.sweep).await?;
            let is_over = self.is_ending.load(Ordering::SeqCst) || tokio::time::Instant::now() >= give_up_at;
            if !leases.is_empty() || is_drained || is_over {
                return Ok(LeaseResponse { leases, is_drained });
            }
            let due = match permit {
                // What is due and may not be had would be looked at again and again.
                Permit::NoneFor(wait) => Some(wait),
                Permit::AsManyAsAsked | Permit::Probe => self.next_due(request.sweep).await?,
            };
            let look_again_at =
                due.map_or(give_up_at, |due| give_up_at.min(tokio::time::Instant::now() + due));
            // Either way the queue is looked at again.
            let _woken = tokio::time::timeout_at(look_again_at, changes.changed()).await;
        }
    }

    async fn lease_within(
        &self,
        permit: Permit,
        request: &LeaseRequest,
    ) -> Result<Vec<Lease>, CoordinatorError> {
        match permit {
            Permit::AsManyAsAsked => self.lease_now(request).await,
            Permit::NoneFor(_) => Ok(Vec::new()),
            Permit::Probe => {
                let leased = self.lease_now(&LeaseRequest { most: 1, ..request.clone() }).await;
                if !leased.as_ref().is_ok_and(|leases| !leases.is_empty()) {
                    self.nodes.probe_was_in_vain(request.worker, self.clock.now());
                }
                leased
            }
        }
    }

    async fn lease_now(&self, request: &LeaseRequest) -> Result<Vec<Lease>, CoordinatorError> {
        let grant = Grant {
            worker: request.worker,
            sweep: request.sweep,
            // Nobody asks for no job; taken by its word, such a request would spin while a job is due.
            most: request.most.clamp(1, LARGEST_BATCH),
            lasts: self.settings.lease,
        };
        // The deadline counts from before the commit: a slow sync must not lengthen a lease.
        let now = self.clock.now();
        let leased = match self.store.lease(grant, now).await? {
            Leased::Jobs(jobs) => jobs,
            Leased::NoSuchWorker => return Err(CoordinatorError::NoSuchWorker(request.worker)),
        };
        let leases: Vec<Lease> = leased.into_iter().map(wire::lease).collect::<Result<_, _>>()?;
        for lease in &leases {
            self.nodes.leased(lease.token, request.worker, now);
        }
        if !leases.is_empty() {
            self.feed.touch();
        }
        Ok(leases)
    }

    /// What a worker may have, by its node's luck with jobs.
    async fn permit(&self, request: &LeaseRequest) -> Result<Permit, CoordinatorError> {
        // After a restart the workers go on under their names.
        if !self.nodes.knows(request.worker) {
            self.note_present(&store::list_workers(&mut self.store.reader().await?).await?);
        }
        Ok(self.nodes.permit(request.worker, request.sweep, self.clock.now(), self.settings.lease))
    }

    /// Forgets what is only in memory of workers that are not on the table's list any more.
    fn note_present(&self, workers: &[WorkerRow]) {
        self.loads.keep(&workers.iter().map(|worker| worker.id).collect());
        let present = workers.iter();
        self.nodes.only_these_are_there(present.map(|row| Present {
            worker: row.id,
            host: &row.host,
            seen_at: row.last_seen_at,
        }));
    }

    /// Keeps what a coordinator after this one has to know. The attempts have ended either way: a disk that refuses only makes
    /// that one find out by itself.
    async fn note_turns(&self, turns: Vec<Turn>) {
        for turn in turns {
            let noted = match turn {
                Turn::Ill(host) => {
                    tracing::warn!(host = host.host, reason = %host.reason, "different jobs in a row failed on {}", host.host);
                    self.store.note_ill_host(host).await
                }
                Turn::Well { host } => self.store.forget_ill_host(host).await.map(drop),
            };
            if let Err(error) = noted {
                tracing::warn!(%error, "a node's health is not noted");
            }
        }
    }

    /// Gives a node another chance on which jobs kept failing; says whether it was in quarantine.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn release_node(&self, host: &str) -> Result<bool, CoordinatorError> {
        let is_noted = self.store.forget_ill_host(host.to_owned()).await?;
        let was_quarantined = self.nodes.release(host);
        self.note_change();
        Ok(was_quarantined || is_noted)
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
        let stop: Vec<Refused> = refused.into_iter().map(Into::into).collect();
        self.nodes.worker_was_seen(request.worker, self.clock.now());
        self.nodes.lost(stop.iter().map(|refused| refused.token));
        self.loads.note(request.worker, request.node.as_ref(), request.problem.as_deref());
        Ok(HeartbeatResponse { stop })
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
        let ends: Vec<_> = request.outcomes.iter().map(|end| (end.token, Luck::from(&end.end))).collect();
        let sent: Vec<Sent> = request.outcomes.iter().flat_map(Sent::list).collect();
        let outcomes =
            request.outcomes.into_iter().map(wire::outcome).collect::<Result<_, CoordinatorError>>()?;
        let answer = answer(self.store.finish(outcomes, self.clock.now()).await?);
        self.activity.note_reports(&sent, &answer.refused);
        let turns = self.nodes.ended(&ends, &answer.refused, self.clock.now());
        self.note_change();
        self.note_turns(turns).await;
        Ok(answer)
    }

    /// Notes that an agent has gone, and takes back what it still holds.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn leave(&self, worker: WorkerId) -> Result<(), CoordinatorError> {
        self.store.leave(worker, self.clock.now()).await?;
        self.nodes.worker_left(worker);
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
        let slurm = store::list_slurm_jobs(&mut reader).await?;
        Ok(StatusResponse {
            sweeps: sweeps.into_iter().map(Into::into).collect(),
            workers: self.describe(workers, now),
            running: running.into_iter().map(Into::into).collect(),
            slurm: slurm.into_iter().map(Into::into).collect(),
        })
    }

    /// Agents with what they say of their nodes, and why they get hardly any jobs, where they don't.
    fn describe(&self, workers: Vec<WorkerRow>, now: Timestamp) -> Vec<WorkerStatus> {
        self.note_present(&workers);
        let word_of = |worker: &WorkerRow| {
            let mut word = self.loads.of(worker.id);
            let quarantine = self.nodes.quarantine(worker.id, now, self.settings.lease);
            word.problem = quarantine.or(word.problem);
            word
        };
        workers.into_iter().map(|row| wire::worker(word_of(&row), row, now)).collect()
    }

    /// Everything that is known of a sweep's trials.
    ///
    /// # Errors
    /// When there is no such sweep, or the table can't be read.
    pub async fn results(&self, sweep: SweepId) -> Result<ResultsResponse, CoordinatorError> {
        self.results_at(sweep, &ResultsQuery::default()).await
    }

    /// Everything that is known of a sweep's trials, with their metrics at some epoch.
    ///
    /// # Errors
    /// When there is no such sweep, it has no metric by which an epoch could be best, or the table can't be read.
    pub async fn results_at(
        &self,
        sweep: SweepId,
        query: &ResultsQuery,
    ) -> Result<ResultsResponse, CoordinatorError> {
        let row = self.find(sweep).await?;
        let at = wire::at(query, row.metric.as_ref()).ok_or(CoordinatorError::NoMetric(sweep))?;
        let mut reader = self.store.reader().await?;
        let trials = store::list_trials_at(&mut reader, sweep, &at).await?;
        let code = store::find_request(&mut reader, sweep).await?.and_then(|row| row.code);
        Ok(ResultsResponse {
            sweep,
            name: row.name,
            metric: row.metric,
            swept: row.swept,
            code: code.as_deref().map(wire::code_summary).transpose()?.flatten(),
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

    /// How often something has changed for which agents wait, since this coordinator began.
    #[must_use]
    pub fn changes(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Wakes whoever waits for a job, and whoever tells what happens.
    fn note_change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
        self.feed.touch();
    }

    async fn find(&self, sweep: SweepId) -> Result<store::SweepRow, CoordinatorError> {
        store::find_sweep(&mut self.store.reader().await?, sweep)
            .await?
            .ok_or(CoordinatorError::NoSuchSweep(sweep))
    }

    /// Goes on where another coordinator stopped, whatever ended it and whatever its clock said.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn take_over(&self) -> Result<(), CoordinatorError> {
        self.store.adopt(self.settings.lease, self.clock.now()).await?;
        self.recall_nodes().await?;
        // Workers that died with it are not waited for.
        self.bury_dead_workers().await
    }

    /// Who is there, what they work on, and which of their nodes were ill.
    async fn recall_nodes(&self) -> Result<(), CoordinatorError> {
        let (mut reader, now) = (self.store.reader().await?, self.clock.now());
        self.note_present(&store::list_workers(&mut reader).await?);
        for (lease, worker) in store::list_held(&mut reader).await? {
            // Since when is not known; what counts is how long it lasts from here on.
            self.nodes.leased(lease.into(), worker, now);
        }
        self.nodes.were_ill(store::list_ill_hosts(&mut reader).await?, now);
        Ok(())
    }

    /// Ends the leases of workers of this machine whose process is gone, so that nobody waits for their deadlines.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn bury_dead_workers(&self) -> Result<(), CoordinatorError> {
        for worker in self.store.list_live_workers().await? {
            if processes::is_gone(&worker) {
                let leases = self.bury(worker.id).await?;
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
}

fn answer(refused: Vec<RefusedLease>) -> WriteResponse {
    WriteResponse { refused: refused.into_iter().map(Into::into).collect() }
}

#[cfg(test)]
mod tests;
