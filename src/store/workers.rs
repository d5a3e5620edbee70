//! Agents that have registered.

use sqlx::SqliteConnection;

use super::slurm::{WorkerSlurmRow, bury_earlier};
use super::unit::{Remains, Unit};
use super::writer::{Request, Wants};
use super::{Store, StoreError, exports};
use crate::lease::{Begun, Event};
use crate::vocabulary::{Attempt, JobId, Timestamp, WorkerId};

/// An agent that says that it is there.
#[derive(Debug, Clone)]
pub struct NewWorker {
    pub host: String,
    pub boot_id: String,
    pub pid: u32,
    pub started_ticks: u64,
    pub slots: u32,
    pub version: String,
    /// The Slurm job in which it runs.
    pub slurm: Option<WorkerSlurmRow>,
}

/// An agent that has not said goodbye, and the process that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveWorker {
    pub id: WorkerId,
    pub boot_id: String,
    pub pid: u32,
    pub started_ticks: u64,
}

impl Store {
    /// Notes a new agent.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn register(&self, worker: NewWorker, now: Timestamp) -> Result<WorkerId, StoreError> {
        self.writer.write(Register { worker, now }).await
    }

    /// Notes that an agent has gone, and takes back what it still holds: a lease may have been granted in the very
    /// moment in which it left.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn leave(&self, worker: WorkerId, now: Timestamp) -> Result<(), StoreError> {
        self.writer.write(Leave { worker, now }).await
    }

    /// Ends the leases of a worker that is known to be dead, and takes it off the list. Says how many.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn bury(&self, worker: WorkerId, now: Timestamp) -> Result<u64, StoreError> {
        self.writer.write(Bury { worker, now }).await
    }

    /// Agents that have not said goodbye.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn list_live_workers(&self) -> Result<Vec<LiveWorker>, StoreError> {
        let rows = sqlx::query!(
            "-- list_live_workers
            SELECT id AS \"id!\", boot_id, pid, started_ticks
            FROM workers
            WHERE left_at IS NULL
            ORDER BY id"
        )
        .fetch_all(&self.readers)
        .await?;
        let live = rows.into_iter().map(|row| LiveWorker {
            id: WorkerId(row.id),
            boot_id: row.boot_id,
            pid: u32::try_from(row.pid).unwrap_or(0),
            started_ticks: row.started_ticks.cast_unsigned(),
        });
        Ok(live.collect())
    }
}

struct Register {
    worker: NewWorker,
    now: Timestamp,
}

impl Request for Register {
    type Answer = WorkerId;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<WorkerId, StoreError> {
        let started_ticks = self.worker.started_ticks.cast_signed();
        let slurm = self.worker.slurm.as_ref();
        if let Some(slurm) = slurm {
            bury_earlier(unit, slurm, self.now).await?;
        }
        let (slurm_job, slurm_cluster) =
            (slurm.map(|slurm| slurm.job), slurm.and_then(|slurm| slurm.cluster.as_deref()));
        let (array_job, array_task) = slurm.and_then(|slurm| slurm.array).unzip();
        let restarts = slurm.map_or(0, |slurm| slurm.restarts);
        let id = sqlx::query_scalar!(
            "-- register_worker
            INSERT INTO workers (host, boot_id, pid, started_ticks, slots, version, registered_at, last_seen_at, slurm_job,
                                 slurm_cluster, slurm_array_job, slurm_array_task, slurm_restarts)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            RETURNING id",
            self.worker.host,
            self.worker.boot_id,
            self.worker.pid,
            started_ticks,
            self.worker.slots,
            self.worker.version,
            self.now.0,
            self.now.0,
            slurm_job,
            slurm_cluster,
            array_job,
            array_task,
            restarts
        )
        .fetch_one(unit.connection())
        .await?;
        if let Some(known) = &mut unit.memory.known {
            known.workers.insert(WorkerId(id));
        }
        Ok(WorkerId(id))
    }
}

struct Leave {
    worker: WorkerId,
    now: Timestamp,
}

impl Request for Leave {
    type Answer = ();

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<(), StoreError> {
        exports::take_back(unit.connection(), self.worker).await?;
        end_leases(unit, self.worker, |attempt, _| Event::Release { attempt }, self.now).await?;
        mark_left(unit, self.worker, self.now).await
    }
}

struct Bury {
    worker: WorkerId,
    now: Timestamp,
}

impl Request for Bury {
    type Answer = u64;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<u64, StoreError> {
        bury(unit, self.worker, self.now).await
    }
}

/// Ends the leases of a worker that is dead, and takes it off the list; says how many.
pub(super) async fn bury(unit: &mut Unit, worker: WorkerId, now: Timestamp) -> Result<u64, StoreError> {
    let died = |attempt, begun| Event::WorkerDied { attempt, begun };
    let ended = end_leases(unit, worker, died, now).await?;
    mark_left(unit, worker, now).await?;
    Ok(ended)
}

/// Ends every lease that a worker holds; says how many.
async fn end_leases(
    unit: &mut Unit,
    worker: WorkerId,
    event: fn(Attempt, Begun) -> Event,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // It began jobs in the order in which it got them.
    let held = sqlx::query!(
        "-- list_leases_of_worker
        SELECT jobs.id AS \"id!: i64\", jobs.attempt AS \"attempt!: i64\",
               ROW_NUMBER() OVER (ORDER BY attempts.leased_at, jobs.id) <= workers.slots AS \"may_have_begun!: bool\"
        FROM jobs
        CROSS JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        CROSS JOIN workers ON workers.id = jobs.worker_id
        WHERE jobs.worker_id = ?",
        worker.0
    )
    .fetch_all(unit.connection())
    .await?;
    unit.load(held.iter().map(|row| JobId(row.id)).collect()).await?;
    for row in &held {
        let event = event(Attempt(row.attempt), Begun::of(row.may_have_begun));
        unit.step(JobId(row.id), &event, &Remains::default(), now);
    }
    Ok(u64::try_from(held.len()).unwrap_or(u64::MAX))
}

async fn mark_left(unit: &mut Unit, worker: WorkerId, now: Timestamp) -> Result<(), StoreError> {
    unit.memory.completed.remove(&worker);
    sqlx::query!(
        "-- worker_left
        UPDATE workers SET left_at = ? WHERE id = ? AND left_at IS NULL",
        now.0,
        worker.0
    )
    .execute(unit.connection())
    .await?;
    Ok(())
}

/// A worker that is only late comes back with its next heartbeat.
pub(super) async fn mark_silent_left(
    connection: &mut SqliteConnection,
    silent_since: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- silent_workers_left
        UPDATE workers
        SET left_at = ?
        WHERE left_at IS NULL AND last_seen_at <= ?
          AND NOT EXISTS (SELECT 1 FROM jobs WHERE worker_id = workers.id)",
        now.0,
        silent_since.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
