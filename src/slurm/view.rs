//! What was submitted, beside what Slurm and the job table know of it now.

use std::collections::BTreeMap;

use super::account::{COMPLETED, list_ended};
use super::command::SlurmError;
use super::queue::{QueuedTask, Stage, list_queue};
use crate::protocol::http::{StatusResponse, SweepState, WorkerStatus};
use crate::protocol::slurm::{SlurmJob, SlurmRole};
use crate::vocabulary::{SweepId, WorkerId};

/// The reason of a job at which Slurm has not looked yet.
const UNEXAMINED: &str = "None";

/// Slurm's jobs at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlurmView {
    /// Oldest first; those that have ended and whose sweep has ended too are left out.
    pub jobs: Vec<JobView>,
    /// Workers that the table takes for alive and whose job Slurm has no more.
    pub lost: Vec<LostWorker>,
}

/// One submission: a job, or an array of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    pub job: u32,
    /// For whose workers; a coordinator's own where there is none.
    pub sweep: Option<SweepId>,
    pub tasks: u32,
    pub pending: u32,
    /// Why they wait, in Slurm's words, with how many for each.
    pub reasons: BTreeMap<String, u32>,
    pub running: u32,
    /// They have ended, or are just being ended.
    pub ended: u32,
    /// Ends that were not good, in Slurm's words (`TIMEOUT`, `NODE_FAIL`), where it keeps account of them.
    pub bad_ends: BTreeMap<String, u32>,
}

/// A worker that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWorker {
    pub worker: WorkerId,
    /// As Slurm's commands name it.
    pub slurm: String,
    /// How many leases it holds.
    pub running: u32,
}

/// Joins what the table knows with what Slurm says.
///
/// # Errors
/// When Slurm's queue can't be read. That it keeps no account of what has ended is no error.
pub async fn look(status: &StatusResponse) -> Result<SlurmView, SlurmError> {
    if status.slurm.is_empty() && status.workers.iter().all(|worker| worker.slurm.is_none()) {
        return Ok(SlurmView::default());
    }
    let mut view = join(status, &list_queue().await?);
    let with_ends: Vec<u32> = view.jobs.iter().filter(|job| job.ended > 0).map(|job| job.job).collect();
    if let Ok(ended) = list_ended(&with_ends).await {
        for job in &mut view.jobs {
            for task in ended.iter().filter(|task| task.submitted_as == job.job && task.state != COMPLETED) {
                *job.bad_ends.entry(task.state.clone()).or_default() += 1;
            }
        }
    }
    Ok(view)
}

fn join(status: &StatusResponse, queue: &[QueuedTask]) -> SlurmView {
    let is_over = |sweep: SweepId| {
        let state = status.sweeps.iter().find(|found| found.id == sweep).map(|found| found.state);
        !matches!(state, Some(SweepState::Queued | SweepState::Running | SweepState::Paused))
    };
    let mut jobs: Vec<JobView> = status.slurm.iter().map(|job| view_of(job, queue)).collect();
    jobs.retain(|job| job.pending + job.running > 0 || job.sweep.is_some_and(|sweep| !is_over(sweep)));
    let lost = status.workers.iter().filter(|worker| is_lost(worker, queue)).filter_map(|worker| {
        let slurm = worker.slurm.as_ref()?.to_string();
        Some(LostWorker { worker: worker.id, slurm, running: worker.running })
    });
    SlurmView { jobs, lost: lost.collect() }
}

fn view_of(job: &SlurmJob, queue: &[QueuedTask]) -> JobView {
    let mut view = JobView {
        job: job.job,
        sweep: match job.role {
            SlurmRole::Workers { sweep } => Some(sweep),
            SlurmRole::Coordinator => None,
        },
        tasks: job.tasks,
        pending: 0,
        reasons: BTreeMap::new(),
        running: 0,
        ended: 0,
        bad_ends: BTreeMap::new(),
    };
    for task in queue.iter().filter(|task| task.submitted_as == job.job) {
        match task.stage {
            Stage::Pending => {
                view.pending += 1;
                if task.reason != UNEXAMINED {
                    *view.reasons.entry(task.reason.clone()).or_default() += 1;
                }
            }
            Stage::Running => view.running += 1,
            Stage::Ending => {}
        }
    }
    view.ended = job.tasks.saturating_sub(view.pending + view.running);
    view
}

fn is_lost(worker: &WorkerStatus, queue: &[QueuedTask]) -> bool {
    worker.slurm.as_ref().is_some_and(|slurm| is_gone(slurm.job, queue))
}

/// Whether no process of the job can be there: Slurm has it no more, or waits to start it again.
pub(super) fn is_gone(job: u32, queue: &[QueuedTask]) -> bool {
    !queue.iter().any(|task| task.job == job && task.stage != Stage::Pending)
}

/// The newest of these submissions of which Slurm has something that has not begun to end, and how far that is.
#[must_use]
pub fn newest_unfinished(jobs: &[SlurmJob], queue: &[QueuedTask]) -> Option<(u32, Stage)> {
    let in_queue = |job: &SlurmJob| {
        let is_it = |task: &&QueuedTask| task.is_ours() && task.submitted_as == job.job;
        let stage = queue.iter().find(is_it)?.stage;
        (stage != Stage::Ending).then_some((job.job, stage))
    };
    jobs.iter().rev().find_map(in_queue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::{SweepStatus, TrialCounts};
    use crate::protocol::slurm::{ArrayTask, SlurmTask};

    #[test]
    fn a_coordinators_job_counts_while_it_has_not_begun_to_end_and_is_ours() {
        let coordinator = |job| SlurmJob { job, cluster: None, role: SlurmRole::Coordinator, tasks: 1 };
        let marked =
            |job, stage| QueuedTask { comment: "sweep 0a1b".to_owned(), ..task(job, job, stage, "None") };
        let jobs = [coordinator(3), coordinator(4)];
        let newest = |queue: &[QueuedTask]| newest_unfinished(&jobs, queue);
        assert_eq!(
            newest(&[marked(3, Stage::Running), marked(4, Stage::Pending)]),
            Some((4, Stage::Pending))
        );
        assert_eq!(newest(&[marked(3, Stage::Running), marked(4, Stage::Ending)]), Some((3, Stage::Running)));
        let of_another_cluster = task(4, 4, Stage::Running, "None");
        assert_eq!(newest(&[of_another_cluster]), None);
    }

    fn task(job: u32, submitted_as: u32, stage: Stage, reason: &str) -> QueuedTask {
        let (reason, comment) = (reason.to_owned(), String::new());
        QueuedTask { job, submitted_as, task: Some(0), stage, reason, comment }
    }

    fn sweep(id: i64, state: SweepState) -> SweepStatus {
        let (name, trials) = (String::new(), TrialCounts::default());
        SweepStatus { id: SweepId(id), name, state, trials, priority: 0 }
    }

    fn submitted(job: u32, sweep: Option<i64>, tasks: u32) -> SlurmJob {
        let role = sweep.map_or(SlurmRole::Coordinator, |id| SlurmRole::Workers { sweep: SweepId(id) });
        SlurmJob { cluster: None, job, role, tasks }
    }

    fn worker(id: i64, job: u32) -> WorkerStatus {
        WorkerStatus {
            id: WorkerId(id),
            host: "n1".to_owned(),
            pid: 1,
            slots: 1,
            running: 1,
            last_seen_seconds: 0.0,
            node: None,
            problem: None,
            slurm: Some(SlurmTask {
                cluster: None,
                job,
                array: Some(ArrayTask { job: 7, task: 3 }),
                restarts: 0,
            }),
        }
    }

    #[test]
    fn what_was_submitted_is_counted_by_what_slurm_does_with_it() {
        let status = StatusResponse {
            sweeps: vec![sweep(1, SweepState::Running), sweep(2, SweepState::Succeeded)],
            workers: vec![worker(1, 8), worker(2, 9), worker(3, 10), worker(4, 11)],
            running: vec![],
            slurm: vec![
                submitted(5, None, 1),
                submitted(6, Some(2), 4),
                submitted(7, Some(1), 6),
                submitted(3, None, 1),
            ],
        };
        let queue = [
            task(5, 5, Stage::Running, "None"),
            task(8, 7, Stage::Running, "None"),
            task(9, 7, Stage::Ending, "None"),
            task(10, 7, Stage::Pending, "BeginTime"),
            task(7, 7, Stage::Pending, "Resources"),
            task(7, 7, Stage::Pending, "Resources"),
        ];
        let view = join(&status, &queue);
        let shown: Vec<_> =
            view.jobs.iter().map(|job| (job.job, job.sweep, job.pending, job.running, job.ended)).collect();
        assert_eq!(shown, [(5, None, 0, 1, 0), (7, Some(SweepId(1)), 3, 1, 2)], "what is over is left out");
        assert_eq!(
            view.jobs[1].reasons,
            BTreeMap::from([("BeginTime".to_owned(), 1), ("Resources".to_owned(), 2)])
        );
        let lost: Vec<_> = view.lost.iter().map(|lost| (lost.worker, lost.slurm.as_str())).collect();
        assert_eq!(
            lost,
            [(WorkerId(3), "7_3"), (WorkerId(4), "7_3")],
            "one is to be started again, one is gone"
        );
    }
}
