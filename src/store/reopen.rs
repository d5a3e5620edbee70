//! Putting jobs that failed or were cancelled back into the queue, and making states again whose checkpoints are gone.
//!
//! No finished job goes back. Where somebody needs to go on from a state that was let go, a new job makes it again, and
//! from then on it is the one that is found under the state's hash.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::kept::copy_keeps;
use super::unit::{Remains, Unit};
use super::{Checkpoint, StoreError, load};
use crate::lease::{Event, JobState, Needs};
use crate::vocabulary::{JobId, SweepId, Timestamp, TrialNumber};

/// For whom jobs are reopened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) sweep: SweepId,
    pub(super) trial: TrialNumber,
    pub(super) now: Timestamp,
}

/// What was done to have a state to go on from.
#[derive(Debug, Default)]
pub(super) struct Reopened {
    pub(super) jobs: BTreeSet<JobId>,
    /// Jobs whose states are made again, and the new ones that make them.
    pub(super) again: BTreeMap<JobId, JobId>,
    /// Epochs of the new ones, by the sweep in whose queue they wait.
    pub(super) epochs_again: BTreeMap<SweepId, u64>,
}

/// What a job is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Somebody reads the weights after its last epoch.
    Weights,
    /// Somebody goes on from its state; where its checkpoint is of an earlier epoch, whoever does trains the others again.
    State,
    /// It only has to have succeeded.
    Success,
}

/// A job that another one needs.
#[derive(Debug, Clone, Copy)]
struct Need {
    job: JobId,
    is_parent: bool,
    is_read: bool,
}

impl Need {
    /// What the job is needed for, where its use as a parent is `of_parent`.
    fn purpose(self, of_parent: Use) -> Use {
        if self.is_read { Use::Weights } else { of_parent }
    }
}

impl Unit {
    /// Puts a job that failed or was cancelled back into the queue, together with what it needs. Any other job stays as it
    /// is.
    pub(super) async fn reopen(
        &mut self,
        id: JobId,
        asker: Asker,
        log: &mut Reopened,
    ) -> Result<(), StoreError> {
        self.load(vec![id]).await?;
        if !matches!(self.entry(id)?.job.state, JobState::Failed { .. } | JobState::Cancelled) {
            return Ok(());
        }
        // Where an attempt has come to something, the next goes on from there and not from the parent's state.
        let of_parent = if self.checkpoints.contains_key(&id) { Use::Success } else { Use::State };
        let mut needs = BTreeSet::new();
        for need in self.needs(id).await? {
            let asker = self.asker_of(need, asker).await?;
            let base = self.ensure(need.job, need.purpose(of_parent), asker, log).await?;
            if base != need.job {
                self.replace_need(id, need.job, base).await?;
            }
            needs.insert(base);
        }
        let open = self.count_open(&needs)?;
        let entry = self.entry_mut(id)?;
        entry.open_needs = open;
        entry.is_changed = true;
        let needs = if open == 0 { Needs::Met } else { Needs::Open };
        self.step(id, &Event::Retry { needs }, &Remains::default(), asker.now);
        log.jobs.insert(id);
        Ok(())
    }

    /// A job from whose final state one can go on, now or when it has run: this one, or a new one that makes its state
    /// again.
    pub(super) async fn ensure_state(
        &mut self,
        id: JobId,
        asker: Asker,
        log: &mut Reopened,
    ) -> Result<JobId, StoreError> {
        self.ensure(id, Use::State, asker, log).await
    }

    /// A job that leaves the weights after its last epoch, now or when it has run: this one, or a new one.
    pub(super) async fn ensure_weights(
        &mut self,
        id: JobId,
        now: Timestamp,
        log: &mut Reopened,
    ) -> Result<JobId, StoreError> {
        let asker = Asker { now, ..find_run(&mut self.connection, id).await? };
        self.ensure(id, Use::Weights, asker, log).await
    }

    /// For whom a need is made again. A parent lies on the asker's way. What is only read does not, so that it is run with the
    /// parameters of its own trial, in the queue of that one's sweep.
    async fn asker_of(&mut self, need: Need, asker: Asker) -> Result<Asker, StoreError> {
        if need.is_parent {
            return Ok(asker);
        }
        Ok(Asker { now: asker.now, ..find_run(&mut self.connection, need.job).await? })
    }

    async fn ensure(
        &mut self,
        id: JobId,
        purpose: Use,
        asker: Asker,
        log: &mut Reopened,
    ) -> Result<JobId, StoreError> {
        if let Some(&again) = log.again.get(&id) {
            self.load(vec![again]).await?;
            return Ok(again);
        }
        self.load(vec![id]).await?;
        match self.entry(id)?.job.state {
            JobState::Blocked | JobState::Queued { .. } | JobState::Leased { .. } => Ok(id),
            JobState::Failed { .. } | JobState::Cancelled => {
                Box::pin(self.reopen(id, asker, log)).await?;
                Ok(id)
            }
            JobState::Succeeded if self.serves(id, purpose)? => Ok(id),
            JobState::Succeeded => match find_current(&mut self.connection, id).await? {
                // Somebody else has asked for this state since.
                Some(current) if current != id => Box::pin(self.ensure(current, purpose, asker, log)).await,
                _ => Box::pin(self.make_again(id, asker, log)).await,
            },
        }
    }

    /// Whether what a job that succeeded has left is enough.
    fn serves(&self, id: JobId, purpose: Use) -> Result<bool, StoreError> {
        Ok(match purpose {
            Use::Success => true,
            Use::State => self.checkpoints.contains_key(&id),
            Use::Weights => self.final_checkpoint(id)?.is_some(),
        })
    }

    /// The checkpoint after a job's last epoch, if it is there: a disk may have been full when it was written.
    pub(super) fn final_checkpoint(&self, id: JobId) -> Result<Option<&Checkpoint>, StoreError> {
        let last_epoch = self.entry(id)?.last_epoch;
        let checkpoint = self.checkpoints.get(&id).map(|held| &held.checkpoint);
        Ok(checkpoint.filter(|checkpoint| checkpoint.epoch == last_epoch && checkpoint.step == 0))
    }

    /// Stores a job that makes the state of one that succeeded again.
    async fn make_again(
        &mut self,
        old: JobId,
        asker: Asker,
        log: &mut Reopened,
    ) -> Result<JobId, StoreError> {
        let (mut bases, mut new_parent, mut required) = (BTreeSet::new(), None, Vec::new());
        for need in self.needs(old).await? {
            let asker = self.asker_of(need, asker).await?;
            let base = self.ensure(need.job, need.purpose(Use::State), asker, log).await?;
            if need.is_parent {
                new_parent = Some(base);
            }
            if need.is_read {
                required.push((need.job, base));
            }
            bases.insert(base);
        }
        let open = self.count_open(&bases)?;
        let new = self.next_job().await?;
        let epochs = insert_again(&mut self.connection, old, new, asker, new_parent, open).await?;
        for (need, base) in required {
            require_again(&mut self.connection, old, new, need, base).await?;
        }
        for base in bases {
            let entry = self.entry_mut(base)?;
            entry.live_dependents += 1;
            entry.is_changed = true;
        }
        self.load(vec![new]).await?;
        log.again.insert(old, new);
        *log.epochs_again.entry(asker.sweep).or_default() += epochs;
        Ok(new)
    }

    /// The jobs that a job needs: its parent, and those whose final weights it reads.
    async fn needs(&mut self, id: JobId) -> Result<Vec<Need>, StoreError> {
        let entry = self.entry(id)?;
        let (parent, mut read) = (entry.parent, BTreeSet::new());
        if entry.has_requirements {
            let required = load::requirements(&mut self.connection, std::iter::once(&id)).await?;
            read.extend(required.into_iter().map(|(_, required)| required));
        }
        let all: BTreeSet<JobId> = parent.into_iter().chain(read.iter().copied()).collect();
        let need = |job| Need { job, is_parent: parent == Some(job), is_read: read.contains(&job) };
        Ok(all.into_iter().map(need).collect())
    }

    /// How many of these have not succeeded.
    fn count_open(&self, needs: &BTreeSet<JobId>) -> Result<i64, StoreError> {
        let mut open = 0;
        for need in needs {
            open += i64::from(self.entry(*need)?.job.state != JobState::Succeeded);
        }
        Ok(open)
    }

    async fn replace_need(&mut self, id: JobId, old: JobId, new: JobId) -> Result<(), StoreError> {
        let entry = self.entry_mut(id)?;
        if entry.parent == Some(old) {
            entry.parent = Some(new);
            entry.is_moved = true;
        }
        sqlx::query!(
            "-- replace_requirement
            UPDATE job_requirements SET required_id = ? WHERE job_id = ? AND required_id = ?",
            new.0,
            id.0,
            old.0
        )
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    /// Id of a job to be stored.
    pub(super) async fn next_job(&mut self) -> Result<JobId, StoreError> {
        let newest = match self.memory.newest_job {
            Some(newest) => newest,
            None => {
                let newest = sqlx::query_scalar!(
                    "-- find_newest_job
                    SELECT COALESCE(MAX(id), 0) AS \"newest!: i64\" FROM jobs"
                )
                .fetch_one(&mut self.connection)
                .await?;
                JobId(newest)
            }
        };
        let next = JobId(newest.0 + 1);
        self.memory.newest_job = Some(next);
        Ok(next)
    }

    /// Which sweeps have trials that end in these jobs, and so wait for them and what they need.
    pub(super) fn sweeps_waiting_for(
        &self,
        jobs: &BTreeSet<JobId>,
    ) -> Result<BTreeMap<SweepId, BTreeSet<JobId>>, StoreError> {
        let mut waiting: BTreeMap<SweepId, BTreeSet<JobId>> = BTreeMap::new();
        for &job in jobs {
            let entry = self.entry(job)?;
            if entry.trials.own > 0 {
                waiting.entry(entry.sweep).or_default().insert(job);
            }
            for (sweep, _) in &entry.trials.others {
                waiting.entry(*sweep).or_default().insert(job);
            }
        }
        Ok(waiting)
    }
}

/// With whose parameters a job is run, and in whose queue it waits.
async fn find_run(connection: &mut SqliteConnection, id: JobId) -> Result<Asker, StoreError> {
    let run = sqlx::query!(
        "-- find_run
        SELECT sweep_id, trial FROM jobs WHERE id = ?",
        id.0
    )
    .fetch_one(connection)
    .await?;
    Ok(Asker { sweep: SweepId(run.sweep_id), trial: TrialNumber(run.trial), now: Timestamp(i64::MIN) })
}

/// The job that is found under the same state's hash.
async fn find_current(connection: &mut SqliteConnection, id: JobId) -> Result<Option<JobId>, StoreError> {
    let current = sqlx::query_scalar!(
        "-- find_current_job
        SELECT current.id AS \"id!\"
        FROM jobs
        CROSS JOIN jobs AS current ON current.hash = jobs.hash AND current.is_current = 1
        WHERE jobs.id = ?",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(current.map(JobId))
}

/// Stores a job with the same state as `old`, which is not the current one any more. Says how many epochs it has.
async fn insert_again(
    connection: &mut SqliteConnection,
    old: JobId,
    new: JobId,
    asker: Asker,
    parent: Option<JobId>,
    open_needs: i64,
) -> Result<u64, StoreError> {
    let (parent, state) = (parent.map(|id| id.0), if open_needs == 0 { "queued" } else { "blocked" });
    sqlx::query!(
        "-- retire_job
        UPDATE jobs SET is_current = 0 WHERE id = ?",
        old.0
    )
    .execute(&mut *connection)
    .await?;
    let epochs = sqlx::query_scalar!(
        "-- insert_job_again
        INSERT INTO jobs (id, hash, parent_id, sweep_id, trial, context_id, first_epoch, last_epoch, cpus, retries,
                          state, open_needs, is_kept)
        SELECT ?1, hash, ?2, ?3, ?4, context_id, first_epoch, last_epoch, cpus, retries, ?5, ?6, is_kept
        FROM jobs
        WHERE id = ?7
        RETURNING last_epoch - first_epoch + 1 AS \"epochs!: i64\"",
        new.0,
        parent,
        asker.sweep.0,
        asker.trial.0,
        state,
        open_needs,
        old.0
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!(
        "-- move_inner_states
        UPDATE inner_states SET job_id = ? WHERE job_id = ?",
        new.0,
        old.0
    )
    .execute(&mut *connection)
    .await?;
    copy_keeps(connection, old, new).await?;
    Ok(u64::try_from(epochs).unwrap_or(0))
}

/// Where `old` reads the weights of `need`, `new` reads those of `base`.
async fn require_again(
    connection: &mut SqliteConnection,
    old: JobId,
    new: JobId,
    need: JobId,
    base: JobId,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- insert_requirement_again
        INSERT INTO job_requirements (job_id, required_id)
        SELECT ?, ? FROM job_requirements WHERE job_id = ? AND required_id = ?",
        new.0,
        base.0,
        old.0,
        need.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
