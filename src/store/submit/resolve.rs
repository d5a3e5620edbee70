//! Which job in the table stands for a planned one, and which has to be stored.

use std::collections::{BTreeMap, BTreeSet};

use super::places::Places;
use super::rows::{self, JobRow, Place};
use super::split::split;
use super::{Keep, NewSweep, Submitted};
use crate::lease::JobState;
use crate::store::StoreError;
use crate::store::joins::join;
use crate::store::reopen::{Asker, Reopened};
use crate::store::unit::Unit;
use crate::vocabulary::{JobId, StateHash, SweepId, Timestamp};

/// Rows that go into the table together.
pub(super) const CHUNK: usize = 1000;

/// A sweep on its way into the table.
pub(super) struct Submission<'a> {
    pub(super) new: &'a NewSweep,
    pub(super) sweep: SweepId,
    pub(super) now: Timestamp,
    /// Ids of [`NewSweep::contexts`].
    contexts: Vec<i64>,
    /// Jobs in the table with the planned ones' states.
    pub(super) found: BTreeMap<usize, JobId>,
    /// Jobs in the table whose weights planned ones read.
    required: BTreeMap<StateHash, JobId>,
    /// Whether a trial ends in the job.
    is_end: Vec<bool>,
    /// Whether somebody goes on from the job, or a trial ends in it.
    is_wanted: Vec<bool>,
    /// The jobs that stand for the planned ones; 0 where none is needed.
    pub(super) resolved: Vec<i64>,
    /// The first job of this submission, once there is one.
    first_new: Option<JobId>,
    /// What the rows so far were moved by: whoever looks at what was found before must look again.
    is_recut: bool,
    pub(super) log: Reopened,
    rows: Vec<JobRow<'a>>,
    /// Dependents of jobs of this submission that are in the table already.
    dependents: BTreeMap<JobId, i64>,
    /// Jobs of other sweeps that this one waits for.
    joined: BTreeSet<JobId>,
    /// First parts of jobs that were split since trials end there.
    pub(super) split_ends: BTreeSet<JobId>,
    /// New jobs in which no trial ends and from which nothing goes on yet, with how many of their epochs are run again.
    pub(super) unneeded: BTreeMap<JobId, u64>,
    pub(super) told: Submitted,
}

impl<'a> Submission<'a> {
    pub(super) fn new(
        new: &'a NewSweep,
        sweep: SweepId,
        contexts: Vec<i64>,
        now: Timestamp,
    ) -> Submission<'a> {
        let mut is_end = vec![false; new.jobs.len()];
        for &end in &new.trial_ends {
            is_end[end as usize] = true;
        }
        let epochs = new.trial_ends.iter().map(|end| u64::from(new.jobs[*end as usize].last_epoch));
        let told = Submitted {
            sweep,
            is_existing: false,
            trials: u64::try_from(new.trial_ends.len()).unwrap_or(u64::MAX),
            trials_reused: 0,
            jobs_new: 0,
            epochs_to_run: 0,
            epochs_unshared: epochs.sum(),
            epochs_run_again: 0,
            earlier: None,
        };
        Submission {
            new,
            sweep,
            now,
            contexts,
            found: BTreeMap::new(),
            required: BTreeMap::new(),
            is_wanted: is_end.clone(),
            is_end,
            resolved: vec![0; new.jobs.len()],
            first_new: None,
            is_recut: false,
            log: Reopened::default(),
            rows: Vec::new(),
            dependents: BTreeMap::new(),
            joined: BTreeSet::new(),
            split_ends: BTreeSet::new(),
            unneeded: BTreeMap::new(),
            told,
        }
    }

    /// Finds the jobs whose states are in the table, and with them which planned jobs are needed: a job that only leads to
    /// states that are there need not run.
    pub(super) async fn find_ends(&mut self, unit: &mut Unit) -> Result<(), StoreError> {
        for (chunk, jobs) in self.new.jobs.chunks(CHUNK).enumerate() {
            let states: Vec<StateHash> = jobs.iter().map(|job| job.state).collect();
            for (at, id) in rows::find_ends(unit.connection(), &states).await? {
                self.found.insert(chunk * CHUNK + at, id);
            }
        }
        for index in (0..self.new.jobs.len()).rev() {
            if !self.is_wanted[index] || self.found.contains_key(&index) {
                continue;
            }
            if let Some(parent) = self.new.jobs[index].parent {
                self.is_wanted[parent as usize] = true;
            }
        }
        if self.new.keep != Keep::None {
            // Before any of them is made again: the new job keeps what the old one would have.
            let ends = self.found.iter().filter(|(index, _)| self.is_end[**index]);
            rows::keep_checkpoints(unit.connection(), ends.map(|(_, id)| id)).await?;
        }
        self.find_required(unit).await
    }

    async fn find_required(&mut self, unit: &mut Unit) -> Result<(), StoreError> {
        let states: BTreeSet<StateHash> = self.new.requirements.iter().map(|(_, state)| *state).collect();
        let states: Vec<StateHash> = states.into_iter().collect();
        for (at, id) in rows::find_ends(unit.connection(), &states).await? {
            self.required.insert(states[at], id);
        }
        Ok(())
    }

    pub(super) async fn store_jobs(&mut self, unit: &mut Unit) -> Result<(), StoreError> {
        let has_inner_states = rows::has_inner_states(unit.connection()).await?;
        let (mut at, mut chunk) = (0, CHUNK);
        while at < self.new.jobs.len() {
            let until = (at + chunk).min(self.new.jobs.len());
            let jobs = (at..until).filter(|index| self.is_stored(*index)).map(|index| &self.new.jobs[index]);
            let places = Places::find(unit, self.new, jobs, has_inner_states).await?;
            self.load(unit, at..until, &places).await?;
            let begun = at;
            while at < until && !self.is_recut {
                self.resolve(unit, at, &places).await?;
                at += 1;
            }
            self.flush(unit).await?;
            // After a fork another is likely to follow soon, and then what was looked up behind it was in vain.
            chunk = if self.is_recut { at - begun } else { (2 * chunk).min(CHUNK) };
            self.is_recut = false;
        }
        Ok(())
    }

    pub(super) fn is_new(&self, id: JobId) -> bool {
        self.first_new.is_some_and(|first| id >= first)
    }

    /// Whether the job is needed and its state is not in the table.
    fn is_stored(&self, index: usize) -> bool {
        self.is_wanted[index] && !self.found.contains_key(&index)
    }

    /// Loads the jobs of which a chunk may speak.
    async fn load(
        &self,
        unit: &mut Unit,
        range: std::ops::Range<usize>,
        places: &Places,
    ) -> Result<(), StoreError> {
        let mut jobs: Vec<JobId> = self.found.range(range.clone()).map(|(_, id)| *id).collect();
        jobs.extend(places.jobs());
        for index in range.filter(|index| self.is_stored(*index)) {
            let parent = self.new.jobs[index].parent.map(|parent| JobId(self.resolved[parent as usize]));
            jobs.extend(parent.filter(|parent| parent.0 > 0 && !self.is_new(*parent)));
        }
        unit.load(jobs).await
    }

    async fn resolve(&mut self, unit: &mut Unit, index: usize, places: &Places) -> Result<(), StoreError> {
        if !self.is_wanted[index] {
            return Ok(());
        }
        if let Some(&id) = self.found.get(&index) {
            let known = self.log.again.len();
            unit.reopen(id, self.asker(index), &mut self.log).await?;
            self.is_recut |= self.log.again.len() > known;
            self.note_joined(unit, id)?;
            self.resolved[index] = id.0;
            return Ok(());
        }
        let job = &self.new.jobs[index];
        if let Some(place) = places.splittable(unit, &job.state) {
            let first = self.split(unit, place).await?;
            if self.is_end[index] {
                self.split_ends.insert(first);
            }
            self.resolved[index] = first.0;
            return Ok(());
        }
        let begun = places.last_begun(unit, self.new, job);
        let (first_epoch, parent) = self.base(unit, index, places).await?;
        let id = self.store(unit, index, first_epoch, parent).await?;
        let again = u64::from((begun + 1).saturating_sub(first_epoch));
        self.told.epochs_run_again += again;
        if !self.is_end[index] {
            self.unneeded.insert(id, again);
        }
        Ok(())
    }

    fn asker(&self, index: usize) -> Asker {
        let trial = self.new.trials.number(self.new.jobs[index].trial as usize);
        Asker { sweep: self.sweep, trial, now: self.now }
    }

    /// Notes that the sweep waits for another's job, if that has not ended.
    fn note_joined(&mut self, unit: &Unit, id: JobId) -> Result<(), StoreError> {
        let entry = unit.entry(id)?;
        if entry.is_live() {
            self.joined.insert(id);
        }
        Ok(())
    }

    /// Cuts a job that nobody has begun; gives its first part.
    async fn split(&mut self, unit: &mut Unit, place: Place) -> Result<JobId, StoreError> {
        // What has come together so far may be about the same jobs.
        self.flush(unit).await?;
        let first = split(unit, place).await?;
        self.first_new.get_or_insert(first);
        self.is_recut = true;
        self.note_joined(unit, first)?;
        Ok(first)
    }

    /// The furthest state on the way to a job's last one that can be had, as the first epoch behind it and the job that
    /// ends with it.
    async fn base(
        &mut self,
        unit: &mut Unit,
        index: usize,
        places: &Places,
    ) -> Result<(u32, Option<JobId>), StoreError> {
        let job = &self.new.jobs[index];
        let inner = self.new.inner_states_of(job).iter();
        for (epoch, state) in (job.first_epoch..job.last_epoch).zip(inner).rev() {
            if let Some(end) = places.end_to_go_on_from(unit, state)? {
                self.note_joined(unit, end)?;
                return Ok((epoch + 1, Some(end)));
            }
            if let Some(place) = places.splittable(unit, state) {
                return Ok((epoch + 1, Some(self.split(unit, place).await?)));
            }
        }
        let Some(parent) = job.parent else { return Ok((job.first_epoch, None)) };
        let base = self.ensure(unit, parent as usize, index).await?;
        Ok((job.first_epoch, Some(base)))
    }

    /// The job that stands for a planned one, in a condition to go on from.
    async fn ensure(&mut self, unit: &mut Unit, need: usize, index: usize) -> Result<JobId, StoreError> {
        let id = JobId(self.resolved[need]);
        if self.is_new(id) {
            return Ok(id);
        }
        let known = self.log.again.len();
        let base = unit.ensure_state(id, self.asker(index), &mut self.log).await?;
        self.is_recut |= self.log.again.len() > known;
        self.note_joined(unit, base)?;
        Ok(base)
    }

    /// A job that leaves the weights in this state, now or when it has run.
    async fn ensure_weights(&mut self, unit: &mut Unit, state: StateHash) -> Result<JobId, StoreError> {
        let damaged = || StoreError::Damaged(format!("no job ends in the required state {state}"));
        let id = *self.required.get(&state).ok_or_else(damaged)?;
        let known = self.log.again.len();
        let base = unit.ensure_weights(id, self.now, &mut self.log).await?;
        self.is_recut |= self.log.again.len() > known;
        self.note_joined(unit, base)?;
        Ok(base)
    }

    /// Notes a row for a planned job that continues `parent`.
    async fn store(
        &mut self,
        unit: &mut Unit,
        index: usize,
        first_epoch: u32,
        parent: Option<JobId>,
    ) -> Result<JobId, StoreError> {
        let mut required = BTreeSet::new();
        for state in self.new.requirements_of(index).collect::<Vec<_>>() {
            required.insert(self.ensure_weights(unit, state).await?);
        }
        let id = unit.next_job().await?;
        self.first_new.get_or_insert(id);
        let mut open_needs = 0;
        let mut needs = required.clone();
        needs.extend(parent);
        for need in needs {
            open_needs += i64::from(self.add_dependent(unit, need));
        }
        let job = &self.new.jobs[index];
        self.rows.push(JobRow {
            id,
            state: job.state,
            parent,
            required,
            trial: self.new.trials.number(job.trial as usize),
            context: self.contexts[usize::from(job.context)],
            first_epoch,
            last_epoch: job.last_epoch,
            cpus: job.cpus,
            open_needs,
            live_dependents: 0,
            is_kept: self.is_end[index] && self.new.keep != Keep::None,
            inner_states: {
                let from = (first_epoch - job.first_epoch) as usize;
                self.new.inner_states_of(job).get(from..).unwrap_or_default()
            },
        });
        self.resolved[index] = id.0;
        self.told.jobs_new += 1;
        self.told.epochs_to_run += u64::from(job.last_epoch - first_epoch + 1);
        Ok(id)
    }

    /// Counts one more live dependent of a job; says whether the job has yet to succeed.
    fn add_dependent(&mut self, unit: &mut Unit, need: JobId) -> bool {
        self.unneeded.remove(&need);
        if let Ok(entry) = unit.entry_mut(need) {
            entry.live_dependents += 1;
            entry.is_changed = true;
            return entry.job.state != JobState::Succeeded;
        }
        match self.rows.binary_search_by_key(&need, |row| row.id) {
            Ok(at) => self.rows[at].live_dependents += 1,
            Err(_) => *self.dependents.entry(need).or_default() += 1,
        }
        // Nobody has had the time to run it.
        true
    }

    /// Writes what has come together.
    async fn flush(&mut self, unit: &mut Unit) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut self.rows);
        rows::insert_jobs(unit.connection(), self.sweep, self.new.retries, &rows).await?;
        let mut waiting = unit.sweeps_waiting_for(&std::mem::take(&mut self.log.jobs))?;
        waiting.entry(self.sweep).or_default().append(&mut self.joined);
        unit.flush().await?;
        // Behind what was in memory, which does not count these.
        rows::add_dependents(unit.connection(), &std::mem::take(&mut self.dependents)).await?;
        for (sweep, jobs) in waiting {
            join(unit, sweep, &jobs).await?;
        }
        Ok(())
    }
}
