//! Statements that write what a transaction has come to, each for any number of rows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::SqliteConnection;

use super::load::id_list;
use super::unit::{Entry, Unit, newest_attempt};
use super::writes::{ClosedAttempt, Counts, OpenedAttempt, ReportedMetric};
use super::{StoreError, checkpoints, exports, joins, kept};
use crate::lease::{JobState, READY};
use crate::vocabulary::{JobId, Nonce, SweepId, Timestamp, WorkerId};

/// Values that one statement writes, each bound by itself.
const METRICS_AT_ONCE: usize = 16;

impl Unit {
    /// Carries through what the events so far mean, writes it, and forgets the jobs.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        self.end_orphans().await?;
        let changed: Vec<&Entry> =
            self.entries.values().filter(|entry| entry.is_changed || entry.is_moved).collect();
        let connection = &mut self.connection;
        let writes = std::mem::take(&mut self.writes);
        move_jobs(connection, &changed).await?;
        save_jobs(connection, &changed).await?;
        joins::save(connection, &changed).await?;
        exports::save(connection, &changed).await?;
        open_attempts(connection, &writes.opened).await?;
        close_attempts(connection, &writes.closed).await?;
        write_reports(connection, &writes.reports).await?;
        drop_superseded_reports(connection, &writes.superseded).await?;
        checkpoints::save(connection, &writes.checkpoints, &self.checkpoints).await?;
        self.unneeded.extend(kept::save(connection, &writes.kept).await?);
        add_trials(connection, &writes.counts).await?;
        workers_seen(connection, &writes.seen).await?;
        self.forget();
        Ok(())
    }
}

/// Rows as a JSON array of arrays.
pub(super) fn rows(rows: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// A job as a row: id; state and attempt as they were read; then the columns of `save_jobs`, in its order.
#[derive(Serialize)]
struct SavedJob(
    i64,
    &'static str,
    i64,
    &'static str,
    i64,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<String>,
    String,
    i64,
    i64,
    u32,
    Nonce,
);

impl SavedJob {
    fn of(entry: &Entry) -> Result<SavedJob, StoreError> {
        let job = &entry.job;
        let (mut worker, mut deadline, mut waits_until, mut reason) = (None, None, None, None);
        match job.state {
            JobState::Queued { not_before: READY } => {}
            JobState::Queued { not_before } => waits_until = Some(not_before.0),
            JobState::Leased { worker: holder, deadline: until, .. } => {
                (worker, deadline) = (Some(holder.0), Some(until.0));
            }
            JobState::Failed { reason: why } => reason = Some(why.to_string()),
            JobState::Blocked | JobState::Succeeded | JobState::Cancelled => {}
        }
        Ok(SavedJob(
            entry.id.0,
            entry.as_read.state,
            entry.as_read.attempt.0,
            job.state.name(),
            newest_attempt(job).0,
            job.last_ended.map(|ended| ended.outcome.to_string()),
            worker,
            deadline,
            waits_until,
            reason,
            rows(&job.failures)?,
            entry.open_needs,
            entry.live_dependents,
            entry.reported_epoch,
            entry.nonce,
        ))
    }
}

async fn save_jobs(connection: &mut SqliteConnection, changed: &[&Entry]) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let saved: Vec<SavedJob> = changed.iter().map(|entry| SavedJob::of(entry)).collect::<Result<_, _>>()?;
    let saved = rows(&saved)?;
    let written = sqlx::query!(
        "-- save_jobs
        UPDATE jobs
        SET state = saved.value ->> 3, attempt = saved.value ->> 4, last_outcome = saved.value ->> 5,
            worker_id = saved.value ->> 6, lease_deadline = saved.value ->> 7, waits_until = saved.value ->> 8,
            failure_reason = saved.value ->> 9, failures = saved.value ->> 10, open_needs = saved.value ->> 11,
            live_dependents = saved.value ->> 12, reported_epoch = saved.value ->> 13, nonce = saved.value ->> 14
        FROM jsonb_each(?) AS saved
        WHERE jobs.id = saved.value ->> 0 AND jobs.state = saved.value ->> 1 AND jobs.attempt = saved.value ->> 2",
        saved
    )
    .execute(connection)
    .await?
    .rows_affected();
    expect_all("jobs", changed.len(), written)
}

/// One writer, one transaction: a row can't have moved since it was read.
fn expect_all(what: &str, expected: usize, written: u64) -> Result<(), StoreError> {
    if u64::try_from(expected).is_ok_and(|expected| expected == written) {
        return Ok(());
    }
    Err(StoreError::Damaged(format!("{written} of {expected} {what} were as they had been read")))
}

/// Gives jobs that go on from another job than before their new parents and beginnings.
async fn move_jobs(connection: &mut SqliteConnection, changed: &[&Entry]) -> Result<(), StoreError> {
    let moved: Vec<(i64, Option<i64>, u32)> = changed
        .iter()
        .filter(|entry| entry.is_moved)
        .map(|entry| (entry.id.0, entry.parent.map(|parent| parent.0), entry.first_epoch))
        .collect();
    if moved.is_empty() {
        return Ok(());
    }
    let moved = rows(&moved)?;
    sqlx::query!(
        "-- move_jobs
        UPDATE jobs SET parent_id = moved.value ->> 1, first_epoch = moved.value ->> 2
        FROM jsonb_each(?) AS moved
        WHERE jobs.id = moved.value ->> 0",
        moved
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn open_attempts(
    connection: &mut SqliteConnection,
    opened: &[OpenedAttempt],
) -> Result<(), StoreError> {
    if opened.is_empty() {
        return Ok(());
    }
    let opened = rows(&opened)?;
    sqlx::query!(
        "-- open_attempts
        INSERT INTO attempts (job_id, attempt, worker_id, leased_at, resumed_epoch)
        SELECT opened.value ->> 0, opened.value ->> 1, opened.value ->> 2, opened.value ->> 3, opened.value ->> 4
        FROM jsonb_each(?) AS opened",
        opened
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn close_attempts(
    connection: &mut SqliteConnection,
    closed: &[ClosedAttempt],
) -> Result<(), StoreError> {
    if closed.is_empty() {
        return Ok(());
    }
    let expected = closed.len();
    let closed = rows(&closed)?;
    let written = sqlx::query!(
        "-- close_attempts
        UPDATE attempts
        SET ended_at = closed.value ->> 2, outcome = closed.value ->> 3, message = closed.value ->> 4,
            log_tail = closed.value ->> 5, record = closed.value ->> 6
        FROM jsonb_each(?) AS closed
        WHERE attempts.job_id = closed.value ->> 0 AND attempts.attempt = closed.value ->> 1
          AND attempts.outcome IS NULL",
        closed
    )
    .execute(connection)
    .await?
    .rows_affected();
    expect_all("attempts", expected, written)
}

async fn write_reports(
    connection: &mut SqliteConnection,
    reports: &[ReportedMetric],
) -> Result<(), StoreError> {
    for chunk in reports.chunks(METRICS_AT_ONCE) {
        let mut v = [0.0; METRICS_AT_ONCE];
        for (value, report) in v.iter_mut().zip(chunk) {
            *value = report.4;
        }
        let chunk = rows(&chunk)?;
        sqlx::query!(
            "-- write_reports
            INSERT INTO reports (job_id, epoch, metric, attempt, value)
            SELECT report.value ->> 0, report.value ->> 1, report.value ->> 2, report.value ->> 3,
                   CASE report.key WHEN 0 THEN ?2 WHEN 1 THEN ?3 WHEN 2 THEN ?4 WHEN 3 THEN ?5 WHEN 4 THEN ?6
                                   WHEN 5 THEN ?7 WHEN 6 THEN ?8 WHEN 7 THEN ?9 WHEN 8 THEN ?10 WHEN 9 THEN ?11
                                   WHEN 10 THEN ?12 WHEN 11 THEN ?13 WHEN 12 THEN ?14 WHEN 13 THEN ?15
                                   WHEN 14 THEN ?16 WHEN 15 THEN ?17 END
            FROM jsonb_each(?1) AS report
            WHERE TRUE
            ON CONFLICT (job_id, epoch, metric) DO UPDATE
            SET value = excluded.value, attempt = excluded.attempt",
            chunk,
            v[0],
            v[1],
            v[2],
            v[3],
            v[4],
            v[5],
            v[6],
            v[7],
            v[8],
            v[9],
            v[10],
            v[11],
            v[12],
            v[13],
            v[14],
            v[15]
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// An attempt does every epoch anew behind the checkpoint with which it began: what an earlier one said of those epochs,
/// or of metrics that were not reported again, is no result. Up to the checkpoint the earlier reports are all there is.
async fn drop_superseded_reports(
    connection: &mut SqliteConnection,
    jobs: &BTreeSet<JobId>,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let jobs = id_list(jobs);
    sqlx::query!(
        "-- drop_superseded_reports
        DELETE FROM reports
        WHERE job_id IN (SELECT value FROM json_each(?))
          AND EXISTS (SELECT 1 FROM attempts
                      WHERE attempts.job_id = reports.job_id
                        AND attempts.attempt > reports.attempt
                        AND attempts.resumed_epoch < reports.epoch)",
        jobs
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_trials(
    connection: &mut SqliteConnection,
    counts: &BTreeMap<SweepId, Counts>,
) -> Result<(), StoreError> {
    let changed = counts.iter().filter(|(_, counts)| **counts != Counts::default());
    let changed: Vec<(i64, [i64; 5])> = changed.map(|(sweep, counts)| (sweep.0, counts.0)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let changed = rows(&changed)?;
    sqlx::query!(
        "-- add_trials
        UPDATE sweeps
        SET trials_queued = trials_queued + (added.value ->> '$[1][0]'),
            trials_running = trials_running + (added.value ->> '$[1][1]'),
            trials_succeeded = trials_succeeded + (added.value ->> '$[1][2]'),
            trials_failed = trials_failed + (added.value ->> '$[1][3]'),
            trials_cancelled = trials_cancelled + (added.value ->> '$[1][4]')
        FROM jsonb_each(?) AS added
        WHERE sweeps.id = added.value ->> 0",
        changed
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A worker that was taken off the list comes back with its next heartbeat.
async fn workers_seen(
    connection: &mut SqliteConnection,
    seen: &BTreeMap<WorkerId, Timestamp>,
) -> Result<(), StoreError> {
    if seen.is_empty() {
        return Ok(());
    }
    let seen: Vec<(i64, i64)> = seen.iter().map(|(worker, at)| (worker.0, at.0)).collect();
    let seen = rows(&seen)?;
    sqlx::query!(
        "-- workers_seen
        UPDATE workers SET last_seen_at = seen.value ->> 1, left_at = NULL
        FROM jsonb_each(?) AS seen
        WHERE workers.id = seen.value ->> 0",
        seen
    )
    .execute(connection)
    .await?;
    Ok(())
}
