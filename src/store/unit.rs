//! A unit of work: the jobs that one transaction is about, in memory, and what is to be written of them.
//!
//! A group of requests shares one. What they work on is loaded with a few statements, each request is decided in order by
//! `lease::step` on what is in memory, so that the second sees what the first did, and at the end everything that
//! changed is written with a few statements again ([`super::flush`]). [`Unit::step`] is the only place where a job's
//! state changes, together with all that depends on it: its attempts, the jobs that need it ([`super::settle`]), and the
//! counts of the sweeps whose trials end in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::SqliteConnection;

use super::checkpoints::Held;
use super::finished::Finished;
use super::queue::{Queue, ReadyJob};
use super::writer::Wanted;
use super::writes::Writes;
use super::{Checkpoint, LeaseFor, NewReport, StoreError};
use crate::lease::{self, Effect, EndedAttempt, Event, Job, JobState, Outcome, READY, Refusal};
use crate::vocabulary::{Attempt, CheckpointHash, JobId, Nonce, StateHash, SweepId, Timestamp, WorkerId};

/// Contexts beyond this are forgotten: a table has a handful of them, one that was brought up to date one a job.
const MOST_CONTEXTS: usize = 1024;

/// Before every moment of which a request can speak.
const BEFORE_ALL: Timestamp = Timestamp(i64::MIN);

/// What one transaction works on.
pub(super) struct Unit {
    pub(super) connection: SqliteConnection,
    pub(super) memory: Memory,
    pub(super) queue: Queue,
    pub(super) entries: BTreeMap<JobId, Entry>,
    /// Newest checkpoints of the jobs in memory and of their parents.
    pub(super) checkpoints: BTreeMap<JobId, Held>,
    /// For jobs that may be leased: those whose weights they read, with the states that name these.
    pub(super) required: BTreeMap<JobId, Vec<(JobId, StateHash)>>,
    /// Of the jobs that may be leased those of which a sweep keeps more than the last checkpoint.
    pub(super) keeps_more: BTreeSet<JobId>,
    pub(super) writes: Writes,
    /// The latest moment of which a request has spoken.
    pub(super) now: Timestamp,
    /// Jobs that have ended and that others wait for.
    pub(super) ended: BTreeMap<JobId, Ending>,
    pub(super) unneeded: Vec<CheckpointHash>,
    /// Jobs that have ended, for [`Finished`].
    just_finished: Vec<JobId>,
    finished: Finished,
}

/// What the jobs that need one hear of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Succeeded,
    Failed,
}

/// What the writer remembers between transactions, so that the usual one asks for less; all of it could be looked up.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) known: Option<Known>,
    /// The last job that each worker completed, where others go on from its state.
    pub(super) completed: BTreeMap<WorkerId, JobId>,
    pub(super) contexts: BTreeMap<i64, Arc<str>>,
    /// The newest job's id, once it was asked for.
    pub(super) newest_job: Option<JobId>,
}

/// What is asked of the table once.
pub(super) struct Known {
    pub(super) workers: BTreeSet<WorkerId>,
    /// No job that waits for its next try is due before.
    pub(super) next_due: Option<Timestamp>,
    /// Whether a sweep may wait for another's job.
    pub(super) has_joins: bool,
    /// Whether a job may have a checkpoint.
    pub(super) has_checkpoints: bool,
    /// Whether a sweep may keep more of its jobs than their last checkpoints.
    pub(super) has_keeps: bool,
}

/// A job in memory.
pub(super) struct Entry {
    pub(super) id: JobId,
    pub(super) sweep: SweepId,
    pub(super) parent: Option<JobId>,
    pub(super) first_epoch: u32,
    pub(super) last_epoch: u32,
    pub(super) job: Job,
    /// Exact while the job is live; counted anew when it is reopened.
    pub(super) open_needs: i64,
    pub(super) live_dependents: i64,
    pub(super) is_kept: bool,
    pub(super) reported_epoch: u32,
    /// Other sweeps wait for it.
    pub(super) is_joined: bool,
    pub(super) has_requirements: bool,
    /// Of its newest attempt's lease.
    pub(super) nonce: Nonce,
    pub(super) promise: Option<Promise>,
    /// How many trials of each sweep end in it.
    pub(super) trials: Trials,
    pub(super) as_read: AsRead,
    /// Whether the jobs that it needs count it as live.
    pub(super) is_counted_live: bool,
    pub(super) is_changed: bool,
    /// It has another parent and another beginning than the table says.
    pub(super) is_moved: bool,
}

/// A job's next lease, which is an export's as soon as the job may be leased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub(super) worker: WorkerId,
    pub(super) nonce: Nonce,
}

impl Promise {
    pub(super) fn to(worker: WorkerId) -> Promise {
        Promise { worker, nonce: draw_nonce() }
    }
}

fn draw_nonce() -> Nonce {
    Nonce(fastrand::u32(1..))
}

/// What the table holds of a job: what a write expects to find.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsRead {
    pub(super) state: &'static str,
    pub(super) attempt: Attempt,
    pub(super) is_ready: bool,
}

/// Trials that end in a job. Most are of the job's own sweep.
pub(super) struct Trials {
    pub(super) own: i64,
    pub(super) others: Vec<(SweepId, i64)>,
}

/// What an attempt leaves behind beside its outcome.
#[derive(Debug, Clone, Default)]
pub(super) struct Remains {
    pub(super) message: Option<String>,
    pub(super) log_tail: Option<String>,
    pub(super) record: Option<String>,
}

/// Whether an event was applied, or why not. Either way the transaction goes on.
pub(super) type Applied = Result<JobState, Refusal>;

impl Unit {
    pub(super) fn new(connection: SqliteConnection, finished: Finished) -> Unit {
        Unit {
            connection,
            memory: Memory::default(),
            queue: Queue::default(),
            entries: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            required: BTreeMap::new(),
            keeps_more: BTreeSet::new(),
            writes: Writes::default(),
            now: BEFORE_ALL,
            ended: BTreeMap::new(),
            unneeded: Vec::new(),
            just_finished: Vec::new(),
            finished,
        }
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    pub(super) fn into_connection(self) -> SqliteConnection {
        self.connection
    }

    /// Loads what a group works on.
    pub(super) async fn begin(&mut self, wanted: &Wanted) -> Result<(), StoreError> {
        if self.memory.known.is_none() {
            self.memory.known = Some(super::load::known(&mut self.connection).await?);
        }
        let jobs = wanted.jobs.clone();
        if !wanted.ready.is_empty() {
            self.queue = Queue::load(&mut self.connection, &mut self.memory, &wanted.ready).await?;
        }
        self.load_offered(jobs).await
    }

    /// Loads these jobs with all that whoever gets them is told; gives their ids.
    pub(super) async fn offer(&mut self, rows: Vec<ReadyJob>) -> Result<BTreeSet<JobId>, StoreError> {
        self.queue = Queue::of(rows);
        self.load_offered(Vec::new()).await?;
        Ok(self.queue.jobs().collect())
    }

    /// Loads these jobs and all that may be leased.
    async fn load_offered(&mut self, mut jobs: Vec<JobId>) -> Result<(), StoreError> {
        jobs.extend(self.queue.jobs());
        self.load_contexts().await?;
        self.load(jobs).await?;
        if self.memory.has_keeps() {
            let jobs: BTreeSet<JobId> = self.queue.jobs().collect();
            self.keeps_more = super::kept::filter(&mut self.connection, &jobs).await?;
        }
        self.load_required().await
    }

    /// Loads the jobs whose weights those in the queue read.
    async fn load_required(&mut self) -> Result<(), StoreError> {
        let reads = |id: &JobId| self.entries.get(id).is_some_and(|entry| entry.has_requirements);
        let readers: Vec<JobId> = self.queue.jobs().filter(reads).collect();
        if readers.is_empty() {
            return Ok(());
        }
        self.required = super::load::required_states(&mut self.connection, &readers).await?;
        let required = self.required.values().flatten().map(|(id, _)| *id).collect();
        self.load(required).await
    }

    /// After the commit: forgets the jobs, and says which checkpoints the table has let go of.
    pub(super) fn end(&mut self) -> Vec<CheckpointHash> {
        self.forget();
        self.finished.add(&mut self.just_finished);
        std::mem::take(&mut self.unneeded)
    }

    /// After a transaction that came to nothing: what is remembered may be of it.
    pub(super) fn abandon(&mut self) {
        self.forget();
        self.unneeded.clear();
        self.just_finished.clear();
        self.memory = Memory::default();
    }

    /// Forgets the jobs in memory. Everything that changed has been written, or never will be.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.checkpoints.clear();
        self.required.clear();
        self.keeps_more.clear();
        self.queue = Queue::default();
        self.writes = Writes::default();
        self.ended.clear();
        self.now = BEFORE_ALL;
    }

    async fn load_contexts(&mut self) -> Result<(), StoreError> {
        if self.memory.contexts.len() > MOST_CONTEXTS {
            self.memory.contexts.clear();
        }
        let known = &self.memory.contexts;
        let missing: BTreeSet<i64> =
            self.queue.contexts().filter(|context| !known.contains_key(context)).collect();
        if !missing.is_empty() {
            let loaded = super::load::contexts(&mut self.connection, &missing).await?;
            self.memory.contexts.extend(loaded);
        }
        Ok(())
    }

    /// The job, which has been loaded.
    pub(super) fn entry(&self, id: JobId) -> Result<&Entry, StoreError> {
        self.entries.get(&id).ok_or_else(|| StoreError::Damaged(format!("there is no job {id}")))
    }

    pub(super) fn entry_mut(&mut self, id: JobId) -> Result<&mut Entry, StoreError> {
        self.entries.get_mut(&id).ok_or_else(|| StoreError::Damaged(format!("there is no job {id}")))
    }

    /// Applies `event` to a job in memory and notes what follows. Nothing where there is no such job.
    pub(super) fn step(
        &mut self,
        id: JobId,
        event: &Event,
        remains: &Remains,
        now: Timestamp,
    ) -> Option<Applied> {
        self.now = self.now.max(now);
        let entry = self.entries.get_mut(&id)?;
        let (next, effects) = match lease::step(&entry.job, event, now) {
            Ok(step) => step,
            Err(refusal) => return Some(Err(refusal)),
        };
        if let (JobState::Queued { not_before }, Some(known)) = (next.state, &mut self.memory.known)
            && not_before != READY
        {
            known.note_wait(not_before);
        }
        let state = next.state;
        if next != entry.job {
            self.writes.count(&entry.trials, entry.sweep, &entry.job.state, &state);
            entry.job = next;
            entry.is_changed = true;
            if !state.is_live() {
                self.just_finished.push(id);
            }
        }
        for effect in effects {
            self.follow(id, effect, remains, now);
        }
        Some(Ok(state))
    }

    /// Applies an event of which whoever shows this lease speaks.
    pub(super) fn step_under(
        &mut self,
        lease: LeaseFor,
        event: &Event,
        remains: &Remains,
        now: Timestamp,
    ) -> Option<Applied> {
        let entry = self.entries.get(&lease.job)?;
        if entry.is_foreign(lease) {
            let now = "the table has given its number anew since it was restored".to_owned();
            return Some(Err(Refusal::Stale { shown: lease.attempt, now }));
        }
        self.step(lease.job, event, remains, now)
    }

    fn follow(&mut self, id: JobId, effect: Effect, remains: &Remains, now: Timestamp) {
        match effect {
            Effect::OpenAttempt { attempt, worker } => self.open_attempt(id, attempt, worker, now),
            Effect::CloseAttempt(ended) => self.close_attempt(id, ended, remains, now),
            Effect::UnblockDependents => self.tell_dependents(id, Ending::Succeeded),
            Effect::FailDependents => self.tell_dependents(id, Ending::Failed),
        }
    }

    fn open_attempt(&mut self, id: JobId, attempt: Attempt, worker: WorkerId, now: Timestamp) {
        let checkpoint = self.checkpoints.get(&id).map_or(0, |held| held.checkpoint.epoch);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // Epochs before the job's first one are its parent's.
        let resumed_epoch = checkpoint.max(entry.first_epoch - 1);
        entry.reported_epoch = resumed_epoch;
        let promise = entry.promise.filter(|promise| promise.worker == worker);
        entry.nonce = promise.map_or_else(draw_nonce, |promise| promise.nonce);
        entry.is_changed = true;
        self.writes.open_attempt(id, attempt, worker, now, resumed_epoch);
        if self.memory.has_keeps() && attempt > Attempt(1) {
            self.writes.kept.begin(id, resumed_epoch);
        }
    }

    fn close_attempt(&mut self, id: JobId, ended: EndedAttempt, remains: &Remains, now: Timestamp) {
        self.writes.close_attempt(id, ended, remains, now);
        if ended.outcome == Outcome::Completed && ended.attempt > Attempt(1) {
            self.writes.supersede_reports(id);
        }
    }

    fn tell_dependents(&mut self, id: JobId, ending: Ending) {
        // Those that have ended themselves count their needs anew when they are reopened.
        if self.entries.get(&id).is_some_and(|entry| entry.live_dependents > 0) {
            self.ended.insert(id, ending);
        }
    }

    /// Stores the metrics and, together with them, the checkpoint. The lease is known to be current.
    pub(super) fn write_report(&mut self, lease: LeaseFor, report: &NewReport, now: Timestamp) {
        self.writes.report(lease, report);
        if let Some(entry) = self.entries.get_mut(&lease.job)
            && report.epoch > entry.reported_epoch
        {
            entry.reported_epoch = report.epoch;
            entry.is_changed = true;
        }
        if let Some(checkpoint) = &report.checkpoint {
            if self.memory.has_keeps() {
                self.writes.kept.report(lease, checkpoint, now);
            }
            self.replace_checkpoint(lease, checkpoint, now);
        }
    }

    /// Makes `checkpoint` the job's newest, in the place of the one before.
    fn replace_checkpoint(&mut self, lease: LeaseFor, checkpoint: &Checkpoint, now: Timestamp) {
        let held = Held { checkpoint: checkpoint.clone(), attempt: Some(lease.attempt.0), created_at: now };
        let before = self.checkpoints.get(&lease.job);
        // A request that arrives twice may arrive late: what it brings must not displace what the same attempt brought
        // since. Another attempt's checkpoint may well be ahead; where its file was lost, this attempt began anew.
        if before.is_some_and(|before| before.attempt == held.attempt && before.is_ahead_of(&held)) {
            return;
        }
        if let Some(known) = &mut self.memory.known {
            known.has_checkpoints = true;
        }
        if let Some(before) = self.checkpoints.insert(lease.job, held)
            && before.checkpoint.hash != checkpoint.hash
        {
            self.unneeded.push(before.checkpoint.hash);
        }
        self.writes.checkpoint(lease.job);
    }

    /// Lets go of a job's checkpoint, if it has one.
    pub(super) fn release_checkpoint(&mut self, id: JobId) {
        if let Some(held) = self.checkpoints.remove(&id) {
            self.unneeded.push(held.checkpoint.hash);
            self.writes.checkpoint(id);
        }
    }

    /// Notes a file that was refused.
    pub(super) fn refuse_checkpoint(&mut self, report: &NewReport) {
        self.unneeded.extend(report.checkpoint.as_ref().map(|checkpoint| checkpoint.hash.clone()));
    }

    /// Whether the lease is the job's current one, or why it is not.
    pub(super) fn holds(&self, lease: LeaseFor) -> Result<(), String> {
        let Some(entry) = self.entries.get(&lease.job) else {
            return Err("there is no such job".to_owned());
        };
        match entry.job.state {
            JobState::Leased { attempt, .. } if attempt == lease.attempt && !entry.is_foreign(lease) => {
                Ok(())
            }
            state => {
                Err(format!("attempt {} is no longer leased: the job is {}", lease.attempt, state.name()))
            }
        }
    }
}

impl Memory {
    pub(super) fn is_worker(&self, worker: WorkerId) -> bool {
        self.known.as_ref().is_some_and(|known| known.workers.contains(&worker))
    }

    fn has_keeps(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.has_keeps)
    }
}

impl Known {
    /// Notes that a job waits until then.
    pub(super) fn note_wait(&mut self, until: Timestamp) {
        self.next_due = Some(self.next_due.map_or(until, |next| next.min(until)));
    }
}

impl Entry {
    pub(super) fn is_live(&self) -> bool {
        self.job.state.is_live()
    }

    pub(super) fn is_ready(&self) -> bool {
        is_ready(&self.job.state)
    }

    /// Whether the lease is not this table's, or was given before the table was restored: its newest attempt has that number
    /// and another nonce. Attempts before that one are over, whoever gave them.
    fn is_foreign(&self, lease: LeaseFor) -> bool {
        lease.attempt == newest_attempt(&self.job) && lease.nonce != self.nonce
    }
}

pub(super) fn is_ready(state: &JobState) -> bool {
    *state == JobState::Queued { not_before: READY }
}

pub(super) fn newest_attempt(job: &Job) -> Attempt {
    match job.state {
        JobState::Leased { attempt, .. } => attempt,
        _ => job.last_ended.map_or(Attempt(0), |ended| ended.attempt),
    }
}
