//! What workers write about their jobs: reports and the ends of attempts. All of it is fenced by the lease.

use super::checkpoints::Checkpoint;
use super::leases::{LeaseFor, RefusedLease, refusal};
use super::unit::{Remains, Unit};
use super::writer::{Request, Wants};
use super::{Store, StoreError};
use crate::lease::{Event, JobState};
use crate::vocabulary::{FailureReason, Metrics, Timestamp, WorkerId};

/// Metrics of one job at one epoch, the state after it, or both.
#[derive(Debug, Clone)]
pub struct NewReport {
    /// From 1 where there are metrics.
    pub epoch: u32,
    pub metrics: Metrics,
    /// The job's newest checkpoint from now on.
    pub checkpoint: Option<Checkpoint>,
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
    /// Stores reports; leases that are not current come back, and nothing is stored of what was shown them for.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it is stored.
    pub async fn report(
        &self,
        reports: Vec<(LeaseFor, NewReport)>,
        now: Timestamp,
    ) -> Result<Vec<RefusedLease>, StoreError> {
        self.writer.write(Report { reports, now }).await
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
    now: Timestamp,
}

impl Request for Report {
    type Answer = Vec<RefusedLease>;

    fn wants(&self) -> Wants {
        Wants::Jobs(self.reports.iter().map(|(lease, _)| lease.job).collect())
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Vec<RefusedLease>, StoreError> {
        let mut refused = Vec::new();
        for (lease, report) in &self.reports {
            match unit.holds(*lease) {
                Ok(()) => unit.write_report(*lease, report, self.now),
                Err(message) => {
                    refused.push(RefusedLease { lease: *lease, message });
                    unit.refuse_checkpoint(report);
                }
            }
        }
        Ok(refused)
    }
}

struct Finish {
    outcomes: Vec<NewOutcome>,
    now: Timestamp,
}

impl Request for Finish {
    type Answer = Vec<RefusedLease>;

    fn wants(&self) -> Wants {
        Wants::Jobs(self.outcomes.iter().map(|outcome| outcome.lease.job).collect())
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Vec<RefusedLease>, StoreError> {
        let mut refused = Vec::new();
        for outcome in &self.outcomes {
            // Where this is a repetition the job is no longer leased: the reports were stored the first time.
            let is_current = unit.holds(outcome.lease).is_ok();
            for report in &outcome.reports {
                if is_current {
                    unit.write_report(outcome.lease, report, self.now);
                } else {
                    unit.refuse_checkpoint(report);
                }
            }
            refused.extend(end_attempt(unit, outcome, self.now));
        }
        Ok(refused)
    }
}

fn end_attempt(unit: &mut Unit, outcome: &NewOutcome, now: Timestamp) -> Option<RefusedLease> {
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
    let holder = holder(unit, outcome.lease);
    let applied = unit.step_under(outcome.lease, &event, &remains, now);
    if let (Some(worker), Some(Ok(JobState::Succeeded))) = (holder, &applied) {
        remember_completed(unit, worker, outcome.lease);
    }
    refusal(outcome.lease, applied)
}

fn holder(unit: &Unit, lease: LeaseFor) -> Option<WorkerId> {
    match unit.entries.get(&lease.job)?.job.state {
        JobState::Leased { attempt, worker, .. } if attempt == lease.attempt => Some(worker),
        _ => None,
    }
}

/// The worker holds the state after this job, or at least the one before it: what goes on from there is offered first.
fn remember_completed(unit: &mut Unit, worker: WorkerId, lease: LeaseFor) {
    let Some(entry) = unit.entries.get(&lease.job) else { return };
    let holds = if entry.live_dependents > 0 { Some(entry.id) } else { entry.parent };
    match holds {
        Some(job) => unit.memory.completed.insert(worker, job),
        None => unit.memory.completed.remove(&worker),
    };
}
