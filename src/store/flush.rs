//! Statements that write what a transaction has come to, each for any number of rows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::SqliteConnection;

use super::load::id_list;
use super::unit::{Entry, LONG_AGO, Remains, Trials, Unit, newest_attempt};
use super::{LeaseFor, NewReport, StoreError, checkpoints};
use crate::lease::{JobState, Outcome};
use crate::vocabulary::{JobId, SweepId, Timestamp, WorkerId};

/// What is to be written beside the jobs themselves.
#[derive(Default)]
pub(super) struct Writes {
    opened: Vec<OpenedAttempt>,
    closed: Vec<ClosedAttempt>,
    reports: Vec<ReportedMetric>,
    superseded: BTreeSet<JobId>,
    /// Jobs that have another checkpoint than the table says, or none any more.
    checkpoints: BTreeSet<JobId>,
    counts: BTreeMap<SweepId, Counts>,
    seen: BTreeMap<WorkerId, Timestamp>,
}

/// Job, attempt, worker, moment, epochs that it does not run itself.
#[derive(Serialize)]
struct OpenedAttempt(i64, i64, i64, i64, u32);

/// Job, attempt, moment, outcome, message, log tail, record.
#[derive(Serialize)]
struct ClosedAttempt(i64, i64, i64, String, Option<String>, Option<String>, Option<String>);

/// Job, epoch, metric, value, attempt.
#[derive(Serialize)]
struct ReportedMetric(i64, u32, String, String, i64);

/// Trials by state, or how many more there are in each: queued, running, succeeded, failed, cancelled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts([i64; 5]);

impl Counts {
    /// Adds trials whose last job is in the state of this name.
    fn add(&mut self, state: &str, trials: i64) {
        // A trial's state is its last job's, where blocked shows as queued.
        let place = match state {
            "leased" => 1,
            "succeeded" => 2,
            "failed" => 3,
            "cancelled" => 4,
            _ => 0,
        };
        self.0[place] += trials;
    }
}

impl Writes {
    pub(super) fn open_attempt(
        &mut self,
        lease: LeaseFor,
        worker: WorkerId,
        now: Timestamp,
        resumed_epoch: u32,
    ) {
        self.opened.push(OpenedAttempt(lease.job.0, lease.attempt.0, worker.0, now.0, resumed_epoch));
    }

    pub(super) fn close_attempt(
        &mut self,
        lease: LeaseFor,
        outcome: Outcome,
        remains: &Remains,
        now: Timestamp,
    ) {
        let Remains { message, log_tail, record } = remains.clone();
        let outcome = outcome.to_string();
        self.closed.push(ClosedAttempt(
            lease.job.0,
            lease.attempt.0,
            now.0,
            outcome,
            message,
            log_tail,
            record,
        ));
    }

    pub(super) fn report(&mut self, lease: LeaseFor, report: &NewReport) {
        for (metric, value) in &report.metrics {
            // SQLite's own reading of a number is right to about 30 digits: from 19 it finds the one double they are of.
            let value = format!("{value:.18e}");
            let (job, attempt) = (lease.job.0, lease.attempt.0);
            self.reports.push(ReportedMetric(job, report.epoch, metric.clone(), value, attempt));
        }
    }

    /// Notes a job that completed after an attempt before had reported too.
    pub(super) fn supersede_reports(&mut self, job: JobId) {
        self.superseded.insert(job);
    }

    pub(super) fn checkpoint(&mut self, job: JobId) {
        self.checkpoints.insert(job);
    }

    pub(super) fn has_checkpoint_of(&self, job: JobId) -> bool {
        self.checkpoints.contains(&job)
    }

    /// Keeps the counts of every sweep with a trial that ends in a job.
    pub(super) fn count(&mut self, trials: &Trials, own: SweepId, from: &JobState, to: &JobState) {
        let all = std::iter::once((own, trials.own)).chain(trials.others.iter().copied());
        for (sweep, trials) in all.filter(|(_, trials)| *trials > 0) {
            let counts = self.counts.entry(sweep).or_default();
            counts.add(from.name(), -trials);
            counts.add(to.name(), trials);
        }
    }

    /// Adds new trials whose last job is in the state of this name.
    pub(super) fn count_new(&mut self, sweep: SweepId, state: &str, trials: i64) {
        self.counts.entry(sweep).or_default().add(state, trials);
    }

    pub(super) fn seen(&mut self, worker: WorkerId, now: Timestamp) {
        self.seen.insert(worker, now);
    }
}

impl Unit {
    /// Carries through what the events so far mean, writes it, and forgets the jobs.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        self.settle().await?;
        let changed: Vec<&Entry> =
            self.entries.values().filter(|entry| entry.is_changed || entry.is_moved).collect();
        let connection = &mut self.connection;
        let writes = std::mem::take(&mut self.writes);
        move_jobs(connection, &changed).await?;
        save_jobs(connection, &changed).await?;
        save_joins(connection, &changed).await?;
        open_attempts(connection, &writes.opened).await?;
        close_attempts(connection, &writes.closed).await?;
        write_reports(connection, &writes.reports).await?;
        drop_superseded_reports(connection, &writes.superseded).await?;
        checkpoints::save(connection, &writes.checkpoints, &self.checkpoints).await?;
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
);

impl SavedJob {
    fn of(entry: &Entry) -> Result<SavedJob, StoreError> {
        let job = &entry.job;
        let (mut worker, mut deadline, mut waits_until, mut reason) = (None, None, None, None);
        match job.state {
            JobState::Queued { not_before: LONG_AGO } => {}
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
            live_dependents = saved.value ->> 12, reported_epoch = saved.value ->> 13
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

/// Keeps what other sweeps know of the jobs that they wait for.
async fn save_joins(connection: &mut SqliteConnection, changed: &[&Entry]) -> Result<(), StoreError> {
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
    if reports.is_empty() {
        return Ok(());
    }
    let reports = rows(&reports)?;
    sqlx::query!(
        "-- write_reports
        INSERT INTO reports (job_id, epoch, metric, value, attempt)
        SELECT report.value ->> 0, report.value ->> 1, report.value ->> 2, CAST(report.value ->> 3 AS REAL),
               report.value ->> 4
        FROM jsonb_each(?) AS report
        WHERE TRUE
        ON CONFLICT (job_id, epoch, metric) DO UPDATE
        SET value = excluded.value, attempt = excluded.attempt",
        reports
    )
    .execute(connection)
    .await?;
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
