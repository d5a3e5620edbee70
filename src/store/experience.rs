//! What finished jobs of a kind have cost, and how far seeds spread: what can be told of a sweep before it runs.

use std::collections::BTreeSet;

use super::{Reader, StoreError};
use crate::vocabulary::SweepId;

/// Of one sweep no more is read: what the newest of it say is enough.
const MOST_JOBS: i64 = 1000;

/// A job that finished.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedJobRow {
    /// Epochs that its last attempt ran.
    pub epochs: u64,
    pub seconds: f64,
    /// Where it ran; empty for programs.
    pub device: String,
    pub checkpoint_bytes: Option<u64>,
}

/// Jobs of a sweep in which trials end, that succeeded and have one of these contexts (a JSON array of texts).
///
/// # Errors
/// When the file can't be read.
pub async fn list_experience(
    reader: &mut Reader,
    sweep: SweepId,
    contexts: &str,
) -> Result<Vec<FinishedJobRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_experience
        SELECT jobs.last_epoch - MIN(MAX(attempts.resumed_epoch, jobs.first_epoch - 1), jobs.last_epoch - 1) AS \"epochs!: i64\",
               attempts.record ->> 'wall_seconds' AS \"seconds: f64\", attempts.record ->> 'device' AS \"device: String\",
               artifacts.size_bytes AS \"size_bytes?: i64\"
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        CROSS JOIN contexts ON contexts.id = jobs.context_id
        CROSS JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        LEFT JOIN artifacts ON artifacts.job_id = jobs.id AND artifacts.kind = 'checkpoint'
        WHERE trials.sweep_id = ?1 AND jobs.state = 'succeeded'
          AND contexts.work IN (SELECT value FROM json_each(?2))
        ORDER BY trials.number DESC
        LIMIT ?3",
        sweep.0,
        contexts,
        MOST_JOBS
    )
    .fetch_all(reader.connection())
    .await?;
    let jobs = rows.into_iter().filter_map(|row| {
        Some(FinishedJobRow {
            epochs: u64::try_from(row.epochs).ok().filter(|epochs| *epochs > 0)?,
            seconds: row.seconds.filter(|seconds| *seconds > 0.0)?,
            device: row.device.unwrap_or_default(),
            checkpoint_bytes: row.size_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        })
    });
    Ok(jobs.collect())
}

/// The last values of a metric of trials that succeeded and have one of these contexts, each with its configuration.
///
/// # Errors
/// When the file can't be read.
pub async fn list_seed_values(
    reader: &mut Reader,
    sweep: SweepId,
    contexts: &str,
    metric: &str,
) -> Result<Vec<(String, f64)>, StoreError> {
    let rows = sqlx::query!(
        "-- list_seed_values
        SELECT trials.parameters, trials.job_id,
               (SELECT reports.value FROM reports
                WHERE reports.job_id = jobs.id AND reports.metric = ?3
                ORDER BY reports.epoch DESC LIMIT 1) AS \"value: f64\"
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        CROSS JOIN contexts ON contexts.id = jobs.context_id
        WHERE trials.sweep_id = ?1 AND jobs.state = 'succeeded'
          AND contexts.work IN (SELECT value FROM json_each(?2))
        ORDER BY trials.number DESC
        LIMIT ?4",
        sweep.0,
        contexts,
        metric,
        MOST_JOBS
    )
    .fetch_all(reader.connection())
    .await?;
    // What was drawn twice with one seed is one result.
    let mut counted = BTreeSet::new();
    let values = rows.into_iter().filter(|row| counted.insert(row.job_id));
    Ok(values.filter_map(|row| Some((row.parameters, row.value?))).collect())
}
