//! Which jobs may be leased, in which order.
//!
//! Sweeps that are not paused take turns by priority, then age; each gives its own ready jobs by id, then those of other
//! sweeps that it waits for. A worker that has just completed a job is offered the jobs that go on from there first,
//! since it holds the checkpoint, unless a sweep of higher priority has something ready.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque, btree_map};

use serde::Deserialize;
use sqlx::SqliteConnection;

use super::StoreError;
use super::load::{id_list, parse_rows};
use super::unit::{Entry, Memory};
use super::writer::WantedReady;
use crate::vocabulary::{JobId, SweepId, Timestamp, TrialNumber, WorkerId};

/// Jobs that a group of requests may lease.
#[derive(Default)]
pub(super) struct Queue {
    offers: BTreeMap<JobId, Offer>,
    /// By the sweep that was asked for.
    lists: BTreeMap<Option<SweepId>, VecDeque<Place>>,
    /// Jobs that go on from where a worker is.
    near: BTreeMap<WorkerId, VecDeque<Place>>,
}

/// A job and the priority with which it waits.
#[derive(Debug, Clone, Copy)]
struct Place {
    job: JobId,
    sweep: SweepId,
    priority: i64,
}

/// What whoever leases a job is told of it.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) trial: TrialNumber,
    pub(super) context: i64,
    pub(super) first_epoch: u32,
    pub(super) last_epoch: u32,
    pub(super) cpus: u32,
    pub(super) parameters: String,
    pub(super) seed: u64,
    pub(super) resources: String,
}

/// A ready job as the statements below give it, with its columns in this order.
#[derive(Deserialize)]
pub(super) struct ReadyJob {
    id: i64,
    /// The sweep in whose place it waits.
    waits_for: i64,
    priority: i64,
    trial: i64,
    context_id: i64,
    first_epoch: u32,
    last_epoch: u32,
    cpus: u32,
    parameters: String,
    seed: i64,
    resources: String,
}

impl Queue {
    pub(super) async fn load(
        connection: &mut SqliteConnection,
        memory: &mut Memory,
        wanted: &[WantedReady],
    ) -> Result<Queue, StoreError> {
        let mut has_joins = true;
        if let Some(known) = &mut memory.known {
            has_joins = known.has_joins;
            let now = wanted.iter().map(|wanted| wanted.now).max();
            if known.next_due.is_some_and(|due| now.is_some_and(|now| due <= now)) {
                known.next_due = clear_due(connection, now).await?;
            }
        }
        let known: Vec<&WantedReady> =
            wanted.iter().filter(|wanted| memory.is_worker(wanted.worker)).collect();
        // A job stands in the list of its sweep and in that of all sweeps, so either may lose jobs to the other.
        let most: i64 = known.iter().map(|wanted| i64::from(wanted.most)).sum();
        let mut queue = Queue::default();
        for wanted in known {
            if let btree_map::Entry::Vacant(list) = queue.lists.entry(wanted.sweep) {
                let mut rows = list_own(connection, wanted.sweep, most).await?;
                if has_joins {
                    rows.extend(list_joined(connection, wanted.sweep, most).await?);
                }
                // Stable, so that within a sweep its own come first.
                rows.sort_by_key(|row| (Reverse(row.priority), row.waits_for));
                rows.truncate(usize::try_from(most).unwrap_or(usize::MAX));
                list.insert(rows.iter().map(Place::of).collect());
                queue.offers.extend(rows.into_iter().map(|row| (JobId(row.id), Offer::from(row))));
            }
            if let Some(&completed) = memory.completed.get(&wanted.worker)
                && !queue.near.contains_key(&wanted.worker)
            {
                let rows = list_children(connection, completed, wanted.sweep, most).await?;
                queue.near.insert(wanted.worker, rows.iter().map(Place::of).collect());
                queue.offers.extend(rows.into_iter().map(|row| (JobId(row.id), Offer::from(row))));
            }
        }
        Ok(queue)
    }

    /// These jobs, in nobody's list.
    pub(super) fn of(rows: Vec<ReadyJob>) -> Queue {
        let offers = rows.into_iter().map(|row| (JobId(row.id), Offer::from(row))).collect();
        Queue { offers, ..Queue::default() }
    }

    /// Every job that may be leased.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.offers.keys().copied()
    }

    pub(super) fn contexts(&self) -> impl Iterator<Item = i64> {
        self.offers.values().map(|offer| offer.context)
    }

    /// The next job for a worker that asks for those of this sweep, or of any.
    pub(super) fn next(
        &mut self,
        worker: WorkerId,
        sweep: Option<SweepId>,
        entries: &BTreeMap<JobId, Entry>,
    ) -> Option<JobId> {
        let is_ready = |place: &Place| entries.get(&place.job).is_some_and(Entry::is_ready);
        let list = self.lists.get_mut(&sweep)?;
        // What the same group has leased already stands in front.
        while list.front().is_some_and(|place| !is_ready(place)) {
            list.pop_front();
        }
        let first = list.front().copied();
        if let Some(near) = self.near.get_mut(&worker) {
            let is_allowed = |place: &Place| {
                is_ready(place)
                    && sweep.is_none_or(|sweep| sweep == place.sweep)
                    && first.is_none_or(|first| first.priority <= place.priority)
            };
            if let Some(at) = near.iter().position(is_allowed) {
                return near.remove(at).map(|place| place.job);
            }
        }
        list.pop_front().map(|place| place.job)
    }

    /// What is told of a job that was leased.
    pub(super) fn take_offer(&mut self, job: JobId) -> Option<Offer> {
        self.offers.remove(&job)
    }
}

impl Place {
    fn of(row: &ReadyJob) -> Place {
        Place { job: JobId(row.id), sweep: SweepId(row.waits_for), priority: row.priority }
    }
}

impl From<ReadyJob> for Offer {
    fn from(row: ReadyJob) -> Offer {
        Offer {
            trial: TrialNumber(row.trial),
            context: row.context_id,
            first_epoch: row.first_epoch,
            last_epoch: row.last_epoch,
            cpus: row.cpus,
            parameters: row.parameters,
            seed: row.seed.cast_unsigned(),
            resources: row.resources,
        }
    }
}

/// Makes ready whatever has waited long enough; says when the next is due.
async fn clear_due(
    connection: &mut SqliteConnection,
    now: Option<Timestamp>,
) -> Result<Option<Timestamp>, StoreError> {
    let now = now.map(|now| now.0);
    let due = sqlx::query_scalar!(
        "-- clear_due
        UPDATE jobs SET waits_until = NULL WHERE waits_until <= ? RETURNING id AS \"id!\"",
        now
    )
    .fetch_all(&mut *connection)
    .await?;
    let due = id_list(&due.into_iter().map(JobId).collect::<Vec<_>>());
    sqlx::query!(
        "-- turn_due_joins
        UPDATE joins SET is_ready = 1 WHERE job_id IN (SELECT value FROM json_each(?))",
        due
    )
    .execute(&mut *connection)
    .await?;
    let next = sqlx::query_scalar!(
        "-- find_next_wait
        SELECT waits_until AS \"due!\" FROM jobs WHERE waits_until IS NOT NULL ORDER BY waits_until LIMIT 1"
    )
    .fetch_optional(connection)
    .await?;
    Ok(next.map(Timestamp))
}

/// Ready jobs in the sweeps' own queues.
async fn list_own(
    connection: &mut SqliteConnection,
    sweep: Option<SweepId>,
    most: i64,
) -> Result<Vec<ReadyJob>, StoreError> {
    let sweep = sweep.map(|id| id.0);
    let list = sqlx::query_scalar!(
        "-- list_own_ready
        SELECT json_group_array(json_array(id, waits_for, priority, trial, context_id, first_epoch, last_epoch, cpus,
                                           parameters, seed, resources)) AS \"list!: String\"
        FROM (
        SELECT jobs.id, sweeps.id AS waits_for, sweeps.priority, jobs.trial, jobs.context_id, jobs.first_epoch,
               jobs.last_epoch, jobs.cpus, trials.parameters, trials.seed, sweeps.resources
        FROM sweeps
        CROSS JOIN jobs ON jobs.sweep_id = sweeps.id
        CROSS JOIN trials ON trials.sweep_id = jobs.sweep_id AND trials.number = jobs.trial
        WHERE sweeps.is_paused = 0 AND sweeps.trials_queued > 0 AND (?1 IS NULL OR sweeps.id = ?1)
          AND jobs.state = 'queued' AND jobs.waits_until IS NULL
        ORDER BY sweeps.priority DESC, sweeps.id, jobs.id
        LIMIT ?2)",
        sweep,
        most
    )
    .fetch_one(connection)
    .await?;
    parse_rows(&list)
}

/// Ready jobs of other sweeps that sweeps wait for.
async fn list_joined(
    connection: &mut SqliteConnection,
    sweep: Option<SweepId>,
    most: i64,
) -> Result<Vec<ReadyJob>, StoreError> {
    let sweep = sweep.map(|id| id.0);
    let list = sqlx::query_scalar!(
        "-- list_joined_ready
        SELECT json_group_array(json_array(id, waits_for, priority, trial, context_id, first_epoch, last_epoch, cpus,
                                           parameters, seed, resources)) AS \"list!: String\"
        FROM (
        SELECT jobs.id, sweeps.id AS waits_for, sweeps.priority, jobs.trial, jobs.context_id, jobs.first_epoch,
               jobs.last_epoch, jobs.cpus, trials.parameters, trials.seed, own.resources
        FROM sweeps
        CROSS JOIN joins ON joins.sweep_id = sweeps.id
        CROSS JOIN jobs ON jobs.id = joins.job_id
        CROSS JOIN sweeps AS own ON own.id = jobs.sweep_id
        CROSS JOIN trials ON trials.sweep_id = jobs.sweep_id AND trials.number = jobs.trial
        WHERE sweeps.is_paused = 0 AND sweeps.trials_queued > 0 AND (?1 IS NULL OR sweeps.id = ?1)
          AND joins.is_ready = 1
        ORDER BY sweeps.priority DESC, sweeps.id, joins.job_id
        LIMIT ?2)",
        sweep,
        most
    )
    .fetch_one(connection)
    .await?;
    parse_rows(&list)
}

/// Ready jobs that go on from a job's state, of sweeps that may run: their own, or the one that was asked for.
async fn list_children(
    connection: &mut SqliteConnection,
    parent: JobId,
    sweep: Option<SweepId>,
    most: i64,
) -> Result<Vec<ReadyJob>, StoreError> {
    let sweep = sweep.map(|id| id.0);
    let list = sqlx::query_scalar!(
        "-- list_ready_children
        SELECT json_group_array(json_array(id, waits_for, priority, trial, context_id, first_epoch, last_epoch, cpus,
                                           parameters, seed, resources)) AS \"list!: String\"
        FROM (
        SELECT jobs.id, sweeps.id AS waits_for, sweeps.priority, jobs.trial, jobs.context_id, jobs.first_epoch,
               jobs.last_epoch, jobs.cpus, trials.parameters, trials.seed, own.resources
        FROM jobs
        CROSS JOIN sweeps ON sweeps.id = CASE
            WHEN EXISTS (SELECT 1 FROM joins WHERE joins.sweep_id = ?1 AND joins.job_id = jobs.id) THEN ?1
            ELSE jobs.sweep_id END
        CROSS JOIN sweeps AS own ON own.id = jobs.sweep_id
        CROSS JOIN trials ON trials.sweep_id = jobs.sweep_id AND trials.number = jobs.trial
        WHERE jobs.parent_id = ?2 AND jobs.state = 'queued' AND jobs.waits_until IS NULL
          AND sweeps.is_paused = 0
        ORDER BY jobs.id
        LIMIT ?3)",
        sweep,
        parent.0,
        most
    )
    .fetch_one(connection)
    .await?;
    parse_rows(&list)
}
