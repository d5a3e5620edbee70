//! JSON lines between an agent and a trial process of the built-in trainer.
//!
//! The agent writes [`TrialRequest`]s to the process's standard input, one line each; the process answers on its
//! standard output with [`TrialEvent`]s. One request is worked on at a time. End of input asks it to exit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::vocabulary::{CheckpointHash, FailureReason, Metrics, Parameters};

/// What an agent asks of a trial process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TrialRequest {
    /// Train one job.
    Train(TrainRequest),
    /// Find out whether a device computes right.
    Examine {
        /// Which one.
        processor: Processor,
    },
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processor {
    /// The host's.
    Cpu,
    /// The first GPU that the process sees.
    Gpu,
}

/// What was found of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Verdict {
    /// It computes right.
    Sound,
    /// It doesn't, or can't be used.
    Unsound {
        /// What it gets wrong.
        message: String,
    },
    /// The process has no way to find out.
    Untested {
        /// Why.
        message: String,
    },
}

/// One job of the built-in trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct TrainRequest {
    /// Canonical parameters, as [`crate::recipe::schema::complete`] makes them.
    #[cfg_attr(feature = "coordinator", schema(value_type = std::collections::BTreeMap<String, serde_json::Value>))]
    pub parameters: Parameters,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Checksum of the dataset that the parameters name; a node that holds another one refuses the job.
    pub dataset_checksum: String,
    /// First epoch that is this job's, counted from 1: reports begin with it.
    pub first_epoch: u32,
    /// Last epoch to train, inclusive.
    pub last_epoch: u32,
    /// Hashes of the checkpoints with the weights of trials that teach, by the states that name these in the parameters; filled
    /// in when the job is leased. One that could not be written has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teachers: BTreeMap<String, String>,
    /// Where an earlier attempt or the job before had come to; filled in when the job is leased. Training goes on there, or
    /// begins with epoch 1 where the file is gone or damaged: the numbers are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Checkpoint>,
}

impl TrainRequest {
    /// The checkpoints that the job reads: where it goes on from, and those of trials that teach.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<CheckpointHash> {
        let start = self.resume.iter().map(|checkpoint| &checkpoint.hash);
        start.chain(self.teachers.values()).filter_map(|hash| hash.parse().ok()).collect()
    }

    /// The weights that its parameters name by their hash, as specs do.
    #[must_use]
    pub fn named_weights(&self) -> Vec<CheckpointHash> {
        let names = self.parameters.get("teachers").and_then(|names| names.as_array());
        names.into_iter().flatten().filter_map(|name| name.as_str()?.parse().ok()).collect()
    }
}

/// A state of a job that training can go on from, kept as a file whose name is its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Checkpoint {
    /// BLAKE3 of the file's contents, 64 hexadecimal digits.
    #[cfg_attr(feature = "coordinator", schema(pattern = "^[0-9a-f]{64}$"))]
    pub hash: String,
    /// Epochs completed.
    pub epoch: u32,
    /// Steps completed of the epoch after that.
    pub step: u32,
    /// The file's size.
    pub size_bytes: u64,
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
        /// The state after it, where one was written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<Checkpoint>,
    },
    /// SIGTERM ended work on the current job at a step's boundary; the process waits for the next request.
    Stopped {
        /// The state there, where it could be written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<Checkpoint>,
    },
    /// A device was examined; the process waits for the next request.
    Examined {
        /// What was found.
        verdict: Verdict,
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
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
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
    /// Whether the same job gives the same bits there: always on a CPU, on a GPU where `deterministic` asks for it.
    #[serde(default)]
    pub is_deterministic: bool,
    /// Versions of the libraries that compute, by name.
    #[serde(default)]
    pub libraries: BTreeMap<String, String>,
    /// Hashes of the files from which the networks of `teachers` were read, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teachers: Vec<String>,
    /// Time from the request to the end.
    #[serde(default)]
    pub wall_seconds: f64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_files_that_a_job_reads_are_those_that_are_named_by_hashes() {
        let hash = |digit: &str| digit.repeat(64);
        let checkpoint = Checkpoint { hash: hash("a"), epoch: 1, step: 0, size_bytes: 1 };
        let request = TrainRequest {
            parameters: Parameters::from([(
                "teachers".to_owned(),
                json!([hash("c"), format!("state:{}", hash("d")), 7]),
            )]),
            seed: 0,
            dataset_checksum: String::new(),
            first_epoch: 2,
            last_epoch: 3,
            teachers: BTreeMap::from([(hash("d"), hash("b")), (hash("e"), "../x".to_owned())]),
            resume: Some(checkpoint),
        };
        let texts = |hashes: Vec<CheckpointHash>| hashes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(request.checkpoints()), [hash("a"), hash("b")]);
        assert_eq!(texts(request.named_weights()), [hash("c")]);
    }
}
