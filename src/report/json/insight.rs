use serde::Serialize;

use super::super::findings::Trouble;
use super::super::smallest_difference;
use super::SCHEMA_VERSION;
use crate::protocol::http::TrialState;
use crate::protocol::insight::{
    Cause, CauseCode, ExplainedStage, Explanation, FailedTrials, Forecast, RecentFailure, SweepProgress,
};
use crate::vocabulary::{Metric, SweepId};

/// `sweep explain SWEEP TRIAL --json`
#[derive(Debug, Serialize)]
pub struct ExplainDocument {
    schema_version: u32,
    sweep: SweepId,
    trial: i64,
    state: TrialState,
    /// In the order in which they have to go away.
    causes: Vec<CauseEntry>,
    /// First to last.
    stages: Vec<StageEntry>,
}

#[derive(Debug, Serialize)]
struct CauseEntry {
    code: CauseCode,
    what: String,
    help: Option<String>,
}

#[derive(Debug, Serialize)]
struct StageEntry {
    job: i64,
    first_epoch: u32,
    last_epoch: u32,
    state: String,
    epoch: u32,
    attempt: i64,
    worker: Option<i64>,
}

impl From<Explanation> for ExplainDocument {
    fn from(explained: Explanation) -> ExplainDocument {
        ExplainDocument {
            schema_version: SCHEMA_VERSION,
            sweep: explained.sweep,
            trial: explained.trial.0,
            state: explained.state,
            causes: explained.causes.into_iter().map(Into::into).collect(),
            stages: explained.stages.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Cause> for CauseEntry {
    fn from(Cause { code, what, help }: Cause) -> CauseEntry {
        CauseEntry { code, what, help }
    }
}

impl From<ExplainedStage> for StageEntry {
    fn from(stage: ExplainedStage) -> StageEntry {
        StageEntry {
            job: stage.job.0,
            first_epoch: stage.first_epoch,
            last_epoch: stage.last_epoch,
            state: stage.state,
            epoch: stage.epoch,
            attempt: stage.attempt.map_or(0, |attempt| attempt.0),
            worker: stage.worker.map(|worker| worker.0),
        }
    }
}

/// How far a sweep is, in `sweep status --json`.
#[derive(Debug, Serialize)]
pub(super) struct ProgressEntry {
    sweep: SweepId,
    metric: Option<Metric>,
    epochs: u64,
    epochs_done: u64,
    epochs_shared: u64,
    epochs_unshared: u64,
    jobs_left: u64,
    /// Of one slot; null before anything has finished.
    seconds_left: Option<f64>,
    best: Option<BestEntry>,
    failed: Vec<FailedEntry>,
    recent_failures: Vec<RecentEntry>,
}

#[derive(Debug, Serialize)]
struct BestEntry {
    trial: i64,
    value: f64,
}

#[derive(Debug, Serialize)]
struct FailedEntry {
    reason: String,
    trials: u64,
    trial: i64,
    message: String,
}

#[derive(Debug, Serialize)]
struct RecentEntry {
    trial: i64,
    reason: String,
    message: String,
    seconds_ago: f64,
    is_final: bool,
}

impl From<SweepProgress> for ProgressEntry {
    fn from(progress: SweepProgress) -> ProgressEntry {
        ProgressEntry {
            sweep: progress.sweep,
            metric: progress.metric,
            epochs: progress.epochs,
            epochs_done: progress.epochs_done,
            epochs_shared: progress.epochs_shared,
            epochs_unshared: progress.epochs_unshared,
            jobs_left: progress.jobs_left,
            seconds_left: progress.seconds_left,
            best: progress.best.map(|best| BestEntry { trial: best.trial.0, value: best.value }),
            failed: progress.failed.into_iter().map(Into::into).collect(),
            recent_failures: progress.recent_failures.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<FailedTrials> for FailedEntry {
    fn from(failed: FailedTrials) -> FailedEntry {
        FailedEntry {
            reason: failed.reason.to_string(),
            trials: failed.trials,
            trial: failed.trial.0,
            message: failed.message,
        }
    }
}

impl From<RecentFailure> for RecentEntry {
    fn from(failure: RecentFailure) -> RecentEntry {
        RecentEntry {
            trial: failure.trial.0,
            reason: failure.reason.to_string(),
            message: failure.message,
            seconds_ago: failure.seconds_ago,
            is_final: failure.is_final,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct TroubleEntry {
    what: String,
    help: Option<String>,
}

impl From<Trouble> for TroubleEntry {
    fn from(Trouble { what, help }: Trouble) -> TroubleEntry {
        TroubleEntry { what, help }
    }
}

/// What is known of a sweep before it runs; null is unknown yet.
#[derive(Debug, Serialize)]
pub(super) struct ForecastEntry {
    metric: Option<String>,
    seeds: u64,
    on_gpus: bool,
    seconds_per_epoch: Option<f64>,
    /// 5th and 95th percentile over jobs.
    seconds_per_epoch_range: Option<[f64; 2]>,
    jobs_known: u64,
    checkpoints_kept: u64,
    checkpoint_bytes: Option<u64>,
    /// Among seeds of a configuration.
    std: Option<f64>,
    degrees_of_freedom: u64,
    /// Of the ranking metric, between two configurations with so many seeds.
    smallest_difference: Option<f64>,
}

impl From<Forecast> for ForecastEntry {
    fn from(forecast: Forecast) -> ForecastEntry {
        let Forecast { metric, seeds, cost, on_gpus, checkpoints_kept, checkpoint_bytes, spread } = forecast;
        ForecastEntry {
            metric,
            seeds,
            on_gpus,
            seconds_per_epoch: cost.map(|cost| cost.seconds),
            seconds_per_epoch_range: cost.map(|cost| [cost.low, cost.high]),
            jobs_known: cost.map_or(0, |cost| cost.jobs),
            checkpoints_kept,
            checkpoint_bytes,
            std: spread.map(|spread| spread.std),
            degrees_of_freedom: spread.map_or(0, |spread| spread.degrees_of_freedom),
            smallest_difference: spread.map(|spread| smallest_difference(spread, seeds)),
        }
    }
}
