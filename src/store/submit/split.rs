//! Cutting a job that nobody has begun where another sweep forks off.

use sqlx::SqliteConnection;

use super::rows::Place;
use crate::lease::{Event, JobState};
use crate::store::kept::copy_keeps;
use crate::store::unit::{Remains, Unit};
use crate::store::{StoreError, load};
use crate::vocabulary::JobId;

/// Cuts a job behind an epoch. A new job does what comes before; the old one keeps its id, its hash and its trials, and
/// goes on from there. Gives the new one.
pub(super) async fn split(unit: &mut Unit, place: Place) -> Result<JobId, StoreError> {
    let Place { job: id, epoch } = place;
    unit.load(vec![id]).await?;
    let required = load::requirements(unit.connection(), std::iter::once(&id)).await?;
    unit.load(required.iter().map(|(_, required)| *required).collect()).await?;
    let first = unit.next_job().await?;
    insert_first_part(unit.connection(), id, first, epoch).await?;
    // The parent had the whole job as a dependent, and has its first part now. The second part needs that, and both read
    // the same weights.
    let mut open = 1;
    for (_, required) in required {
        let entry = unit.entry_mut(required)?;
        entry.live_dependents += 1;
        entry.is_changed = true;
        open += i64::from(entry.job.state != JobState::Succeeded);
    }
    let entry = unit.entry_mut(id)?;
    entry.parent = Some(first);
    entry.first_epoch = epoch + 1;
    entry.open_needs = open;
    entry.is_moved = true;
    entry.is_changed = true;
    unit.step(id, &Event::NeedOpened, &Remains::default(), unit.now);
    unit.load(vec![first]).await?;
    Ok(first)
}

async fn insert_first_part(
    connection: &mut SqliteConnection,
    whole: JobId,
    first: JobId,
    epoch: u32,
) -> Result<(), StoreError> {
    // Another job may have ended with the state at the cut and have left nothing to go on from.
    sqlx::query!(
        "-- retire_end
        UPDATE jobs SET is_current = 0
        WHERE is_current = 1
          AND hash = (SELECT inner_states.hash FROM inner_states WHERE job_id = ? AND epoch = ?)",
        whole.0,
        epoch
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- insert_first_part
        INSERT INTO jobs (id, hash, parent_id, sweep_id, trial, context_id, first_epoch, last_epoch, cpus, retries, state,
                          open_needs, live_dependents)
        SELECT ?1, inner_states.hash, parent_id, sweep_id, trial, context_id, first_epoch, inner_states.epoch, cpus,
               retries, state, open_needs, 1
        FROM jobs
        CROSS JOIN inner_states ON inner_states.job_id = jobs.id AND inner_states.epoch = ?2
        WHERE jobs.id = ?3",
        first.0,
        epoch,
        whole.0
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- drop_inner_state
        DELETE FROM inner_states WHERE job_id = ? AND epoch = ?",
        whole.0,
        epoch
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- move_first_inner_states
        UPDATE inner_states SET job_id = ? WHERE job_id = ? AND epoch < ?",
        first.0,
        whole.0,
        epoch
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- copy_requirements
        INSERT INTO job_requirements (job_id, required_id)
        SELECT ?, required_id FROM job_requirements WHERE job_id = ?",
        first.0,
        whole.0
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- copy_joins
        INSERT INTO joins (sweep_id, job_id, is_ready)
        SELECT sweep_id, ?, is_ready FROM joins WHERE job_id = ?",
        first.0,
        whole.0
    )
    .execute(&mut *connection)
    .await?;
    copy_keeps(connection, whole, first).await
}
