//! Statements that bring rows into memory, each for any number of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;

use super::StoreError;
use super::checkpoints;
use super::unit::{AsRead, Entry, Known, Promise, Trials, Unit, is_ready, newest_attempt};
use crate::lease::{EndedAttempt, Failures, Job, JobState, READY};
use crate::vocabulary::{Attempt, JobId, Nonce, StateHash, SweepId, Timestamp, WorkerId};

impl Unit {
    /// Loads those of the jobs that are not in memory yet, with the checkpoints of theirs and of their parents.
    pub(super) async fn load(&mut self, ids: Vec<JobId>) -> Result<(), StoreError> {
        let missing: BTreeSet<JobId> = ids.into_iter().filter(|id| !self.entries.contains_key(id)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let rows = jobs(&mut self.connection, &missing).await?;
        let mut with_checkpoint = missing;
        let mut shared = BTreeSet::new();
        for row in rows {
            let (all, own) = row.trials;
            let has_others = all > own;
            let entry = Entry::try_from(row)?;
            with_checkpoint.extend(entry.parent);
            if has_others {
                shared.insert(entry.id);
            }
            self.entries.insert(entry.id, entry);
        }
        if !shared.is_empty() {
            for (job, sweep, trials) in trials_of_others(&mut self.connection, &shared).await? {
                self.entry_mut(job)?.trials.others.push((sweep, trials));
            }
        }
        if self.memory.known.as_ref().is_some_and(|known| !known.has_checkpoints) {
            return Ok(());
        }
        // What is in memory already may be newer than the table.
        let unknown: BTreeSet<JobId> = with_checkpoint
            .into_iter()
            .filter(|id| !self.checkpoints.contains_key(id) && !self.writes.has_checkpoint_of(*id))
            .collect();
        self.checkpoints.extend(checkpoints::load(&mut self.connection, &unknown).await?);
        Ok(())
    }
}

/// Ids as a JSON array.
pub(super) fn id_list<'a>(ids: impl IntoIterator<Item = &'a JobId>) -> String {
    let ids: Vec<String> = ids.into_iter().map(JobId::to_string).collect();
    format!("[{}]", ids.join(","))
}

/// A job as `load_jobs` gives it, with its columns in this order.
#[derive(Deserialize)]
struct StoredJob {
    id: i64,
    sweep_id: i64,
    parent_id: Option<i64>,
    first_epoch: u32,
    last_epoch: u32,
    state: String,
    attempt: i64,
    last_outcome: Option<String>,
    worker_id: Option<i64>,
    lease_deadline: Option<i64>,
    waits_until: Option<i64>,
    failure_reason: Option<String>,
    failures: String,
    retries: u32,
    open_needs: i64,
    live_dependents: i64,
    is_kept: u8,
    reported_epoch: u32,
    is_joined: u8,
    has_requirements: u8,
    nonce: Nonce,
    /// To whom, with which nonce.
    promise: Option<(i64, Nonce)>,
    /// How many trials end in it, and how many of these are its own sweep's.
    trials: (i64, i64),
}

async fn jobs(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<JobId>,
) -> Result<Vec<StoredJob>, StoreError> {
    let ids = id_list(ids);
    let list = sqlx::query_scalar!(
        "-- load_jobs
        SELECT json_group_array(json_array(
                   jobs.id, sweep_id, parent_id, first_epoch, last_epoch, state, attempt, last_outcome, worker_id,
                   lease_deadline, waits_until, failure_reason, failures, retries, open_needs, live_dependents, is_kept,
                   reported_epoch,
                   EXISTS (SELECT 1 FROM joins WHERE job_id = jobs.id),
                   EXISTS (SELECT 1 FROM job_requirements WHERE job_id = jobs.id),
                   jobs.nonce,
                   (SELECT json_array(worker_id, nonce) FROM promises WHERE job_id = jobs.id),
                   (SELECT json_array(COUNT(*), COALESCE(SUM(trials.sweep_id = jobs.sweep_id), 0))
                    FROM trials
                    WHERE job_id = jobs.id))) AS \"list!: String\"
        FROM json_each(?) AS wanted
        CROSS JOIN jobs ON jobs.id = wanted.value",
        ids
    )
    .fetch_one(connection)
    .await?;
    parse_rows(&list)
}

/// Rows that came as one JSON array of arrays: sqlx hands each row of a statement from one thread to another, which costs
/// more than SQLite takes to find it.
pub(super) fn parse_rows<T: DeserializeOwned>(list: &str) -> Result<Vec<T>, StoreError> {
    serde_json::from_str(list).map_err(|error| StoreError::Damaged(error.to_string()))
}

impl TryFrom<StoredJob> for Entry {
    type Error = StoreError;

    fn try_from(row: StoredJob) -> Result<Entry, StoreError> {
        let job = row.job()?;
        let (state, attempt) = (job.state, newest_attempt(&job));
        Ok(Entry {
            id: JobId(row.id),
            sweep: SweepId(row.sweep_id),
            parent: row.parent_id.map(JobId),
            first_epoch: row.first_epoch,
            last_epoch: row.last_epoch,
            job,
            open_needs: row.open_needs,
            live_dependents: row.live_dependents,
            is_kept: row.is_kept != 0,
            reported_epoch: row.reported_epoch,
            is_joined: row.is_joined != 0,
            has_requirements: row.has_requirements != 0,
            nonce: row.nonce,
            promise: row.promise.map(|(worker, nonce)| Promise { worker: WorkerId(worker), nonce }),
            trials: Trials { own: row.trials.1, others: Vec::new() },
            as_read: AsRead { state: state.name(), attempt, is_ready: is_ready(&state) },
            is_counted_live: state.is_live(),
            is_changed: false,
            is_moved: false,
        })
    }
}

impl StoredJob {
    /// The job as `lease` sees it.
    fn job(&self) -> Result<Job, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(format!("job {} {what}", self.id));
        let state = match self.state.as_str() {
            "blocked" => JobState::Blocked,
            "queued" => JobState::Queued { not_before: self.waits_until.map_or(READY, Timestamp) },
            "leased" => JobState::Leased {
                attempt: Attempt(self.attempt),
                worker: WorkerId(self.worker_id.ok_or_else(|| damaged("is leased by nobody"))?),
                deadline: Timestamp(self.lease_deadline.ok_or_else(|| damaged("is leased for ever"))?),
            },
            "succeeded" => JobState::Succeeded,
            "failed" => JobState::Failed {
                reason: self
                    .failure_reason
                    .as_ref()
                    .and_then(|reason| reason.parse().ok())
                    .ok_or_else(|| damaged("failed for no known reason"))?,
            },
            "cancelled" => JobState::Cancelled,
            other => return Err(damaged(&format!("is in the unknown state `{other}`"))),
        };
        // While a job is leased its newest attempt is still under way, and the outcome is that of the one before.
        let ended = if matches!(state, JobState::Leased { .. }) { self.attempt - 1 } else { self.attempt };
        let last_ended = match &self.last_outcome {
            Some(outcome) => Some(EndedAttempt {
                attempt: Attempt(ended),
                outcome: outcome.parse().map_err(|_| damaged("has an unknown outcome"))?,
            }),
            None => None,
        };
        let failures = match self.failures.as_str() {
            "{}" => Failures::default(),
            some => serde_json::from_str(some).map_err(|_| damaged("has unreadable failures"))?,
        };
        Ok(Job { state, last_ended, failures, retries: self.retries })
    }
}

/// Trials that end in these jobs, of other sweeps than the jobs' own.
async fn trials_of_others(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<JobId>,
) -> Result<Vec<(JobId, SweepId, i64)>, StoreError> {
    let ids = id_list(ids);
    let rows = sqlx::query!(
        "-- load_trials_of_others
        SELECT trials.job_id AS \"job_id!\", trials.sweep_id AS \"sweep_id!\", COUNT(*) AS \"trials!: i64\"
        FROM json_each(?) AS wanted
        CROSS JOIN jobs ON jobs.id = wanted.value
        CROSS JOIN trials ON trials.job_id = jobs.id
        WHERE trials.sweep_id <> jobs.sweep_id
        GROUP BY 1, 2",
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (JobId(row.job_id), SweepId(row.sweep_id), row.trials)).collect())
}

/// Which live jobs need one of these, as (need, dependent).
pub(super) async fn dependents(
    connection: &mut SqliteConnection,
    needs: impl Iterator<Item = &JobId>,
) -> Result<BTreeSet<(JobId, JobId)>, StoreError> {
    let needs = id_list(needs);
    let rows = sqlx::query!(
        "-- load_dependents
        SELECT jobs.parent_id AS \"need_id!: i64\", jobs.id AS \"job_id!: i64\"
        FROM json_each(?1) AS need
        CROSS JOIN jobs ON jobs.parent_id = need.value
        WHERE jobs.state IN ('blocked', 'queued', 'leased')
        UNION ALL
        SELECT job_requirements.required_id, job_requirements.job_id
        FROM json_each(?1) AS need
        CROSS JOIN job_requirements ON job_requirements.required_id = need.value
        CROSS JOIN jobs ON jobs.id = job_requirements.job_id
        WHERE jobs.state IN ('blocked', 'queued', 'leased')",
        needs
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (JobId(row.need_id), JobId(row.job_id))).collect())
}

/// What these jobs require beside their parents, as (job, required).
pub(super) async fn requirements(
    connection: &mut SqliteConnection,
    jobs: impl Iterator<Item = &JobId>,
) -> Result<Vec<(JobId, JobId)>, StoreError> {
    let jobs = id_list(jobs);
    let rows = sqlx::query!(
        "-- load_requirements
        SELECT job_id AS \"job_id!\", required_id AS \"required_id!\"
        FROM json_each(?) AS job
        CROSS JOIN job_requirements ON job_requirements.job_id = job.value",
        jobs
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (JobId(row.job_id), JobId(row.required_id))).collect())
}

/// The jobs whose weights these read, by reader, with the states that name the weights.
pub(super) async fn required_states(
    connection: &mut SqliteConnection,
    readers: &[JobId],
) -> Result<BTreeMap<JobId, Vec<(JobId, StateHash)>>, StoreError> {
    let readers = id_list(readers);
    let rows = sqlx::query!(
        "-- load_required_states
        SELECT job_requirements.job_id AS \"job_id!\", jobs.id AS \"required_id!\", jobs.hash AS \"hash!\"
        FROM json_each(?) AS reader
        CROSS JOIN job_requirements ON job_requirements.job_id = reader.value
        CROSS JOIN jobs ON jobs.id = job_requirements.required_id",
        readers
    )
    .fetch_all(connection)
    .await?;
    let mut required: BTreeMap<JobId, Vec<(JobId, StateHash)>> = BTreeMap::new();
    for row in rows {
        let state = StateHash::try_from(row.hash.as_slice())
            .map_err(|error| StoreError::Damaged(error.to_string()))?;
        required.entry(JobId(row.job_id)).or_default().push((JobId(row.required_id), state));
    }
    Ok(required)
}

pub(super) async fn known(connection: &mut SqliteConnection) -> Result<Known, StoreError> {
    let workers = sqlx::query_scalar!(
        "-- load_workers
        SELECT id AS \"id!\" FROM workers"
    )
    .fetch_all(&mut *connection)
    .await?;
    let row = sqlx::query!(
        "-- load_known
        SELECT (SELECT MIN(waits_until) FROM jobs WHERE waits_until IS NOT NULL) AS \"next_due: i64\",
               EXISTS (SELECT 1 FROM joins) AS \"has_joins!: bool\",
               EXISTS (SELECT 1 FROM artifacts WHERE kind = 'checkpoint') AS \"has_checkpoints!: bool\",
               EXISTS (SELECT 1 FROM keeps) AS \"has_keeps!: bool\""
    )
    .fetch_one(connection)
    .await?;
    Ok(Known {
        workers: workers.into_iter().map(WorkerId).collect(),
        next_due: row.next_due.map(Timestamp),
        has_joins: row.has_joins,
        has_checkpoints: row.has_checkpoints,
        has_keeps: row.has_keeps,
    })
}

pub(super) async fn contexts(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<i64>,
) -> Result<BTreeMap<i64, Arc<str>>, StoreError> {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    let ids = format!("[{}]", ids.join(","));
    let rows = sqlx::query!(
        "-- load_contexts
        SELECT contexts.id AS \"id!\", work
        FROM json_each(?) AS wanted
        CROSS JOIN contexts ON contexts.id = wanted.value",
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.work.into())).collect())
}
