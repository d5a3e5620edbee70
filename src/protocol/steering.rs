//! Bodies of the routes under `/v1/sweeps/{sweep}` that steer a sweep. Pausing and resuming have none: they are answered
//! with the sweep as it is then.

use serde::{Deserialize, Serialize};

use crate::vocabulary::{SweepId, TrialNumber};

/// `POST /v1/sweeps/{sweep}/cancel` and `/retry`: which of its trials are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ChosenTrials {
    /// Only these; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<Vec<TrialNumber>>,
}

/// Answer to `POST /v1/sweeps/{sweep}/cancel`. Workers hear of it with their next heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct CancelResponse {
    /// Trials that are cancelled now and were not before.
    pub trials: u64,
    /// How many of these a worker was running.
    pub running: u64,
    /// Jobs that are cancelled now, those before a trial's last one too.
    pub jobs: u64,
    /// Trials that were meant and go on, since others need the jobs in which they end.
    pub kept: u64,
    /// The other sweeps among those that need them; empty where they are trials of the same sweep.
    pub needed_by: Vec<SweepId>,
}

/// `POST /v1/sweeps/{sweep}/bump`: sweeps of higher priority are leased from first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BumpRequest {
    /// To this priority, −1000 to 1000.
    Set {
        /// The priority.
        priority: i64,
    },
    /// By so much, as far as priorities go. Repeating it raises it again.
    Raise {
        /// May be negative.
        by: i64,
    },
    /// Before all other sweeps that have something to do.
    First,
}

/// Answer to [`BumpRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct BumpResponse {
    /// The priority that it had.
    pub before: i64,
    /// The priority that it has.
    pub after: i64,
}
