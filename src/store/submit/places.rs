//! Where the states on the way to a planned job's last one are in the table.

use std::collections::BTreeMap;

use super::rows::{self, Place};
use super::{NewJob, NewSweep};
use crate::lease::JobState;
use crate::store::StoreError;
use crate::store::unit::{Unit, newest_attempt};
use crate::vocabulary::{Attempt, JobId, StateHash};

/// Where the states of a chunk of jobs are in the table.
#[derive(Default)]
pub(super) struct Places {
    /// By state: a current job that ends with it.
    ends: BTreeMap<StateHash, JobId>,
    /// By state: the current jobs that have it within.
    inner: BTreeMap<StateHash, Vec<Place>>,
}

impl Places {
    /// Looks up the states of jobs that are to be stored.
    pub(super) async fn find(
        unit: &mut Unit,
        new: &NewSweep,
        jobs: impl Iterator<Item = &NewJob>,
        has_inner_states: bool,
    ) -> Result<Places, StoreError> {
        let mut places = Places::default();
        let (mut inner, mut last) = (Vec::new(), Vec::new());
        for job in jobs {
            inner.extend_from_slice(new.inner_states_of(job));
            last.push(job.state);
        }
        for (at, id) in rows::find_ends(unit.connection(), &inner).await? {
            places.ends.insert(inner[at], id);
        }
        if has_inner_states {
            last.extend(inner);
            for (at, place) in rows::find_inner(unit.connection(), &last).await? {
                places.inner.entry(last[at]).or_default().push(place);
            }
        }
        Ok(places)
    }

    /// All jobs that are spoken of.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.ends.values().copied().chain(self.inner.values().flatten().map(|place| place.job))
    }

    /// A job that ends with the state, if one can go on from there, now or when it has run.
    pub(super) fn end_to_go_on_from(
        &self,
        unit: &Unit,
        state: &StateHash,
    ) -> Result<Option<JobId>, StoreError> {
        let Some(&id) = self.ends.get(state) else { return Ok(None) };
        let job = unit.entry(id)?.job.state;
        let has_checkpoint = unit.checkpoints.contains_key(&id);
        Ok((job.is_live() || (job == JobState::Succeeded && has_checkpoint)).then_some(id))
    }

    /// Of the jobs with the state within, one that nobody has begun.
    pub(super) fn splittable(&self, unit: &Unit, state: &StateHash) -> Option<Place> {
        self.inner.get(state)?.iter().copied().find(|place| {
            unit.entries.get(&place.job).is_some_and(|entry| {
                newest_attempt(&entry.job) == Attempt(0)
                    && entry.promise.is_none()
                    && matches!(entry.job.state, JobState::Blocked | JobState::Queued { .. })
            })
        })
    }

    /// The last of a job's epochs that somebody has run or is running; 0 where there is none.
    pub(super) fn last_begun(&self, unit: &Unit, new: &NewSweep, job: &NewJob) -> u32 {
        let is_begun =
            |id: &JobId| unit.entries.get(id).is_some_and(|entry| newest_attempt(&entry.job) > Attempt(0));
        let is_known = |state: &StateHash| {
            self.ends.get(state).is_some_and(is_begun)
                || self.inner.get(state).is_some_and(|places| places.iter().any(|place| is_begun(&place.job)))
        };
        if is_known(&job.state) {
            return job.last_epoch;
        }
        let inner = (job.first_epoch..job.last_epoch).zip(new.inner_states_of(job));
        inner.rev().find(|(_, state)| is_known(state)).map_or(0, |(epoch, _)| epoch)
    }
}
