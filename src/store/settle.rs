//! What the end of a job means to the jobs that need it, and to those that it needed.
//!
//! Downwards: who needs a job that succeeded has one need less, who needs one that failed fails too. Upwards: a job that
//! has ended is no live dependent of its parent any more, and a checkpoint that nobody will go on from is let go. One
//! statement a level of the tree, whatever the number of jobs.

use std::collections::{BTreeMap, BTreeSet};

use super::exports::FOR_EVER;
use super::unit::{Ending, Promise, Remains, Unit};
use super::{StoreError, load};
use crate::lease::{Event, JobState};
use crate::vocabulary::JobId;

impl Unit {
    /// Carries through what the transaction's events mean to other jobs. Gives live jobs that no live job needs any more.
    pub(super) async fn settle(&mut self) -> Result<Vec<JobId>, StoreError> {
        while !self.ended.is_empty() {
            let ended = std::mem::take(&mut self.ended);
            self.tell(&ended).await?;
        }
        self.count_live().await
    }

    /// The same; and jobs that led only to what has failed for another reason, such as a teacher, are cancelled: they would be
    /// run for nobody. A retry reopens them.
    pub(super) async fn end_orphans(&mut self) -> Result<(), StoreError> {
        let unneeded = self.settle().await?;
        self.cancel_unneeded(unneeded, self.now, |_| ()).await
    }

    async fn tell(&mut self, ended: &BTreeMap<JobId, Ending>) -> Result<(), StoreError> {
        let dependents = load::dependents(&mut self.connection, ended.keys()).await?;
        self.load(dependents.iter().map(|(_, dependent)| *dependent).collect()).await?;
        for (need, dependent) in dependents {
            let entry = self.entry_mut(dependent)?;
            if !entry.is_live() {
                continue;
            }
            let event = match ended.get(&need) {
                Some(Ending::Succeeded) => {
                    entry.open_needs -= 1;
                    entry.is_changed = true;
                    if entry.open_needs > 0 {
                        continue;
                    }
                    Event::NeedsMet
                }
                Some(Ending::Failed) => Event::NeedFailed,
                None => continue,
            };
            let promise = entry.promise.filter(|_| event == Event::NeedsMet);
            // A dependent that can't take it, since it was cancelled meanwhile, stays as it is.
            let _refused = self.step(dependent, &event, &Remains::default(), self.now);
            // Before anybody else can have it.
            if let Some(Promise { worker, .. }) = promise {
                let lease = Event::Lease { worker, lasts: FOR_EVER };
                let _refused = self.step(dependent, &lease, &Remains::default(), self.now);
            }
        }
        Ok(())
    }

    /// Makes every job's number of live dependents true again.
    async fn count_live(&mut self) -> Result<Vec<JobId>, StoreError> {
        let mut changes: BTreeMap<JobId, i64> = BTreeMap::new();
        let mut with_requirements = BTreeMap::new();
        let mut idle = BTreeSet::new();
        for entry in self.entries.values_mut() {
            let is_live = entry.is_live();
            if is_live == entry.is_counted_live {
                continue;
            }
            entry.is_counted_live = is_live;
            let change = if is_live { 1 } else { -1 };
            if let Some(parent) = entry.parent {
                *changes.entry(parent).or_default() += change;
            }
            if entry.has_requirements {
                with_requirements.insert(entry.id, (entry.parent, change));
            }
            if entry.job.state == JobState::Succeeded {
                idle.insert(entry.id);
            }
        }
        if !with_requirements.is_empty() {
            for (job, required) in load::requirements(&mut self.connection, with_requirements.keys()).await? {
                let (parent, change) = with_requirements[&job];
                // A parent whose final weights are read too is needed once.
                if parent != Some(required) {
                    *changes.entry(required).or_default() += change;
                }
            }
        }
        changes.retain(|_, change| *change != 0);
        self.load(changes.keys().copied().collect()).await?;
        for (need, change) in changes {
            let entry = self.entry_mut(need)?;
            entry.live_dependents += change;
            entry.is_changed = true;
            idle.insert(need);
        }
        self.release(idle)
    }

    /// Of jobs that may have lost their last live dependent: lets go of the checkpoints of those that have succeeded, and
    /// gives back those that are live themselves.
    fn release(&mut self, idle: BTreeSet<JobId>) -> Result<Vec<JobId>, StoreError> {
        let mut unneeded = Vec::new();
        for id in idle {
            let entry = self.entry(id)?;
            if entry.live_dependents > 0 {
                continue;
            }
            if entry.is_live() {
                unneeded.push(id);
            } else if entry.job.state == JobState::Succeeded && !entry.is_kept {
                self.release_checkpoint(id);
            }
        }
        Ok(unneeded)
    }
}
