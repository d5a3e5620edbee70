//! Checkpoints of jobs: which one is a job's newest, and which files nobody needs any more.
//!
//! The table only names files. What becomes of one that it no longer names is the coordinator's business, after the
//! commit.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use super::leases::LeaseFor;
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

/// Makes `checkpoint` the job's newest, in the place of the one before, whose hash is given back. The lease is known to
/// be current.
pub(super) async fn replace(
    connection: &mut SqliteConnection,
    lease: LeaseFor,
    checkpoint: &Checkpoint,
    now: Timestamp,
) -> Result<Option<CheckpointHash>, StoreError> {
    // A request that arrives twice may arrive late: what it brings must not displace what the same attempt brought
    // since. Another attempt's checkpoint may well be ahead; where its file was lost, this attempt began anew.
    let is_overtaken = sqlx::query_scalar!(
        "-- is_checkpoint_overtaken
        SELECT EXISTS (
            SELECT 1 FROM artifacts
            WHERE job_id = ? AND kind = 'checkpoint' AND attempt = ? AND (epoch, step) > (?, ?)
        ) AS \"is_overtaken!: bool\"",
        lease.job.0,
        lease.attempt.0,
        checkpoint.epoch,
        checkpoint.step
    )
    .fetch_one(&mut *connection)
    .await?;
    if is_overtaken {
        return Ok(None);
    }
    let replaced = sqlx::query_scalar!(
        "-- drop_checkpoint
        DELETE FROM artifacts WHERE job_id = ? AND kind = 'checkpoint' RETURNING hash",
        lease.job.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    insert(connection, lease, checkpoint, now).await?;
    let replaced = replaced.map(|hash| parse_hash(lease.job, &hash)).transpose()?;
    Ok(replaced.filter(|hash| *hash != checkpoint.hash))
}

async fn insert(
    connection: &mut SqliteConnection,
    lease: LeaseFor,
    checkpoint: &Checkpoint,
    now: Timestamp,
) -> Result<(), StoreError> {
    let hash = checkpoint.hash.to_string();
    let size_bytes = i64::try_from(checkpoint.size_bytes).unwrap_or(i64::MAX);
    sqlx::query!(
        "-- insert_checkpoint
        INSERT INTO artifacts (job_id, kind, epoch, step, attempt, hash, size_bytes, created_at)
        VALUES (?, 'checkpoint', ?, ?, ?, ?, ?, ?)",
        lease.job.0,
        checkpoint.epoch,
        checkpoint.step,
        lease.attempt.0,
        hash,
        size_bytes,
        now.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The job's newest checkpoint.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    job: JobId,
) -> Result<Option<Checkpoint>, StoreError> {
    let row = sqlx::query!(
        "-- find_checkpoint
        SELECT hash, epoch AS \"epoch!\", step, size_bytes
        FROM artifacts
        WHERE job_id = ? AND kind = 'checkpoint'",
        job.0
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Checkpoint {
        hash: parse_hash(job, &row.hash)?,
        epoch: u32::try_from(row.epoch).unwrap_or(u32::MAX),
        step: u32::try_from(row.step).unwrap_or(u32::MAX),
        size_bytes: u64::try_from(row.size_bytes).unwrap_or(0),
    }))
}

/// Hashes of all files that the table names, each once.
///
/// # Errors
/// When the file can't be read.
pub async fn list_artifact_hashes(reader: &mut Reader) -> Result<BTreeSet<String>, StoreError> {
    let hashes = sqlx::query_scalar!(
        "-- list_artifact_hashes
        SELECT DISTINCT hash FROM artifacts"
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
        SELECT job_id, hash, epoch AS \"epoch!\", step, size_bytes
        FROM artifacts
        WHERE kind = 'checkpoint'
        ORDER BY job_id"
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
        SELECT EXISTS (SELECT 1 FROM artifacts WHERE hash = ?) AS \"is_named!: bool\"",
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
