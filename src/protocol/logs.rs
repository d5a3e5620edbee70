//! What trials print: `POST /v1/logs` brings it from workers that don't share the coordinator's state folder, `GET
//! /v1/sweeps/{sweep}/trials/{trial}/log` reads it, a part at a time.

use serde::{Deserialize, Serialize};

use super::http::{LeaseToken, TrialState};
use crate::vocabulary::{Attempt, JobId};

/// `POST /v1/logs`: what trials have printed. Repeating it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LogsRequest {
    /// Those of one attempt in their order.
    pub parts: Vec<LogPart>,
}

/// What was added to an attempt's log. Of an attempt that there is not, or beyond what is kept of one, it is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LogPart {
    /// The lease under which it was printed.
    #[serde(flatten)]
    pub token: LeaseToken,
    /// How many bytes were sent of it before: what is there already is not added again.
    pub offset: u64,
    /// The part.
    pub text: String,
}

/// The query: which log of the trial, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "coordinator", into_params(parameter_in = Query))]
pub struct LogQuery {
    /// Of this job; otherwise of the last one of the trial's jobs that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Of this attempt of it; otherwise of the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Bytes of the log to leave out: where the part before ended.
    #[serde(default)]
    pub offset: u64,
}

/// A part of a log, and what has become of the trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LogResponse {
    /// Whose log it is; there is none before the trial's first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<LoggedAttempt>,
    /// The part; characters that are none are replaced. Empty where nothing more is there (yet).
    pub text: String,
    /// Where the next part begins, in bytes.
    pub next_offset: u64,
    /// What the trial is doing.
    pub state: TrialState,
    /// The attempt that came after this one: the job's next, or the first of the trial's next job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<AttemptName>,
    /// The trial's jobs that were begun, first to last, with their newest attempts.
    pub stages: Vec<LoggedStage>,
}

/// Names an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct AttemptName {
    /// Its job.
    pub job: JobId,
    /// Its number.
    pub attempt: Attempt,
}

/// An attempt with a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LoggedAttempt {
    /// Which one.
    #[serde(flatten)]
    pub name: AttemptName,
    /// The host on which it ran, where the whole log lies.
    pub host: String,
    /// Name of the log's file, in `logs/` of the state folder of the worker there.
    pub file_name: String,
    /// Nothing will be added to the log.
    pub has_ended: bool,
    /// How much of the log the coordinator has.
    pub extent: LogExtent,
}

/// How much of a log the coordinator has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogExtent {
    /// What there is of it in its own state folder: all, or what its worker sent, which says where something was left out.
    Whole,
    /// The end, which came with the attempt's failure.
    Tail,
    /// Nothing: nothing was printed so far, or it did not come here from the host of the attempt.
    Nothing,
}

/// One of a trial's jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LoggedStage {
    /// The job, and its newest attempt.
    #[serde(flatten)]
    pub newest: AttemptName,
    /// Its first epoch.
    pub first_epoch: u32,
    /// Its last epoch.
    pub last_epoch: u32,
}
