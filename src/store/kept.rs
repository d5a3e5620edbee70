//! Checkpoints that stay beside a job's newest: the best by a sweep's metric, or all, where a sweep asks for it (`keeps`).
//!
//! Every one that is reported together with a completed epoch is a candidate. What no sweep wants goes at the end of the same
//! transaction, so that between two of them a job has exactly what is wanted of what has been reported.

use std::collections::BTreeSet;

use serde::Serialize;
use sqlx::SqliteConnection;

use super::flush::rows;
use super::load::id_list;
use super::{Checkpoint, LeaseFor, StoreError};
use crate::vocabulary::{CheckpointHash, JobId, SweepId, Timestamp};

/// What a transaction has come to.
#[derive(Default)]
pub(super) struct KeptWrites {
    /// Jobs that are begun again, with the epochs that they don't run again.
    begun_again: Vec<(i64, u32)>,
    candidates: Vec<Candidate>,
}

/// Job, epoch, hash, size, moment.
#[derive(Serialize)]
struct Candidate(i64, u32, String, i64, i64);

impl KeptWrites {
    /// Notes a new attempt: the epochs behind its beginning are trained anew, so their states are no result yet.
    pub(super) fn begin(&mut self, job: JobId, resumed_epoch: u32) {
        self.begun_again.push((job.0, resumed_epoch));
    }

    /// Notes a checkpoint that was reported. One within an epoch is of no use but to go on from.
    pub(super) fn report(&mut self, lease: LeaseFor, checkpoint: &Checkpoint, now: Timestamp) {
        let Checkpoint { hash, epoch, step, size_bytes } = checkpoint;
        if *step == 0 && *epoch > 0 {
            let size_bytes = i64::try_from(*size_bytes).unwrap_or(i64::MAX);
            self.candidates.push(Candidate(lease.job.0, *epoch, hash.to_string(), size_bytes, now.0));
        }
    }
}

/// Writes what is kept, behind the reports that decide about it. Gives the files that are kept no longer.
pub(super) async fn save(
    connection: &mut SqliteConnection,
    writes: &KeptWrites,
) -> Result<Vec<CheckpointHash>, StoreError> {
    let mut dropped = drop_undone(connection, &writes.begun_again).await?;
    dropped.extend(insert(connection, &writes.candidates).await?);
    let jobs = writes.candidates.iter().map(|candidate| JobId(candidate.0)).collect::<Vec<_>>();
    dropped.extend(drop_unwanted(connection, &jobs).await?);
    let parse = |hash: String| hash.parse().map_err(|_| StoreError::Damaged(format!("`{hash}` is kept")));
    dropped.into_iter().map(parse).collect()
}

async fn drop_undone(
    connection: &mut SqliteConnection,
    begun_again: &[(i64, u32)],
) -> Result<Vec<String>, StoreError> {
    if begun_again.is_empty() {
        return Ok(Vec::new());
    }
    let begun_again = rows(&begun_again)?;
    let dropped = sqlx::query_scalar!(
        "-- drop_undone_checkpoints
        DELETE FROM kept_checkpoints
        WHERE job_id IN (SELECT begun.value ->> 0 FROM json_each(?1) AS begun)
          AND epoch > (SELECT MIN(begun.value ->> 1) FROM json_each(?1) AS begun WHERE begun.value ->> 0 = job_id)
        RETURNING hash",
        begun_again
    )
    .fetch_all(connection)
    .await?;
    Ok(dropped)
}

async fn insert(
    connection: &mut SqliteConnection,
    candidates: &[Candidate],
) -> Result<Vec<String>, StoreError> {
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let candidates = rows(&candidates)?;
    let replaced = sqlx::query_scalar!(
        "-- list_replaced_checkpoints
        SELECT kept.hash
        FROM json_each(?) AS candidate
        CROSS JOIN kept_checkpoints AS kept
            ON kept.job_id = candidate.value ->> 0 AND kept.epoch = candidate.value ->> 1
        WHERE kept.hash <> candidate.value ->> 2",
        candidates
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        "-- keep_candidates
        INSERT INTO kept_checkpoints (job_id, epoch, hash, size_bytes, created_at)
        SELECT candidate.value ->> 0, candidate.value ->> 1, candidate.value ->> 2, candidate.value ->> 3,
               candidate.value ->> 4
        FROM json_each(?) AS candidate
        WHERE EXISTS (SELECT 1 FROM keeps WHERE keeps.job_id = candidate.value ->> 0)
        ON CONFLICT (job_id, epoch) DO UPDATE
        SET hash = excluded.hash, size_bytes = excluded.size_bytes, created_at = excluded.created_at",
        candidates
    )
    .execute(connection)
    .await?;
    Ok(replaced)
}

/// Of equally good ones the earliest is the best.
async fn drop_unwanted(connection: &mut SqliteConnection, jobs: &[JobId]) -> Result<Vec<String>, StoreError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = id_list(jobs);
    let dropped = sqlx::query_scalar!(
        "-- drop_unwanted_checkpoints
        DELETE FROM kept_checkpoints
        WHERE job_id IN (SELECT value FROM json_each(?))
          AND NOT EXISTS (
              SELECT 1
              FROM keeps
              CROSS JOIN sweeps ON sweeps.id = keeps.sweep_id
              LEFT JOIN reports AS own ON own.job_id = keeps.job_id AND own.epoch = kept_checkpoints.epoch
                                      AND own.metric = sweeps.metric_name
              WHERE keeps.job_id = kept_checkpoints.job_id
                AND (sweeps.keeps_more = 'all'
                     OR own.value IS NOT NULL AND NOT EXISTS (
                         SELECT 1
                         FROM kept_checkpoints AS other
                         CROSS JOIN reports AS its ON its.job_id = other.job_id AND its.epoch = other.epoch
                                                  AND its.metric = sweeps.metric_name
                         WHERE other.job_id = keeps.job_id
                           AND (CASE sweeps.metric_goal WHEN 'maximize' THEN its.value > own.value
                                                        ELSE its.value < own.value END
                                OR its.value = own.value AND its.epoch < own.epoch))))
        RETURNING hash",
        jobs
    )
    .fetch_all(connection)
    .await?;
    Ok(dropped)
}

/// Of these jobs those of which a sweep keeps more than the last checkpoint.
pub(super) async fn filter(
    connection: &mut SqliteConnection,
    jobs: &BTreeSet<JobId>,
) -> Result<BTreeSet<JobId>, StoreError> {
    if jobs.is_empty() {
        return Ok(BTreeSet::new());
    }
    let jobs = id_list(jobs);
    let found = sqlx::query_scalar!(
        "-- filter_kept
        SELECT DISTINCT keeps.job_id AS \"job_id!\"
        FROM json_each(?) AS job
        CROSS JOIN keeps ON keeps.job_id = job.value",
        jobs
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(JobId).collect())
}

/// Notes that a sweep keeps checkpoints of all jobs that its trials go through and that may still report some.
pub(super) async fn keep_more(connection: &mut SqliteConnection, sweep: SweepId) -> Result<(), StoreError> {
    sqlx::query!(
        "-- keep_more
        WITH RECURSIVE chain (id) AS (
            SELECT job_id FROM trials WHERE sweep_id = ?1
            UNION
            SELECT jobs.parent_id
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.id
            WHERE jobs.parent_id IS NOT NULL
        )
        INSERT INTO keeps (job_id, sweep_id)
        SELECT jobs.id, ?1
        FROM chain
        CROSS JOIN jobs ON jobs.id = chain.id
        WHERE jobs.state <> 'succeeded'",
        sweep.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is kept of one job is kept of another that does its epochs, or a part of them.
pub(super) async fn copy_keeps(
    connection: &mut SqliteConnection,
    from: JobId,
    to: JobId,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- copy_keeps
        INSERT INTO keeps (job_id, sweep_id) SELECT ?, sweep_id FROM keeps WHERE job_id = ?",
        to.0,
        from.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
