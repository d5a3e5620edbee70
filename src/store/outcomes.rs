//! What workers write about their jobs: reports and the ends of attempts. All of it is fenced by the lease.

use sqlx::SqliteConnection;

use super::leases::{LeaseFor, RefusedLease, refusal};
use super::transition::{self, Remains};
use super::writer::Request;
use super::{Store, StoreError};
use crate::lease::{Event, JobState};
use crate::vocabulary::{FailureReason, Metrics, Timestamp};

/// Metrics of one job at one epoch.
#[derive(Debug, Clone)]
pub struct NewReport {
    pub epoch: u32,
    pub metrics: Metrics,
}

/// The end of an attempt, with the reports that come with it.
#[derive(Debug, Clone)]
pub struct NewOutcome {
    pub lease: LeaseFor,
    pub reports: Vec<NewReport>,
    pub ended: Ended,
}

/// How a worker ended an attempt.
#[derive(Debug, Clone)]
pub enum Ended {
    Complete {
        /// `protocol::trial::TrialRecord` as JSON.
        record: String,
    },
    Fail {
        reason: FailureReason,
        message: String,
        log_tail: String,
    },
    Release,
}

impl Store {
    /// Stores reports; those under a lease that is not current come back.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it is stored.
    pub async fn report(&self, reports: Vec<(LeaseFor, NewReport)>) -> Result<Vec<RefusedLease>, StoreError> {
        self.writer.write(Report { reports }).await
    }

    /// Ends attempts; those that are not current come back.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it is stored.
    pub async fn finish(
        &self,
        outcomes: Vec<NewOutcome>,
        now: Timestamp,
    ) -> Result<Vec<RefusedLease>, StoreError> {
        self.writer.write(Finish { outcomes, now }).await
    }
}

struct Report {
    reports: Vec<(LeaseFor, NewReport)>,
}

impl Request for Report {
    type Answer = Vec<RefusedLease>;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Vec<RefusedLease>, StoreError> {
        let mut refused = Vec::new();
        for (lease, report) in &self.reports {
            match holds(connection, *lease).await? {
                Ok(()) => write_report(connection, *lease, report).await?,
                Err(refusal) => refused.push(refusal),
            }
        }
        Ok(refused)
    }
}

/// Whether the lease is the job's current one.
async fn holds(
    connection: &mut SqliteConnection,
    lease: LeaseFor,
) -> Result<Result<(), RefusedLease>, StoreError> {
    let refuse = |message: String| Ok(Err(RefusedLease { lease, message }));
    match transition::load(connection, lease.job).await? {
        None => refuse("there is no such job".to_owned()),
        Some(job) => match job.state {
            JobState::Leased { attempt, .. } if attempt == lease.attempt => Ok(Ok(())),
            state => {
                refuse(format!("attempt {} is no longer leased: the job is {}", lease.attempt, state.name()))
            }
        },
    }
}

async fn write_report(
    connection: &mut SqliteConnection,
    lease: LeaseFor,
    report: &NewReport,
) -> Result<(), StoreError> {
    for (metric, value) in &report.metrics {
        sqlx::query!(
            "-- write_report
            INSERT INTO reports (job_id, epoch, metric, value, attempt)
            VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (job_id, epoch, metric) DO UPDATE
            SET value = excluded.value, attempt = excluded.attempt",
            lease.job.0,
            report.epoch,
            metric,
            value,
            lease.attempt.0
        )
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query!(
        "-- report_progress
        UPDATE jobs SET reported_epoch = MAX(reported_epoch, ?) WHERE id = ?",
        report.epoch,
        lease.job.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct Finish {
    outcomes: Vec<NewOutcome>,
    now: Timestamp,
}

impl Request for Finish {
    type Answer = Vec<RefusedLease>;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Vec<RefusedLease>, StoreError> {
        let mut refused = Vec::new();
        for outcome in &self.outcomes {
            refused.extend(finish_one(connection, outcome, self.now).await?);
        }
        Ok(refused)
    }
}

async fn finish_one(
    connection: &mut SqliteConnection,
    outcome: &NewOutcome,
    now: Timestamp,
) -> Result<Option<RefusedLease>, StoreError> {
    // Where this is a repetition the job is no longer leased: the reports were stored the first time.
    if holds(connection, outcome.lease).await?.is_ok() {
        for report in &outcome.reports {
            write_report(connection, outcome.lease, report).await?;
        }
    }
    let attempt = outcome.lease.attempt;
    let (event, remains) = match &outcome.ended {
        Ended::Complete { record } => {
            (Event::Complete { attempt }, Remains { record: Some(record.clone()), ..Remains::default() })
        }
        Ended::Fail { reason, message, log_tail } => (
            Event::Fail { attempt, reason: *reason },
            Remains { message: Some(message.clone()), log_tail: Some(log_tail.clone()), record: None },
        ),
        Ended::Release => (Event::Release { attempt }, Remains::default()),
    };
    let applied = transition::apply(connection, outcome.lease.job, &event, &remains, now).await?;
    Ok(refusal(outcome.lease, applied))
}
