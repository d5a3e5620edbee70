//! Whether anything is wrong: what a look at sweeps and workers should make somebody do.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{counted, duration, grouped};
use crate::protocol::http::{StatusResponse, SweepState, SweepStatus, WorkerStatus};
use crate::protocol::insight::{RecentFailure, SweepProgress};
use crate::slurm::{JobView, SlurmView};
use crate::vocabulary::SweepId;

/// Something that is wrong, or that may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In a sentence.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// What is known beside the table.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// A coordinator answers.
    pub is_coordinated: bool,
    /// Sweeps whose jobs are exported: they wait for nobody.
    pub exported: &'a BTreeSet<SweepId>,
    /// Nothing where Slurm does not say.
    pub slurm: Option<&'a SlurmView>,
}

/// Everything that is wrong, what stops the work first. A worker is stalled where nothing was heard of it for longer than
/// `silence`.
#[must_use]
pub fn troubles(
    status: &StatusResponse,
    progress: &[SweepProgress],
    silence: Duration,
    around: Around<'_>,
) -> Vec<Trouble> {
    let is_silent = |worker: &&WorkerStatus| worker.last_seen_seconds > silence.as_secs_f64();
    let mut troubles: Vec<Trouble> = nobody_coordinates(status, around).into_iter().collect();
    troubles.extend(nobody_works(status, around, is_silent));
    for worker in status.workers.iter().filter(is_silent) {
        let held = match worker.running {
            0 => String::new(),
            n => format!(", and it holds {}", counted(u64::from(n), "job", "jobs")),
        };
        troubles.push(Trouble {
            what: format!(
                "worker {} on {} stalls: nothing was heard of it for {}{held}",
                worker.id,
                worker.host,
                duration(worker.last_seen_seconds)
            ),
            help: Some(
                "look at the host and at its network; its jobs go to others when their leases end".to_owned(),
            ),
        });
    }
    for worker in status.workers.iter().filter(|worker| !is_silent(worker)) {
        if let Some(problem) = &worker.problem {
            let what = format!("worker {} on {} takes no jobs: {problem}", worker.id, worker.host);
            troubles.push(Trouble { what, help: None });
        }
    }
    for progress in progress {
        let name = status.sweeps.iter().find(|sweep| sweep.id == progress.sweep).map(|sweep| &sweep.name);
        let Some(name) = name else { continue };
        troubles.extend(failures(name, progress));
    }
    troubles
}

/// Workers are there, or Slurm's tasks that would be some, and nobody who gives them jobs and takes their results.
fn nobody_coordinates(status: &StatusResponse, around: Around<'_>) -> Option<Trouble> {
    let goes_on = |sweep: &SweepStatus| sweep.trials.left() > 0 && !around.exported.contains(&sweep.id);
    if around.is_coordinated || !status.sweeps.iter().any(goes_on) {
        return None;
    }
    // Tasks of exports wait for nobody.
    let waits = |job: &&JobView| job.sweep.is_some_and(|sweep| !around.exported.contains(&sweep));
    let of_slurm = around.slurm.iter().flat_map(|view| &view.jobs).filter(waits);
    let running: u64 = of_slurm.map(|job| u64::from(job.running)).sum();
    // Where Slurm does not say how many tasks run, its workers are those that the table knows.
    let is_elsewhere = |worker: &&WorkerStatus| worker.slurm.is_none() || around.slurm.is_none();
    let elsewhere = status.workers.iter().filter(is_elsewhere).count() as u64;
    let left = running + elsewhere;
    (left > 0).then(|| Trouble {
        what: format!(
            "no coordinator is there, and {} for one",
            counted(left, "worker waits", "workers wait")
        ),
        help: Some(
            "`sweep serve` starts one here, `sweep slurm SWEEP --coordinator job --submit` one in a job of Slurm's; then the work \
             goes on"
                .to_owned(),
        ),
    })
}

/// Jobs wait and nobody is there who would take one.
fn nobody_works(
    status: &StatusResponse,
    around: Around<'_>,
    is_silent: impl Fn(&&WorkerStatus) -> bool,
) -> Option<Trouble> {
    let waits = |sweep: &&SweepStatus| {
        sweep.state != SweepState::Paused && sweep.trials.queued > 0 && !around.exported.contains(&sweep.id)
    };
    let waiting: u64 = status.sweeps.iter().filter(waits).map(|sweep| sweep.trials.queued).sum();
    let able = |worker: &&WorkerStatus| !is_silent(worker) && worker.problem.is_none();
    if waiting == 0 || status.workers.iter().any(|worker| able(&worker)) {
        return None;
    }
    let noun = if waiting == 1 { "trial waits" } else { "trials wait" };
    let who = if status.workers.is_empty() { "no worker is there" } else { "no worker takes jobs" };
    let waits_for =
        |job: &&JobView| status.sweeps.iter().any(|sweep| waits(&sweep) && job.sweep == Some(sweep.id));
    let submitted: Vec<&JobView> =
        around.slurm.iter().flat_map(|view| &view.jobs).filter(waits_for).collect();
    Some(Trouble {
        what: format!("{} {noun} and {who}", grouped(waiting)),
        help: Some(who_could_work(&submitted)),
    })
}

/// What is to be done where nobody works: it depends on what became of those that were submitted to Slurm.
fn who_could_work(submitted: &[&JobView]) -> String {
    let log = |job: &JobView| format!("`.sweep/logs/slurm-{}_*.log`", job.job);
    if let Some(job) = submitted.iter().find(|job| job.running > 0) {
        return format!(
            "tasks of Slurm's job {} run and have not reached a coordinator; {} says why",
            job.job,
            log(job)
        );
    }
    if submitted.iter().any(|job| job.pending > 0) {
        return "those that were submitted to Slurm have yet to begin (see above); `sweep worker` starts one here".to_owned();
    }
    match submitted.last() {
        Some(job) => format!(
            "those that were submitted to Slurm have ended: {} says what the last ones did; `sweep slurm` submits others, \
             `sweep worker` starts one here",
            log(job)
        ),
        None => "`sweep worker` starts one here, `sweep slurm` some on a cluster".to_owned(),
    }
}

fn failures(name: &str, progress: &SweepProgress) -> Vec<Trouble> {
    let id = progress.sweep;
    let mut troubles = Vec::new();
    for failed in &progress.failed {
        troubles.push(Trouble {
            what: format!(
                "sweep {id} `{name}`: {} failed ({}), the first is {}: {}",
                counted(failed.trials, "trial", "trials"),
                failed.reason,
                failed.trial,
                first_line(&failed.message)
            ),
            help: Some(format!(
                "`sweep logs {id} {}` shows what it printed; `sweep retry {id} --failed --where reason={}` queues them again",
                failed.trial,
                failed.reason.kind()
            )),
        });
    }
    for failure in progress.recent_failures.iter().filter(|failure| !failure.is_final) {
        let what = format!("sweep {id} `{name}`: {}", failure_line(failure));
        troubles.push(Trouble { what, help: None });
    }
    troubles
}

/// `trial 7 failed 12 s ago (gpu_oom) and is tried again: CUDA out of memory`
#[must_use]
pub fn failure_line(failure: &RecentFailure) -> String {
    let again = if failure.is_final { "" } else { " and is tried again" };
    format!(
        "trial {} failed {} ago ({}){again}: {}",
        failure.trial,
        duration(failure.seconds_ago),
        failure.reason,
        first_line(&failure.message)
    )
}

/// What a message says first; the rest is in the log.
fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// A line for each sweep that has something to do: how far it is, how long it will take, what is best so far.
#[must_use]
pub fn progress_lines(status: &StatusResponse, progress: &[SweepProgress]) -> String {
    let mut text = String::new();
    for progress in progress.iter().filter(|progress| progress.jobs_left > 0) {
        let Some(sweep) = status.sweeps.iter().find(|sweep| sweep.id == progress.sweep) else { continue };
        let mut parts = Vec::new();
        if progress.epochs_unshared > sweep.trials.total {
            parts.push(format!("{} of {} epochs", grouped(progress.epochs_done), grouped(progress.epochs)));
        }
        let saved = progress.epochs_saved();
        if saved > 0 {
            parts.push(format!("sharing saves {}", grouped(saved)));
        }
        if let (Some(left), Some(slots)) = (progress.seconds_left, slots(status, progress)) {
            let on = counted(slots, "slot", "slots");
            parts.push(format!("about {} left on {on}", duration(left / as_float(slots))));
        }
        if let (Some(best), Some(metric)) = (progress.best, &progress.metric) {
            parts.push(format!("best trial {} ({} {:.4})", best.trial, metric.name, best.value));
        }
        if !parts.is_empty() {
            text += &format!("sweep {} `{}`: {}\n", sweep.id, sweep.name, parts.join(", "));
        }
    }
    text
}

/// Slots that can work on a sweep at a time; nothing where it is paused or nobody is there.
fn slots(status: &StatusResponse, progress: &SweepProgress) -> Option<u64> {
    let is_paused = |sweep: &SweepStatus| sweep.id == progress.sweep && sweep.state == SweepState::Paused;
    if status.sweeps.iter().any(is_paused) {
        return None;
    }
    let well = status.workers.iter().filter(|worker| worker.problem.is_none());
    let slots = well.map(|worker| u64::from(worker.slots)).sum::<u64>().min(progress.jobs_left);
    (slots > 0).then_some(slots)
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 slots")]
fn as_float(n: u64) -> f64 {
    n as f64
}

/// The troubles as lines, or that there are none.
#[must_use]
pub fn troubles_text(troubles: &[Trouble]) -> String {
    if troubles.is_empty() {
        return "nothing is wrong\n".to_owned();
    }
    let lines = troubles.iter().map(|trouble| {
        let help = trouble.help.as_ref().map(|help| format!("    → {help}\n")).unwrap_or_default();
        format!("! {}\n{help}", trouble.what)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::protocol::http::TrialCounts;
    use crate::protocol::insight::FailedTrials;
    use crate::vocabulary::{FailureReason, TrialNumber, WorkerId};

    const SILENCE: Duration = Duration::from_secs(60);

    fn sweep(state: SweepState) -> SweepStatus {
        let trials = TrialCounts { total: 9, queued: 4, failed: 3, ..TrialCounts::default() };
        SweepStatus { id: SweepId(1), name: "kd".to_owned(), state, trials, priority: 0 }
    }

    fn worker(id: i64, last_seen_seconds: f64, problem: Option<&str>) -> WorkerStatus {
        WorkerStatus {
            id: WorkerId(id),
            host: format!("node{id}"),
            pid: 1,
            slots: 2,
            running: 2,
            last_seen_seconds,
            node: None,
            problem: problem.map(str::to_owned),
            slurm: None,
        }
    }

    fn status(state: SweepState, workers: Vec<WorkerStatus>) -> StatusResponse {
        StatusResponse { sweeps: vec![sweep(state)], workers, running: vec![], slurm: vec![] }
    }

    fn alone(exported: &BTreeSet<SweepId>) -> Around<'_> {
        Around { is_coordinated: true, exported, slurm: None }
    }

    fn submitted(job: u32, sweep: i64, pending: u32, running: u32, ended: u32) -> JobView {
        JobView {
            job,
            sweep: Some(SweepId(sweep)),
            tasks: pending + running + ended,
            pending,
            reasons: BTreeMap::new(),
            running,
            ended,
            bad_ends: BTreeMap::new(),
        }
    }

    #[test]
    fn what_became_of_slurms_tasks_says_what_to_do() {
        let waits = status(SweepState::Queued, vec![]);
        let none = BTreeSet::new();
        let help = |jobs: Vec<JobView>| {
            let view = SlurmView { jobs, lost: vec![] };
            let found = troubles(&waits, &[], SILENCE, Around { slurm: Some(&view), ..alone(&none) });
            found[0].help.clone().unwrap()
        };
        assert!(help(vec![submitted(7, 1, 2, 0, 0)]).contains("have yet to begin"));
        assert!(
            help(vec![submitted(7, 1, 2, 1, 0)])
                .contains("have not reached a coordinator; `.sweep/logs/slurm-7_*")
        );
        assert!(help(vec![submitted(7, 1, 0, 0, 2)]).contains("have ended: `.sweep/logs/slurm-7_*.log`"));
        assert!(!help(vec![submitted(7, 2, 2, 0, 0)]).contains("submitted"), "it is for another sweep");
    }

    #[test]
    fn workers_without_a_coordinator_are_said_first() {
        let none = BTreeSet::new();
        let view = SlurmView { jobs: vec![submitted(7, 1, 0, 2, 0)], lost: vec![] };
        let around = Around { is_coordinated: false, exported: &none, slurm: Some(&view) };
        let found = troubles(&status(SweepState::Running, vec![]), &[], SILENCE, around);
        assert_eq!(found[0].what, "no coordinator is there, and 2 workers wait for one");
        let static_ones = BTreeSet::from([SweepId(1)]);
        let exported = Around { exported: &static_ones, ..around };
        assert_eq!(troubles(&status(SweepState::Running, vec![]), &[], SILENCE, exported), []);
        let idle = SlurmView::default();
        let around = Around { slurm: Some(&idle), ..around };
        let found = troubles(&status(SweepState::Queued, vec![]), &[], SILENCE, around);
        assert_eq!(found[0].what, "4 trials wait and no worker is there");
    }

    #[test]
    fn what_stops_the_work_is_said_first_and_failures_by_reason() {
        let progress = SweepProgress {
            sweep: SweepId(1),
            metric: None,
            epochs: 9,
            epochs_done: 3,
            epochs_shared: 9,
            epochs_unshared: 9,
            jobs_left: 4,
            seconds_left: None,
            seconds_done: None,
            best: None,
            failed: vec![FailedTrials {
                reason: FailureReason::Exit(3),
                trials: 3,
                trial: TrialNumber(2),
                message: "the program ended with 3\nand more".to_owned(),
            }],
            recent_failures: vec![RecentFailure {
                trial: TrialNumber(7),
                reason: FailureReason::GpuOom,
                message: "CUDA out of memory".to_owned(),
                seconds_ago: 75.0,
                is_final: false,
            }],
        };
        let status = status(
            SweepState::Queued,
            vec![worker(1, 300.0, None), worker(2, 1.0, Some("the disk of `/x` is full"))],
        );
        insta::assert_snapshot!(troubles_text(&troubles(
            &status,
            &[progress],
            SILENCE,
            alone(&BTreeSet::new())
        )));
    }

    #[test]
    fn where_somebody_works_or_the_sweep_is_paused_nothing_is_wrong() {
        let works = status(SweepState::Running, vec![worker(1, 1.0, None), worker(2, 1.0, None)]);
        assert_eq!(troubles(&works, &[], SILENCE, alone(&BTreeSet::new())), []);
        assert_eq!(troubles(&status(SweepState::Paused, vec![]), &[], SILENCE, alone(&BTreeSet::new())), []);
        assert_eq!(troubles_text(&[]), "nothing is wrong\n");
        let exported = BTreeSet::from([SweepId(1)]);
        assert_eq!(troubles(&status(SweepState::Running, vec![]), &[], SILENCE, alone(&exported)), []);
        let nobody = troubles(&status(SweepState::Queued, vec![]), &[], SILENCE, alone(&BTreeSet::new()));
        assert_eq!(nobody[0].what, "4 trials wait and no worker is there");
    }
}
