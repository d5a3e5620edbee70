//! What workers write about their jobs: reports and the ends of attempts. All of it is fenced by the lease.

use sqlx::SqliteConnection;

use super::checkpoints::{self, Checkpoint};
use super::leases::{LeaseFor, RefusedLease, refusal};
use super::transition::{self, Remains};
use super::writer::Request;
use super::{Store, StoreError};
use crate::lease::{Event, JobState};
use crate::vocabulary::{CheckpointHash, FailureReason, Metrics, Timestamp};

/// Metrics of one job at one epoch, the state after it, or both.
#[derive(Debug, Clone)]
pub struct NewReport {
    /// From 1 where there are metrics.
    pub epoch: u32,
    pub metrics: Metrics,
    /// The job's newest checkpoint from now on.
    pub checkpoint: Option<Checkpoint>,
}

impl NewReport {
    fn hash(&self) -> Option<CheckpointHash> {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.hash.clone())
    }
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

/// What came of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// What was shown a lease for that is not current; nothing of it is stored.
    pub refused: Vec<RefusedLease>,
    /// Checkpoints that gave way to newer ones or were refused. The table may still name such a file for another job.
    pub unneeded: Vec<CheckpointHash>,
}

impl Store {
    /// Stores reports; those under a lease that is not current come back.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it is stored.
    pub async fn report(
        &self,
        reports: Vec<(LeaseFor, NewReport)>,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        self.writer.write(Report { reports, now }).await
    }

    /// Ends attempts; those that are not current come back.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it is stored.
    pub async fn finish(&self, outcomes: Vec<NewOutcome>, now: Timestamp) -> Result<Written, StoreError> {
        self.writer.write(Finish { outcomes, now }).await
    }
}

struct Report {
    reports: Vec<(LeaseFor, NewReport)>,
    now: Timestamp,
}

impl Request for Report {
    type Answer = Written;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Written, StoreError> {
        let mut written = Written::default();
        for (lease, report) in &self.reports {
            match holds(connection, *lease).await? {
                Ok(()) => {
                    written.unneeded.extend(write_report(connection, *lease, report, self.now).await?);
                }
                Err(refusal) => {
                    written.refused.push(refusal);
                    written.unneeded.extend(report.hash());
                }
            }
        }
        Ok(written)
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

/// Stores the metrics and, together with them, the checkpoint; gives back the hash of the one that it replaces.
async fn write_report(
    connection: &mut SqliteConnection,
    lease: LeaseFor,
    report: &NewReport,
    now: Timestamp,
) -> Result<Option<CheckpointHash>, StoreError> {
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
    .execute(&mut *connection)
    .await?;
    match &report.checkpoint {
        Some(checkpoint) => checkpoints::replace(connection, lease, checkpoint, now).await,
        None => Ok(None),
    }
}

struct Finish {
    outcomes: Vec<NewOutcome>,
    now: Timestamp,
}

impl Request for Finish {
    type Answer = Written;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Written, StoreError> {
        let mut written = Written::default();
        for outcome in &self.outcomes {
            // Where this is a repetition the job is no longer leased: the reports were stored the first time.
            let is_current = holds(connection, outcome.lease).await?.is_ok();
            for report in &outcome.reports {
                written.unneeded.extend(match is_current {
                    true => write_report(connection, outcome.lease, report, self.now).await?,
                    false => report.hash(),
                });
            }
            written.refused.extend(end_attempt(connection, outcome, self.now).await?);
        }
        Ok(written)
    }
}

async fn end_attempt(
    connection: &mut SqliteConnection,
    outcome: &NewOutcome,
    now: Timestamp,
) -> Result<Option<RefusedLease>, StoreError> {
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
