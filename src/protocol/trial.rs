//! JSON lines between an agent and a trial process of the built-in trainer.
//!
//! The agent writes [`TrialRequest`]s to the process's standard input, one line each; the process answers on its
//! standard output with [`TrialEvent`]s. One request is worked on at a time. End of input asks it to exit.

use serde::{Deserialize, Serialize};

use crate::vocabulary::{FailureReason, Metrics, Parameters};

/// What an agent asks of a trial process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TrialRequest {
    /// Train one job.
    Train(TrainRequest),
}

/// One job of the built-in trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainRequest {
    /// Canonical parameters, as [`crate::recipe::schema::complete`] makes them.
    pub parameters: Parameters,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Checksum of the dataset that the parameters name; a node that holds another one refuses the job.
    pub dataset_checksum: String,
    /// First epoch to train, counted from 1.
    pub first_epoch: u32,
    /// Last epoch to train, inclusive.
    pub last_epoch: u32,
}

/// What a trial process says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TrialEvent {
    /// The process is up and waits for its first request.
    Ready,
    /// Metrics of one epoch of the current job.
    Report {
        /// The epoch that was completed.
        epoch: u32,
        /// Its metrics by name, all finite.
        metrics: Metrics,
    },
    /// The current job is complete; the process waits for the next request.
    Done {
        /// What the table keeps of it.
        record: TrialRecord,
    },
    /// The current job failed; the process waits for the next request.
    Failed {
        /// What decides whether it is tried again.
        reason: FailureReason,
        /// What went wrong, where, and how to mend it.
        message: String,
    },
}

/// How a job's numbers came about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// BLAKE3 of all final weights and buffers, in hexadecimal; empty for command trials.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub weights_hash: String,
    /// Where it ran, for instance `cpu` or `cuda:0`; empty for command trials.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// The CPU's instruction set as libtorch names it, for instance `AVX512`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cpu_capability: String,
    /// Version of the trainer's numerics ([`crate::recipe::NUMERICS_VERSION`]); 0 for command trials.
    #[serde(default)]
    pub numerics_version: u32,
    /// Versions of the libraries that compute, by name.
    #[serde(default)]
    pub libraries: std::collections::BTreeMap<String, String>,
    /// Time from the request to the end.
    #[serde(default)]
    pub wall_seconds: f64,
}
