//! The words of the tool as types: ids, hashes, times, states of trials, and the reasons for which an attempt ends badly.
//!
//! Every room speaks them, so they lie below all rooms. Nothing here decides anything.

mod checkpoint;
mod code;
mod duration;
mod failure;
mod ids;
mod lifecycle;
mod metric;
mod state;
mod time;

pub use checkpoint::{
    CheckpointHash, NAMED_WEIGHTS, ParseCheckpointHashError, state_of_weights, weights_file_name,
    weights_in_state,
};
pub use code::{CodeScope, KEPT_CODE, KeptCode, KeptFolder, code_file_name};
pub use duration::{parse_duration, parse_slurm_time};
pub use failure::{FailureReason, ParseFailureReasonError};
pub use ids::{Attempt, JobId, Nonce, ParseIdError, SweepId, TrialNumber, WorkerId};
pub use lifecycle::{ParseSweepStateError, ParseTrialStateError, SweepState, TrialState};
pub use metric::{EpochChoice, Goal, Metric, Metrics, ParseEpochChoiceError, VOLATILE_METRICS, is_volatile};
pub use state::{ParseStateHashError, StateHash};
pub use time::Timestamp;

use std::collections::BTreeMap;

/// Parameters of one configuration by name, in canonical (alphabetical) order.
pub type Parameters = BTreeMap<String, serde_json::Value>;

/// Priorities of sweeps lie between this and its negative.
pub const HIGHEST_PRIORITY: i64 = 1000;
