//! What people ask about work that goes on: why a trial is not running, how far a sweep is, and what went wrong in it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::http::TrialState;
use crate::vocabulary::{Attempt, FailureReason, JobId, Metric, SweepId, TrialNumber, WorkerId};

/// Answer to `GET /v1/sweeps/{sweep}/trials/{trial}/explanation`: why a trial is where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// Its sweep.
    pub sweep: SweepId,
    /// Its number.
    pub trial: TrialNumber,
    /// Its state.
    pub state: TrialState,
    /// Why, what has to happen first before the rest. Never empty.
    pub causes: Vec<Cause>,
    /// The jobs of which it consists, first to last.
    pub stages: Vec<ExplainedStage>,
}

/// One thing that keeps a trial where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Cause {
    /// Stable, for programs.
    pub code: CauseCode,
    /// In a sentence.
    pub what: String,
    /// What to do about it, where something can be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// The kinds of [`Cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CauseCode {
    /// An earlier part of it has to be trained first, perhaps by another trial that shares it.
    ParentUnfinished,
    /// It reads weights of a trial that has yet to be trained.
    WeightsUnfinished,
    /// It failed and is tried again after a pause.
    BackingOff,
    /// Its sweep is paused.
    Paused,
    /// No worker is there.
    NoWorker,
    /// Workers are there that take other sweeps' jobs only.
    WorkersElsewhere,
    /// Workers are there that get no jobs: their nodes are ill or in quarantine.
    NodesIll,
    /// All slots are busy.
    SlotsBusy,
    /// Other jobs are leased first.
    BehindOthers,
    /// Nothing: it is about to be leased.
    Ready,
    /// It runs.
    Running,
    /// It runs on a worker that was not heard of for a while.
    WorkerSilent,
    /// It is an export's: how far it is nobody knows here before that is brought in.
    Exported,
    /// It has its result.
    Succeeded,
    /// It failed for good.
    Failed,
    /// A user took it back.
    Cancelled,
}

/// One of the jobs of which a trial consists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ExplainedStage {
    /// The job.
    pub job: JobId,
    /// Its first epoch, counted from 1.
    pub first_epoch: u32,
    /// Its last epoch, inclusive.
    pub last_epoch: u32,
    /// `blocked`, `queued`, `leased`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// The last epoch reported; 0 before the first.
    pub epoch: u32,
    /// Its newest attempt; nothing before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
}

/// Answer to `GET /v1/sweeps/{sweep}/progress`: how far a sweep is, in epochs, and what went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SweepProgress {
    /// The sweep.
    pub sweep: SweepId,
    /// What ranks its trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// Epochs that are trained or will be, shared ones once: of what failed or was cancelled those that it got to. A program
    /// without stages has one, whatever it reports.
    pub epochs: u64,
    /// Of these, how many are trained.
    pub epochs_done: u64,
    /// Epochs of all trials, shared ones once, whatever becomes of them.
    pub epochs_shared: u64,
    /// Epochs of all trials, were each trained alone.
    pub epochs_unshared: u64,
    /// Jobs that have yet to end.
    pub jobs_left: u64,
    /// How long one slot would work on what is left, at the speed of the stages that have finished; nothing before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
    /// The same for what is done. With `seconds_left` it says which part of the work that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_done: Option<f64>,
    /// The trial with the best result so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestTrial>,
    /// Trials that failed, by reason, most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedTrials>,
    /// The newest failures, of attempts that are tried again too; newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_failures: Vec<RecentFailure>,
}

impl SweepProgress {
    /// Epochs that need not be trained since trials share them.
    #[must_use]
    pub fn epochs_saved(&self) -> u64 {
        self.epochs_unshared.saturating_sub(self.epochs_shared)
    }
}

/// A trial and its result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct BestTrial {
    /// Its number.
    pub trial: TrialNumber,
    /// The last value of the sweep's metric.
    pub value: f64,
}

/// Trials that failed for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct FailedTrials {
    /// The reason.
    pub reason: FailureReason,
    /// How many.
    pub trials: u64,
    /// The first of them.
    pub trial: TrialNumber,
    /// What went wrong there.
    pub message: String,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct RecentFailure {
    /// A trial that it was for.
    pub trial: TrialNumber,
    /// Why.
    pub reason: FailureReason,
    /// What went wrong.
    pub message: String,
    /// How long ago.
    pub seconds_ago: f64,
    /// It is not tried again.
    pub is_final: bool,
}

/// What is known of a sweep before it runs, by jobs of its kind that finished in this table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Forecast {
    /// What ranks its trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// How many seeds each configuration has.
    pub seeds: u64,
    /// What an epoch costs one slot; nothing where no such job has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostOfEpoch>,
    /// It runs on GPUs, as far as is known.
    pub on_gpus: bool,
    /// How many checkpoints stay when all is done.
    pub checkpoints_kept: u64,
    /// How large one is; nothing where none of the kind is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_bytes: Option<u64>,
    /// How far seeds spread; nothing where no configuration has two results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<SpreadOfSeeds>,
}

/// What an epoch costs one slot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct CostOfEpoch {
    /// On average, in seconds.
    pub seconds: f64,
    /// The 5th percentile over jobs.
    pub low: f64,
    /// The 95th percentile over jobs.
    pub high: f64,
    /// Over how many jobs.
    pub jobs: u64,
}

/// How far a metric spreads among seeds of the same configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SpreadOfSeeds {
    /// The pooled standard deviation.
    pub std: f64,
    /// How well it is known: results less configurations.
    pub degrees_of_freedom: u64,
}

/// Query of `GET /v1/sweeps/{sweep}/curves`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "coordinator", into_params(parameter_in = Query))]
pub struct CurvesQuery {
    /// Numbers of trials with commas between them, `1,2,7`; at most 2000. One that there is not is passed over.
    #[serde(default)]
    #[cfg_attr(feature = "coordinator", param(pattern = "^([1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*)?$"))]
    pub trials: String,
    /// About so many epochs of each curve, from 4 on: every second, fourth and so on, and the last. All, where it is left out.
    #[serde(default)]
    #[cfg_attr(feature = "coordinator", param(value_type = Option<u32>, minimum = 1))]
    pub points: Option<NonZeroU32>,
}

/// Answer to `GET /v1/sweeps/{sweep}/curves`: what some of its trials reported, epoch by epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct CurvesResponse {
    /// By number.
    pub trials: Vec<TrialCurves>,
}

/// What a trial reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct TrialCurves {
    /// Its number.
    pub trial: TrialNumber,
    /// By metric.
    pub metrics: BTreeMap<String, Curve>,
}

/// A metric over the epochs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Curve {
    /// In order, counted from 1.
    pub epochs: Vec<u32>,
    /// One for each of them.
    pub values: Vec<f64>,
}

/// Answer to `GET /v1/sweeps/{sweep}/stages`: the stage tree as it is in the job table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct StagesResponse {
    /// Each once; a parent comes before what goes on from it.
    pub stages: Vec<TreeStage>,
}

/// A job of the stage tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct TreeStage {
    /// The job.
    pub job: JobId,
    /// The job whose state it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// Its first epoch, counted from 1.
    pub first_epoch: u32,
    /// Its last epoch, inclusive.
    pub last_epoch: u32,
    /// `blocked`, `queued`, `leased`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// How many of the sweep's trials end in it.
    pub ends: u64,
    /// The first of these, or one that goes through it.
    pub trial: TrialNumber,
}
