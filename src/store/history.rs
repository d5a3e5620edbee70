//! How a sweep was asked for and how its trials were trained: what is needed to do it again.

use std::collections::BTreeMap;

use super::{Reader, StoreError, epoch};
use crate::vocabulary::{Metrics, SweepId, TrialNumber};

/// A sweep as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    pub name: String,
    pub spec: String,
    /// A JSON array.
    pub overrides: String,
    pub working_directory: String,
    /// What programs are run from, as JSON.
    pub code: Option<String>,
}

/// A trial that has succeeded, with all that was reported of it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    pub reports: BTreeMap<u32, Metrics>,
    /// Epochs that belong to jobs before its last one.
    pub inherited_epochs: u32,
    /// `protocol::trial::TrialRecord` of its last job as JSON.
    pub record: String,
}

/// How a sweep was asked for.
///
/// # Errors
/// When the file can't be read.
pub async fn find_request(reader: &mut Reader, sweep: SweepId) -> Result<Option<RequestRow>, StoreError> {
    let row = sqlx::query_as!(
        RequestRow,
        "-- find_request
        SELECT name, spec, overrides, working_directory, code
        FROM sweeps
        WHERE id = ?",
        sweep.0
    )
    .fetch_optional(reader.connection())
    .await?;
    Ok(row)
}

/// The sweeps of programs, each with what these are run from, as JSON.
///
/// # Errors
/// When the file can't be read.
pub async fn list_code(reader: &mut Reader) -> Result<Vec<(SweepId, String)>, StoreError> {
    let rows = sqlx::query!(
        "-- list_code
        SELECT id AS \"id!\", code AS \"code!\" FROM sweeps WHERE code IS NOT NULL ORDER BY id"
    )
    .fetch_all(reader.connection())
    .await?;
    Ok(rows.into_iter().map(|row| (SweepId(row.id), row.code)).collect())
}

/// How a trial was trained, if it has succeeded.
///
/// # Errors
/// When the file can't be read.
pub async fn find_history(
    reader: &mut Reader,
    sweep: SweepId,
    trial: TrialNumber,
) -> Result<Option<HistoryRow>, StoreError> {
    let last = sqlx::query!(
        "-- find_last_job
        SELECT jobs.id AS \"id!\", jobs.first_epoch, attempts.record
        FROM trials
        JOIN jobs ON jobs.id = trials.job_id
        JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        WHERE trials.sweep_id = ? AND trials.number = ? AND jobs.state = 'succeeded'",
        sweep.0,
        trial.0
    )
    .fetch_optional(reader.connection())
    .await?;
    let Some(last) = last else { return Ok(None) };
    // Of each job before the last one what counts ends where the next one begins; of the last one all does, since a program
    // counts its epochs as it likes.
    let rows = sqlx::query!(
        "-- list_reports_of_line
        WITH RECURSIVE line (job_id, until) AS (
            SELECT id, 4294967295 FROM jobs WHERE id = ?
            UNION ALL
            SELECT jobs.parent_id, jobs.first_epoch - 1
            FROM line
            JOIN jobs ON jobs.id = line.job_id
            WHERE jobs.parent_id IS NOT NULL
        )
        SELECT reports.epoch AS \"epoch!: i64\", reports.metric AS \"metric!: String\", reports.value AS \"value!: f64\"
        FROM line
        CROSS JOIN reports ON reports.job_id = line.job_id AND reports.epoch <= line.until",
        last.id
    )
    .fetch_all(reader.connection())
    .await?;
    let mut reports: BTreeMap<u32, Metrics> = BTreeMap::new();
    for row in rows {
        let epoch = epoch(row.epoch);
        reports.entry(epoch).or_default().insert(row.metric, row.value);
    }
    Ok(Some(HistoryRow {
        reports,
        inherited_epochs: u32::try_from(last.first_epoch - 1).unwrap_or(0),
        record: last.record.unwrap_or_else(|| "{}".to_owned()),
    }))
}
