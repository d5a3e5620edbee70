//! The documents that `--json` prints: types of their own, so that wire types can change alone.

use std::collections::BTreeMap;

use serde::Serialize;

mod analysis;
mod check;
mod insight;
mod results;
mod written;

pub use analysis::AnalysisDocument;
pub use check::CheckDocument;
pub use insight::ExplainDocument;
use insight::{ForecastEntry, ProgressEntry, TroubleEntry};
pub use results::ResultsDocument;
pub use written::{
    BackupDocument, BackupExtent, CheckpointDocument, Destination, ExportDocument, LogDocument,
    ReleaseDocument, ReleaseOutcome, ReportDocument, ReportExtent, WholeLog, WrittenNetwork,
};

use super::audit::Audited;
use super::exports::ExportView;
use super::findings::Trouble;
use crate::plan::Plan;
use crate::protocol::http::{
    DoctorResponse, EarlierSweep, Finding, ResultsResponse, Selected, StatusResponse, SubmitResponse,
    SweepStatus, TrialResult, WorkerStatus,
};
use crate::protocol::insight::SweepProgress;
use crate::protocol::steering::{BumpResponse, CancelResponse};
use crate::slurm::SlurmView;
use crate::spec::Spec;
use crate::vocabulary::{JobId, Parameters, SweepId, TrialNumber, WorkerId};

const SCHEMA_VERSION: u32 = 1;

/// `sweep submit --json`
#[derive(Debug, Serialize)]
pub struct SubmitDocument {
    schema_version: u32,
    sweep: SweepId,
    name: String,
    trials: u64,
    trials_reused: u64,
    jobs: u64,
    jobs_new: u64,
    epochs_to_run: u64,
    epochs_unshared: u64,
    epochs_run_again: u64,
    existing: bool,
    /// Of `--plan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<ForecastEntry>,
    /// Trials of other sweeps that teach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    selected: Vec<SelectedEntry>,
    /// The same spec with other code, not all of whose trials have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier: Option<EarlierEntry>,
}

#[derive(Debug, Serialize)]
struct EarlierEntry {
    sweep: SweepId,
    unfinished: u64,
    /// Files that have changed since.
    changed: Vec<String>,
}

impl From<EarlierSweep> for EarlierEntry {
    fn from(EarlierSweep { sweep, unfinished, changed }: EarlierSweep) -> EarlierEntry {
        EarlierEntry { sweep, unfinished, changed }
    }
}

#[derive(Debug, Serialize)]
struct SelectedEntry {
    /// As a spec would write it.
    selector: String,
    sweep: SweepId,
    trials: Vec<TrialNumber>,
    /// How many of them have yet to be trained.
    unfinished: u64,
    /// What they are called in `parameters`.
    weights: Vec<String>,
}

impl From<Selected> for SelectedEntry {
    fn from(selected: Selected) -> SelectedEntry {
        let Selected { selector, sweep, trials, unfinished, weights } = selected;
        SelectedEntry { selector, sweep, trials, unfinished, weights }
    }
}

impl From<SubmitResponse> for SubmitDocument {
    fn from(response: SubmitResponse) -> Self {
        SubmitDocument {
            schema_version: SCHEMA_VERSION,
            sweep: response.sweep,
            name: response.name,
            trials: response.trials,
            trials_reused: response.trials_reused,
            jobs: response.jobs,
            jobs_new: response.jobs_new,
            epochs_to_run: response.epochs_to_run,
            epochs_unshared: response.epochs_unshared,
            epochs_run_again: response.epochs_run_again,
            existing: response.is_existing,
            forecast: response.forecast.map(Into::into),
            selected: response.selected.into_iter().map(Into::into).collect(),
            earlier: response.earlier.map(Into::into),
        }
    }
}

/// `sweep expand --json`
#[derive(Debug, Serialize)]
pub struct ExpandDocument {
    schema_version: u32,
    name: String,
    /// How many.
    trials: u64,
    jobs: u64,
    epochs_unshared: u64,
    epochs_shared: u64,
    /// What is left after what other sweeps have trained.
    epochs_to_run: u64,
    /// Checkpoints of shared beginnings that are kept at a time when one worker runs the jobs.
    live_checkpoints: u64,
    /// Trials of other sweeps that teach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    selected: Vec<SelectedEntry>,
    expansion: Vec<ExpandedTrial>,
}

#[derive(Debug, Serialize)]
struct ExpandedTrial {
    trial: i64,
    seed: u64,
    parameters: Parameters,
}

impl ExpandDocument {
    #[must_use]
    pub fn new(spec: &Spec, plan: &Plan, epochs_to_run: u64, selected: Vec<Selected>) -> ExpandDocument {
        let extent = plan.extent();
        let expansion = spec.trials().map(|trial| ExpandedTrial {
            trial: trial.number.0,
            seed: trial.seed,
            parameters: trial.parameters,
        });
        ExpandDocument {
            schema_version: SCHEMA_VERSION,
            name: spec.name.clone(),
            trials: plan.trials.len() as u64,
            jobs: plan.jobs().len() as u64,
            epochs_unshared: extent.epochs_unshared,
            epochs_shared: extent.epochs_shared,
            epochs_to_run,
            live_checkpoints: extent.live_checkpoints as u64,
            selected: selected.into_iter().map(Into::into).collect(),
            expansion: expansion.collect(),
        }
    }
}

/// `sweep audit --json`
#[derive(Debug, Serialize)]
pub struct AuditDocument {
    schema_version: u32,
    sweep: SweepId,
    /// Whether every trial came out the same.
    same: bool,
    trials: Vec<AuditedTrial>,
}

#[derive(Debug, Serialize)]
struct AuditedTrial {
    trial: TrialNumber,
    inherited_epochs: u32,
    /// The first difference in words; null where there is none.
    difference: Option<String>,
}

impl AuditDocument {
    #[must_use]
    pub fn new(sweep: SweepId, audited: &[Audited]) -> AuditDocument {
        AuditDocument {
            schema_version: SCHEMA_VERSION,
            sweep,
            same: audited.iter().all(|audited| audited.difference.is_none()),
            trials: audited
                .iter()
                .map(|audited| AuditedTrial {
                    trial: audited.trial,
                    inherited_epochs: audited.inherited_epochs,
                    difference: audited.difference.as_ref().map(ToString::to_string),
                })
                .collect(),
        }
    }
}

/// `sweep doctor --json`
#[derive(Debug, Serialize)]
pub struct DoctorDocument {
    schema_version: u32,
    /// Empty where all is well.
    findings: Vec<Finding>,
}

impl From<DoctorResponse> for DoctorDocument {
    fn from(response: DoctorResponse) -> DoctorDocument {
        DoctorDocument { schema_version: SCHEMA_VERSION, findings: response.findings }
    }
}

/// `sweep pause`, `resume` and `bump` with `--json`, where these only look or tell sweeps as they are then.
#[derive(Debug, Serialize)]
pub struct SweepsDocument {
    schema_version: u32,
    sweeps: Vec<SweepEntry>,
}

impl From<Vec<SweepStatus>> for SweepsDocument {
    fn from(sweeps: Vec<SweepStatus>) -> SweepsDocument {
        SweepsDocument {
            schema_version: SCHEMA_VERSION,
            sweeps: sweeps.into_iter().map(Into::into).collect(),
        }
    }
}

/// `sweep bump --json`
#[derive(Debug, Serialize)]
pub struct BumpDocument {
    schema_version: u32,
    sweeps: Vec<BumpedEntry>,
}

#[derive(Debug, Serialize)]
struct BumpedEntry {
    id: SweepId,
    priority_before: i64,
    priority: i64,
}

impl From<Vec<(SweepId, BumpResponse)>> for BumpDocument {
    fn from(bumped: Vec<(SweepId, BumpResponse)>) -> BumpDocument {
        let entry = |(id, BumpResponse { before, after })| BumpedEntry {
            id,
            priority_before: before,
            priority: after,
        };
        BumpDocument { schema_version: SCHEMA_VERSION, sweeps: bumped.into_iter().map(entry).collect() }
    }
}

/// `sweep cancel --json`
#[derive(Debug, Serialize)]
pub struct CancelDocument {
    schema_version: u32,
    sweep: SweepId,
    trials: u64,
    running: u64,
    jobs: u64,
    kept: u64,
    needed_by: Vec<SweepId>,
}

impl CancelDocument {
    #[must_use]
    pub fn new(sweep: SweepId, cancelled: &CancelResponse) -> CancelDocument {
        CancelDocument {
            schema_version: SCHEMA_VERSION,
            sweep,
            trials: cancelled.trials,
            running: cancelled.running,
            jobs: cancelled.jobs,
            kept: cancelled.kept,
            needed_by: cancelled.needed_by.clone(),
        }
    }
}

/// `sweep ingest --json`
#[derive(Debug, Serialize)]
pub struct IngestDocument {
    pub schema_version: u32,
    pub export: WorkerId,
    pub sweep: SweepId,
    /// All of the export.
    pub jobs: u64,
    pub done: u64,
    pub failed: u64,
    /// Begun and not ended, with a checkpoint to go on from.
    pub begun: u64,
    /// Of which there is nothing that lasts.
    pub missing: u64,
    /// Tasks that are to run these, `DEPTH-INDEX`.
    pub missing_tasks: Vec<String>,
    /// Jobs that ended there and no longer count.
    pub refused: Vec<JobId>,
    /// What can't be read of the spool.
    pub unread: Vec<SpoolRest>,
}

/// A part of a file that could not be read.
#[derive(Debug, Serialize)]
pub struct SpoolRest {
    pub file: String,
    pub at: u64,
    pub bytes: u64,
    /// Whoever wrote it was interrupted, or is at it; otherwise it is damaged, or another version's.
    pub is_torn: bool,
}

/// `sweep retry --json`
#[derive(Debug, Serialize)]
pub struct RetryDocument {
    schema_version: u32,
    sweep: SweepId,
    jobs: u64,
}

impl RetryDocument {
    #[must_use]
    pub fn new(sweep: SweepId, jobs: u64) -> RetryDocument {
        RetryDocument { schema_version: SCHEMA_VERSION, sweep, jobs }
    }
}

/// `sweep cancel` and `retry` with `--dry-run --json`: the trials that something would happen to.
#[derive(Debug, Serialize)]
pub struct ChosenDocument<'a> {
    schema_version: u32,
    sweep: SweepId,
    trials: Vec<ChosenEntry<'a>>,
}

#[derive(Debug, Serialize)]
struct ChosenEntry<'a> {
    trial: TrialNumber,
    state: crate::protocol::http::TrialState,
    seed: u64,
    parameters: &'a Parameters,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl<'a> ChosenDocument<'a> {
    #[must_use]
    pub fn new(chosen: &'a ResultsResponse) -> ChosenDocument<'a> {
        let entry = |trial: &'a TrialResult| ChosenEntry {
            trial: trial.trial,
            state: trial.state,
            seed: trial.seed,
            parameters: &trial.parameters,
            reason: trial.failure.as_ref().map(|failure| failure.reason.to_string()),
        };
        ChosenDocument {
            schema_version: SCHEMA_VERSION,
            sweep: chosen.sweep,
            trials: chosen.trials.iter().map(entry).collect(),
        }
    }
}

/// `sweep status --json`
#[derive(Debug, Serialize)]
pub struct StatusDocument {
    schema_version: u32,
    sweeps: Vec<SweepEntry>,
    workers: Vec<WorkerEntry>,
    /// Of the sweeps that have something to do or have failed trials.
    progress: Vec<ProgressEntry>,
    /// What is wrong, what stops the work first.
    troubles: Vec<TroubleEntry>,
    /// What was submitted to Slurm; null where Slurm doesn't answer.
    slurm: Option<SlurmEntry>,
    /// Exports that have not brought back all that they took.
    exports: Vec<ExportEntry>,
}

#[derive(Debug, Serialize)]
struct ExportEntry {
    export: WorkerId,
    sweep: SweepId,
    age_seconds: f64,
    /// Jobs of which the job table doesn't know the end.
    open_jobs: u64,
    /// Those of them whose end lies in the export's folder; null where that can't be read here.
    uningested_jobs: Option<u64>,
    /// The command to be said now.
    next: Option<String>,
}

impl From<&ExportView> for ExportEntry {
    fn from(view: &ExportView) -> ExportEntry {
        ExportEntry {
            export: view.export,
            sweep: view.sweep,
            age_seconds: view.age_seconds,
            open_jobs: view.open_jobs,
            uningested_jobs: view.to_ingest(),
            next: view.next(),
        }
    }
}

#[derive(Debug, Serialize)]
struct SlurmEntry {
    jobs: Vec<SlurmJobEntry>,
    /// Workers of whose jobs Slurm knows nothing any more.
    lost_workers: Vec<i64>,
}

#[derive(Debug, Serialize)]
struct SlurmJobEntry {
    job: u32,
    /// Null for a coordinator's own job.
    sweep: Option<SweepId>,
    tasks: u32,
    pending: u32,
    /// Slurm's words, with how many tasks wait for each.
    pending_reasons: BTreeMap<String, u32>,
    running: u32,
    ended: u32,
    /// Slurm's words, with how many tasks ended so, where it keeps account of them.
    bad_ends: BTreeMap<String, u32>,
}

impl From<SlurmView> for SlurmEntry {
    fn from(view: SlurmView) -> SlurmEntry {
        let jobs = view.jobs.into_iter().map(|job| SlurmJobEntry {
            job: job.job,
            sweep: job.sweep,
            tasks: job.tasks,
            pending: job.pending,
            pending_reasons: job.reasons,
            running: job.running,
            ended: job.ended,
            bad_ends: job.bad_ends,
        });
        SlurmEntry {
            jobs: jobs.collect(),
            lost_workers: view.lost.into_iter().map(|lost| lost.worker.0).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct SweepEntry {
    id: SweepId,
    name: String,
    state: crate::protocol::http::SweepState,
    priority: i64,
    trials: TrialsEntry,
}

#[derive(Debug, Serialize)]
struct TrialsEntry {
    total: u64,
    queued: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
}

#[derive(Debug, Serialize)]
struct WorkerEntry {
    id: i64,
    host: String,
    pid: u32,
    slots: u32,
    running: u32,
    last_seen_seconds: f64,
    /// The Slurm job in which it runs, as Slurm's commands name it.
    slurm_job: Option<String>,
}

impl From<SweepStatus> for SweepEntry {
    fn from(sweep: SweepStatus) -> SweepEntry {
        SweepEntry {
            id: sweep.id,
            name: sweep.name,
            state: sweep.state,
            priority: sweep.priority,
            trials: TrialsEntry {
                total: sweep.trials.total,
                queued: sweep.trials.queued,
                running: sweep.trials.running,
                succeeded: sweep.trials.succeeded,
                failed: sweep.trials.failed,
                cancelled: sweep.trials.cancelled,
            },
        }
    }
}

impl StatusDocument {
    /// `slurm`: what Slurm says, where it does.
    #[must_use]
    pub fn new(
        response: StatusResponse,
        progress: Vec<SweepProgress>,
        troubles: Vec<Trouble>,
        slurm: Option<SlurmView>,
        exports: &[ExportView],
    ) -> Self {
        let sweeps = response.sweeps.into_iter().map(Into::into);
        let workers = response.workers.into_iter().map(WorkerEntry::from);
        StatusDocument {
            schema_version: SCHEMA_VERSION,
            sweeps: sweeps.collect(),
            workers: workers.collect(),
            progress: progress.into_iter().map(Into::into).collect(),
            troubles: troubles.into_iter().map(Into::into).collect(),
            slurm: slurm.map(Into::into),
            exports: exports.iter().map(Into::into).collect(),
        }
    }
}

/// `sweep workers --json`
#[derive(Debug, Serialize)]
pub struct WorkersDocument {
    schema_version: u32,
    workers: Vec<NodeEntry>,
}

#[derive(Debug, Serialize)]
struct NodeEntry {
    #[serde(flatten)]
    worker: WorkerEntry,
    /// Why it gets no jobs.
    problem: Option<String>,
    load: Option<f64>,
    memory_used_bytes: Option<u64>,
    memory_total_bytes: Option<u64>,
    gpus: Vec<GpuEntry>,
}

#[derive(Debug, Serialize)]
struct GpuEntry {
    name: String,
    utilisation_percent: Option<u32>,
    memory_used_bytes: u64,
    memory_total_bytes: u64,
}

impl From<WorkerStatus> for WorkerEntry {
    fn from(worker: WorkerStatus) -> Self {
        WorkerEntry {
            id: worker.id.0,
            host: worker.host,
            pid: worker.pid,
            slots: worker.slots,
            running: worker.running,
            last_seen_seconds: worker.last_seen_seconds,
            slurm_job: worker.slurm.as_ref().map(ToString::to_string),
        }
    }
}

impl From<WorkerStatus> for NodeEntry {
    fn from(mut worker: WorkerStatus) -> Self {
        let node = worker.node.take().unwrap_or_default();
        let gpus = node.gpus.into_iter().map(|gpu| GpuEntry {
            name: gpu.name,
            utilisation_percent: gpu.utilisation_percent,
            memory_used_bytes: gpu.memory_used_bytes,
            memory_total_bytes: gpu.memory_total_bytes,
        });
        NodeEntry {
            problem: worker.problem.take(),
            load: node.load,
            memory_used_bytes: node.memory_used_bytes,
            memory_total_bytes: node.memory_total_bytes,
            gpus: gpus.collect(),
            worker: worker.into(),
        }
    }
}

impl From<Vec<WorkerStatus>> for WorkersDocument {
    fn from(workers: Vec<WorkerStatus>) -> Self {
        let workers = workers.into_iter().map(Into::into).collect();
        WorkersDocument { schema_version: SCHEMA_VERSION, workers }
    }
}
