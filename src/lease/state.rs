use std::fmt;
use std::str::FromStr;

use super::Failures;
use crate::vocabulary::{Attempt, FailureReason, Timestamp, WorkerId};

/// One job as far as leasing is concerned.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub state: JobState,
    /// The last attempt that ended. A leased job's attempt is the next one.
    pub last_ended: Option<EndedAttempt>,
    /// Failures so far, each of which took something off a budget.
    pub failures: Failures,
    /// How often the job is tried again after a failure that is nobody's fault in particular.
    pub retries: u32,
}

/// What a job is doing, with the data that exists only while it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Something that it needs has not succeeded yet.
    Blocked,
    /// Leasable from `not_before` on; [`READY`] where it waits for nothing, whatever becomes of the clock.
    Queued {
        not_before: Timestamp,
    },
    /// One worker's until the deadline, under this attempt.
    Leased {
        attempt: Attempt,
        worker: WorkerId,
        deadline: Timestamp,
    },
    Succeeded,
    Failed {
        reason: FailureReason,
    },
    Cancelled,
}

/// When a job may be leased that waits for nothing.
pub const READY: Timestamp = Timestamp(i64::MIN);

/// How an attempt ended. Kept so that a repeated call gets the answer of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedAttempt {
    pub attempt: Attempt,
    pub outcome: Outcome,
}

/// The ways in which an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Failed(FailureReason),
    /// Given back unharmed.
    Released,
    /// The worker was not heard of in time.
    Expired,
    /// Taken away by a user.
    Cancelled,
}

impl Job {
    /// The token of the next lease.
    #[must_use]
    pub fn next_attempt(&self) -> Attempt {
        Attempt(self.last_ended.map_or(0, |ended| ended.attempt.0) + 1)
    }
}

impl JobState {
    /// Whether the job may still run.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self {
            JobState::Blocked | JobState::Queued { .. } | JobState::Leased { .. } => true,
            JobState::Succeeded | JobState::Failed { .. } | JobState::Cancelled => false,
        }
    }

    /// The name under which the state is stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            JobState::Blocked => "blocked",
            JobState::Queued { .. } => "queued",
            JobState::Leased { .. } => "leased",
            JobState::Succeeded => "succeeded",
            JobState::Failed { .. } => "failed",
            JobState::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Completed => f.write_str("completed"),
            Outcome::Failed(reason) => write!(f, "failed:{reason}"),
            Outcome::Released => f.write_str("released"),
            Outcome::Expired => f.write_str("expired"),
            Outcome::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// Text that names no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no outcome of an attempt")]
pub struct ParseOutcomeError(String);

impl FromStr for Outcome {
    type Err = ParseOutcomeError;

    fn from_str(text: &str) -> Result<Self, ParseOutcomeError> {
        let unknown = || ParseOutcomeError(text.to_owned());
        match text {
            "completed" => Ok(Outcome::Completed),
            "released" => Ok(Outcome::Released),
            "expired" => Ok(Outcome::Expired),
            "cancelled" => Ok(Outcome::Cancelled),
            _ => {
                let reason = text.strip_prefix("failed:").ok_or_else(unknown)?;
                Ok(Outcome::Failed(reason.parse().map_err(|_| unknown())?))
            }
        }
    }
}
