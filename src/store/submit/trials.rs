//! What is stored when all jobs of a sweep are known: its trials, and what they come to.

use super::resolve::{CHUNK, Submission};
use super::{Keep, Submitted, rows};
use crate::lease::JobState;
use crate::store::StoreError;
use crate::store::kept::keep_more;
use crate::store::unit::{Entry, Unit};
use crate::vocabulary::JobId;

impl Submission<'_> {
    /// Stores the trials and what they add up to.
    pub(super) async fn store_trials(&mut self, unit: &mut Unit) -> Result<Submitted, StoreError> {
        for (chunk, ends) in self.new.trial_ends.chunks(CHUNK).enumerate() {
            let trials = ends.iter().enumerate().map(|(at, end)| {
                (self.new.trials.trial(chunk * CHUNK + at), JobId(self.resolved[*end as usize]))
            });
            rows::insert_trials(unit.connection(), self.sweep, trials).await?;
        }
        if self.new.keep != Keep::None {
            rows::keep_checkpoints(unit.connection(), self.split_ends.iter()).await?;
        }
        if self.new.keep.more().is_some() {
            keep_more(unit.connection(), self.sweep).await?;
            if let Some(known) = &mut unit.memory.known {
                known.has_keeps = true;
            }
        }
        self.end_unneeded(unit).await?;
        let mut told = self.told;
        if self.found.is_empty() {
            let trials = i64::try_from(told.trials).unwrap_or(i64::MAX);
            unit.writes.count_new(self.sweep, JobState::Blocked.name(), trials);
        } else {
            for (state, trials) in rows::count_trials(unit.connection(), self.sweep).await? {
                unit.writes.count_new(self.sweep, &state, trials);
                if state == JobState::Succeeded.name() {
                    told.trials_reused = u64::try_from(trials).unwrap_or(0);
                }
            }
        }
        unit.flush().await?;
        told.jobs_new += u64::try_from(self.log.again.len()).unwrap_or(0);
        told.epochs_run_again += self.log.epochs_again.values().sum::<u64>();
        // What is made again in the queues of other sweeps is joined.
        told.epochs_to_run += self.log.epochs_again.get(&self.sweep).copied().unwrap_or(0);
        told.epochs_to_run += rows::epochs_joined(unit.connection(), self.sweep).await?;
        Ok(told)
    }

    /// Cancels jobs that were to lead to others which then all went on from elsewhere, such as the beginning that two running
    /// jobs of other sweeps have in common.
    async fn end_unneeded(&mut self, unit: &mut Unit) -> Result<(), StoreError> {
        let again = std::mem::take(&mut self.unneeded);
        let mut cancelled = Vec::new();
        let note = |entry: &Entry| cancelled.push((entry.id, entry.last_epoch - entry.first_epoch + 1));
        unit.cancel_unneeded(again.keys().copied().collect(), self.now, note).await?;
        cancelled.retain(|(id, _)| self.is_new(*id));
        for (id, epochs) in cancelled {
            let again = again.get(&id).copied().unwrap_or(0);
            self.told.jobs_new = self.told.jobs_new.saturating_sub(1);
            self.told.epochs_to_run = self.told.epochs_to_run.saturating_sub(u64::from(epochs));
            self.told.epochs_run_again = self.told.epochs_run_again.saturating_sub(again);
        }
        unit.flush().await
    }
}
