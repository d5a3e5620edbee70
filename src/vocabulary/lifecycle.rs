//! The states in which people see trials and sweeps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a trial is doing: its last job's state, where blocked shows as queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// Waiting, also for a parent.
    Queued,
    /// Leased.
    Running,
    /// With a result.
    Succeeded,
    /// Given up.
    Failed,
    /// Taken back by a user.
    Cancelled,
}

/// Text that names no state of a trial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state of a trial")]
pub struct ParseTrialStateError(String);

impl TrialState {
    pub const ALL: [TrialState; 5] = [
        TrialState::Queued,
        TrialState::Running,
        TrialState::Succeeded,
        TrialState::Failed,
        TrialState::Cancelled,
    ];

    /// The word under which it is sent, shown and selected.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TrialState::Queued => "queued",
            TrialState::Running => "running",
            TrialState::Succeeded => "succeeded",
            TrialState::Failed => "failed",
            TrialState::Cancelled => "cancelled",
        }
    }

    /// Whether there is still something to do.
    #[must_use]
    pub fn is_live(self) -> bool {
        match self {
            TrialState::Queued | TrialState::Running => true,
            TrialState::Succeeded | TrialState::Failed | TrialState::Cancelled => false,
        }
    }
}

impl fmt::Display for TrialState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TrialState {
    type Err = ParseTrialStateError;

    fn from_str(text: &str) -> Result<TrialState, ParseTrialStateError> {
        let found = TrialState::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| ParseTrialStateError(text.to_owned()))
    }
}

/// What a sweep is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SweepState {
    /// Nothing runs and something is queued.
    Queued,
    /// Something runs.
    Running,
    /// Nothing is leased from it, and it has not ended; what runs goes on.
    Paused,
    /// All trials succeeded.
    Succeeded,
    /// All trials ended, and at least one failed.
    Failed,
    /// All trials ended, none failed, and at least one was cancelled.
    Cancelled,
}

/// Text that names no state of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state of a sweep")]
pub struct ParseSweepStateError(String);

impl SweepState {
    pub const ALL: [SweepState; 6] = [
        SweepState::Queued,
        SweepState::Running,
        SweepState::Paused,
        SweepState::Succeeded,
        SweepState::Failed,
        SweepState::Cancelled,
    ];

    /// The word under which it is sent, shown and selected.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SweepState::Queued => "queued",
            SweepState::Running => "running",
            SweepState::Paused => "paused",
            SweepState::Succeeded => "succeeded",
            SweepState::Failed => "failed",
            SweepState::Cancelled => "cancelled",
        }
    }

    /// Whether there is still something to do.
    #[must_use]
    pub fn is_live(self) -> bool {
        match self {
            SweepState::Queued | SweepState::Running | SweepState::Paused => true,
            SweepState::Succeeded | SweepState::Failed | SweepState::Cancelled => false,
        }
    }
}

impl fmt::Display for SweepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SweepState {
    type Err = ParseSweepStateError;

    fn from_str(text: &str) -> Result<SweepState, ParseSweepStateError> {
        let found = SweepState::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| ParseSweepStateError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_what_it_prints_and_is_sent_under_the_same_word() {
        for state in TrialState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for state in SweepState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert!("blocked".parse::<TrialState>().is_err() && "blocked".parse::<SweepState>().is_err());
    }
}
