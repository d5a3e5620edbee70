//! Jobs that run where no coordinator can be reached: what an export has taken, and what is written down of its jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::http::{Lease, LeaseToken, OutcomesRequest, ReportsRequest};
use crate::vocabulary::{JobId, SweepId, WorkerId};

/// Answer to `POST /v1/sweeps/{sweep}/exports`: all that could be had of a sweep's jobs is the export's, without a deadline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ExportResponse {
    /// The export's name among workers; it leaves as they do. Nothing where there was nothing to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<WorkerId>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_millis: i64,
    /// Its jobs, each after those that it needs.
    pub jobs: Vec<ExportedJob>,
    /// Jobs of the sweep that others hold, or that wait for such jobs.
    pub left_out: u64,
    /// Exports that hold some of these, or were promised them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<WorkerId>,
}

/// A job of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ExportedJob {
    /// What it asks for. The lease of a job that needs others of the export begins when the coordinator knows that they are done.
    pub lease: Lease,
    /// How many jobs of the export come before it, one after the other.
    pub depth: u32,
    /// The job of the export from whose last state it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// Jobs of the export whose last weights it reads, by the states that name these in the parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teachers: BTreeMap<String, JobId>,
}

/// Answer to `GET /v1/exports`: what has been taken, and what of it was not brought back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ExportsResponse {
    /// All that were made, oldest first.
    pub exports: Vec<ExportStatus>,
}

/// An export that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ExportStatus {
    /// Its name among workers, and its folder's.
    pub export: WorkerId,
    /// When it was made, in milliseconds since 1970. It tells the export from another one of the same name, of a job table that was
    /// put back to an earlier state.
    pub created_at_millis: i64,
    /// Whose jobs it took.
    pub sweep: SweepId,
    /// How long ago it was made.
    pub age_seconds: f64,
    /// Its jobs of which the job table does not know the end. Without any it has brought back all that it took, or has left.
    pub jobs: Vec<JobId>,
}

/// A task of an array: which of an export's jobs it runs. Written `DEPTH-INDEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskName {
    /// How deep its jobs lie.
    pub depth: u32,
    /// Its place among the tasks of this depth, from 0.
    pub index: u32,
}

/// A text that names no task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseTaskNameError;

impl fmt::Display for ParseTaskNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a depth and a place, such as `0-17`")
    }
}

impl std::error::Error for ParseTaskNameError {}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.depth, self.index)
    }
}

impl FromStr for TaskName {
    type Err = ParseTaskNameError;

    fn from_str(text: &str) -> Result<TaskName, ParseTaskNameError> {
        let (depth, index) = text.split_once('-').ok_or(ParseTaskNameError)?;
        let number = |text: &str| text.parse().map_err(|_| ParseTaskNameError);
        Ok(TaskName { depth: number(depth)?, index: number(index)? })
    }
}

impl Serialize for TaskName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<TaskName, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `export.json`: what an export is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1; another number is for another version of this program.
    pub format: u32,
    /// Its name among workers.
    pub export: WorkerId,
    /// The sweep.
    pub sweep: SweepId,
    /// The sweep's name.
    pub name: String,
    /// Names the job table to which the results belong.
    pub table: String,
    /// When it was made, in milliseconds since 1970, as the table knows it; 0 in those of versions that did not say.
    #[serde(default)]
    pub created_at_millis: i64,
    /// How many jobs it has.
    pub jobs: u64,
    /// How many tasks each depth has.
    pub tasks: Vec<u32>,
}

impl Manifest {
    /// See [`marker_of`].
    #[must_use]
    pub fn marker(&self) -> String {
        marker_of(self.export, &self.table, self.created_at_millis)
    }
}

/// What Slurm's comments on an export's jobs begin with, however they were submitted. No other export has it, of this table or of
/// another one.
#[must_use]
pub fn marker_of(export: WorkerId, table: &str, created_at_millis: i64) -> String {
    format!("sweep export {export} of {table} at {created_at_millis}")
}

/// What one task is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// Its jobs, in the order in which they are begun.
    pub jobs: Vec<PlannedJob>,
}

/// A job of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedJob {
    /// What it asks for, with what was there when the export was made.
    pub lease: Lease,
    /// The job from whose last state it goes on, where that is of the export too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Origin>,
    /// The same for weights that it reads, by the states that name these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teachers: BTreeMap<String, Origin>,
}

/// A job of the export, and the task that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Under the lease of which its results stand.
    #[serde(flatten)]
    pub token: LeaseToken,
    /// Where they stand.
    pub task: TaskName,
}

/// One record of a spool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// A job begins, or begins again: behind this epoch everything is done anew.
    Begun {
        /// The job.
        #[serde(flatten)]
        token: LeaseToken,
        /// Epochs that it has behind it; 0 where there are none.
        epoch: u32,
    },
    /// As an agent would send them.
    Reports(ReportsRequest),
    /// The same; only ends that are final.
    Outcomes(OutcomesRequest),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_its_depth_and_place() {
        let name = TaskName { depth: 2, index: 17 };
        assert_eq!(name.to_string(), "2-17");
        assert_eq!("2-17".parse(), Ok(name));
        for text in ["", "2", "2-", "-1", "2-x", "1-2-3"] {
            assert_eq!(text.parse::<TaskName>(), Err(ParseTaskNameError), "{text}");
        }
    }
}
