//! The border between table rows and wire types.

use std::time::Duration;

use super::loads::Word;
use super::resources::Resources;
use super::{CoordinatorError, context};
use crate::protocol::http::{
    AttemptEnd, Code, CodeSummary, EpochMetrics, Failure, KeptCheckpoint, Lease, LeaseToken, Outcome,
    Refused, RegisterRequest, Report, ResultsQuery, RunningJob, Sharing, SubmitRequest, SubmitResponse,
    SweepState, SweepStatus, TrialCounts, TrialHistory, TrialResult, TrialState, WorkerStatus,
};
use crate::protocol::steering::{BumpRequest, BumpResponse, CancelResponse};
use crate::protocol::trial::Checkpoint;
use crate::store::{
    self, At, Bumped, Cancelled, Cause, Ended, FailureRow, HistoryRow, KeptRow, LeaseFor, LeasedJob,
    NewOutcome, NewPriority, NewReport, NewWorker, RefusedLease, RequestRow, RunningJobRow, StoreError,
    Submitted, SweepCounts, SweepRow, TrialRow, WorkerRow,
};
use crate::vocabulary::{
    EpochChoice, Metric, Parameters, ParseCheckpointHashError, SweepId, Timestamp, TrialNumber,
};

pub(super) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a worker reports and can't mean.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Hash(#[from] ParseCheckpointHashError),
    #[error("epochs count from 1, and these are metrics of epoch 0")]
    Epoch,
}

pub(super) fn lease(job: LeasedJob) -> Result<Lease, StoreError> {
    let resources: Resources = serde_json::from_str(&job.resources).map_err(|_| {
        StoreError::Damaged(format!("the sweep of job {} has unreadable resources", job.lease.job))
    })?;
    Ok(Lease {
        token: job.lease.into(),
        cpus: resources.cpus.unwrap_or(job.cpus),
        gpus: resources.gpus,
        limits: resources.limits(),
        keeps_checkpoints: job.keeps_more,
        work: context::work(job)?,
    })
}

pub(super) fn report(report: Report) -> Result<(LeaseFor, NewReport), ReportError> {
    let Report { token, epoch, metrics, checkpoint } = report;
    Ok((token.into(), EpochMetrics { epoch, metrics, checkpoint }.try_into()?))
}

impl TryFrom<EpochMetrics> for NewReport {
    type Error = ReportError;

    fn try_from(report: EpochMetrics) -> Result<NewReport, ReportError> {
        let EpochMetrics { epoch, metrics, checkpoint } = report;
        // A checkpoint within the first epoch has no epoch behind it.
        if epoch == 0 && !metrics.is_empty() {
            return Err(ReportError::Epoch);
        }
        let checkpoint = checkpoint.map(store::Checkpoint::try_from).transpose()?;
        Ok(NewReport { epoch, metrics, checkpoint })
    }
}

impl TryFrom<Checkpoint> for store::Checkpoint {
    type Error = ParseCheckpointHashError;

    fn try_from(checkpoint: Checkpoint) -> Result<store::Checkpoint, ParseCheckpointHashError> {
        let Checkpoint { hash, epoch, step, size_bytes } = checkpoint;
        Ok(store::Checkpoint { hash: hash.parse()?, epoch, step, size_bytes })
    }
}

impl From<store::Checkpoint> for Checkpoint {
    fn from(checkpoint: store::Checkpoint) -> Checkpoint {
        let store::Checkpoint { hash, epoch, step, size_bytes } = checkpoint;
        Checkpoint { hash: hash.to_string(), epoch, step, size_bytes }
    }
}

pub(super) fn outcome(outcome: Outcome) -> Result<NewOutcome, CoordinatorError> {
    let ended = match outcome.end {
        AttemptEnd::Complete { record } => Ended::Complete {
            record: serde_json::to_string(&record).map_err(|error| StoreError::Damaged(error.to_string()))?,
        },
        AttemptEnd::Fail { reason, message, log_tail } => Ended::Fail { reason, message, log_tail },
        AttemptEnd::Release => Ended::Release,
    };
    let reports = outcome.reports.into_iter().map(NewReport::try_from).collect::<Result<_, _>>()?;
    Ok(NewOutcome { lease: outcome.token.into(), reports, ended })
}

pub(super) fn worker(word: Word, row: WorkerRow, now: Timestamp) -> WorkerStatus {
    WorkerStatus {
        id: row.id,
        host: row.host,
        pid: row.pid,
        slots: row.slots,
        running: row.running,
        last_seen_seconds: now.since(row.last_seen_at).as_secs_f64(),
        node: word.node,
        problem: word.problem,
        slurm: row.slurm.map(Into::into),
    }
}

/// From the name of its last job's state.
pub(super) fn trial_state(trial: TrialNumber, job_state: &str) -> Result<TrialState, StoreError> {
    match job_state {
        "blocked" | "queued" => Ok(TrialState::Queued),
        "leased" => Ok(TrialState::Running),
        "succeeded" => Ok(TrialState::Succeeded),
        "failed" => Ok(TrialState::Failed),
        "cancelled" => Ok(TrialState::Cancelled),
        other => Err(StoreError::Damaged(format!("trial {trial} is in the unknown state `{other}`"))),
    }
}

/// Nothing where the best epoch is asked for and there is no metric.
pub(super) fn at(query: &ResultsQuery, of_sweep: Option<&Metric>) -> Option<At> {
    match query.epoch {
        EpochChoice::Last => Some(At::Last),
        EpochChoice::At(epoch) => Some(At::Epoch(epoch)),
        EpochChoice::Best => query.best_by(of_sweep).map(At::Best),
    }
}

/// A trial's parameters, which the table has as JSON.
pub(super) fn parameters(trial: TrialNumber, text: &str) -> Result<Parameters, StoreError> {
    serde_json::from_str(text)
        .map_err(|_| StoreError::Damaged(format!("trial {trial} has unreadable parameters")))
}

pub(super) fn trial(row: TrialRow) -> Result<TrialResult, StoreError> {
    let state = trial_state(row.number, &row.job_state)?;
    Ok(TrialResult {
        trial: row.number,
        state,
        seed: row.seed,
        parameters: parameters(row.number, &row.parameters)?,
        metrics: row.metrics,
        epoch: row.epoch,
        checkpoints: row.checkpoints.into_iter().map(Into::into).collect(),
        failure: row.failure.map(Into::into),
    })
}

impl From<KeptRow> for KeptCheckpoint {
    fn from(KeptRow { epoch, hash, value }: KeptRow) -> KeptCheckpoint {
        KeptCheckpoint { epoch, hash: hash.to_string(), value }
    }
}

/// How a trial ended whose last job is in this state; nothing where it has not.
pub(super) fn ended(job_state: &str) -> Option<TrialState> {
    match job_state {
        "succeeded" => Some(TrialState::Succeeded),
        "failed" => Some(TrialState::Failed),
        "cancelled" => Some(TrialState::Cancelled),
        _ => None,
    }
}

/// The name stands in for the file's, from which it may have been taken.
pub(super) fn request(sweep: SweepId, row: RequestRow) -> Result<SubmitRequest, StoreError> {
    let code = row.code.as_deref().map(read_code).transpose()?;
    let super::prepare::StoredSpec { source_name, spec, bases, selected } =
        super::prepare::read_stored_spec(&row);
    Ok(SubmitRequest {
        spec,
        source_name,
        bases,
        selected,
        overrides: serde_json::from_str(&row.overrides)
            .map_err(|_| StoreError::Damaged(format!("sweep {sweep} has unreadable overrides")))?,
        working_directory: row.working_directory,
        sharing: Sharing::Prefixes,
        is_rehearsal: false,
        only: None,
        code,
    })
}

/// The code of a sweep, as the table holds it.
pub(super) fn read_code(code: &str) -> Result<Code, StoreError> {
    serde_json::from_str(code).map_err(|_| StoreError::Damaged("a sweep has unreadable code".to_owned()))
}

/// The same in short; nothing where nothing is known of it.
pub(super) fn code_summary(code: &str) -> Result<Option<CodeSummary>, StoreError> {
    let Code { kept, commit, .. } = read_code(code)?;
    let hash = kept.map(|kept| kept.hash);
    Ok((hash.is_some() || commit.is_some()).then_some(CodeSummary { hash, commit }))
}

pub(super) fn history(trial: TrialNumber, row: HistoryRow) -> Result<TrialHistory, StoreError> {
    let report = |(epoch, metrics)| EpochMetrics { epoch, metrics, checkpoint: None };
    Ok(TrialHistory {
        trial,
        reports: row.reports.into_iter().map(report).collect(),
        inherited_epochs: row.inherited_epochs,
        record: serde_json::from_str(&row.record)
            .map_err(|_| StoreError::Damaged(format!("trial {trial} has an unreadable record")))?,
    })
}

pub(super) fn cancelled(cancelled: Cancelled) -> CancelResponse {
    let Cancelled { trials, running, jobs, kept, needed_by } = cancelled;
    CancelResponse { trials, running, jobs, kept, needed_by: needed_by.into_iter().collect() }
}

impl From<BumpRequest> for NewPriority {
    fn from(request: BumpRequest) -> NewPriority {
        match request {
            BumpRequest::Set { priority } => NewPriority::Exactly(priority),
            BumpRequest::Raise { by } => NewPriority::By(by),
            BumpRequest::First => NewPriority::First,
        }
    }
}

impl From<Bumped> for BumpResponse {
    fn from(bumped: Bumped) -> BumpResponse {
        BumpResponse { before: bumped.before, after: bumped.after }
    }
}

impl From<FailureRow> for Failure {
    fn from(row: FailureRow) -> Failure {
        let FailureRow { reason, cause, message, log_tail } = row;
        let message = match cause {
            Some(Cause { reason, sweep, trial }) => {
                format!("what it needs failed (trial {trial} of sweep {sweep}: {reason}): {message}")
            }
            None => message,
        };
        Failure { reason, message, log_tail }
    }
}

/// `jobs`: how many the plan has.
pub(super) fn submitted(submitted: Submitted, name: String, jobs: usize) -> SubmitResponse {
    SubmitResponse {
        sweep: submitted.sweep,
        name,
        trials: submitted.trials,
        trials_reused: submitted.trials_reused,
        jobs: count(jobs),
        jobs_new: submitted.jobs_new,
        epochs_to_run: submitted.epochs_to_run,
        epochs_unshared: submitted.epochs_unshared,
        epochs_run_again: submitted.epochs_run_again,
        is_existing: submitted.is_existing,
        selected: Vec::new(),
        earlier: None,
        forecast: None,
    }
}

impl From<LeaseToken> for LeaseFor {
    fn from(token: LeaseToken) -> LeaseFor {
        LeaseFor { job: token.job, attempt: token.attempt, nonce: token.nonce }
    }
}

impl From<LeaseFor> for LeaseToken {
    fn from(lease: LeaseFor) -> LeaseToken {
        LeaseToken { job: lease.job, attempt: lease.attempt, nonce: lease.nonce }
    }
}

impl From<RefusedLease> for Refused {
    fn from(refused: RefusedLease) -> Refused {
        Refused { token: refused.lease.into(), message: refused.message }
    }
}

impl From<RegisterRequest> for NewWorker {
    fn from(request: RegisterRequest) -> NewWorker {
        NewWorker {
            host: request.host,
            boot_id: request.boot_id,
            pid: request.pid,
            started_ticks: request.started_ticks,
            slots: request.slots,
            version: request.version,
            slurm: request.slurm.map(Into::into),
        }
    }
}

impl From<SweepRow> for SweepStatus {
    fn from(row: SweepRow) -> SweepStatus {
        SweepStatus {
            id: row.id,
            state: state_of(&row),
            name: row.name,
            trials: row.counts.into(),
            priority: row.priority,
        }
    }
}

/// Beside being paused a sweep has no state of its own: it is what its trials are.
fn state_of(row: &SweepRow) -> SweepState {
    match row.counts {
        SweepCounts { queued, running, .. } if row.is_paused && queued + running > 0 => SweepState::Paused,
        SweepCounts { running: 1.., .. } => SweepState::Running,
        SweepCounts { queued: 1.., .. } => SweepState::Queued,
        SweepCounts { failed: 1.., .. } => SweepState::Failed,
        SweepCounts { cancelled: 1.., .. } => SweepState::Cancelled,
        SweepCounts { .. } => SweepState::Succeeded,
    }
}

impl From<SweepCounts> for TrialCounts {
    fn from(counts: SweepCounts) -> TrialCounts {
        let SweepCounts { queued, running, succeeded, failed, cancelled } = counts;
        let total = queued + running + succeeded + failed + cancelled;
        TrialCounts { total, queued, running, succeeded, failed, cancelled }
    }
}

impl From<RunningJobRow> for RunningJob {
    fn from(row: RunningJobRow) -> RunningJob {
        RunningJob {
            sweep: row.sweep,
            trial: row.trial,
            worker: row.worker,
            epoch: row.reported_epoch,
            last_epoch: row.last_epoch,
            metric: row.metric,
        }
    }
}
