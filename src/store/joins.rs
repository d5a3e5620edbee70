//! Which jobs of other sweeps a sweep waits for. A row lives as long as its job is unfinished.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use super::StoreError;
use super::flush::rows;
use super::load::id_list;
use super::unit::{Entry, Unit};
use crate::vocabulary::{JobId, SweepId};

/// Notes that a sweep waits for these jobs and what they need, as far as they are other sweeps' and unfinished.
pub(super) async fn join(unit: &mut Unit, sweep: SweepId, jobs: &BTreeSet<JobId>) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    if let Some(known) = &mut unit.memory.known {
        known.has_joins = true;
    }
    let jobs = id_list(jobs);
    sqlx::query!(
        "-- join_jobs
        WITH RECURSIVE chain (id) AS (
            SELECT value FROM json_each(?1)
            UNION
            SELECT jobs.parent_id
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.id
            WHERE jobs.parent_id IS NOT NULL AND jobs.state IN ('blocked', 'queued', 'leased')
            UNION
            SELECT job_requirements.required_id
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.id
            CROSS JOIN job_requirements ON job_requirements.job_id = jobs.id
            WHERE jobs.state IN ('blocked', 'queued', 'leased')
        )
        INSERT INTO joins (sweep_id, job_id, is_ready)
        SELECT ?2, jobs.id, jobs.state = 'queued' AND jobs.waits_until IS NULL
        FROM chain
        CROSS JOIN jobs ON jobs.id = chain.id
        WHERE jobs.sweep_id <> ?2 AND jobs.state IN ('blocked', 'queued', 'leased')
        ON CONFLICT (sweep_id, job_id) DO NOTHING",
        jobs,
        sweep.0
    )
    .execute(unit.connection())
    .await?;
    Ok(())
}

/// Keeps what other sweeps know of the jobs that they wait for.
pub(super) async fn save(connection: &mut SqliteConnection, changed: &[&Entry]) -> Result<(), StoreError> {
    let joined = changed.iter().filter(|entry| entry.is_joined);
    let (live, over): (Vec<&Entry>, Vec<&Entry>) = joined.partition(|entry| entry.is_live());
    let turned: Vec<(i64, u8)> = live
        .iter()
        .filter(|entry| entry.is_ready() != entry.as_read.is_ready)
        .map(|entry| (entry.id.0, u8::from(entry.is_ready())))
        .collect();
    if !turned.is_empty() {
        let turned = rows(&turned)?;
        sqlx::query!(
            "-- turn_joins
            UPDATE joins SET is_ready = turned.value ->> 1
            FROM jsonb_each(?) AS turned
            WHERE joins.job_id = turned.value ->> 0",
            turned
        )
        .execute(&mut *connection)
        .await?;
    }
    if !over.is_empty() {
        let over = id_list(over.iter().map(|entry| &entry.id));
        sqlx::query!(
            "-- end_joins
            DELETE FROM joins WHERE job_id IN (SELECT value FROM json_each(?))",
            over
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}
