//! Where a trial's logs are: its jobs, and their attempts.

use std::collections::BTreeSet;

use super::flush::rows;
use super::{LeaseFor, Reader, StoreError, epoch};
use crate::vocabulary::{Attempt, JobId, Nonce, SweepId, TrialNumber};

/// One of the jobs of which a trial consists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRow {
    pub job: JobId,
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub state: String,
    /// The newest, 0 before the first.
    pub attempt: Attempt,
}

/// An attempt, as far as its log is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    pub host: String,
    pub has_ended: bool,
    pub log_tail: Option<String>,
}

/// A trial's jobs, first to last; none where there is no such trial.
///
/// # Errors
/// When the file can't be read.
pub async fn list_stages(
    reader: &mut Reader,
    sweep: SweepId,
    trial: TrialNumber,
) -> Result<Vec<StageRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_stages
        WITH RECURSIVE line (id) AS (
            SELECT job_id FROM trials WHERE sweep_id = ? AND number = ?
            UNION ALL
            SELECT jobs.parent_id
            FROM line
            CROSS JOIN jobs ON jobs.id = line.id
            WHERE jobs.parent_id IS NOT NULL
        )
        SELECT jobs.id AS \"id!\", jobs.first_epoch, jobs.last_epoch, jobs.state, jobs.attempt
        FROM line
        CROSS JOIN jobs ON jobs.id = line.id
        ORDER BY jobs.first_epoch",
        sweep.0,
        trial.0
    )
    .fetch_all(reader.connection())
    .await?;
    let stages = rows.into_iter().map(|row| StageRow {
        job: JobId(row.id),
        first_epoch: epoch(row.first_epoch),
        last_epoch: epoch(row.last_epoch),
        state: row.state,
        attempt: Attempt(row.attempt),
    });
    Ok(stages.collect())
}

/// One attempt of a job.
///
/// # Errors
/// When the file can't be read.
pub async fn find_attempt(
    reader: &mut Reader,
    job: JobId,
    attempt: Attempt,
) -> Result<Option<AttemptRow>, StoreError> {
    let row = sqlx::query!(
        "-- find_attempt
        SELECT workers.host, attempts.outcome IS NOT NULL AS \"has_ended!: bool\", attempts.log_tail
        FROM attempts
        CROSS JOIN workers ON workers.id = attempts.worker_id
        WHERE attempts.job_id = ? AND attempts.attempt = ?",
        job.0,
        attempt.0
    )
    .fetch_optional(reader.connection())
    .await?;
    Ok(row.map(|row| AttemptRow { host: row.host, has_ended: row.has_ended, log_tail: row.log_tail }))
}

/// For which of these leases there are attempts, whatever has become of them.
///
/// # Errors
/// When the file can't be read.
pub async fn filter_attempts(
    reader: &mut Reader,
    asked: &BTreeSet<LeaseFor>,
) -> Result<BTreeSet<LeaseFor>, StoreError> {
    let asked: Vec<_> = asked.iter().map(|lease| (lease.job, lease.attempt, lease.nonce)).collect();
    let asked = rows(&asked)?;
    let found = sqlx::query!(
        "-- filter_attempts
        SELECT attempts.job_id AS \"job_id!\", attempts.attempt AS \"attempt!\",
               asked.value ->> 2 AS \"nonce!: u32\"
        FROM json_each(?) AS asked
        CROSS JOIN attempts ON attempts.job_id = asked.value ->> 0 AND attempts.attempt = asked.value ->> 1
        CROSS JOIN jobs ON jobs.id = attempts.job_id
        WHERE attempts.attempt < jobs.attempt OR jobs.nonce = asked.value ->> 2",
        asked
    )
    .fetch_all(reader.connection())
    .await?;
    let lease =
        |(job, attempt, nonce)| LeaseFor { job: JobId(job), attempt: Attempt(attempt), nonce: Nonce(nonce) };
    Ok(found.into_iter().map(|row| lease((row.job_id, row.attempt, row.nonce))).collect())
}
