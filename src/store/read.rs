//! What people and programs ask of the table. Nothing here writes, and nothing here counts trials.

use std::collections::BTreeMap;

use super::{Reader, StoreError};
use crate::vocabulary::{
    FailureReason, Goal, JobId, Metric, Metrics, SweepId, Timestamp, TrialNumber, WorkerId,
};

/// A sweep with its counts.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepRow {
    pub id: SweepId,
    pub name: String,
    pub metric: Option<Metric>,
    /// Names of the swept parameters, in the spec's order.
    pub swept: Vec<String>,
    pub counts: SweepCounts,
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

/// A trial with what is known of its last job.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialRow {
    pub number: TrialNumber,
    pub seed: u64,
    /// Canonical JSON.
    pub parameters: String,
    /// Name of its last job's state.
    pub job_state: String,
    /// The last value of each metric.
    pub metrics: Metrics,
    pub failure: Option<FailureRow>,
}

/// Why a trial failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    pub reason: FailureReason,
    pub message: String,
    pub log_tail: String,
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
               trials_failed, trials_cancelled
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
               trials_failed, trials_cancelled
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
        })
    }
}

/// All trials of a sweep by number, each with the last value of each of its metrics.
///
/// # Errors
/// When the file can't be read.
pub async fn list_trials(reader: &mut Reader, sweep: SweepId) -> Result<Vec<TrialRow>, StoreError> {
    let mut metrics = last_metrics(reader, sweep).await?;
    let rows = sqlx::query!(
        "-- list_trials
        SELECT trials.number, trials.seed, trials.parameters, trials.job_id, jobs.state, jobs.failure_reason,
               attempts.message AS \"message?\", attempts.log_tail AS \"log_tail?\"
        FROM trials
        JOIN jobs ON jobs.id = trials.job_id
        LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        WHERE trials.sweep_id = ?
        ORDER BY trials.number",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let trials = rows.into_iter().map(|row| TrialRow {
        number: TrialNumber(row.number),
        seed: row.seed.cast_unsigned(),
        parameters: row.parameters,
        job_state: row.state,
        // Two trials may end in one job, so what is taken for one must stay for the other.
        metrics: metrics.entry(JobId(row.job_id)).or_default().clone(),
        failure: row.failure_reason.and_then(|reason| reason.parse().ok()).map(|reason| FailureRow {
            reason,
            message: row.message.unwrap_or_default(),
            log_tail: row.log_tail.unwrap_or_default(),
        }),
    });
    Ok(trials.collect())
}

/// The last value of every metric of the jobs in which a sweep's trials end.
async fn last_metrics(reader: &mut Reader, sweep: SweepId) -> Result<BTreeMap<JobId, Metrics>, StoreError> {
    let rows = sqlx::query!(
        "-- last_metrics
        SELECT reports.job_id AS \"job_id!\", reports.metric AS \"metric!\", reports.value AS \"value!\",
               MAX(reports.epoch) AS \"epoch: i64\"
        FROM reports
        WHERE reports.job_id IN (SELECT job_id FROM trials WHERE sweep_id = ?)
        GROUP BY reports.job_id, reports.metric",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let mut metrics: BTreeMap<JobId, Metrics> = BTreeMap::new();
    for row in rows {
        metrics.entry(JobId(row.job_id)).or_default().insert(row.metric, row.value);
    }
    Ok(metrics)
}

/// Agents that have not said goodbye, oldest first.
///
/// # Errors
/// When the file can't be read.
pub async fn list_workers(reader: &mut Reader) -> Result<Vec<WorkerRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_workers
        SELECT id AS \"id!\", host, pid, slots, last_seen_at,
               (SELECT COUNT(*) FROM jobs WHERE state = 'leased' AND worker_id = workers.id) AS \"running!: i64\"
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
    });
    Ok(workers.collect())
}

/// Leased jobs, each once for every sweep with a trial that ends in it, under the name of the first such trial, with the
/// latest value of that sweep's metric.
///
/// # Errors
/// When the file can't be read.
pub async fn list_running(reader: &mut Reader) -> Result<Vec<RunningJobRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_running
        SELECT trials.sweep_id AS \"sweep_id!\", MIN(trials.number) AS \"number!: i64\", jobs.worker_id AS \"worker_id!\",
               jobs.reported_epoch AS \"reported_epoch!\", jobs.last_epoch AS \"last_epoch!\",
               (SELECT value FROM reports
                WHERE job_id = jobs.id AND metric = sweeps.metric_name AND epoch <= jobs.reported_epoch
                ORDER BY epoch DESC LIMIT 1) AS \"metric: f64\"
        FROM jobs
        JOIN trials ON trials.job_id = jobs.id
        JOIN sweeps ON sweeps.id = trials.sweep_id
        WHERE jobs.state = 'leased'
        GROUP BY jobs.id, trials.sweep_id
        ORDER BY jobs.id, trials.sweep_id"
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
        SELECT MIN(not_before) AS \"due: i64\"
        FROM jobs
        WHERE state = 'queued'
          AND (?1 IS NULL OR EXISTS (SELECT 1 FROM sweep_jobs WHERE job_id = jobs.id AND sweep_id = ?1))",
        sweep
    )
    .fetch_one(reader.connection())
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
