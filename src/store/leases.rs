//! Granting, extending and ending leases.

use std::sync::Arc;
use std::time::Duration;

use super::checkpoints::Checkpoint;
use super::unit::{Applied, Remains, Unit};
use super::writer::{Request, Wants};
use super::{Store, StoreError};
use crate::lease::{Begun, Event, JobState, Refusal};
use crate::vocabulary::{Attempt, JobId, Nonce, StateHash, SweepId, Timestamp, TrialNumber, WorkerId};

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct Grant {
    pub worker: WorkerId,
    /// Only jobs of this sweep.
    pub sweep: Option<SweepId>,
    pub most: u32,
    pub lasts: Duration,
}

/// One job that was leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedJob {
    pub lease: LeaseFor,
    /// What all trials of its kind have in common, as it was submitted.
    pub context: Arc<str>,
    /// The trial with whose parameters (canonical JSON) and seed it is run.
    pub trial: TrialNumber,
    pub parameters: String,
    pub seed: u64,
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub cpus: u32,
    /// What the attempt may use, as it was submitted.
    pub resources: String,
    /// Where an earlier attempt had come to.
    pub checkpoint: Option<Checkpoint>,
    /// The state that the job goes on from where no attempt has come to anything yet: its parent's last.
    pub start: Option<Checkpoint>,
    /// The weights that it reads beside.
    pub required: Vec<RequiredWeights>,
    /// Whether jobs that are not done go on from its last state.
    pub has_dependents: bool,
    /// Whether a sweep keeps more of it than its last checkpoint.
    pub keeps_more: bool,
}

/// Weights of a trial that a job reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredWeights {
    /// Names them: the state in which the trial ends.
    pub state: StateHash,
    /// The file; nothing where its job could not write one.
    pub checkpoint: Option<Checkpoint>,
}

/// What a worker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    Jobs(Vec<LeasedJob>),
    /// Nobody registered under this id; this table may be another than the one that gave it.
    NoSuchWorker,
}

/// A lease's fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseFor {
    pub job: JobId,
    pub attempt: Attempt,
    pub nonce: Nonce,
}

/// A lease that is not current any more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLease {
    pub lease: LeaseFor,
    pub message: String,
}

/// A worker's heartbeat.
#[derive(Debug, Clone)]
pub struct Beat {
    pub worker: WorkerId,
    pub leases: Vec<LeaseFor>,
    pub lasts: Duration,
}

impl Store {
    /// Leases the first jobs of the queue.
    ///
    /// # Errors
    /// When the disk refuses; then nothing was leased.
    pub async fn lease(&self, grant: Grant, now: Timestamp) -> Result<Leased, StoreError> {
        self.writer.write(LeaseBatch { grant, now }).await
    }

    /// Extends a worker's leases; those that are no longer its own come back.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn heartbeat(&self, beat: Beat, now: Timestamp) -> Result<Vec<RefusedLease>, StoreError> {
        self.writer.write(Heartbeat { beat, now }).await
    }

    /// Ends every lease whose deadline is over, and takes workers off the list that were silent since `silent_since`
    /// and hold nothing. Says how many leases it ended.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn expire(&self, now: Timestamp, silent_since: Timestamp) -> Result<u64, StoreError> {
        self.writer.write(Expire { now, silent_since }).await
    }
}

struct LeaseBatch {
    grant: Grant,
    now: Timestamp,
}

impl Request for LeaseBatch {
    type Answer = Leased;

    fn wants(&self) -> Wants {
        let Grant { worker, sweep, most, .. } = self.grant;
        Wants::Ready { worker, sweep, most, now: self.now }
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Leased, StoreError> {
        let Grant { worker, sweep, most, lasts } = self.grant;
        if !unit.memory.is_worker(worker) {
            return Ok(Leased::NoSuchWorker);
        }
        let event = Event::Lease { worker, lasts };
        let mut leased = Vec::new();
        while leased.len() < usize::try_from(most).unwrap_or(usize::MAX) {
            let Some(job) = unit.queue.next(worker, sweep, &unit.entries) else { break };
            if let Some(Ok(JobState::Leased { attempt, .. })) =
                unit.step(job, &event, &Remains::default(), self.now)
            {
                let nonce = unit.entry(job)?.nonce;
                leased.push(describe(unit, LeaseFor { job, attempt, nonce })?);
            }
        }
        Ok(Leased::Jobs(leased))
    }
}

/// What a worker has to know of a job that it was given.
pub(super) fn describe(unit: &mut Unit, lease: LeaseFor) -> Result<LeasedJob, StoreError> {
    let damaged = |what: &str| StoreError::Damaged(format!("job {} {what}", lease.job));
    let offer = unit.queue.take_offer(lease.job).ok_or_else(|| damaged("was leased unseen"))?;
    let context = unit.memory.contexts.get(&offer.context).ok_or_else(|| damaged("has no context"))?.clone();
    let checkpoint_of = |job| unit.checkpoints.get(&job).map(|held| held.checkpoint.clone());
    Ok(LeasedJob {
        lease,
        context,
        trial: offer.trial,
        parameters: offer.parameters,
        seed: offer.seed,
        first_epoch: offer.first_epoch,
        last_epoch: offer.last_epoch,
        cpus: offer.cpus,
        resources: offer.resources,
        checkpoint: checkpoint_of(lease.job),
        start: unit.entry(lease.job)?.parent.and_then(checkpoint_of),
        required: required_by(unit, lease.job)?,
        has_dependents: unit.entry(lease.job)?.live_dependents > 0,
        keeps_more: unit.keeps_more.contains(&lease.job),
    })
}

fn required_by(unit: &Unit, job: JobId) -> Result<Vec<RequiredWeights>, StoreError> {
    let required = unit.required.get(&job).into_iter().flatten();
    let weights = required.map(|(id, state)| {
        Ok(RequiredWeights { state: *state, checkpoint: unit.final_checkpoint(*id)?.cloned() })
    });
    weights.collect()
}

struct Heartbeat {
    beat: Beat,
    now: Timestamp,
}

impl Request for Heartbeat {
    type Answer = Vec<RefusedLease>;

    fn wants(&self) -> Wants {
        Wants::Jobs(self.beat.leases.iter().map(|lease| lease.job).collect())
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Vec<RefusedLease>, StoreError> {
        unit.writes.seen(self.beat.worker, self.now);
        let mut refused = Vec::new();
        for &lease in &self.beat.leases {
            let event = Event::Heartbeat { attempt: lease.attempt, lasts: self.beat.lasts };
            let applied = unit.step_under(lease, &event, &Remains::default(), self.now);
            refused.extend(refusal(lease, applied));
        }
        Ok(refused)
    }
}

/// The refusal, if there was one, in the form in which the worker hears of it.
pub(super) fn refusal(lease: LeaseFor, applied: Option<Applied>) -> Option<RefusedLease> {
    let message = match applied {
        Some(Ok(_)) => return None,
        Some(Err(refusal @ (Refusal::Stale { .. } | Refusal::TooEarly | Refusal::WrongState { .. }))) => {
            refusal.to_string()
        }
        None => "there is no such job".to_owned(),
    };
    Some(RefusedLease { lease, message })
}

struct Expire {
    now: Timestamp,
    silent_since: Timestamp,
}

impl Request for Expire {
    type Answer = u64;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<u64, StoreError> {
        // Workers begin jobs in the order in which they got them.
        let overdue = sqlx::query!(
            "-- list_overdue
            SELECT id AS \"id!: i64\", place < slots AS \"may_have_begun!: bool\"
            FROM (
                SELECT jobs.id, jobs.lease_deadline, workers.slots,
                       ROW_NUMBER() OVER (PARTITION BY jobs.worker_id ORDER BY attempts.leased_at, jobs.id) - 1 AS place
                FROM jobs
                CROSS JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
                CROSS JOIN workers ON workers.id = jobs.worker_id
                WHERE jobs.state = 'leased' AND jobs.lease_deadline < 9223372036854775807
            )
            WHERE lease_deadline <= ?",
            self.now.0
        )
        .fetch_all(unit.connection())
        .await?;
        unit.load(overdue.iter().map(|row| JobId(row.id)).collect()).await?;
        let mut expired = 0;
        for row in overdue {
            let event = Event::Expire { begun: Begun::of(row.may_have_begun) };
            let applied = unit.step(JobId(row.id), &event, &Remains::default(), self.now);
            expired += u64::from(matches!(applied, Some(Ok(_))));
        }
        unit.flush().await?;
        super::workers::mark_silent_left(unit.connection(), self.silent_since, self.now).await?;
        Ok(expired)
    }
}
