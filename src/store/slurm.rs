//! Jobs of Slurm: in which of them workers run, and which were submitted for a sweep. What Slurm does with them is not kept here.

use super::unit::Unit;
use super::workers::bury;
use super::writer::{Request, Wants};
use super::{Reader, Store, StoreError};
use crate::vocabulary::{SweepId, Timestamp, WorkerId};

/// More submissions than anybody looks at.
const NEWEST: i64 = 100;

/// The Slurm job in which a worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSlurmRow {
    pub cluster: Option<String>,
    pub job: u32,
    /// The array, and the task's place in it.
    pub array: Option<(u32, u32)>,
    /// How often Slurm had started it again.
    pub restarts: u32,
}

/// A job that was submitted to Slurm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlurmJobRow {
    pub cluster: Option<String>,
    pub job: u32,
    /// For whose workers; a coordinator's own where there is none.
    pub sweep: Option<SweepId>,
    pub tasks: u32,
}

impl Store {
    /// Notes jobs that were submitted to Slurm, all or none. Repeating it changes nothing. False where one is for a sweep
    /// that isn't there.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn record_slurm_jobs(
        &self,
        jobs: Vec<SlurmJobRow>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.writer.write(Record { jobs, now }).await
    }
}

/// The jobs that were submitted last, oldest first.
///
/// # Errors
/// When the file can't be read.
pub async fn list_slurm_jobs(reader: &mut Reader) -> Result<Vec<SlurmJobRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_slurm_jobs
        SELECT cluster, job, sweep_id, tasks
        FROM slurm_jobs
        ORDER BY id DESC
        LIMIT ?",
        NEWEST
    )
    .fetch_all(reader.connection())
    .await?;
    let jobs = rows.into_iter().rev().map(|row| SlurmJobRow {
        cluster: Some(row.cluster).filter(|cluster| !cluster.is_empty()),
        job: number(row.job),
        sweep: row.sweep_id.map(SweepId),
        tasks: number(row.tasks),
    });
    Ok(jobs.collect())
}

/// A worker's Slurm job as it lies in the table.
pub(super) struct StoredSlurm {
    pub(super) job: Option<i64>,
    pub(super) cluster: Option<String>,
    pub(super) array_job: Option<i64>,
    pub(super) array_task: Option<i64>,
    pub(super) restarts: i64,
}

impl StoredSlurm {
    pub(super) fn into_row(self) -> Option<WorkerSlurmRow> {
        let array = self.array_job.zip(self.array_task);
        Some(WorkerSlurmRow {
            job: number(self.job?),
            cluster: self.cluster,
            array: array.map(|(job, task)| (number(job), number(task))),
            restarts: number(self.restarts),
        })
    }
}

/// Ends what workers of this Slurm job hold that Slurm has started again since: they are gone.
pub(super) async fn bury_earlier(
    unit: &mut Unit,
    slurm: &WorkerSlurmRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    let earlier = sqlx::query_scalar!(
        "-- list_earlier_restarts
        SELECT id AS \"id!\"
        FROM workers
        WHERE slurm_job = ? AND slurm_cluster IS ? AND slurm_restarts < ? AND left_at IS NULL",
        slurm.job,
        slurm.cluster,
        slurm.restarts
    )
    .fetch_all(unit.connection())
    .await?;
    for worker in earlier {
        bury(unit, WorkerId(worker), now).await?;
    }
    Ok(())
}

struct Record {
    jobs: Vec<SlurmJobRow>,
    now: Timestamp,
}

impl Request for Record {
    type Answer = bool;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<bool, StoreError> {
        for SlurmJobRow { sweep, .. } in &self.jobs {
            if let Some(sweep) = sweep
                && !is_there(unit, *sweep).await?
            {
                return Ok(false);
            }
        }
        for SlurmJobRow { cluster, job, sweep, tasks } in &self.jobs {
            let (cluster, sweep) = (cluster.as_deref().unwrap_or_default(), sweep.map(|sweep| sweep.0));
            let role = if sweep.is_some() { "workers" } else { "coordinator" };
            // A cluster that was set up anew counts from 1 again.
            sqlx::query!(
                "-- record_slurm_job
                INSERT INTO slurm_jobs (cluster, job, role, sweep_id, tasks, submitted_at)
                VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (cluster, job) DO UPDATE
                SET role = excluded.role, sweep_id = excluded.sweep_id, tasks = excluded.tasks,
                    submitted_at = excluded.submitted_at",
                cluster,
                job,
                role,
                sweep,
                tasks,
                self.now.0
            )
            .execute(unit.connection())
            .await?;
        }
        Ok(true)
    }
}

async fn is_there(unit: &mut Unit, sweep: SweepId) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        "-- is_sweep_there
        SELECT EXISTS (SELECT 1 FROM sweeps WHERE id = ?) AS \"found!: bool\"",
        sweep.0
    )
    .fetch_one(unit.connection())
    .await?;
    Ok(found)
}

fn number(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(0)
}
