//! Bodies of the HTTP API under `/v1`, in the order in which an agent needs them, then those of the command line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::insight::Forecast;
use super::logs::AttemptName;
use super::slurm::{SlurmJob, SlurmTask};
use super::trial::{Checkpoint, TrainRequest, TrialRecord};
use crate::vocabulary::{
    Attempt, CheckpointHash, EpochChoice, FailureReason, Goal, JobId, KeptCode, Metric, Metrics, Nonce,
    Parameters, SweepId, TrialNumber, WorkerId,
};

pub use crate::vocabulary::{SweepState, TrialState};

/// Version of what agents and the coordinator say to each other. It is raised with each change after which an agent of before
/// and a coordinator of after, or the other way round, would misunderstand each other.
pub const PROTOCOL: u32 = 1;

/// `POST /v1/workers`: an agent says that it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct RegisterRequest {
    /// The host's name, for people.
    pub host: String,
    /// Names one boot of one machine and a namespace of process ids; with `pid` and `started_ticks` it names one process.
    pub boot_id: String,
    /// The agent's process id.
    pub pid: u32,
    /// When that process started, in clock ticks since the boot.
    pub started_ticks: u64,
    /// How many jobs it runs at a time.
    pub slots: u32,
    /// Version of the program.
    pub version: String,
    /// The [`PROTOCOL`] that it speaks; 0 where it does not say. One with another number than the coordinator's is refused.
    #[serde(default)]
    pub protocol: u32,
    /// The Slurm job in which it runs, where it runs in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm: Option<SlurmTask>,
}

#[cfg(test)]
impl RegisterRequest {
    /// One agent of many, as tests need it.
    pub(crate) fn of_test() -> RegisterRequest {
        RegisterRequest {
            host: "here".to_owned(),
            boot_id: "another".to_owned(),
            pid: 1,
            started_ticks: 1,
            slots: 2,
            version: "0".to_owned(),
            protocol: PROTOCOL,
            slurm: None,
        }
    }
}

/// Answer to [`RegisterRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct RegisterResponse {
    /// The agent's name from now on.
    pub worker: WorkerId,
    /// How often it shall send a heartbeat.
    pub heartbeat_millis: u64,
    /// How long a lease lasts without one.
    pub lease_millis: u64,
    /// The [`PROTOCOL`] that the coordinator speaks; 0 where it does not say.
    #[serde(default)]
    pub protocol: u32,
}

/// `POST /v1/leases`: an agent asks for jobs and waits for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LeaseRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// Only jobs of this sweep.
    pub sweep: Option<SweepId>,
    /// At most this many jobs.
    pub most: u32,
    /// How long to wait where there is none.
    pub wait_millis: u64,
}

/// Answer to [`LeaseRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LeaseResponse {
    /// The jobs that are the agent's now.
    pub leases: Vec<Lease>,
    /// Every job (of the sweep, where one was named) has ended, so that waiting is in vain.
    pub is_drained: bool,
}

/// One leased job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Lease {
    /// What the agent shows with everything that it writes about the job.
    #[serde(flatten)]
    pub token: LeaseToken,
    /// How many CPUs the job uses.
    pub cpus: u32,
    /// How many GPUs it uses; where that is open it gets what a slot has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// What the attempt may use at most.
    #[serde(default, skip_serializing_if = "Limits::is_unlimited")]
    pub limits: Limits,
    /// Every checkpoint counts, not the newest only: a sweep keeps the best, or all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_checkpoints: bool,
    /// What to do.
    pub work: Work,
}

/// The most that one attempt may use. The agent ends one that uses more, and fails it with a reason of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Limits {
    /// How long it may take, by the agent's clock (`timeout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_millis: Option<u64>,
    /// How long it may go without a sign of progress (`stalled`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_millis: Option<u64>,
    /// How much memory its processes may use together (`host_oom`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl Limits {
    /// Nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Limits::default()
    }
}

/// The right to write about one job: valid while the job is leased under this attempt, by the table that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LeaseToken {
    /// The job.
    pub job: JobId,
    /// The attempt for which it was leased.
    pub attempt: Attempt,
    /// Drawn by chance for each lease: a table that was restored gives the same attempts again, and not to the same agents.
    #[serde(default)]
    pub nonce: Nonce,
}

impl LeaseToken {
    /// How files are called that belong to this lease alone.
    #[must_use]
    pub fn file_stem(&self) -> String {
        let LeaseToken { job, attempt, nonce } = self;
        format!("job-{job}-attempt-{attempt}-{:08x}", nonce.0)
    }
}

impl From<LeaseToken> for AttemptName {
    fn from(token: LeaseToken) -> AttemptName {
        AttemptName { job: token.job, attempt: token.attempt }
    }
}

/// What a job asks of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(tag = "trainer", rename_all = "snake_case")]
pub enum Work {
    /// A job of the built-in trainer.
    Resnet(TrainRequest),
    /// A program.
    Command(CommandWork),
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct CommandWork {
    /// Program and arguments, with the parameters filled in; never seen by a shell.
    pub command: Vec<String>,
    /// Where it was submitted, handed over as `SWEEP_PROJECT`; it runs there, or in a copy of its code.
    pub working_directory: String,
    /// What of its code was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<KeptCode>,
    /// The parameters, handed over as `SWEEP_PARAMS`.
    #[cfg_attr(feature = "coordinator", schema(value_type = std::collections::BTreeMap<String, serde_json::Value>))]
    pub parameters: Parameters,
    /// The trial's seed, handed over as `SWEEP_SEED`.
    pub seed: u64,
    /// Number of the trial in the sweep that first asked for the job, handed over as `SWEEP_TRIAL`.
    pub trial: TrialNumber,
    /// Which part of the trial this is; there is none where the program runs whole trials only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<CommandStage>,
}

impl CommandWork {
    /// The checkpoints that the program reads.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<CheckpointHash> {
        let load = self.stage.iter().flat_map(|stage| &stage.load);
        load.filter_map(|checkpoint| checkpoint.hash.parse().ok()).collect()
    }

    /// The archive of its code.
    #[must_use]
    pub fn kept_code(&self) -> Option<CheckpointHash> {
        self.code.as_ref()?.hash.parse().ok()
    }
}

/// A part of a trial that is a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct CommandStage {
    /// First epoch that is this job's, counted from 1: reports begin with it.
    pub first_epoch: u32,
    /// Last epoch, inclusive.
    pub last_epoch: u32,
    /// What the job before left; filled in when the job is leased. Where the file is gone or damaged the program begins with
    /// epoch 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Checkpoint>,
    /// Whether other jobs go on from what this one leaves.
    pub must_save: bool,
}

/// `POST /v1/heartbeats`: an agent is alive and holds these leases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct HeartbeatRequest {
    /// Who is alive.
    pub worker: WorkerId,
    /// All leases that it holds.
    pub leases: Vec<LeaseToken>,
    /// What its node is doing, where that can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeLoad>,
    /// Why it takes no jobs at the moment, where it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a node is doing. It is for people: nothing is decided by it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct NodeLoad {
    /// Processes that run or wait to, averaged over a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Memory of the host that programs can't get any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// All memory of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// The GPUs that the agent uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuLoad>,
}

/// What a GPU is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct GpuLoad {
    /// Its unique name, or its number.
    pub name: String,
    /// Share of the last moments in which it computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation_percent: Option<u32>,
    /// Memory that is in use, by whomever.
    pub memory_used_bytes: u64,
    /// All its memory.
    pub memory_total_bytes: u64,
}

/// Answer to [`HeartbeatRequest`]: all other leases are extended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct HeartbeatResponse {
    /// What it must stop, since it is no longer the agent's.
    pub stop: Vec<Refused>,
}

/// `POST /v1/reports`: metrics of running jobs. Repeating it changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ReportsRequest {
    /// In any order.
    pub reports: Vec<Report>,
}

/// Metrics of one job at one epoch, the state after it, or both; they are stored together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Report {
    /// Under which lease.
    #[serde(flatten)]
    pub token: LeaseToken,
    /// The epoch, counted from 1; 0 for a checkpoint within the first epoch.
    pub epoch: u32,
    /// The metrics by name; empty for a checkpoint within an epoch.
    pub metrics: Metrics,
    /// The job's newest checkpoint; it takes the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// `POST /v1/outcomes`: attempts that ended. Repeating it changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct OutcomesRequest {
    /// In any order.
    pub outcomes: Vec<Outcome>,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Outcome {
    /// Which attempt.
    #[serde(flatten)]
    pub token: LeaseToken,
    /// Reports that were not sent before; stored together with the end.
    pub reports: Vec<EpochMetrics>,
    /// The end.
    pub end: AttemptEnd,
}

/// Metrics of one epoch, within an [`Outcome`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct EpochMetrics {
    /// As in [`Report`].
    pub epoch: u32,
    /// The metrics by name.
    pub metrics: Metrics,
    /// As in [`Report`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// The ways in which an agent ends an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AttemptEnd {
    /// The job is done.
    Complete {
        /// How its numbers came about.
        record: TrialRecord,
    },
    /// The attempt failed.
    Fail {
        /// What decides whether the job is tried again.
        reason: FailureReason,
        /// What went wrong, for people.
        message: String,
        /// The last lines of its log.
        log_tail: String,
    },
    /// The agent gives the job back unharmed.
    Release,
}

/// Answer to [`ReportsRequest`] and [`OutcomesRequest`]: what was not stored. Everything else has reached the disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct WriteResponse {
    /// Leases that are not the agent's any more: it drops their jobs.
    pub refused: Vec<Refused>,
}

/// A lease that is no longer the agent's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Refused {
    /// The lease that was shown.
    #[serde(flatten)]
    pub token: LeaseToken,
    /// Why it does not count.
    pub message: String,
}

/// `POST /v1/workers/leave`: an agent says goodbye; it holds no lease any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct LeaveRequest {
    /// Who leaves.
    pub worker: WorkerId,
}

/// `POST /v1/workers/release`: give a node another chance on which jobs kept failing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ReleaseRequest {
    /// The node's name, as its workers give it.
    pub host: String,
}

/// Answer to [`ReleaseRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ReleaseResponse {
    /// It got no jobs until now.
    pub was_quarantined: bool,
}

/// `POST /v1/sweeps`: store a sweep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SubmitRequest {
    /// The spec file's text.
    pub spec: String,
    /// The spec file's name, for messages.
    pub source_name: String,
    /// The specs that it is based on, directly and in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<BaseSpec>,
    /// Overrides as typed, `name=value`.
    pub overrides: Vec<String>,
    /// Where command trials run.
    pub working_directory: String,
    /// Whether equal beginnings of trials are trained once.
    #[serde(default)]
    pub sharing: Sharing,
    /// Nothing is stored; the answer says what would have become of it, and what is left of a sweep that is there already.
    #[serde(default)]
    pub is_rehearsal: bool,
    /// Of the spec's trials only these; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<TrialNumber>>,
    /// What selectors of trials that teach have selected, by their text: names of weights. Others are looked up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selected: BTreeMap<String, Vec<String>>,
    /// What a program is run from; its archive was sent before as an artifact. Left out, the coordinator takes the files that
    /// it finds in `working_directory` itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

/// The code of a program as it was when its sweep was submitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Code {
    /// BLAKE3 of the files that commands name and that count by themselves, by these names.
    pub files: BTreeMap<String, String>,
    /// What was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptCode>,
    /// Where in a repository's history its folder was, for the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

/// A place in a repository's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Commit {
    /// As git names it.
    pub hash: String,
    /// Files that git knows were not as they are in it.
    pub is_modified: bool,
}

/// Whether trials that agree up to some epoch are trained together up to there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Equal beginnings are trained once.
    #[default]
    Prefixes,
    /// Every trial is trained by itself, from its first epoch, whatever is there already.
    Nothing,
}

impl SubmitRequest {
    /// The text of the base of this name.
    #[must_use]
    pub fn base(&self, name: &str) -> Option<String> {
        self.bases.iter().find(|base| base.name == name).map(|base| base.text.clone())
    }
}

/// A spec that another one is based on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct BaseSpec {
    /// Its path, as it follows from the spec's and what that says.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Answer to [`SubmitRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SubmitResponse {
    /// The sweep, new or found.
    pub sweep: SweepId,
    /// Its name.
    pub name: String,
    /// How many trials it has.
    pub trials: u64,
    /// How many of these had their result before, from another sweep.
    pub trials_reused: u64,
    /// How many jobs they need.
    pub jobs: u64,
    /// How many of these were not there.
    pub jobs_new: u64,
    /// Epochs that are still to be run for it, each once.
    pub epochs_to_run: u64,
    /// Epochs of all trials, were each run alone.
    pub epochs_unshared: u64,
    /// Of the epochs to run, those that were run before and left nothing to go on from.
    pub epochs_run_again: u64,
    /// A sweep with the same expansion was there already, and this is it.
    pub is_existing: bool,
    /// The trials of other sweeps that teach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selected: Vec<Selected>,
    /// What it will cost, where nothing was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// The same spec was submitted before with other code, and not all of that sweep's trials have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<EarlierSweep>,
}

/// A sweep of the same spec with other code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct EarlierSweep {
    /// Its id.
    pub sweep: SweepId,
    /// How many of its trials have not ended; they are run with the code that they were submitted with.
    pub unfinished: u64,
    /// Files that have changed since, where that is known.
    pub changed: Vec<String>,
}

/// What a selector in a spec has selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Selected {
    /// Its text.
    pub selector: String,
    /// The sweep that it names.
    pub sweep: SweepId,
    /// The trials, by number.
    pub trials: Vec<TrialNumber>,
    /// How many of them have yet to be trained.
    pub unfinished: u64,
    /// Names of their weights; trials that end in the same state have the same.
    pub weights: Vec<String>,
}

/// Answer to `POST /v1/sweeps/{sweep}/retry`, which reopens what failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct RetryResponse {
    /// How many jobs were reopened.
    pub jobs: u64,
}

/// Answer to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct StatusResponse {
    /// All sweeps, oldest first.
    pub sweeps: Vec<SweepStatus>,
    /// Agents that are there, oldest first.
    pub workers: Vec<WorkerStatus>,
    /// Jobs that are leased now; one that several sweeps need is there for each of them.
    pub running: Vec<RunningJob>,
    /// What was submitted to Slurm and may still be needed, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slurm: Vec<SlurmJob>,
}

/// One sweep at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct SweepStatus {
    /// Its id.
    pub id: SweepId,
    /// Its name.
    pub name: String,
    /// Derived from the counts.
    pub state: SweepState,
    /// Trials by state.
    pub trials: TrialCounts,
    /// Sweeps of higher priority are leased from first.
    pub priority: i64,
}

/// Trials by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct TrialCounts {
    /// All of them.
    pub total: u64,
    /// Waiting, also for a parent.
    pub queued: u64,
    /// Leased.
    pub running: u64,
    /// With a result.
    pub succeeded: u64,
    /// Given up.
    pub failed: u64,
    /// Taken back by a user.
    pub cancelled: u64,
}

impl TrialCounts {
    /// Those that have not ended.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.queued + self.running
    }
}

/// One agent at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct WorkerStatus {
    /// Its id.
    pub id: WorkerId,
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// How many jobs it runs at a time.
    pub slots: u32,
    /// How many leases it holds.
    pub running: u32,
    /// Time since it was last heard of.
    pub last_seen_seconds: f64,
    /// What its node was doing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeLoad>,
    /// Why it takes no jobs at the moment, where it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The Slurm job in which it runs, where it runs in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm: Option<SlurmTask>,
}

/// A leased job at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct RunningJob {
    /// A sweep that needs it.
    pub sweep: SweepId,
    /// The first trial there that ends in it.
    pub trial: TrialNumber,
    /// Who runs it.
    pub worker: WorkerId,
    /// The last epoch reported; 0 before the first.
    pub epoch: u32,
    /// The job's last epoch.
    pub last_epoch: u32,
    /// The latest value of the sweep's metric.
    pub metric: Option<f64>,
}

/// Query of `GET /v1/sweeps/{sweep}/results`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ResultsQuery {
    /// Of which epoch the metrics shall be.
    #[serde(default)]
    pub epoch: EpochChoice,
    /// By which metric the best epoch is chosen; by the sweep's where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Which way that metric is better, if not upward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

impl ResultsQuery {
    /// By what the best epoch is chosen. A metric that is the sweep's own has the sweep's goal where none is named.
    #[must_use]
    pub fn best_by(&self, of_sweep: Option<&Metric>) -> Option<Metric> {
        let Some(name) = &self.metric else { return of_sweep.cloned() };
        let goal = of_sweep.filter(|metric| metric.name == *name).map(|metric| metric.goal);
        Some(Metric { name: name.clone(), goal: self.goal.or(goal).unwrap_or(Goal::Maximize) })
    }
}

/// Answer to `GET /v1/sweeps/{sweep}/results`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct ResultsResponse {
    /// The sweep.
    pub sweep: SweepId,
    /// Its name.
    pub name: String,
    /// The metric that ranks, where the spec names one.
    pub metric: Option<Metric>,
    /// Parameters that take more than one value in the spec, in its order.
    pub swept: Vec<String>,
    /// What its programs are run from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeSummary>,
    /// One entry a trial, by number.
    pub trials: Vec<TrialResult>,
}

/// What the programs of a sweep are run from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct CodeSummary {
    /// BLAKE3 of the archive that was kept, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Where in a repository's history its folder was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

/// Answer to `GET /v1/doctor`: what is wrong with the table and the files that it names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct DoctorResponse {
    /// Empty where all is well.
    pub findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Finding {
    /// What, in a sentence.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

/// Answer to `GET /v1/sweeps/{sweep}/trials/{trial}`: how a trial that has succeeded was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct TrialHistory {
    /// Its number.
    pub trial: TrialNumber,
    /// Every report that counts, in the order of epochs, those of shared epochs too.
    pub reports: Vec<EpochMetrics>,
    /// Epochs that it shares with jobs before its last one.
    pub inherited_epochs: u32,
    /// How the numbers of its last job came about.
    pub record: TrialRecord,
}

/// What is known of one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct TrialResult {
    /// Its number.
    pub trial: TrialNumber,
    /// Its state.
    pub state: TrialState,
    /// Its seed.
    pub seed: u64,
    /// Its parameters as run, defaults filled in.
    #[cfg_attr(feature = "coordinator", schema(value_type = std::collections::BTreeMap<String, serde_json::Value>))]
    pub parameters: Parameters,
    /// The last value of each metric, or those of the epoch that was asked for.
    pub metrics: Metrics,
    /// The epoch of which the metrics are, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The states that stay, by epoch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<KeptCheckpoint>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A state of a trial that stays, as a file whose name is its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct KeptCheckpoint {
    /// Epochs completed.
    pub epoch: u32,
    /// BLAKE3 of the file's contents.
    pub hash: String,
    /// What the sweep's metric was then, where that was reported.
    pub value: Option<f64>,
}

/// Why a trial failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Failure {
    /// The last attempt's reason.
    pub reason: FailureReason,
    /// What went wrong.
    pub message: String,
    /// The last lines of its log.
    pub log_tail: String,
}

/// One of the server-sent events of `GET /v1/events`; its SSE `event` is the type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveEvent {
    /// Events were missed, or none was seen yet: the state has to be loaded anew.
    Reset,
    /// A sweep is new, or its state or its counts changed.
    SweepChanged(SweepStatus),
    /// Trials ended.
    TrialsEnded {
        /// Their sweep.
        sweep: SweepId,
        /// By number.
        trials: Vec<EndedTrial>,
    },
    /// An agent came.
    WorkerJoined {
        /// Its id.
        worker: WorkerId,
        /// Its host.
        host: String,
        /// How many jobs it runs at a time.
        slots: u32,
    },
    /// An agent went, or was silent for too long.
    WorkerLeft {
        /// Its id.
        worker: WorkerId,
    },
    /// Nobody extended leases up to their deadline; their jobs go to others.
    LeasesExpired {
        /// How many.
        leases: u64,
    },
}

impl LiveEvent {
    /// Its type's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            LiveEvent::Reset => "reset",
            LiveEvent::SweepChanged(_) => "sweep_changed",
            LiveEvent::TrialsEnded { .. } => "trials_ended",
            LiveEvent::WorkerJoined { .. } => "worker_joined",
            LiveEvent::WorkerLeft { .. } => "worker_left",
            LiveEvent::LeasesExpired { .. } => "leases_expired",
        }
    }

    /// The sweep that it is about; what is about agents concerns all.
    #[must_use]
    pub fn sweep(&self) -> Option<SweepId> {
        match self {
            LiveEvent::SweepChanged(status) => Some(status.id),
            LiveEvent::TrialsEnded { sweep, .. } => Some(*sweep),
            LiveEvent::Reset
            | LiveEvent::WorkerJoined { .. }
            | LiveEvent::WorkerLeft { .. }
            | LiveEvent::LeasesExpired { .. } => None,
        }
    }
}

/// A trial that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct EndedTrial {
    /// Its number.
    pub trial: TrialNumber,
    /// How it ended.
    pub state: TrialState,
}

/// Answer to `GET /healthz`: the coordinator answers and can read its table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`; whatever else there is to say is a problem.
    pub status: String,
    /// The program's version.
    pub version: String,
}

/// Body of every answer that is not a success (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI that says what kind of problem it is: `code` as a URN.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words; the same for all problems of a kind.
    pub title: String,
    /// The answer's HTTP status.
    pub status: u16,
    /// What went wrong this time, and where.
    pub detail: String,
    /// Stable, for programs.
    pub code: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    /// A problem of the kind `code`, with nothing to say about its mend.
    #[must_use]
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:sweep:problem:{code}"),
            title: code.replace('_', " "),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            help: None,
        }
    }
}
