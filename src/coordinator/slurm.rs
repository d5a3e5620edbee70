//! What the table knows of Slurm's jobs, and workers of which Slurm may know more. Slurm itself is asked elsewhere.

use super::{Coordinator, CoordinatorError, HEARTBEATS_PER_LEASE};
use crate::protocol::slurm::{ArrayTask, SlurmJob, SlurmJobsRequest, SlurmRole, SlurmTask};
use crate::store::{self, SlurmJobRow, WorkerRow, WorkerSlurmRow};
use crate::vocabulary::WorkerId;

/// A worker in a Slurm job that has not been heard of for longer than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentWorker {
    pub worker: WorkerId,
    pub slurm: SlurmTask,
}

impl Coordinator {
    /// Notes jobs that were submitted to Slurm. Repeating it changes nothing.
    ///
    /// # Errors
    /// When one is for a sweep that isn't there, or the disk refuses; then none is noted.
    pub async fn record_slurm_jobs(&self, request: SlurmJobsRequest) -> Result<(), CoordinatorError> {
        let jobs: Vec<SlurmJobRow> = request.jobs.into_iter().map(SlurmJobRow::from).collect();
        let sweeps: Vec<_> = jobs.iter().filter_map(|job| job.sweep).collect();
        match self.store.record_slurm_jobs(jobs, self.clock.now()).await? {
            true => Ok(()),
            false => {
                for sweep in sweeps {
                    self.find(sweep).await?;
                }
                Ok(())
            }
        }
    }

    /// Workers in Slurm jobs that missed a heartbeat: Slurm may know that they are gone.
    ///
    /// # Errors
    /// When the table can't be read.
    pub async fn silent_slurm_workers(&self) -> Result<Vec<SilentWorker>, CoordinatorError> {
        let now = self.clock.now();
        // One and a half periods: a heartbeat that is only slow is not suspicious yet.
        let patience = self.settings.lease / HEARTBEATS_PER_LEASE * 3 / 2;
        let rows = store::list_workers(&mut self.store.reader().await?).await?;
        let silent = |row: WorkerRow| {
            let slurm = row.slurm.filter(|_| now.since(row.last_seen_at) > patience)?;
            Some(SilentWorker { worker: row.id, slurm: slurm.into() })
        };
        Ok(rows.into_iter().filter_map(silent).collect())
    }

    /// Ends the leases of a worker that is known to be gone, without waiting for their deadlines. Says how many.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn bury(&self, worker: WorkerId) -> Result<u64, CoordinatorError> {
        let leases = self.store.bury(worker, self.clock.now()).await?;
        self.nodes.worker_left(worker);
        self.note_change();
        Ok(leases)
    }
}

impl From<SlurmJob> for SlurmJobRow {
    fn from(job: SlurmJob) -> SlurmJobRow {
        let SlurmJob { cluster, job, role, tasks } = job;
        let sweep = match role {
            SlurmRole::Workers { sweep } => Some(sweep),
            SlurmRole::Coordinator => None,
        };
        SlurmJobRow { cluster, job, sweep, tasks: tasks.max(1) }
    }
}

impl From<SlurmJobRow> for SlurmJob {
    fn from(row: SlurmJobRow) -> SlurmJob {
        let SlurmJobRow { cluster, job, sweep, tasks } = row;
        let role = sweep.map_or(SlurmRole::Coordinator, |sweep| SlurmRole::Workers { sweep });
        SlurmJob { cluster, job, role, tasks }
    }
}

impl From<SlurmTask> for WorkerSlurmRow {
    fn from(task: SlurmTask) -> WorkerSlurmRow {
        let SlurmTask { cluster, job, array, restarts } = task;
        WorkerSlurmRow { cluster, job, array: array.map(|array| (array.job, array.task)), restarts }
    }
}

impl From<WorkerSlurmRow> for SlurmTask {
    fn from(row: WorkerSlurmRow) -> SlurmTask {
        let WorkerSlurmRow { cluster, job, array, restarts } = row;
        SlurmTask { cluster, job, array: array.map(|(job, task)| ArrayTask { job, task }), restarts }
    }
}
