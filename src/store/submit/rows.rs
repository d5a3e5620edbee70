//! Statements of a submission, each for a chunk of rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use sqlx::SqliteConnection;

use super::{Earlier, NewSweep, NewTrial, Submitted};
use crate::store::flush::rows;
use crate::store::load::id_list;
use crate::store::{StoreError, epoch};
use crate::vocabulary::{Goal, JobId, StateHash, SweepId, Timestamp, TrialNumber};

/// A job to be stored.
pub(super) struct JobRow<'a> {
    pub(super) id: JobId,
    pub(super) state: StateHash,
    pub(super) parent: Option<JobId>,
    pub(super) required: BTreeSet<JobId>,
    pub(super) trial: TrialNumber,
    pub(super) context: i64,
    pub(super) first_epoch: u32,
    pub(super) last_epoch: u32,
    pub(super) cpus: u16,
    pub(super) open_needs: i64,
    pub(super) live_dependents: i64,
    pub(super) is_kept: bool,
    /// States after its epochs from the first one on.
    pub(super) inner_states: &'a [StateHash],
}

/// A state within a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) job: JobId,
    pub(super) epoch: u32,
}

/// The sweep with this expansion.
pub(super) async fn find_expansion(
    connection: &mut SqliteConnection,
    hash: &str,
) -> Result<Option<Submitted>, StoreError> {
    let found = sqlx::query!(
        "-- find_expansion
        SELECT id AS \"id!\",
               trials_queued + trials_running + trials_succeeded + trials_failed + trials_cancelled AS \"trials!: i64\"
        FROM sweeps
        WHERE expansion_hash = ?",
        hash
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|row| Submitted {
        sweep: SweepId(row.id),
        is_existing: true,
        trials: u64::try_from(row.trials).unwrap_or(0),
        trials_reused: 0,
        jobs_new: 0,
        epochs_to_run: 0,
        epochs_unshared: 0,
        epochs_run_again: 0,
        earlier: None,
    }))
}

/// The newest unfinished sweep of the same spec, where it is the code that makes it another one.
pub(super) async fn find_earlier(
    connection: &mut SqliteConnection,
    own: SweepId,
    sweep: &NewSweep,
) -> Result<Option<Earlier>, StoreError> {
    let Some(code) = &sweep.code else { return Ok(None) };
    let found = sqlx::query!(
        "-- find_earlier
        SELECT id AS \"id!\", trials_queued + trials_running AS \"unfinished!: i64\"
        FROM sweeps
        WHERE id <> ?1 AND name = ?2 AND spec = ?3 AND overrides = ?4 AND working_directory = ?5
          AND (code -> 'files' <> ?6 -> 'files' OR code ->> '$.kept.hash' IS NOT ?6 ->> '$.kept.hash')
          AND trials_queued + trials_running > 0
        ORDER BY id DESC
        LIMIT 1",
        own.0,
        sweep.name,
        sweep.spec,
        sweep.overrides,
        sweep.working_directory,
        code
    )
    .fetch_optional(connection)
    .await?;
    let earlier =
        |id, unfinished| Earlier { sweep: SweepId(id), unfinished: u64::try_from(unfinished).unwrap_or(0) };
    Ok(found.map(|row| earlier(row.id, row.unfinished)))
}

pub(super) async fn insert_sweep(
    connection: &mut SqliteConnection,
    sweep: &NewSweep,
    now: Timestamp,
) -> Result<SweepId, StoreError> {
    let metric_name = sweep.metric.as_ref().map(|metric| metric.name.as_str());
    let metric_goal = sweep.metric.as_ref().map(|metric| match metric.goal {
        Goal::Maximize => "maximize",
        Goal::Minimize => "minimize",
    });
    let keeps_more = sweep.keep.more();
    let id = sqlx::query_scalar!(
        "-- insert_sweep
        INSERT INTO sweeps (name, spec, overrides, working_directory, expansion_hash, metric_name, metric_goal,
                            swept, created_at, priority, resources, keeps_more, code)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        RETURNING id",
        sweep.name,
        sweep.spec,
        sweep.overrides,
        sweep.working_directory,
        sweep.expansion_hash,
        metric_name,
        metric_goal,
        sweep.swept,
        now.0,
        sweep.priority,
        sweep.resources,
        keeps_more,
        sweep.code
    )
    .fetch_one(connection)
    .await?;
    Ok(SweepId(id))
}

/// Changes what attempts may use that are leased from now on.
pub(super) async fn set_resources(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    resources: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- set_resources
        UPDATE sweeps SET resources = ?1 WHERE id = ?2 AND resources <> ?1",
        resources,
        sweep.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ids of the contexts, in their order.
pub(super) async fn ensure_contexts(
    connection: &mut SqliteConnection,
    contexts: &[String],
) -> Result<Vec<i64>, StoreError> {
    let list = rows(&contexts)?;
    sqlx::query!(
        "-- ensure_contexts
        INSERT INTO contexts (work) SELECT value FROM json_each(?) WHERE TRUE ON CONFLICT (work) DO NOTHING",
        list
    )
    .execute(&mut *connection)
    .await?;
    let ids = sqlx::query_scalar!(
        "-- find_contexts
        SELECT contexts.id AS \"id!\"
        FROM json_each(?) AS new
        CROSS JOIN contexts ON contexts.work = new.value
        ORDER BY new.key",
        list
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Hashes as a JSON array of hexadecimal texts.
fn hash_list(states: &[StateHash]) -> String {
    let mut list = String::with_capacity(35 * states.len() + 2);
    list.push('[');
    for (at, state) in states.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(list, "{comma}\"{state}\"").expect("a string takes any text");
    }
    list.push(']');
    list
}

/// The current jobs that end with these states, each with the state's place in the list.
pub(super) async fn find_ends(
    connection: &mut SqliteConnection,
    states: &[StateHash],
) -> Result<Vec<(usize, JobId)>, StoreError> {
    if states.is_empty() {
        return Ok(Vec::new());
    }
    let states = hash_list(states);
    let rows = sqlx::query!(
        "-- find_ends
        SELECT CAST(state.key AS INTEGER) AS \"at!: i64\", jobs.id AS \"id!\"
        FROM json_each(?) AS state
        CROSS JOIN jobs ON jobs.hash = unhex(state.value) AND jobs.is_current = 1",
        states
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (usize::try_from(row.at).unwrap_or(0), JobId(row.id))).collect())
}

pub(super) async fn has_inner_states(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let has = sqlx::query_scalar!(
        "-- has_inner_states
        SELECT EXISTS (SELECT 1 FROM inner_states) AS \"has!: bool\""
    )
    .fetch_one(connection)
    .await?;
    Ok(has)
}

/// The current jobs that have these states within, each with the state's place in the list.
pub(super) async fn find_inner(
    connection: &mut SqliteConnection,
    states: &[StateHash],
) -> Result<Vec<(usize, Place)>, StoreError> {
    if states.is_empty() {
        return Ok(Vec::new());
    }
    let states = hash_list(states);
    let rows = sqlx::query!(
        "-- find_inner
        SELECT CAST(state.key AS INTEGER) AS \"at!: i64\", inner_states.job_id AS \"job_id!\", inner_states.epoch AS \"epoch!\"
        FROM json_each(?) AS state
        CROSS JOIN inner_states ON inner_states.hash = unhex(state.value)
        CROSS JOIN jobs ON jobs.id = inner_states.job_id
        WHERE jobs.is_current = 1
        ORDER BY state.key, inner_states.job_id",
        states
    )
    .fetch_all(connection)
    .await?;
    let places = rows.into_iter().map(|row| {
        let epoch = epoch(row.epoch);
        (usize::try_from(row.at).unwrap_or(0), Place { job: JobId(row.job_id), epoch })
    });
    Ok(places.collect())
}

pub(super) async fn insert_jobs(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    retries: u32,
    jobs: &[JobRow<'_>],
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut list = String::with_capacity(80 * jobs.len());
    for job in jobs {
        list.push(if list.is_empty() { '[' } else { ',' });
        let parent = job.parent.map_or("null".to_owned(), |parent| parent.to_string());
        let state = if job.open_needs == 0 { "queued" } else { "blocked" };
        let JobRow { id, state: hash, trial, context, first_epoch, last_epoch, cpus, .. } = job;
        let (open, live, kept) = (job.open_needs, job.live_dependents, u8::from(job.is_kept));
        write!(
            list,
            "[{id},\"{hash}\",{parent},{trial},{context},{first_epoch},{last_epoch},{cpus},\"{state}\",{open},{live},{kept}]"
        )
        .expect("a string takes any text");
    }
    list.push(']');
    sqlx::query!(
        "-- insert_jobs
        INSERT INTO jobs (id, hash, parent_id, sweep_id, trial, context_id, first_epoch, last_epoch, cpus, retries, state,
                          open_needs, live_dependents, is_kept)
        SELECT job.value ->> 0, unhex(job.value ->> 1), job.value ->> 2, ?1, job.value ->> 3, job.value ->> 4,
               job.value ->> 5, job.value ->> 6, job.value ->> 7, ?2, job.value ->> 8, job.value ->> 9,
               job.value ->> 10, job.value ->> 11
        FROM jsonb_each(?3) AS job",
        sweep.0,
        retries,
        list
    )
    .execute(&mut *connection)
    .await?;
    insert_inner_states(connection, jobs).await?;
    insert_requirements(connection, jobs).await
}

async fn insert_inner_states(
    connection: &mut SqliteConnection,
    jobs: &[JobRow<'_>],
) -> Result<(), StoreError> {
    let mut list = String::new();
    for job in jobs {
        for (epoch, state) in (job.first_epoch..).zip(job.inner_states) {
            list.push(if list.is_empty() { '[' } else { ',' });
            write!(list, "[\"{state}\",{},{epoch}]", job.id).expect("a string takes any text");
        }
    }
    if list.is_empty() {
        return Ok(());
    }
    list.push(']');
    sqlx::query!(
        "-- insert_inner_states
        INSERT INTO inner_states (hash, job_id, epoch)
        SELECT unhex(state.value ->> 0), state.value ->> 1, state.value ->> 2 FROM jsonb_each(?) AS state",
        list
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_requirements(
    connection: &mut SqliteConnection,
    jobs: &[JobRow<'_>],
) -> Result<(), StoreError> {
    let required = jobs.iter().flat_map(|job| job.required.iter().map(|required| (job.id.0, required.0)));
    let required: Vec<(i64, i64)> = required.collect();
    if required.is_empty() {
        return Ok(());
    }
    let required = rows(&required)?;
    sqlx::query!(
        "-- insert_requirements
        INSERT INTO job_requirements (job_id, required_id)
        SELECT required.value ->> 0, required.value ->> 1 FROM jsonb_each(?) AS required",
        required
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts further live dependents of jobs of this submission.
pub(super) async fn add_dependents(
    connection: &mut SqliteConnection,
    dependents: &BTreeMap<JobId, i64>,
) -> Result<(), StoreError> {
    if dependents.is_empty() {
        return Ok(());
    }
    let added: Vec<(i64, i64)> = dependents.iter().map(|(job, added)| (job.0, *added)).collect();
    let added = rows(&added)?;
    sqlx::query!(
        "-- add_dependents
        UPDATE jobs SET live_dependents = live_dependents + (added.value ->> 1)
        FROM jsonb_each(?) AS added
        WHERE jobs.id = added.value ->> 0",
        added
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn insert_trials(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    trials: impl Iterator<Item = (NewTrial, JobId)>,
) -> Result<(), StoreError> {
    let mut list = Vec::new();
    for (trial, job) in trials {
        list.push(if list.is_empty() { b'[' } else { b',' });
        // SQLite's integers are signed; the bits of the seed are kept, and read back the same way.
        let row = (trial.number.0, trial.parameters, trial.seed.cast_signed(), job.0);
        serde_json::to_writer(&mut list, &row).map_err(|error| StoreError::Damaged(error.to_string()))?;
    }
    list.push(b']');
    let list = String::from_utf8(list).map_err(|error| StoreError::Damaged(error.to_string()))?;
    sqlx::query!(
        "-- insert_trials
        INSERT INTO trials (sweep_id, number, parameters, seed, job_id)
        SELECT ?, trial.value ->> 0, trial.value ->> 1, trial.value ->> 2, trial.value ->> 3
        FROM jsonb_each(?) AS trial",
        sweep.0,
        list
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the checkpoints of these jobs stay.
pub(super) async fn keep_checkpoints<'a>(
    connection: &mut SqliteConnection,
    jobs: impl Iterator<Item = &'a JobId>,
) -> Result<(), StoreError> {
    let jobs = id_list(jobs);
    sqlx::query!(
        "-- keep_checkpoints
        UPDATE jobs SET is_kept = 1 WHERE id IN (SELECT value FROM json_each(?)) AND is_kept = 0",
        jobs
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A sweep's trials by the names of the states of their last jobs.
pub(super) async fn count_trials(
    connection: &mut SqliteConnection,
    sweep: SweepId,
) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query!(
        "-- count_trials
        SELECT jobs.state, COUNT(*) AS \"trials!: i64\"
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        WHERE trials.sweep_id = ?
        GROUP BY jobs.state",
        sweep.0
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.trials)).collect())
}

/// Epochs of the unfinished jobs of other sweeps that a sweep waits for.
pub(super) async fn epochs_joined(
    connection: &mut SqliteConnection,
    sweep: SweepId,
) -> Result<u64, StoreError> {
    let epochs = sqlx::query_scalar!(
        "-- epochs_joined
        SELECT COALESCE(SUM(jobs.last_epoch - jobs.first_epoch + 1), 0) AS \"epochs!: i64\"
        FROM joins
        CROSS JOIN jobs ON jobs.id = joins.job_id
        WHERE joins.sweep_id = ?",
        sweep.0
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(epochs).unwrap_or(0))
}
