//! Pages of what a sweep has too much of to be looked at in one piece: `GET /v1/sweeps/{sweep}/trials`, `…/configurations`, and all
//! that is known of one trial's attempts.

use serde::{Deserialize, Serialize};

use super::http::TrialState;
use crate::vocabulary::{
    Attempt, FailureReason, Goal, JobId, Metric, Parameters, SweepId, TrialNumber, WorkerId,
};

/// More is not answered in one piece.
pub const LARGEST_PAGE: u32 = 500;

/// How many rows a page has: 1 to [`LARGEST_PAGE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PageSize(u32);

/// A number of rows that no page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a page has 1 to {LARGEST_PAGE} rows, not {0}")]
pub struct PageSizeError(u32);

impl TryFrom<u32> for PageSize {
    type Error = PageSizeError;

    fn try_from(rows: u32) -> Result<PageSize, PageSizeError> {
        if (1..=LARGEST_PAGE).contains(&rows) { Ok(PageSize(rows)) } else { Err(PageSizeError(rows)) }
    }
}

impl From<PageSize> for u32 {
    fn from(size: PageSize) -> u32 {
        size.0
    }
}

impl Default for PageSize {
    fn default() -> PageSize {
        PageSize(50)
    }
}

/// The order of a page of trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TrialsOrder {
    /// By number.
    #[default]
    Number,
    /// The largest number first.
    Newest,
    /// By the sweep's metric; trials without a value come last. Where the sweep has none: by number.
    Best,
    /// The other way round, and trials without a value come last all the same.
    Worst,
}

/// Query of `GET /v1/sweeps/{sweep}/trials`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "coordinator", into_params(parameter_in = Query))]
pub struct TrialsQuery {
    /// Only trials in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "coordinator", param(inline))]
    pub state: Option<TrialState>,
    /// Only trials of which all these words hold: `lr=0.1` names a parameter's value, any other word stands somewhere in the
    /// parameters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub find: String,
    /// In this order.
    #[serde(default)]
    #[cfg_attr(feature = "coordinator", param(inline))]
    pub order: TrialsOrder,
    /// Rows to leave out.
    #[serde(default)]
    pub offset: u64,
    /// Rows to give.
    #[serde(default)]
    #[cfg_attr(feature = "coordinator", param(value_type = u32, minimum = 1, maximum = 500, default = 50))]
    pub limit: PageSize,
}

/// Answer to `GET /v1/sweeps/{sweep}/trials`: some of its trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct TrialsResponse {
    /// How many there are of them in all pages.
    pub total: u64,
    /// The metric whose values stand in `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// Parameters that take more than one value in the spec, in its order.
    pub swept: Vec<String>,
    /// The page.
    pub trials: Vec<ListedTrial>,
}

/// A trial in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ListedTrial {
    /// Its number.
    pub trial: TrialNumber,
    /// Its state.
    pub state: TrialState,
    /// Its seed.
    pub seed: u64,
    /// Its swept parameters.
    #[cfg_attr(feature = "coordinator", schema(value_type = std::collections::BTreeMap<String, serde_json::Value>))]
    pub parameters: Parameters,
    /// The last epoch that its last job reported; 0 before the first.
    pub epoch: u32,
    /// That job's last epoch.
    pub last_epoch: u32,
    /// The last value of the sweep's metric in that job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    /// What the newest attempt said, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Answer to `GET /v1/sweeps/{sweep}/trials/{trial}/attempts`: a trial, and what was tried for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct AttemptsResponse {
    /// Its sweep.
    pub sweep: SweepId,
    /// Its number.
    pub trial: TrialNumber,
    /// Its state.
    pub state: TrialState,
    /// Its seed.
    pub seed: u64,
    /// All its parameters as run, defaults filled in.
    #[cfg_attr(feature = "coordinator", schema(value_type = std::collections::BTreeMap<String, serde_json::Value>))]
    pub parameters: Parameters,
    /// Attempts at the jobs of which it consists, also those that other trials share, in the order in which they began; the newest
    /// 200.
    pub attempts: Vec<TrialAttempt>,
}

/// An attempt at one of a trial's jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct TrialAttempt {
    /// The job.
    pub job: JobId,
    /// Its first epoch, counted from 1.
    pub first_epoch: u32,
    /// Its last epoch, inclusive.
    pub last_epoch: u32,
    /// Which attempt at it.
    pub attempt: Attempt,
    /// Who made it.
    pub worker: WorkerId,
    /// On which host.
    pub host: String,
    /// How long ago it began.
    pub began_seconds_ago: f64,
    /// How long it took, or has taken so far.
    pub seconds: f64,
    /// `running`, `completed`, `released`, `expired`, `cancelled`, or `failed:` and the reason.
    pub outcome: String,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last lines of its log, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
}

/// Query of `GET /v1/sweeps/{sweep}/configurations`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "coordinator", into_params(parameter_in = Query))]
pub struct ConfigurationsQuery {
    /// The metric that ranks; the sweep's own if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Configurations to leave out.
    #[serde(default)]
    pub offset: u64,
    /// Configurations to give.
    #[serde(default)]
    #[cfg_attr(feature = "coordinator", param(value_type = u32, minimum = 1, maximum = 500, default = 50))]
    pub limit: PageSize,
}

/// Answer to `GET /v1/sweeps/{sweep}/configurations`: the numbers of `sweep results`, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ConfigurationsResponse {
    /// How many there are.
    pub total: u64,
    /// Parameters that take more than one value in the spec, in its order.
    pub parameters: Vec<String>,
    /// The metrics that `sweep results` shows; the first one ranks.
    pub metrics: Vec<ListedMetric>,
    /// Parameters without effect, and the like, in sentences.
    pub warnings: Vec<String>,
    /// The page.
    pub configurations: Vec<ListedConfiguration>,
}

/// A metric of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ListedMetric {
    /// Its name.
    pub name: String,
    /// Which way it is better; unknown of some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

/// Trials that differ in their seeds only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ListedConfiguration {
    /// Its place, from 1.
    pub rank: u64,
    /// Its hash, as in exported tables.
    pub hash: String,
    /// The values of `parameters`; null where one does not apply.
    #[cfg_attr(feature = "coordinator", schema(value_type = Vec<serde_json::Value>))]
    pub values: Vec<serde_json::Value>,
    /// Its trials, each seed once.
    pub trials: Vec<SeededTrial>,
    /// How many of them count, since they succeeded.
    pub n: u64,
    /// For each of `metrics` its mean and spread; null where there is no value.
    pub results: Vec<Option<MeanOfSeeds>>,
}

/// A trial of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SeededTrial {
    /// Its number.
    pub trial: TrialNumber,
    /// Its seed.
    pub seed: u64,
    /// Its state.
    pub state: TrialState,
}

/// A metric over the seeds of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct MeanOfSeeds {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; none of a single value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
    /// Over how many.
    pub n: u64,
}
