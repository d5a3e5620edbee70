//! Storing a sweep: its trials, and the jobs that they need, some of which may be there already.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use super::transition::{self, Delta, Remains, add_trials};
use super::writer::Request;
use super::{Store, StoreError};
use crate::lease::{Event, JobState, Needs};
use crate::vocabulary::{Goal, JobId, Metric, SweepId, Timestamp, TrialNumber};

/// A sweep to store.
#[derive(Debug, Clone)]
pub struct NewSweep {
    pub name: String,
    pub spec: String,
    /// As typed, a JSON array.
    pub overrides: String,
    pub working_directory: String,
    pub expansion_hash: String,
    pub metric: Option<Metric>,
    /// Names of the swept parameters, a JSON array.
    pub swept: String,
    /// Parents and requirements come before the jobs that need them.
    pub jobs: Vec<NewJob>,
    pub trials: Vec<NewTrial>,
}

/// A job to store, unless one with the same hash is there.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub hash: String,
    /// `protocol::http::Work` as JSON.
    pub work: String,
    /// Index of the parent in [`NewSweep::jobs`].
    pub parent: Option<usize>,
    /// Indices of the jobs whose final weights it reads.
    pub requires: Vec<usize>,
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub cpus: u32,
    pub retries: u32,
}

/// A trial to store.
#[derive(Debug, Clone)]
pub struct NewTrial {
    pub number: TrialNumber,
    /// Canonical JSON.
    pub parameters: String,
    pub seed: u64,
    /// Index of its last job in [`NewSweep::jobs`].
    pub job: usize,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub sweep: SweepId,
    /// Of the jobs, how many had succeeded before.
    pub jobs_reused: u64,
    /// A sweep with this expansion was there already; nothing was stored.
    pub is_existing: bool,
}

impl Store {
    /// Stores a sweep, or finds the one with the same expansion.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it is stored.
    pub async fn submit(&self, sweep: NewSweep, now: Timestamp) -> Result<Submitted, StoreError> {
        self.writer.write(Submit { sweep, now }).await
    }

    /// Reopens every failed or cancelled job that the sweep needs, with full budgets. Says how many.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn retry(&self, sweep: SweepId, now: Timestamp) -> Result<u64, StoreError> {
        self.writer.write(Retry { sweep, now }).await
    }
}

struct Submit {
    sweep: NewSweep,
    now: Timestamp,
}

impl Request for Submit {
    type Answer = Submitted;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Submitted, StoreError> {
        let existing = sqlx::query_scalar!(
            "-- find_expansion
            SELECT id FROM sweeps WHERE expansion_hash = ?",
            self.sweep.expansion_hash
        )
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(id) = existing {
            return Ok(Submitted { sweep: SweepId(id), jobs_reused: 0, is_existing: true });
        }
        let sweep = insert_sweep(connection, &self.sweep, self.now).await?;
        let mut jobs = Vec::with_capacity(self.sweep.jobs.len());
        let mut jobs_reused = 0;
        for new in &self.sweep.jobs {
            let job = ensure_job(connection, new, &jobs, self.now).await?;
            jobs_reused += u64::from(job.state == JobState::Succeeded);
            link_job(connection, sweep, job.id).await?;
            jobs.push(job);
        }
        for trial in &self.sweep.trials {
            insert_trial(connection, sweep, trial, &jobs[trial.job]).await?;
        }
        Ok(Submitted { sweep, jobs_reused, is_existing: false })
    }
}

/// A job that is in the table, with the state in which it was found or made.
struct Stored {
    id: JobId,
    state: JobState,
}

async fn insert_sweep(
    connection: &mut SqliteConnection,
    sweep: &NewSweep,
    now: Timestamp,
) -> Result<SweepId, StoreError> {
    let metric_name = sweep.metric.as_ref().map(|metric| metric.name.as_str());
    let metric_goal = sweep.metric.as_ref().map(|metric| match metric.goal {
        Goal::Maximize => "maximize",
        Goal::Minimize => "minimize",
    });
    let id = sqlx::query_scalar!(
        "-- insert_sweep
        INSERT INTO sweeps (name, spec, overrides, working_directory, expansion_hash, metric_name, metric_goal,
                            swept, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        RETURNING id",
        sweep.name,
        sweep.spec,
        sweep.overrides,
        sweep.working_directory,
        sweep.expansion_hash,
        metric_name,
        metric_goal,
        sweep.swept,
        now.0
    )
    .fetch_one(connection)
    .await?;
    Ok(SweepId(id))
}

/// Finds the job with this hash, reopening it if it was given up, or makes it.
async fn ensure_job(
    connection: &mut SqliteConnection,
    new: &NewJob,
    earlier: &[Stored],
    now: Timestamp,
) -> Result<Stored, StoreError> {
    let found = sqlx::query!(
        "-- find_job_by_hash
        SELECT id AS \"id!\", open_needs FROM jobs WHERE hash = ?",
        new.hash
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = found else {
        return insert_job(connection, new, earlier, now).await;
    };
    let id = JobId(row.id);
    reopen(connection, id, row.open_needs, now).await?;
    let state = transition::load(connection, id)
        .await?
        .ok_or_else(|| StoreError::Damaged(format!("job {id} vanished")))?
        .state;
    Ok(Stored { id, state })
}

async fn insert_job(
    connection: &mut SqliteConnection,
    new: &NewJob,
    earlier: &[Stored],
    now: Timestamp,
) -> Result<Stored, StoreError> {
    // A set: a job that reads its parent's final weights too needs it once.
    let needs: BTreeSet<usize> = new.parent.iter().chain(&new.requires).copied().collect();
    let open = needs.iter().filter(|&&index| earlier[index].state != JobState::Succeeded).count();
    let open_needs = i64::try_from(open).unwrap_or(i64::MAX);
    let parent = new.parent.map(|index| earlier[index].id.0);
    let state = if open_needs == 0 { JobState::Queued { not_before: now } } else { JobState::Blocked };
    let (state_name, not_before) = (state.name(), (open_needs == 0).then_some(now.0));
    let id = sqlx::query_scalar!(
        "-- insert_job
        INSERT INTO jobs (hash, work, parent_id, first_epoch, last_epoch, cpus, retries, state, open_needs, not_before)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        RETURNING id",
        new.hash,
        new.work,
        parent,
        new.first_epoch,
        new.last_epoch,
        new.cpus,
        new.retries,
        state_name,
        open_needs,
        not_before
    )
    .fetch_one(&mut *connection)
    .await?;
    for &required in &new.requires {
        let required = earlier[required].id.0;
        sqlx::query!(
            "-- insert_requirement
            INSERT INTO job_requirements (job_id, required_id)
            VALUES (?, ?)",
            id,
            required
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(Stored { id: JobId(id), state })
}

async fn link_job(connection: &mut SqliteConnection, sweep: SweepId, job: JobId) -> Result<(), StoreError> {
    sqlx::query!(
        "-- link_job
        INSERT INTO sweep_jobs (job_id, sweep_id)
        VALUES (?, ?)
        ON CONFLICT DO NOTHING",
        job.0,
        sweep.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_trial(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    trial: &NewTrial,
    job: &Stored,
) -> Result<(), StoreError> {
    // SQLite's integers are signed; the bits of the seed are kept, and read back the same way.
    let seed = trial.seed.cast_signed();
    sqlx::query!(
        "-- insert_trial
        INSERT INTO trials (sweep_id, number, parameters, seed, job_id)
        VALUES (?, ?, ?, ?, ?)",
        sweep.0,
        trial.number.0,
        trial.parameters,
        seed,
        job.id.0
    )
    .execute(&mut *connection)
    .await?;
    add_trials(connection, sweep.0, &Delta::of(&job.state), 1).await
}

struct Retry {
    sweep: SweepId,
    now: Timestamp,
}

impl Request for Retry {
    type Answer = u64;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, StoreError> {
        // In order of id, so that a parent is reopened before its children.
        let ended = sqlx::query!(
            "-- list_ended_badly
            SELECT jobs.id AS \"id!\", jobs.open_needs
            FROM sweep_jobs
            JOIN jobs ON jobs.id = sweep_jobs.job_id
            WHERE sweep_jobs.sweep_id = ? AND jobs.state IN ('failed', 'cancelled')
            ORDER BY jobs.id",
            self.sweep.0
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut reopened = 0;
        for row in ended {
            reopened += u64::from(reopen(connection, JobId(row.id), row.open_needs, self.now).await?);
        }
        Ok(reopened)
    }
}

/// Puts a job that failed or was cancelled back into the queue. Says whether it was one.
async fn reopen(
    connection: &mut SqliteConnection,
    job: JobId,
    open_needs: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let needs = if open_needs == 0 { Needs::Met } else { Needs::Open };
    let applied =
        transition::apply(connection, job, &Event::Retry { needs }, &Remains::default(), now).await?;
    Ok(matches!(applied, Some(Ok(_))))
}
