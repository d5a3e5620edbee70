//! What workers and submissions have to do with Slurm: who runs in which of its jobs, and which jobs were submitted for a sweep.

use serde::{Deserialize, Serialize};

use crate::vocabulary::SweepId;

/// The Slurm job, or the task of an array, in which an agent runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SlurmTask {
    /// The cluster's name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// `SLURM_JOB_ID`, of which each task of an array has its own.
    pub job: u32,
    /// The array, and the task's place in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<ArrayTask>,
    /// How often Slurm has started the job again. Whoever registered with a lower number is gone.
    #[serde(default)]
    pub restarts: u32,
}

/// A task of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ArrayTask {
    /// The array: what `sbatch` printed.
    pub job: u32,
    /// Its place there.
    pub task: u32,
}

impl SlurmTask {
    /// The Slurm job as it was submitted: the array, or the job itself.
    #[must_use]
    pub fn submitted_as(&self) -> u32 {
        self.array.map_or(self.job, |array| array.job)
    }
}

/// As Slurm's commands name it: `4711`, or `4711_3`.
impl std::fmt::Display for SlurmTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.array {
            Some(ArrayTask { job, task }) => write!(f, "{job}_{task}"),
            None => write!(f, "{}", self.job),
        }
    }
}

/// `POST /v1/slurm/jobs`: these jobs were submitted to Slurm. Repeating it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SlurmJobsRequest {
    /// Stored together, or none of them.
    pub jobs: Vec<SlurmJob>,
}

/// A job, or an array of them, that was submitted to Slurm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SlurmJob {
    /// The cluster's name, where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What `sbatch` printed.
    pub job: u32,
    /// What it is there for.
    pub role: SlurmRole,
    /// How many tasks it has.
    pub tasks: u32,
}

/// What a Slurm job is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SlurmRole {
    /// Each of its tasks is a worker.
    Workers {
        /// For this sweep.
        sweep: SweepId,
    },
    /// It is the coordinator.
    Coordinator,
}
