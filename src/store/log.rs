//! Attempts, as far as their logs are concerned.

use std::collections::BTreeSet;

use super::flush::rows;
use super::{LeaseFor, Reader, StoreError};
use crate::vocabulary::{Attempt, JobId, Nonce};

/// An attempt, as far as its log is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    pub host: String,
    pub has_ended: bool,
    pub log_tail: Option<String>,
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
