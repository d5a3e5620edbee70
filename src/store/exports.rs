//! Exports: a sweep's jobs leased all at once to a worker that nobody hears of until its results are brought back.
//!
//! What may be leased is leased, for ever. What has to wait for these is promised: when its turn comes, the export gets the
//! lease in the same transaction, under the attempt that was told when it was made. So nobody else can come in between, and what the
//! export says of any of its jobs is fenced as every worker's word is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sqlx::SqliteConnection;

use super::leases::describe;
use super::queue::ReadyJob;
use super::unit::{Entry, Promise, Remains, Unit};
use super::writer::{Request, Wants};
use super::{LeaseFor, LeasedJob, Reader, Store, StoreError, load};
use crate::lease::{Event, JobState};
use crate::vocabulary::{JobId, Nonce, StateHash, SweepId, Timestamp, WorkerId};

/// No deadline: longer than any clock goes.
pub(super) const FOR_EVER: Duration = Duration::MAX;

/// What an export has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The export's name; nothing where there was nothing to take.
    pub worker: Option<WorkerId>,
    /// Each after what it needs.
    pub jobs: Vec<ExportedJob>,
    /// Jobs of the sweep that others hold, or that wait for such jobs.
    pub left_out: u64,
    /// Exports that hold or wait for some of these.
    pub others: Vec<WorkerId>,
}

/// A job that an export has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedJob {
    pub job: LeasedJob,
    /// How many jobs of the export come before it, one after the other.
    pub depth: u32,
    /// The job of the export from whose state it goes on.
    pub parent: Option<JobId>,
    /// Jobs of the export whose weights it reads, by the states that name these.
    pub required: Vec<(StateHash, JobId)>,
}

/// An export that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRow {
    pub worker: WorkerId,
    pub sweep: SweepId,
    pub created_at: Timestamp,
    /// Jobs that it holds, and those that it was promised.
    pub jobs: Vec<JobId>,
}

/// All exports that were made, oldest first.
///
/// # Errors
/// When the file can't be read.
pub async fn list_exports(reader: &mut Reader) -> Result<Vec<ExportRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_exports
        SELECT worker_id AS \"worker_id!\", sweep_id, created_at,
               (SELECT json_group_array(jobs.id) FROM jobs WHERE jobs.worker_id = exports.worker_id) AS \"held!: String\",
               (SELECT json_group_array(promises.job_id) FROM promises
                WHERE promises.worker_id = exports.worker_id) AS \"promised!: String\"
        FROM exports
        ORDER BY worker_id"
    )
    .fetch_all(reader.connection())
    .await?;
    let mut exports = Vec::new();
    for row in rows {
        let mut jobs: Vec<i64> = load::parse_rows(&row.held)?;
        jobs.extend(load::parse_rows::<i64>(&row.promised)?);
        exports.push(ExportRow {
            worker: WorkerId(row.worker_id),
            sweep: SweepId(row.sweep_id),
            created_at: Timestamp(row.created_at),
            jobs: jobs.into_iter().map(JobId).collect(),
        });
    }
    Ok(exports)
}

impl Store {
    /// Leases all that can be had of a sweep's jobs to a new export, and promises it the rest.
    ///
    /// # Errors
    /// When the disk refuses; then nothing was taken.
    pub async fn export(
        &self,
        sweep: SweepId,
        version: String,
        now: Timestamp,
    ) -> Result<Export, StoreError> {
        self.writer.write(MakeExport { sweep, version, now }).await
    }
}

struct MakeExport {
    sweep: SweepId,
    version: String,
    now: Timestamp,
}

impl Request for MakeExport {
    type Answer = Export;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Export, StoreError> {
        let rows = list_unfinished(unit.connection(), self.sweep).await?;
        let unfinished = unit.offer(rows).await?;
        let needs = list_needs(unit, &unfinished).await?;
        let depths = depths(&unfinished, &needs, |id| {
            unit.entries.get(&id).is_some_and(|entry| {
                entry.promise.is_none()
                    && matches!(entry.job.state, JobState::Blocked | JobState::Queued { .. })
            })
        });
        let left_out = u64::try_from(unfinished.len() - depths.len()).unwrap_or(u64::MAX);
        let holder = |id: &JobId| {
            let entry = unit.entries.get(id)?;
            match entry.job.state {
                JobState::Leased { worker, .. } => Some(worker),
                _ => entry.promise.map(|promise| promise.worker),
            }
        };
        let holders: BTreeSet<WorkerId> = unfinished.iter().filter_map(holder).collect();
        let others = filter_exports(unit.connection(), &holders).await?;
        if depths.is_empty() {
            return Ok(Export { worker: None, jobs: Vec::new(), left_out, others });
        }
        let worker = self.register(unit, depths.len()).await?;
        let mut in_order: Vec<(u32, JobId)> = depths.iter().map(|(id, depth)| (*depth, *id)).collect();
        in_order.sort_unstable();
        let (mut jobs, mut promised) = (Vec::with_capacity(in_order.len()), Vec::new());
        for (depth, id) in in_order {
            let entry = unit.entry_mut(id)?;
            let promise = Promise::to(worker);
            entry.promise = Some(promise);
            let lease = LeaseFor { job: id, attempt: entry.job.next_attempt(), nonce: promise.nonce };
            match entry.job.state {
                JobState::Queued { not_before } => {
                    let event = Event::Lease { worker, lasts: FOR_EVER };
                    // One that waits before its next try is not waited for.
                    unit.step(id, &event, &Remains::default(), self.now.max(not_before));
                }
                _ => promised.push((id, promise.nonce)),
            }
            let parent = unit.entry(id)?.parent.filter(|parent| depths.contains_key(parent));
            let required = unit.required.get(&id).into_iter().flatten();
            let required = required.filter(|(job, _)| depths.contains_key(job));
            let required = required.map(|(job, state)| (*state, *job)).collect();
            jobs.push(ExportedJob { job: describe(unit, lease)?, depth, parent, required });
        }
        promise(unit.connection(), worker, &promised).await?;
        Ok(Export { worker: Some(worker), jobs, left_out, others })
    }
}

impl MakeExport {
    async fn register(&self, unit: &mut Unit, jobs: usize) -> Result<WorkerId, StoreError> {
        let slots = i64::try_from(jobs).unwrap_or(i64::MAX);
        let id = sqlx::query_scalar!(
            "-- register_export
            INSERT INTO workers (host, boot_id, pid, started_ticks, slots, version, registered_at, last_seen_at, left_at)
            VALUES ('export', 'export', 0, 0, ?1, ?2, ?3, ?3, ?3)
            RETURNING id",
            slots,
            self.version,
            self.now.0
        )
        .fetch_one(unit.connection())
        .await?;
        sqlx::query!(
            "-- insert_export
            INSERT INTO exports (worker_id, sweep_id, created_at) VALUES (?, ?, ?)",
            id,
            self.sweep.0,
            self.now.0
        )
        .execute(unit.connection())
        .await?;
        Ok(WorkerId(id))
    }
}

/// The jobs that a sweep's unfinished trials need and that have not ended, as far as somebody wants these trials.
async fn list_unfinished(
    connection: &mut SqliteConnection,
    sweep: SweepId,
) -> Result<Vec<ReadyJob>, StoreError> {
    let list = sqlx::query_scalar!(
        "-- list_unfinished
        WITH RECURSIVE needed (id) AS (
            SELECT trials.job_id
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ?1 AND jobs.state IN ('blocked', 'queued', 'leased')
              AND NOT EXISTS (SELECT 1 FROM given_up
                              WHERE given_up.sweep_id = trials.sweep_id AND given_up.number = trials.number)
            UNION
            SELECT jobs.parent_id
            FROM needed
            CROSS JOIN jobs ON jobs.id = needed.id
            WHERE jobs.parent_id IS NOT NULL AND jobs.state IN ('blocked', 'queued', 'leased')
            UNION
            SELECT job_requirements.required_id
            FROM needed
            CROSS JOIN jobs ON jobs.id = needed.id
            CROSS JOIN job_requirements ON job_requirements.job_id = jobs.id
            WHERE jobs.state IN ('blocked', 'queued', 'leased')
        )
        SELECT json_group_array(json_array(jobs.id, sweeps.id, sweeps.priority, jobs.trial, jobs.context_id,
                                           jobs.first_epoch, jobs.last_epoch, jobs.cpus, trials.parameters, trials.seed,
                                           sweeps.resources)) AS \"list!: String\"
        FROM needed
        CROSS JOIN jobs ON jobs.id = needed.id
        CROSS JOIN sweeps ON sweeps.id = jobs.sweep_id
        CROSS JOIN trials ON trials.sweep_id = jobs.sweep_id AND trials.number = jobs.trial
        WHERE jobs.state IN ('blocked', 'queued', 'leased')",
        sweep.0
    )
    .fetch_one(connection)
    .await?;
    load::parse_rows(&list)
}

/// What each of the jobs waits for among them.
async fn list_needs(
    unit: &mut Unit,
    jobs: &BTreeSet<JobId>,
) -> Result<BTreeMap<JobId, BTreeSet<JobId>>, StoreError> {
    let parents = jobs.iter().filter_map(|id| Some((*id, unit.entries.get(id)?.parent?)));
    let mut pairs: Vec<(JobId, JobId)> = parents.collect();
    let reads = |id: &&JobId| unit.entries.get(id).is_some_and(|entry: &Entry| entry.has_requirements);
    let readers: Vec<JobId> = jobs.iter().filter(reads).copied().collect();
    pairs.extend(load::requirements(unit.connection(), readers.iter()).await?);
    let mut needs: BTreeMap<JobId, BTreeSet<JobId>> = BTreeMap::new();
    for (job, need) in pairs {
        if jobs.contains(&need) {
            needs.entry(job).or_default().insert(need);
        }
    }
    Ok(needs)
}

/// How deep each job lies that may be taken; those that may not, and all that wait for them, are left out.
fn depths(
    jobs: &BTreeSet<JobId>,
    needs: &BTreeMap<JobId, BTreeSet<JobId>>,
    may_be_taken: impl Fn(JobId) -> bool,
) -> BTreeMap<JobId, u32> {
    let mut open: BTreeMap<JobId, usize> = needs.iter().map(|(job, needed)| (*job, needed.len())).collect();
    let mut dependents: BTreeMap<JobId, Vec<JobId>> = BTreeMap::new();
    for (job, needed) in needs {
        for need in needed {
            dependents.entry(*need).or_default().push(*job);
        }
    }
    let mut depths: BTreeMap<JobId, u32> = BTreeMap::new();
    let mut next: VecDeque<JobId> = jobs.iter().filter(|id| !open.contains_key(id)).copied().collect();
    while let Some(id) = next.pop_front() {
        if !may_be_taken(id) {
            continue;
        }
        let before = needs.get(&id).into_iter().flatten().filter_map(|need| depths.get(need)).max();
        depths.insert(id, before.map_or(0, |depth| depth + 1));
        for dependent in dependents.get(&id).into_iter().flatten() {
            if let Some(left) = open.get_mut(dependent) {
                *left -= 1;
                if *left == 0 {
                    next.push_back(*dependent);
                }
            }
        }
    }
    depths
}

/// Which of these workers are exports.
async fn filter_exports(
    connection: &mut SqliteConnection,
    workers: &BTreeSet<WorkerId>,
) -> Result<Vec<WorkerId>, StoreError> {
    let workers: Vec<i64> = workers.iter().map(|worker| worker.0).collect();
    let workers = super::flush::rows(&workers)?;
    let exports = sqlx::query_scalar!(
        "-- filter_exports
        SELECT worker_id AS \"id!\" FROM exports WHERE worker_id IN (SELECT value FROM json_each(?)) ORDER BY worker_id",
        workers
    )
    .fetch_all(connection)
    .await?;
    Ok(exports.into_iter().map(WorkerId).collect())
}

async fn promise(
    connection: &mut SqliteConnection,
    worker: WorkerId,
    jobs: &[(JobId, Nonce)],
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let jobs = super::flush::rows(&jobs)?;
    sqlx::query!(
        "-- promise_jobs
        INSERT INTO promises (job_id, worker_id, nonce) SELECT value ->> 0, ?, value ->> 1 FROM json_each(?)",
        worker.0,
        jobs
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes back what a worker was promised; only an export ever is.
pub(super) async fn take_back(connection: &mut SqliteConnection, worker: WorkerId) -> Result<(), StoreError> {
    sqlx::query!(
        "-- take_back_promises
        DELETE FROM promises WHERE worker_id = ?",
        worker.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends promises of jobs that are blocked no longer.
pub(super) async fn save(connection: &mut SqliteConnection, changed: &[&Entry]) -> Result<(), StoreError> {
    let is_over = |entry: &&&Entry| entry.promise.is_some() && entry.job.state != JobState::Blocked;
    let over: Vec<JobId> = changed.iter().filter(is_over).map(|entry| entry.id).collect();
    if over.is_empty() {
        return Ok(());
    }
    let over = load::id_list(&over);
    sqlx::query!(
        "-- end_promises
        DELETE FROM promises WHERE job_id IN (SELECT value FROM json_each(?))",
        over
    )
    .execute(connection)
    .await?;
    Ok(())
}
