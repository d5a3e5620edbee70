//! How far a sweep is: epochs rather than trials, what they cost, the best trial so far, and what failed.

use super::{Reader, StoreError, epoch};
use crate::lease::Outcome;
use crate::vocabulary::{FailureReason, Goal, Metric, SweepId, Timestamp, TrialNumber};

/// Jobs of a sweep that train the same epochs and are in the same state.
#[derive(Debug, Clone, PartialEq)]
pub struct StretchRow {
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub state: String,
    pub jobs: u64,
    /// Epochs of these that were trained.
    pub done_epochs: u64,
    /// Epochs of the attempts that succeeded, and how long these took.
    pub timed_epochs: u64,
    pub timed_seconds: f64,
}

/// A reason for which trials of a sweep failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRow {
    pub reason: FailureReason,
    pub trials: u64,
    /// The first of them.
    pub trial: TrialNumber,
    pub message: String,
}

/// An attempt that failed, of a job that failed with it or waits for its next try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentFailureRow {
    /// A trial that needs the job.
    pub trial: TrialNumber,
    pub reason: FailureReason,
    pub message: String,
    pub ended_at: Timestamp,
    pub is_final: bool,
}

/// Every job that a sweep's trials go through, once, by epochs and state.
///
/// # Errors
/// When the file can't be read.
pub async fn list_progress(reader: &mut Reader, sweep: SweepId) -> Result<Vec<StretchRow>, StoreError> {
    // What has one epoch, such as a program without stages, has trained it when it has ended, however it counts its reports.
    let rows = sqlx::query!(
        "-- list_progress
        WITH RECURSIVE chain (id, parent_id) AS (
            SELECT jobs.id, jobs.parent_id
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ?
            UNION
            SELECT jobs.id, jobs.parent_id
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.parent_id
        )
        SELECT jobs.first_epoch, jobs.last_epoch, jobs.state, COUNT(*) AS \"jobs!: i64\",
               SUM(CASE WHEN jobs.state = 'succeeded' THEN jobs.last_epoch - jobs.first_epoch + 1
                        WHEN jobs.last_epoch = 1 THEN 0
                        ELSE MIN(MAX(jobs.reported_epoch - jobs.first_epoch + 1, 0), jobs.last_epoch - jobs.first_epoch + 1)
                   END) AS \"done!: i64\",
               SUM(CASE WHEN jobs.state = 'succeeded' AND attempts.record ->> 'wall_seconds' > 0
                        THEN jobs.last_epoch - MIN(MAX(attempts.resumed_epoch, jobs.first_epoch - 1), jobs.last_epoch - 1)
                        ELSE 0 END) AS \"timed_epochs!: i64\",
               TOTAL(CASE WHEN jobs.state = 'succeeded' THEN attempts.record ->> 'wall_seconds' END)
                   AS \"timed_seconds!: f64\"
        FROM chain
        CROSS JOIN jobs ON jobs.id = chain.id
        LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        GROUP BY jobs.first_epoch, jobs.last_epoch, jobs.state",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let stretches = rows.into_iter().map(|row| StretchRow {
        first_epoch: epoch(row.first_epoch),
        last_epoch: epoch(row.last_epoch),
        state: row.state,
        jobs: count(row.jobs),
        done_epochs: count(row.done),
        timed_epochs: count(row.timed_epochs),
        timed_seconds: row.timed_seconds,
    });
    Ok(stretches.collect())
}

/// Epochs of all trials of a sweep, were each trained alone.
///
/// # Errors
/// When the file can't be read.
pub async fn count_unshared_epochs(reader: &mut Reader, sweep: SweepId) -> Result<u64, StoreError> {
    let epochs = sqlx::query_scalar!(
        "-- count_unshared_epochs
        SELECT COALESCE(SUM(jobs.last_epoch), 0) AS \"epochs!: i64\"
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        WHERE trials.sweep_id = ?",
        sweep.0
    )
    .fetch_one(reader.connection())
    .await?;
    Ok(u64::try_from(epochs).unwrap_or(0))
}

/// The trial that has succeeded with the best last value of a metric; the first of equals.
///
/// # Errors
/// When the file can't be read.
pub async fn find_best_trial(
    reader: &mut Reader,
    sweep: SweepId,
    metric: &Metric,
) -> Result<Option<(TrialNumber, f64)>, StoreError> {
    let sign = if metric.goal == Goal::Maximize { -1.0 } else { 1.0 };
    let row = sqlx::query!(
        "-- find_best_trial
        SELECT number AS \"number!: i64\", value AS \"value!: f64\"
        FROM (SELECT trials.number,
                     (SELECT reports.value FROM reports
                      WHERE reports.job_id = jobs.id AND reports.metric = ?2
                      ORDER BY reports.epoch DESC LIMIT 1) AS value
              FROM trials
              CROSS JOIN jobs ON jobs.id = trials.job_id
              WHERE trials.sweep_id = ?1 AND jobs.state = 'succeeded')
        WHERE value IS NOT NULL
        ORDER BY ?3 * value, number
        LIMIT 1",
        sweep.0,
        metric.name,
        sign
    )
    .fetch_optional(reader.connection())
    .await?;
    Ok(row.map(|row| (TrialNumber(row.number), row.value)))
}

/// Why trials of a sweep failed, most frequent first.
///
/// # Errors
/// When the file can't be read.
pub async fn list_failed(reader: &mut Reader, sweep: SweepId) -> Result<Vec<FailedRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_failed
        SELECT jobs.failure_reason AS \"reason!: String\", COUNT(*) AS \"trials!: i64\",
               MIN(trials.number) AS \"number!: i64\", attempts.message AS \"message?: String\"
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        WHERE trials.sweep_id = ? AND jobs.state = 'failed'
        GROUP BY jobs.failure_reason
        ORDER BY 2 DESC, 3",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let failed = rows.into_iter().filter_map(|row| {
        Some(FailedRow {
            reason: row.reason.parse().ok()?,
            trials: u64::try_from(row.trials).unwrap_or(0),
            trial: TrialNumber(row.number),
            message: row.message.unwrap_or_default(),
        })
    });
    Ok(failed.collect())
}

/// The newest failures of a sweep's jobs, newest first; those that happened for want of what a job needs are left out.
///
/// # Errors
/// When the file can't be read.
pub async fn list_recent_failures(
    reader: &mut Reader,
    sweep: SweepId,
    most: u32,
) -> Result<Vec<RecentFailureRow>, StoreError> {
    let most = i64::from(most);
    let rows = sqlx::query!(
        "-- list_recent_failures
        WITH RECURSIVE chain (id, parent_id, number) AS (
            SELECT jobs.id, jobs.parent_id, MIN(trials.number)
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ?1
            GROUP BY jobs.id
            UNION
            SELECT jobs.id, jobs.parent_id, jobs.trial
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.parent_id
        )
        SELECT MIN(chain.number) AS \"number!: i64\", attempts.outcome AS \"outcome!: String\",
               attempts.message AS \"message?: String\", attempts.ended_at AS \"ended_at!: i64\",
               jobs.state = 'failed' AS \"is_final!: bool\"
        FROM chain
        CROSS JOIN jobs ON jobs.id = chain.id
        CROSS JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        WHERE (jobs.state = 'failed' AND jobs.failure_reason <> 'upstream' OR jobs.waits_until IS NOT NULL)
          AND attempts.ended_at IS NOT NULL
        GROUP BY jobs.id
        ORDER BY attempts.ended_at DESC, jobs.id DESC
        LIMIT ?2",
        sweep.0,
        most
    )
    .fetch_all(reader.connection())
    .await?;
    let failures = rows.into_iter().filter_map(|row| {
        let reason = match row.outcome.parse().ok()? {
            Outcome::Failed(reason) => reason,
            Outcome::Expired => FailureReason::NodeLost,
            Outcome::Completed | Outcome::Released | Outcome::Cancelled => return None,
        };
        Some(RecentFailureRow {
            trial: TrialNumber(row.number),
            reason,
            message: row.message.unwrap_or_default(),
            ended_at: Timestamp(row.ended_at),
            is_final: row.is_final,
        })
    });
    Ok(failures.collect())
}
