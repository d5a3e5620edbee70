//! Why a trial is not running: what is known of its jobs, the queue and the agents, and what follows from it.

use super::{Coordinator, CoordinatorError, wire};
use crate::protocol::http::{TrialState, WorkerStatus};
use crate::protocol::insight::{Cause, CauseCode, ExplainedStage, Explanation};
use crate::store::{self, HoldingExport, LineRow, NeededRow, SweepRow};
use crate::vocabulary::{FailureReason, SweepId, Timestamp, TrialNumber, WorkerId};

/// Jobs that come first are counted up to here.
const MOST_BEFORE: u32 = 10_000;

/// Where the folders of exports lie, as the user calls it.
const EXPORTS: &str = ".sweep/exports";

/// Trials that are waited for and named.
const NAMED: usize = 5;

/// All that an explanation follows from.
struct Facts {
    sweep: SweepId,
    trial: TrialNumber,
    line: Vec<LineRow>,
    /// What the first unfinished job reads and is not there.
    needed: Vec<NeededRow>,
    /// Sweeps out of whose queues the first unfinished job may be leased.
    queues: Vec<SweepRow>,
    /// Jobs that are leased before it, where it may be leased itself.
    before: u64,
    /// Agents; each with whether it takes jobs of one of the queues.
    workers: Vec<(WorkerStatus, bool)>,
    lease_seconds: f64,
    now: Timestamp,
}

impl Coordinator {
    /// Why a trial is where it is.
    ///
    /// # Errors
    /// When there is no such trial, or the table can't be read.
    pub async fn explain(&self, sweep: SweepId, trial: TrialNumber) -> Result<Explanation, CoordinatorError> {
        self.find(sweep).await?;
        let now = self.clock.now();
        let mut reader = self.store.reader().await?;
        let line = store::list_line(&mut reader, sweep, trial).await?;
        let Some(last) = line.last() else {
            return Err(CoordinatorError::UnknownTrial { sweep, trial });
        };
        let state = wire::trial_state(trial, &last.state)?;
        let (mut needed, mut queues, mut before) = (vec![], vec![], 0);
        if let Some(first) = line.iter().find(|job| job.state != "succeeded") {
            needed = store::list_needed(&mut reader, first.job).await?;
            for queue in store::list_queues(&mut reader, first.job).await? {
                queues.extend(store::find_sweep(&mut reader, queue).await?);
            }
            before = store::count_ready_before(&mut reader, first.job, MOST_BEFORE).await?;
        }
        let workers = store::list_workers(&mut reader).await?;
        drop(reader);
        let workers = self.describe(workers, now).into_iter().map(|worker| {
            let only = self.nodes.only_sweep(worker.id);
            let takes_it = only.is_none_or(|only| queues.iter().any(|queue| queue.id == only));
            (worker, takes_it)
        });
        let workers = workers.collect();
        let lease_seconds = self.settings.lease.as_secs_f64();
        let facts = Facts { sweep, trial, line, needed, queues, before, workers, lease_seconds, now };
        let causes = facts.causes(state);
        let stages = facts.line.into_iter().map(Into::into).collect();
        Ok(Explanation { sweep, trial, state, causes, stages })
    }
}

impl From<LineRow> for ExplainedStage {
    fn from(row: LineRow) -> ExplainedStage {
        ExplainedStage {
            job: row.job,
            first_epoch: row.first_epoch,
            last_epoch: row.last_epoch,
            state: row.state,
            epoch: row.reported_epoch,
            attempt: (row.attempt.0 > 0).then_some(row.attempt),
            worker: row.worker,
        }
    }
}

impl Facts {
    fn causes(&self, state: TrialState) -> Vec<Cause> {
        let (sweep, trial) = (self.sweep, self.trial);
        let Some(last) = self.line.last() else { return vec![] };
        match state {
            TrialState::Succeeded => vec![plain(CauseCode::Succeeded, "it has its result")],
            TrialState::Cancelled => vec![cause(
                CauseCode::Cancelled,
                "somebody has cancelled it",
                format!("`sweep retry {sweep} {trial}` queues it again"),
            )],
            TrialState::Failed => vec![self.failure(last)],
            TrialState::Running | TrialState::Queued => match last.export {
                Some(export) => vec![self.exported(export)],
                None if state == TrialState::Running => vec![self.running(last)],
                None => self.waiting(),
            },
        }
    }

    fn failure(&self, last: &LineRow) -> Cause {
        let (sweep, trial) = (self.sweep, self.trial);
        // Of those that failed for want of the one before, the first tells why.
        let first = self.line.iter().find(|job| job.state == "failed").unwrap_or(last);
        let reason = first.failure.map_or_else(|| "unknown".to_owned(), |reason| reason.to_string());
        let message = first.message.as_deref().filter(|message| !message.is_empty());
        let mut what = match message {
            Some(message) => format!("it failed ({reason}): {message}"),
            None => format!("it failed ({reason})"),
        };
        if first.job != last.job {
            what = format!("the part before it, {}, failed ({reason})", epochs(first));
            what += &message.map(|message| format!(": {message}")).unwrap_or_default();
        }
        let retry = format!("`sweep retry {sweep} {trial}`");
        let help = match first.failure {
            Some(FailureReason::GpuOom | FailureReason::HostOom) => format!(
                "give it more memory, fewer `--slots-per-gpu` or a smaller `batch_size`, then {retry}"
            ),
            Some(FailureReason::Timeout) => {
                format!("raise `resources.time` in the spec and submit it again, then {retry}")
            }
            Some(FailureReason::Nan) => format!(
                "the same will happen again with these parameters; `sweep logs {sweep} {trial}` shows where"
            ),
            Some(FailureReason::BadConfig) => "change the spec: it can't be run as it is written".to_owned(),
            Some(FailureReason::Upstream) => format!("retry what it needs: {retry} does so too"),
            _ => format!("`sweep logs {sweep} {trial}` shows what it printed; {retry} tries again"),
        };
        cause(CauseCode::Failed, what, help)
    }

    fn exported(&self, export: HoldingExport) -> Cause {
        let HoldingExport { worker, sweep, created_at } = export;
        cause(
            CauseCode::Exported,
            format!(
                "it was given to export {worker} {}; how far it is lies in `{EXPORTS}/{worker}`",
                ago(self.now, created_at)
            ),
            format!(
                "`sweep ingest {EXPORTS}/{worker}` brings that in; `sweep slurm {sweep} --static --missing` takes back what the \
                 export's tasks have left undone"
            ),
        )
    }

    fn running(&self, job: &LineRow) -> Cause {
        let place = job.worker.map(|worker| self.place(worker)).unwrap_or_default();
        let what = format!("attempt {} runs{place}{}", job.attempt, so_far(job));
        match self.silent(job) {
            Some((seconds, left)) => cause(
                CauseCode::WorkerSilent,
                format!("{what}, of which nothing was heard for {seconds:.0} s"),
                format!("it goes to another worker in {left:.0} s unless this one is heard of"),
            ),
            None => plain(CauseCode::Running, what),
        }
    }

    /// For how long the worker of a job was silent, where that is too long, and when its lease ends.
    fn silent(&self, job: &LineRow) -> Option<(f64, f64)> {
        let (worker, _) = self.workers.iter().find(|(worker, _)| Some(worker.id) == job.worker)?;
        let left = job.lease_deadline?.since(self.now).as_secs_f64();
        (worker.last_seen_seconds > self.lease_seconds / 2.0).then_some((worker.last_seen_seconds, left))
    }

    /// ` on node7 (worker 3)`
    fn place(&self, id: WorkerId) -> String {
        let host = self.workers.iter().find(|(worker, _)| worker.id == id).map(|(worker, _)| &worker.host);
        host.map_or_else(|| format!(" on worker {id}"), |host| format!(" on {host} (worker {id})"))
    }

    fn waiting(&self) -> Vec<Cause> {
        let Some(first) = self.line.iter().find(|job| job.state != "succeeded") else { return vec![] };
        let is_last = self.line.last().is_some_and(|last| last.job == first.job);
        let mut causes = Vec::new();
        if !is_last {
            causes.push(self.parent(first));
        }
        match first.state.as_str() {
            // Whoever runs it is named by then.
            "leased" => {}
            "blocked" => causes.push(self.weights()),
            _ => causes.extend(self.queued(first)),
        }
        causes
    }

    fn parent(&self, first: &LineRow) -> Cause {
        let shared = match (first.queue, first.trial) {
            (sweep, trial) if sweep == self.sweep && trial == self.trial => String::new(),
            (sweep, trial) if sweep == self.sweep => format!(", which it shares with trial {trial},"),
            (sweep, trial) => format!(", which it shares with trial {trial} of sweep {sweep},"),
        };
        let doing = match (first.export, first.state.as_str()) {
            (Some(HoldingExport { worker, created_at, .. }), _) => {
                format!(
                    "were given to export {worker} {}; `sweep ingest {EXPORTS}/{worker}` brings in how far they are",
                    ago(self.now, created_at)
                )
            }
            (None, "leased") => {
                let place = first.worker.map(|worker| self.place(worker)).unwrap_or_default();
                let silence = self.silent(first).map_or_else(String::new, |(seconds, _)| {
                    format!(", of which nothing was heard for {seconds:.0} s")
                });
                format!("run now{place}{}{silence}", so_far(first))
            }
            (None, "blocked") => "wait for weights".to_owned(),
            (None, _) => "have yet to be trained".to_owned(),
        };
        let what = format!("its {}{shared} {doing}", epochs(first));
        match self.silent(first) {
            Some(_) if first.state == "leased" => cause(
                CauseCode::ParentUnfinished,
                what,
                "they go to another worker unless this one is heard of".to_owned(),
            ),
            _ => plain(CauseCode::ParentUnfinished, what),
        }
    }

    fn weights(&self) -> Cause {
        let mut named: Vec<String> = self
            .needed
            .iter()
            .take(NAMED)
            .map(|needed| {
                let state = wire::trial_state(needed.trial, &needed.state);
                let state = state.map_or_else(|_| needed.state.clone(), |state| state.to_string());
                format!("trial {} of sweep {} ({state})", needed.trial, needed.sweep)
            })
            .collect();
        if self.needed.len() > NAMED {
            named.push(format!("{} more", self.needed.len() - NAMED));
        }
        plain(CauseCode::WeightsUnfinished, format!("it reads the weights of {}", named.join(", ")))
    }

    fn queued(&self, job: &LineRow) -> Vec<Cause> {
        if let Some(due) = job.waits_until.filter(|due| *due > self.now) {
            let seconds = due.since(self.now).as_secs_f64().ceil();
            let message = job.message.as_deref().filter(|message| !message.is_empty());
            let message = message.map(|message| format!(": {message}")).unwrap_or_default();
            return vec![plain(
                CauseCode::BackingOff,
                format!(
                    "it backs off for another {seconds:.0} s, since attempt {} failed{message}",
                    job.attempt
                ),
            )];
        }
        let mut causes = Vec::new();
        if self.queues.iter().all(|queue| queue.is_paused) {
            let ids: Vec<String> = self.queues.iter().map(|queue| queue.id.to_string()).collect();
            let ids = ids.join(",");
            causes.push(cause(
                CauseCode::Paused,
                format!("sweep {ids} is paused"),
                format!("`sweep resume {ids}` goes on with it"),
            ));
        }
        let hands = self.hands();
        // Whoever waits for `resume` does not wait for a slot.
        if causes.is_empty() || matches!(hands.code, CauseCode::NoWorker | CauseCode::NodesIll) {
            causes.push(hands);
        }
        causes
    }

    /// What the agents have to do with it that a job is not leased which may be.
    fn hands(&self) -> Cause {
        let heard = |worker: &&(WorkerStatus, bool)| worker.0.last_seen_seconds <= self.lease_seconds;
        let there: Vec<&(WorkerStatus, bool)> = self.workers.iter().filter(heard).collect();
        if there.is_empty() {
            let silent = match self.workers.len() {
                0 => "no worker is there".to_owned(),
                n => format!("of {n} workers none was heard of for {:.0} s", self.lease_seconds),
            };
            return cause(
                CauseCode::NoWorker,
                silent,
                "`sweep worker` starts one here, `sweep slurm` some on a cluster".to_owned(),
            );
        }
        let taking: Vec<&WorkerStatus> =
            there.iter().filter(|(_, takes)| *takes).map(|(worker, _)| worker).collect();
        if taking.is_empty() {
            return cause(
                CauseCode::WorkersElsewhere,
                format!("the workers that are there ({}) take jobs of other sweeps only", there.len()),
                "start one without `--sweep`".to_owned(),
            );
        }
        let well: Vec<&&WorkerStatus> = taking.iter().filter(|worker| worker.problem.is_none()).collect();
        if well.is_empty() {
            let problems: Vec<String> = taking
                .iter()
                .take(NAMED)
                .filter_map(|worker| Some(format!("{}: {}", worker.host, worker.problem.as_ref()?)))
                .collect();
            return cause(
                CauseCode::NodesIll,
                format!("no worker that would take it may have jobs: {}", problems.join("; ")),
                "mend the node, then `sweep worker release NODE`".to_owned(),
            );
        }
        let (slots, running) = well.iter().fold((0, 0), |(slots, running), worker| {
            (slots + worker.slots, running + worker.running.min(worker.slots))
        });
        match self.before {
            before if running >= slots => plain(
                CauseCode::SlotsBusy,
                format!("all {slots} slots are busy, and {} before it", jobs(before)),
            ),
            0 => plain(CauseCode::Ready, "nothing keeps it: it is the next one to be leased"),
            before => plain(CauseCode::BehindOthers, format!("{} before it", jobs(before))),
        }
    }
}

/// `3 h ago`
fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn jobs(count: u64) -> String {
    match count {
        0 => "no other job is".to_owned(),
        1 => "1 job is".to_owned(),
        many if many >= u64::from(MOST_BEFORE) => format!("{MOST_BEFORE} jobs or more are"),
        many => format!("{many} jobs are"),
    }
}

/// `epochs 1–30`
fn epochs(job: &LineRow) -> String {
    match job.first_epoch == job.last_epoch {
        true => format!("epoch {}", job.first_epoch),
        false => format!("epochs {}–{}", job.first_epoch, job.last_epoch),
    }
}

/// `, epoch 12 of 30 is done`
fn so_far(job: &LineRow) -> String {
    match job.last_epoch {
        // A program counts as it likes.
        1 if job.reported_epoch == 0 => String::new(),
        1 => format!(", its last report is of epoch {}", job.reported_epoch),
        last => format!(", epoch {} of {last} is done", job.reported_epoch.max(job.first_epoch - 1)),
    }
}

fn plain(code: CauseCode, what: impl Into<String>) -> Cause {
    Cause { code, what: what.into(), help: None }
}

fn cause(code: CauseCode, what: impl Into<String>, help: String) -> Cause {
    Cause { code, what: what.into(), help: Some(help) }
}
