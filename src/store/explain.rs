//! Why a trial is where it is: its jobs in detail, what they wait for, and what comes before them.

use super::{Reader, StoreError, epoch};
use crate::vocabulary::{Attempt, FailureReason, JobId, SweepId, Timestamp, TrialNumber, WorkerId};

/// One of the jobs of which a trial consists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRow {
    pub job: JobId,
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub state: String,
    /// The last epoch reported; 0 before the first.
    pub reported_epoch: u32,
    /// The newest, 0 before the first.
    pub attempt: Attempt,
    pub worker: Option<WorkerId>,
    /// When the lease ends unless it is extended.
    pub lease_deadline: Option<Timestamp>,
    /// When it is tried again.
    pub waits_until: Option<Timestamp>,
    pub failure: Option<FailureReason>,
    /// What the newest attempt said when it failed.
    pub message: Option<String>,
    /// In whose queue it waits, and with whose parameters it is run.
    pub queue: SweepId,
    pub trial: TrialNumber,
    pub export: Option<HoldingExport>,
}

/// The export that holds a job, or was promised it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldingExport {
    pub worker: WorkerId,
    /// Whose jobs it took.
    pub sweep: SweepId,
    pub created_at: Timestamp,
}

/// A job whose weights another one reads, and that has not succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededRow {
    pub sweep: SweepId,
    pub trial: TrialNumber,
    pub state: String,
}

/// A trial's jobs, first to last; none where there is no such trial.
///
/// # Errors
/// When the file can't be read.
pub async fn list_line(
    reader: &mut Reader,
    sweep: SweepId,
    trial: TrialNumber,
) -> Result<Vec<LineRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_line
        WITH RECURSIVE line (id) AS (
            SELECT job_id FROM trials WHERE sweep_id = ? AND number = ?
            UNION ALL
            SELECT jobs.parent_id
            FROM line
            CROSS JOIN jobs ON jobs.id = line.id
            WHERE jobs.parent_id IS NOT NULL
        )
        SELECT jobs.id AS \"id!\", jobs.first_epoch, jobs.last_epoch, jobs.state, jobs.reported_epoch, jobs.attempt,
               jobs.worker_id, jobs.lease_deadline, jobs.waits_until, jobs.failure_reason, jobs.sweep_id, jobs.trial,
               attempts.message AS \"message?\", exports.worker_id AS \"export_id?\",
               exports.sweep_id AS \"export_sweep?\", exports.created_at AS \"exported_at?\"
        FROM line
        CROSS JOIN jobs ON jobs.id = line.id
        LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        LEFT JOIN promises ON promises.job_id = jobs.id
        LEFT JOIN exports ON exports.worker_id = COALESCE(jobs.worker_id, promises.worker_id)
        ORDER BY jobs.first_epoch",
        sweep.0,
        trial.0
    )
    .fetch_all(reader.connection())
    .await?;
    let line = rows.into_iter().map(|row| LineRow {
        job: JobId(row.id),
        first_epoch: epoch(row.first_epoch),
        last_epoch: epoch(row.last_epoch),
        state: row.state,
        reported_epoch: epoch(row.reported_epoch),
        attempt: Attempt(row.attempt),
        worker: row.worker_id.map(WorkerId),
        lease_deadline: row.lease_deadline.map(Timestamp),
        waits_until: row.waits_until.map(Timestamp),
        failure: row.failure_reason.and_then(|reason| reason.parse().ok()),
        message: row.message,
        queue: SweepId(row.sweep_id),
        trial: TrialNumber(row.trial),
        export: row.export_id.zip(row.export_sweep).zip(row.exported_at).map(
            |((worker, sweep), created_at)| HoldingExport {
                worker: WorkerId(worker),
                sweep: SweepId(sweep),
                created_at: Timestamp(created_at),
            },
        ),
    });
    Ok(line.collect())
}

/// What a job reads beside its parent and that is not there yet.
///
/// # Errors
/// When the file can't be read.
pub async fn list_needed(reader: &mut Reader, job: JobId) -> Result<Vec<NeededRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_needed
        SELECT jobs.sweep_id, jobs.trial, jobs.state
        FROM job_requirements
        CROSS JOIN jobs ON jobs.id = job_requirements.required_id
        WHERE job_requirements.job_id = ? AND jobs.state <> 'succeeded'
        ORDER BY jobs.sweep_id, jobs.trial",
        job.0
    )
    .fetch_all(reader.connection())
    .await?;
    let needed = rows.into_iter().map(|row| NeededRow {
        sweep: SweepId(row.sweep_id),
        trial: TrialNumber(row.trial),
        state: row.state,
    });
    Ok(needed.collect())
}

/// Sweeps out of whose queues a job may be leased: its own, and those that wait for it too.
///
/// # Errors
/// When the file can't be read.
pub async fn list_queues(reader: &mut Reader, job: JobId) -> Result<Vec<SweepId>, StoreError> {
    let sweeps = sqlx::query_scalar!(
        "-- list_queues
        SELECT sweep_id AS \"sweep_id!: i64\" FROM jobs WHERE id = ?1
        UNION
        SELECT sweep_id FROM joins WHERE job_id = ?1",
        job.0
    )
    .fetch_all(reader.connection())
    .await?;
    Ok(sweeps.into_iter().map(SweepId).collect())
}

/// How many jobs are leased before this one, counted up to `most`: in the order of `queue`, from the first of the places at
/// which it waits. None where all sweeps in whose queues it waits are paused.
///
/// # Errors
/// When the file can't be read.
pub async fn count_ready_before(reader: &mut Reader, job: JobId, most: u32) -> Result<u64, StoreError> {
    let most = i64::from(most);
    // Each part has a limit of its own, since all of both is read before what they have in common is left out.
    let count = sqlx::query_scalar!(
        "-- count_ready_before
        WITH place (priority, sweep_id, is_joined) AS (
            SELECT sweeps.priority, sweeps.id, waits.is_joined
            FROM (SELECT sweep_id, 0 AS is_joined FROM jobs WHERE id = ?1
                  UNION ALL
                  SELECT sweep_id, 1 FROM joins WHERE job_id = ?1) AS waits
            CROSS JOIN sweeps ON sweeps.id = waits.sweep_id
            WHERE sweeps.is_paused = 0 AND sweeps.trials_queued > 0
            ORDER BY sweeps.priority DESC, sweeps.id
            LIMIT 1
        ),
        earlier (sweep_id) AS (
            SELECT sweeps.id
            FROM place
            CROSS JOIN sweeps INDEXED BY sweeps_waiting
            WHERE sweeps.is_paused = 0 AND sweeps.trials_queued > 0 AND sweeps.priority >= place.priority
              AND (sweeps.priority > place.priority OR sweeps.id < place.sweep_id)
        )
        SELECT COUNT(*) AS \"count!: i64\"
        FROM (SELECT id FROM (
                  SELECT jobs.id
                  FROM earlier
                  CROSS JOIN jobs ON jobs.sweep_id = earlier.sweep_id
                  WHERE jobs.state = 'queued' AND jobs.waits_until IS NULL
                  LIMIT ?2)
              UNION
              SELECT id FROM (
                  SELECT joins.job_id AS id
                  FROM earlier
                  CROSS JOIN joins ON joins.sweep_id = earlier.sweep_id
                  WHERE joins.is_ready = 1
                  LIMIT ?2)
              UNION
              SELECT id FROM (
                  SELECT jobs.id
                  FROM place
                  CROSS JOIN jobs ON jobs.sweep_id = place.sweep_id
                  WHERE jobs.state = 'queued' AND jobs.waits_until IS NULL AND (place.is_joined OR jobs.id < ?1)
                  LIMIT ?2)
              UNION
              SELECT id FROM (
                  SELECT joins.job_id AS id
                  FROM place
                  CROSS JOIN joins ON joins.sweep_id = place.sweep_id
                  WHERE joins.is_ready = 1 AND place.is_joined AND joins.job_id < ?1
                  LIMIT ?2)
              LIMIT ?2)",
        job.0,
        most
    )
    .fetch_one(reader.connection())
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
