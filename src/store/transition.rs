//! The only place where a job's state changes, together with all that depends on it: its attempts, the jobs that need
//! it, and the counts of the sweeps whose trials end in it.

use sqlx::SqliteConnection;

use super::StoreError;
use super::checkpoints;
use crate::lease::{self, Effect, EndedAttempt, Event, Job, JobState, Outcome, Refusal};
use crate::vocabulary::{Attempt, JobId, Timestamp, WorkerId};

/// What an attempt leaves behind beside its outcome.
#[derive(Debug, Clone, Default)]
pub(super) struct Remains {
    pub(super) message: Option<String>,
    pub(super) log_tail: Option<String>,
    pub(super) record: Option<String>,
}

/// Whether an event was applied, or why not. Either way the transaction goes on.
pub(super) type Applied = Result<Job, Refusal>;

/// Applies `event` to a job and does what follows.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    id: JobId,
    event: &Event,
    remains: &Remains,
    now: Timestamp,
) -> Result<Option<Applied>, StoreError> {
    let Some(job) = load(connection, id).await? else {
        return Ok(None);
    };
    let (next, effects) = match lease::step(&job, event, now) {
        Ok(step) => step,
        Err(refusal) => return Ok(Some(Err(refusal))),
    };
    if next != job {
        save(connection, id, &job, &next).await?;
        move_trials(connection, id, &job.state, &next.state).await?;
    }
    for effect in effects {
        follow(connection, id, effect, remains, now).await?;
    }
    Ok(Some(Ok(next)))
}

async fn follow(
    connection: &mut SqliteConnection,
    id: JobId,
    effect: Effect,
    remains: &Remains,
    now: Timestamp,
) -> Result<(), StoreError> {
    match effect {
        Effect::OpenAttempt { attempt, worker } => open_attempt(connection, id, attempt, worker, now).await,
        Effect::CloseAttempt(ended) => close_attempt(connection, id, ended, remains, now).await,
        Effect::UnblockDependents => unblock_dependents(connection, id, now).await,
        Effect::FailDependents => fail_dependents(connection, id, now).await,
    }
}

/// The job as `lease` sees it.
pub(super) async fn load(connection: &mut SqliteConnection, id: JobId) -> Result<Option<Job>, StoreError> {
    let row = sqlx::query!(
        "-- load_job
        SELECT state, attempt, last_outcome, worker_id, lease_deadline, not_before, failure_reason, failures, retries
        FROM jobs
        WHERE id = ?",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let damaged = |what: &str| StoreError::Damaged(format!("job {id} {what}"));
    let state = match row.state.as_str() {
        "blocked" => JobState::Blocked,
        "queued" => JobState::Queued {
            not_before: Timestamp(row.not_before.ok_or_else(|| damaged("is queued from no time on"))?),
        },
        "leased" => JobState::Leased {
            attempt: Attempt(row.attempt),
            worker: WorkerId(row.worker_id.ok_or_else(|| damaged("is leased by nobody"))?),
            deadline: Timestamp(row.lease_deadline.ok_or_else(|| damaged("is leased for ever"))?),
        },
        "succeeded" => JobState::Succeeded,
        "failed" => JobState::Failed {
            reason: row
                .failure_reason
                .and_then(|reason| reason.parse().ok())
                .ok_or_else(|| damaged("failed for no known reason"))?,
        },
        "cancelled" => JobState::Cancelled,
        other => return Err(damaged(&format!("is in the unknown state `{other}`"))),
    };
    // While a job is leased its newest attempt is still under way, and the outcome is that of the one before.
    let ended = if matches!(state, JobState::Leased { .. }) { row.attempt - 1 } else { row.attempt };
    let last_ended = match row.last_outcome {
        Some(outcome) => Some(EndedAttempt {
            attempt: Attempt(ended),
            outcome: outcome.parse().map_err(|_| damaged("has an unknown outcome"))?,
        }),
        None => None,
    };
    Ok(Some(Job {
        state,
        last_ended,
        failures: serde_json::from_str(&row.failures).map_err(|_| damaged("has unreadable failures"))?,
        retries: u32::try_from(row.retries).unwrap_or(u32::MAX),
    }))
}

async fn save(
    connection: &mut SqliteConnection,
    id: JobId,
    before: &Job,
    after: &Job,
) -> Result<(), StoreError> {
    let row = Columns::of(after)?;
    let (state_before, attempt_before) = (before.state.name(), newest_attempt(before).0);
    let changed = sqlx::query!(
        "-- save_job
        UPDATE jobs
        SET state = ?, attempt = ?, last_outcome = ?, worker_id = ?, lease_deadline = ?, not_before = ?,
            failure_reason = ?, failures = ?
        WHERE id = ? AND state = ? AND attempt = ?",
        row.state,
        row.attempt,
        row.last_outcome,
        row.worker,
        row.deadline,
        row.not_before,
        row.failure_reason,
        row.failures,
        id.0,
        state_before,
        attempt_before
    )
    .execute(connection)
    .await?
    .rows_affected();
    // One writer, one transaction: the row can't have moved since it was read.
    assert_eq!(changed, 1, "job {id} moved under its transaction");
    Ok(())
}

/// A job as a row of the table.
struct Columns {
    state: &'static str,
    attempt: i64,
    last_outcome: Option<String>,
    worker: Option<i64>,
    deadline: Option<i64>,
    not_before: Option<i64>,
    failure_reason: Option<String>,
    failures: String,
}

impl Columns {
    fn of(job: &Job) -> Result<Columns, StoreError> {
        let failures =
            serde_json::to_string(&job.failures).map_err(|e| StoreError::Damaged(e.to_string()))?;
        let mut columns = Columns {
            state: job.state.name(),
            attempt: newest_attempt(job).0,
            last_outcome: job.last_ended.map(|ended| ended.outcome.to_string()),
            worker: None,
            deadline: None,
            not_before: None,
            failure_reason: None,
            failures,
        };
        match job.state {
            JobState::Queued { not_before } => columns.not_before = Some(not_before.0),
            JobState::Leased { worker, deadline, .. } => {
                columns.worker = Some(worker.0);
                columns.deadline = Some(deadline.0);
            }
            JobState::Failed { reason } => columns.failure_reason = Some(reason.to_string()),
            JobState::Blocked | JobState::Succeeded | JobState::Cancelled => {}
        }
        Ok(columns)
    }
}

fn newest_attempt(job: &Job) -> Attempt {
    match job.state {
        JobState::Leased { attempt, .. } => attempt,
        _ => job.last_ended.map_or(Attempt(0), |ended| ended.attempt),
    }
}

async fn open_attempt(
    connection: &mut SqliteConnection,
    id: JobId,
    attempt: Attempt,
    worker: WorkerId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let resumed_epoch = checkpoints::find(connection, id).await?.map_or(0, |checkpoint| checkpoint.epoch);
    sqlx::query!(
        "-- open_attempt
        INSERT INTO attempts (job_id, attempt, worker_id, leased_at, resumed_epoch)
        VALUES (?, ?, ?, ?, ?)",
        id.0,
        attempt.0,
        worker.0,
        now.0,
        resumed_epoch
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- reset_progress
        UPDATE jobs SET reported_epoch = ? WHERE id = ?",
        resumed_epoch,
        id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn close_attempt(
    connection: &mut SqliteConnection,
    id: JobId,
    ended: EndedAttempt,
    remains: &Remains,
    now: Timestamp,
) -> Result<(), StoreError> {
    let outcome = ended.outcome.to_string();
    sqlx::query!(
        "-- close_attempt
        UPDATE attempts
        SET ended_at = ?, outcome = ?, message = ?, log_tail = ?, record = ?
        WHERE job_id = ? AND attempt = ? AND outcome IS NULL",
        now.0,
        outcome,
        remains.message,
        remains.log_tail,
        remains.record,
        id.0,
        ended.attempt.0
    )
    .execute(&mut *connection)
    .await?;
    if ended.outcome == Outcome::Completed {
        drop_superseded_reports(connection, id).await?;
    }
    Ok(())
}

/// An attempt does every epoch anew behind the checkpoint with which it began: what an earlier one said of those epochs,
/// or of metrics that were not reported again, is no result. Up to the checkpoint the earlier reports are all there is.
async fn drop_superseded_reports(connection: &mut SqliteConnection, id: JobId) -> Result<(), StoreError> {
    sqlx::query!(
        "-- drop_superseded_reports
        DELETE FROM reports
        WHERE job_id = ?
          AND EXISTS (SELECT 1 FROM attempts
                      WHERE attempts.job_id = reports.job_id
                        AND attempts.attempt > reports.attempt
                        AND attempts.resumed_epoch < reports.epoch)",
        id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn unblock_dependents(
    connection: &mut SqliteConnection,
    id: JobId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let ready = sqlx::query!(
        "-- unblock_dependents
        UPDATE jobs
        SET open_needs = open_needs - 1
        WHERE id IN (SELECT id FROM jobs WHERE parent_id = ?1
                     UNION SELECT job_id FROM job_requirements WHERE required_id = ?1)
        RETURNING id, open_needs",
        id.0
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in ready.into_iter().filter(|row| row.open_needs == 0) {
        Box::pin(apply(connection, JobId(row.id), &Event::NeedsMet, &Remains::default(), now)).await?;
    }
    Ok(())
}

async fn fail_dependents(
    connection: &mut SqliteConnection,
    id: JobId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let dependents = sqlx::query!(
        "-- list_dependents
        SELECT id AS \"id!\" FROM jobs WHERE parent_id = ?1
        UNION SELECT job_id FROM job_requirements WHERE required_id = ?1",
        id.0
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in dependents {
        Box::pin(apply(connection, JobId(row.id), &Event::NeedFailed, &Remains::default(), now)).await?;
    }
    Ok(())
}

/// Keeps the counts of every sweep with a trial that ends in this job.
async fn move_trials(
    connection: &mut SqliteConnection,
    id: JobId,
    from: &JobState,
    to: &JobState,
) -> Result<(), StoreError> {
    let (from, to) = (Delta::of(from), Delta::of(to));
    if from == to {
        return Ok(());
    }
    let change = Delta {
        queued: to.queued - from.queued,
        running: to.running - from.running,
        succeeded: to.succeeded - from.succeeded,
        failed: to.failed - from.failed,
        cancelled: to.cancelled - from.cancelled,
    };
    let sweeps = sqlx::query!(
        "-- trials_of_job
        SELECT sweep_id AS \"sweep_id!\", COUNT(*) AS \"trials!: i64\"
        FROM trials
        WHERE job_id = ?
        GROUP BY sweep_id",
        id.0
    )
    .fetch_all(&mut *connection)
    .await?;
    for sweep in sweeps {
        add_trials(connection, sweep.sweep_id, &change, sweep.trials).await?;
    }
    Ok(())
}

/// One trial in one state, or the change when it moves to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    queued: i64,
    running: i64,
    succeeded: i64,
    failed: i64,
    cancelled: i64,
}

impl Delta {
    /// A trial's state is its last job's, where blocked shows as queued.
    pub(super) fn of(state: &JobState) -> Delta {
        let mut delta = Delta::default();
        match state {
            JobState::Blocked | JobState::Queued { .. } => delta.queued = 1,
            JobState::Leased { .. } => delta.running = 1,
            JobState::Succeeded => delta.succeeded = 1,
            JobState::Failed { .. } => delta.failed = 1,
            JobState::Cancelled => delta.cancelled = 1,
        }
        delta
    }
}

/// Adds `delta` to a sweep's counts `times` times.
pub(super) async fn add_trials(
    connection: &mut SqliteConnection,
    sweep: i64,
    delta: &Delta,
    times: i64,
) -> Result<(), StoreError> {
    let [queued, running, succeeded, failed, cancelled] =
        [delta.queued, delta.running, delta.succeeded, delta.failed, delta.cancelled].map(|n| n * times);
    sqlx::query!(
        "-- add_trials
        UPDATE sweeps
        SET trials_queued = trials_queued + ?, trials_running = trials_running + ?,
            trials_succeeded = trials_succeeded + ?, trials_failed = trials_failed + ?,
            trials_cancelled = trials_cancelled + ?
        WHERE id = ?",
        queued,
        running,
        succeeded,
        failed,
        cancelled,
        sweep
    )
    .execute(connection)
    .await?;
    Ok(())
}
