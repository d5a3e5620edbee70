//! Checkpoints of jobs: which one is a job's newest, and which files nobody needs any more.
//!
//! The table only names files. What becomes of one that it no longer names is the coordinator's business, after the
//! commit.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::SqliteConnection;

use super::flush::rows;
use super::load::id_list;
use super::{Reader, StoreError};
use crate::vocabulary::{CheckpointHash, JobId, Timestamp};

/// A state of a job that training can go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub hash: CheckpointHash,
    /// Epochs completed.
    pub epoch: u32,
    /// Steps completed of the epoch after that.
    pub step: u32,
    pub size_bytes: u64,
}

/// A job's newest checkpoint as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) checkpoint: Checkpoint,
    /// Under which attempt it was reported; the first versions did not say.
    pub(super) attempt: Option<i64>,
    pub(super) created_at: Timestamp,
}

impl Held {
    pub(super) fn is_ahead_of(&self, other: &Held) -> bool {
        let place = |held: &Held| (held.checkpoint.epoch, held.checkpoint.step);
        place(self) > place(other)
    }
}

/// The newest checkpoints of these jobs.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    jobs: &BTreeSet<JobId>,
) -> Result<BTreeMap<JobId, Held>, StoreError> {
    if jobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let jobs = id_list(jobs);
    let rows = sqlx::query!(
        "-- load_checkpoints
        SELECT artifacts.job_id, artifacts.hash, artifacts.epoch AS \"epoch!\", artifacts.step, artifacts.attempt,
               artifacts.size_bytes, artifacts.created_at
        FROM json_each(?) AS job
        CROSS JOIN artifacts ON artifacts.job_id = job.value AND artifacts.kind = 'checkpoint'",
        jobs
    )
    .fetch_all(connection)
    .await?;
    let held = rows.into_iter().map(|row| {
        let job = JobId(row.job_id);
        let checkpoint = Checkpoint {
            hash: parse_hash(job, &row.hash)?,
            epoch: u32::try_from(row.epoch).unwrap_or(u32::MAX),
            step: u32::try_from(row.step).unwrap_or(u32::MAX),
            size_bytes: u64::try_from(row.size_bytes).unwrap_or(0),
        };
        Ok((job, Held { checkpoint, attempt: row.attempt, created_at: Timestamp(row.created_at) }))
    });
    held.collect()
}

/// Job, epoch, step, attempt, hash, size, moment.
#[derive(Serialize)]
struct SavedCheckpoint(i64, u32, u32, Option<i64>, String, i64, i64);

/// Writes what has become of these jobs' checkpoints.
pub(super) async fn save(
    connection: &mut SqliteConnection,
    changed: &BTreeSet<JobId>,
    held: &BTreeMap<JobId, Held>,
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let jobs = id_list(changed);
    sqlx::query!(
        "-- drop_checkpoints
        DELETE FROM artifacts WHERE kind = 'checkpoint' AND job_id IN (SELECT value FROM json_each(?))",
        jobs
    )
    .execute(&mut *connection)
    .await?;
    let saved = changed.iter().filter_map(|job| held.get(job).map(|held| SavedCheckpoint::of(*job, held)));
    let saved: Vec<SavedCheckpoint> = saved.collect();
    if saved.is_empty() {
        return Ok(());
    }
    let saved = rows(&saved)?;
    sqlx::query!(
        "-- insert_checkpoints
        INSERT INTO artifacts (job_id, kind, epoch, step, attempt, hash, size_bytes, created_at)
        SELECT saved.value ->> 0, 'checkpoint', saved.value ->> 1, saved.value ->> 2, saved.value ->> 3,
               saved.value ->> 4, saved.value ->> 5, saved.value ->> 6
        FROM jsonb_each(?) AS saved",
        saved
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl SavedCheckpoint {
    fn of(job: JobId, held: &Held) -> SavedCheckpoint {
        let Checkpoint { hash, epoch, step, size_bytes } = &held.checkpoint;
        let size_bytes = i64::try_from(*size_bytes).unwrap_or(i64::MAX);
        SavedCheckpoint(job.0, *epoch, *step, held.attempt, hash.to_string(), size_bytes, held.created_at.0)
    }
}

/// Hashes of all files that the table names, each once.
///
/// # Errors
/// When the file can't be read.
pub async fn list_artifact_hashes(reader: &mut Reader) -> Result<BTreeSet<String>, StoreError> {
    let hashes = sqlx::query_scalar!(
        "-- list_artifact_hashes
        SELECT hash FROM artifacts
        UNION
        SELECT hash FROM kept_checkpoints"
    )
    .fetch_all(reader.connection())
    .await?;
    Ok(hashes.into_iter().collect())
}

/// Every checkpoint with the job that it belongs to.
///
/// # Errors
/// When the file can't be read.
pub async fn list_checkpoints(reader: &mut Reader) -> Result<Vec<(JobId, Checkpoint)>, StoreError> {
    let rows = sqlx::query!(
        "-- list_checkpoints
        SELECT job_id AS \"job_id!\", hash AS \"hash!\", epoch AS \"epoch!\", step AS \"step!\", size_bytes AS \"size_bytes!\"
        FROM artifacts
        WHERE kind = 'checkpoint'
        UNION
        SELECT job_id, hash, epoch, 0, size_bytes
        FROM kept_checkpoints
        ORDER BY 1, 3"
    )
    .fetch_all(reader.connection())
    .await?;
    let checkpoint = |row: (i64, String, i64, i64, i64)| {
        let (job, hash, epoch, step, size_bytes) = row;
        let hash = parse_hash(JobId(job), &hash)?;
        let number = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        let size_bytes = u64::try_from(size_bytes).unwrap_or(0);
        Ok((JobId(job), Checkpoint { hash, epoch: number(epoch), step: number(step), size_bytes }))
    };
    rows.into_iter()
        .map(|row| checkpoint((row.job_id, row.hash, row.epoch, row.step, row.size_bytes)))
        .collect()
}

/// Whether the table names this file: two jobs in the same state have the same checkpoint.
///
/// # Errors
/// When the file can't be read.
pub async fn is_artifact_named(reader: &mut Reader, hash: &CheckpointHash) -> Result<bool, StoreError> {
    let hash = hash.to_string();
    let is_named = sqlx::query_scalar!(
        "-- is_artifact_named
        SELECT EXISTS (SELECT 1 FROM artifacts WHERE hash = ?1)
               OR EXISTS (SELECT 1 FROM kept_checkpoints WHERE hash = ?1) AS \"is_named!: bool\"",
        hash
    )
    .fetch_one(reader.connection())
    .await?;
    Ok(is_named)
}

fn parse_hash(job: JobId, hash: &str) -> Result<CheckpointHash, StoreError> {
    hash.parse()
        .map_err(|error| StoreError::Damaged(format!("job {job} has a checkpoint without a name: {error}")))
}
