//! What people and programs ask of the table. Nothing here writes, and nothing here counts trials.

use super::slurm::StoredSlurm;
use super::{Reader, StoreError, WorkerSlurmRow};
use crate::vocabulary::{Goal, Metric, SweepId, Timestamp, TrialNumber, WorkerId};

/// A sweep with its counts.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepRow {
    pub id: SweepId,
    pub name: String,
    pub metric: Option<Metric>,
    /// Names of the swept parameters, in the spec's order.
    pub swept: Vec<String>,
    pub counts: SweepCounts,
    /// Sweeps of higher priority are leased from first.
    pub priority: i64,
    /// Nothing is leased from it.
    pub is_paused: bool,
}

/// Trials by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepCounts {
    pub queued: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
}

/// An agent that has not said goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    pub id: WorkerId,
    pub host: String,
    pub pid: u32,
    pub slots: u32,
    pub running: u32,
    pub last_seen_at: Timestamp,
    /// The Slurm job in which it runs.
    pub slurm: Option<WorkerSlurmRow>,
}

/// A leased job, named by a trial that ends in it or starts with it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningJobRow {
    pub sweep: SweepId,
    pub trial: TrialNumber,
    pub worker: WorkerId,
    pub reported_epoch: u32,
    pub last_epoch: u32,
    pub metric: Option<f64>,
}

/// All sweeps, oldest first.
///
/// # Errors
/// When the file can't be read.
pub async fn list_sweeps(reader: &mut Reader) -> Result<Vec<SweepRow>, StoreError> {
    let rows = sqlx::query_as!(
        StoredSweep,
        "-- list_sweeps
        SELECT id, name, metric_name, metric_goal, swept, trials_queued, trials_running, trials_succeeded,
               trials_failed, trials_cancelled, priority, is_paused AS \"is_paused: bool\"
        FROM sweeps
        ORDER BY id"
    )
    .fetch_all(reader.connection())
    .await?;
    rows.into_iter().map(SweepRow::try_from).collect()
}

/// One sweep.
///
/// # Errors
/// When the file can't be read.
pub async fn find_sweep(reader: &mut Reader, id: SweepId) -> Result<Option<SweepRow>, StoreError> {
    let row = sqlx::query_as!(
        StoredSweep,
        "-- find_sweep
        SELECT id, name, metric_name, metric_goal, swept, trials_queued, trials_running, trials_succeeded,
               trials_failed, trials_cancelled, priority, is_paused AS \"is_paused: bool\"
        FROM sweeps
        WHERE id = ?",
        id.0
    )
    .fetch_optional(reader.connection())
    .await?;
    row.map(SweepRow::try_from).transpose()
}

/// A sweep as it lies in the table.
struct StoredSweep {
    id: i64,
    name: String,
    metric_name: Option<String>,
    metric_goal: Option<String>,
    swept: String,
    trials_queued: i64,
    trials_running: i64,
    trials_succeeded: i64,
    trials_failed: i64,
    trials_cancelled: i64,
    priority: i64,
    is_paused: bool,
}

impl TryFrom<StoredSweep> for SweepRow {
    type Error = StoreError;

    fn try_from(row: StoredSweep) -> Result<SweepRow, StoreError> {
        let goal = match row.metric_goal.as_deref() {
            Some("minimize") => Goal::Minimize,
            _ => Goal::Maximize,
        };
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(SweepRow {
            id: SweepId(row.id),
            name: row.name,
            metric: row.metric_name.map(|name| Metric { name, goal }),
            swept: serde_json::from_str(&row.swept).map_err(|_| {
                StoreError::Damaged(format!("sweep {} has unreadable swept parameters", row.id))
            })?,
            counts: SweepCounts {
                queued: count(row.trials_queued),
                running: count(row.trials_running),
                succeeded: count(row.trials_succeeded),
                failed: count(row.trials_failed),
                cancelled: count(row.trials_cancelled),
            },
            priority: row.priority,
            is_paused: row.is_paused,
        })
    }
}

/// Agents that have not said goodbye, oldest first.
///
/// # Errors
/// When the file can't be read.
pub async fn list_workers(reader: &mut Reader) -> Result<Vec<WorkerRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_workers
        SELECT id AS \"id!\", host, pid, slots, last_seen_at, slurm_job, slurm_cluster, slurm_array_job, slurm_array_task,
               slurm_restarts,
               (SELECT COUNT(*) FROM jobs WHERE worker_id = workers.id) AS \"running!: i64\"
        FROM workers
        WHERE left_at IS NULL
        ORDER BY id"
    )
    .fetch_all(reader.connection())
    .await?;
    let workers = rows.into_iter().map(|row| WorkerRow {
        id: WorkerId(row.id),
        host: row.host,
        pid: u32::try_from(row.pid).unwrap_or(0),
        slots: u32::try_from(row.slots).unwrap_or(0),
        running: u32::try_from(row.running).unwrap_or(0),
        last_seen_at: Timestamp(row.last_seen_at),
        slurm: StoredSlurm {
            job: row.slurm_job,
            cluster: row.slurm_cluster,
            array_job: row.slurm_array_job,
            array_task: row.slurm_array_task,
            restarts: row.slurm_restarts,
        }
        .into_row(),
    });
    Ok(workers.collect())
}

/// Leased jobs but for those of exports, each once for every sweep with a trial that ends in it, under the name of the first such trial, with the
/// latest value of that sweep's metric. One in which no trial ends has the name of the trial with whose parameters it is
/// run.
///
/// # Errors
/// When the file can't be read.
pub async fn list_running(reader: &mut Reader) -> Result<Vec<RunningJobRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_running
        SELECT sweeps.id AS \"sweep_id!\", COALESCE(MIN(trials.number), jobs.trial) AS \"number!: i64\",
               jobs.worker_id AS \"worker_id!\", jobs.reported_epoch AS \"reported_epoch!\",
               jobs.last_epoch AS \"last_epoch!\",
               (SELECT value FROM reports
                WHERE job_id = jobs.id AND metric = sweeps.metric_name AND epoch <= jobs.reported_epoch
                ORDER BY epoch DESC LIMIT 1) AS \"metric: f64\"
        FROM jobs INDEXED BY jobs_leases
        LEFT JOIN trials ON trials.job_id = jobs.id
        JOIN sweeps ON sweeps.id = COALESCE(trials.sweep_id, jobs.sweep_id)
        WHERE jobs.state = 'leased' AND jobs.lease_deadline < 9223372036854775807
        GROUP BY jobs.id, sweeps.id
        ORDER BY jobs.id, sweeps.id"
    )
    .fetch_all(reader.connection())
    .await?;
    let running = rows.into_iter().map(|row| RunningJobRow {
        sweep: SweepId(row.sweep_id),
        trial: TrialNumber(row.number),
        worker: WorkerId(row.worker_id),
        reported_epoch: u32::try_from(row.reported_epoch).unwrap_or(0),
        last_epoch: u32::try_from(row.last_epoch).unwrap_or(0),
        metric: row.metric,
    });
    Ok(running.collect())
}

/// When the first queued job may be leased that may not be yet, given that none may now.
///
/// # Errors
/// When the file can't be read.
pub async fn find_next_due(
    reader: &mut Reader,
    sweep: Option<SweepId>,
) -> Result<Option<Timestamp>, StoreError> {
    let sweep = sweep.map(|id| id.0);
    let due = sqlx::query_scalar!(
        "-- find_next_due
        SELECT waits_until AS \"due!\"
        FROM jobs
        WHERE waits_until IS NOT NULL
          AND (?1 IS NULL OR sweep_id = ?1
               OR EXISTS (SELECT 1 FROM joins WHERE joins.sweep_id = ?1 AND joins.job_id = jobs.id))
        ORDER BY waits_until
        LIMIT 1",
        sweep
    )
    .fetch_optional(reader.connection())
    .await?;
    Ok(due.map(Timestamp))
}

/// Whether a lease's deadline is over, or a worker has not been heard of since `silent_since`.
///
/// # Errors
/// When the file can't be read.
pub async fn is_anything_overdue(
    reader: &mut Reader,
    now: Timestamp,
    silent_since: Timestamp,
) -> Result<bool, StoreError> {
    let overdue = sqlx::query_scalar!(
        "-- is_anything_overdue
        SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'leased' AND lease_deadline <= ?)
            OR EXISTS (SELECT 1 FROM workers WHERE left_at IS NULL AND last_seen_at <= ?) AS \"overdue!: bool\"",
        now.0,
        silent_since.0
    )
    .fetch_one(reader.connection())
    .await?;
    Ok(overdue)
}
