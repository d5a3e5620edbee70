//! Granting, extending and ending leases.

use std::time::Duration;

use sqlx::SqliteConnection;

use super::checkpoints::{self, Checkpoint};
use super::transition::{self, Remains};
use super::writer::Request;
use super::{Store, StoreError};
use crate::lease::{Event, JobState, Refusal};
use crate::vocabulary::{Attempt, JobId, SweepId, Timestamp, WorkerId};

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
    /// `protocol::http::Work` as JSON.
    pub work: String,
    pub cpus: u32,
    /// Where an earlier attempt had come to.
    pub checkpoint: Option<Checkpoint>,
}

/// What a worker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    Jobs(Vec<LeasedJob>),
    /// Nobody registered under this id; this table may be another than the one that gave it.
    NoSuchWorker,
}

/// Names a lease: the job, and the attempt that is its fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseFor {
    pub job: JobId,
    pub attempt: Attempt,
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

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Leased, StoreError> {
        if !super::workers::is_known(connection, self.grant.worker).await? {
            return Ok(Leased::NoSuchWorker);
        }
        let event = Event::Lease { worker: self.grant.worker, lasts: self.grant.lasts };
        let mut leased = Vec::new();
        for job in find_leasable(connection, &self.grant, self.now).await? {
            let applied =
                transition::apply(connection, job.id, &event, &Remains::default(), self.now).await?;
            if let Some(Ok(next)) = applied
                && let JobState::Leased { attempt, .. } = next.state
            {
                leased.push(LeasedJob {
                    lease: LeaseFor { job: job.id, attempt },
                    work: job.work,
                    cpus: job.cpus,
                    checkpoint: checkpoints::find(connection, job.id).await?,
                });
            }
        }
        Ok(Leased::Jobs(leased))
    }
}

struct Leasable {
    id: JobId,
    work: String,
    cpus: u32,
}

async fn find_leasable(
    connection: &mut SqliteConnection,
    grant: &Grant,
    now: Timestamp,
) -> Result<Vec<Leasable>, StoreError> {
    let leasable =
        |id, work, cpus| Leasable { id: JobId(id), work, cpus: u32::try_from(cpus).unwrap_or(u32::MAX) };
    let Some(sweep) = grant.sweep else {
        let rows = sqlx::query!(
            "-- lease_batch
            SELECT id AS \"id!\", work, cpus
            FROM jobs
            WHERE state = 'queued' AND not_before <= ?
            ORDER BY priority DESC, id
            LIMIT ?",
            now.0,
            grant.most
        )
        .fetch_all(connection)
        .await?;
        return Ok(rows.into_iter().map(|row| leasable(row.id, row.work, row.cpus)).collect());
    };
    let rows = sqlx::query!(
        "-- lease_batch_of_sweep
        SELECT jobs.id AS \"id!\", work, cpus
        FROM jobs
        WHERE state = 'queued' AND not_before <= ?
          AND EXISTS (SELECT 1 FROM sweep_jobs WHERE job_id = jobs.id AND sweep_id = ?)
        ORDER BY priority DESC, jobs.id
        LIMIT ?",
        now.0,
        sweep.0,
        grant.most
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| leasable(row.id, row.work, row.cpus)).collect())
}

struct Heartbeat {
    beat: Beat,
    now: Timestamp,
}

impl Request for Heartbeat {
    type Answer = Vec<RefusedLease>;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Vec<RefusedLease>, StoreError> {
        sqlx::query!(
            "-- worker_seen
            UPDATE workers SET last_seen_at = ?, left_at = NULL WHERE id = ?",
            self.now.0,
            self.beat.worker.0
        )
        .execute(&mut *connection)
        .await?;
        let mut refused = Vec::new();
        for &lease in &self.beat.leases {
            let event = Event::Heartbeat { attempt: lease.attempt, lasts: self.beat.lasts };
            let applied =
                transition::apply(connection, lease.job, &event, &Remains::default(), self.now).await?;
            refused.extend(refusal(lease, applied));
        }
        Ok(refused)
    }
}

/// The refusal, if there was one, in the form in which the worker hears of it.
pub(super) fn refusal(lease: LeaseFor, applied: Option<transition::Applied>) -> Option<RefusedLease> {
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

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, StoreError> {
        let overdue = sqlx::query_scalar!(
            "-- list_overdue
            SELECT id AS \"id!\" FROM jobs WHERE state = 'leased' AND lease_deadline <= ?",
            self.now.0
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut expired = 0;
        for id in overdue {
            let applied =
                transition::apply(connection, JobId(id), &Event::Expire, &Remains::default(), self.now)
                    .await?;
            expired += u64::from(matches!(applied, Some(Ok(_))));
        }
        super::workers::mark_silent_left(connection, self.silent_since, self.now).await?;
        Ok(expired)
    }
}
