//! Jobs that ended a moment ago, and the trials that ended with them: for whoever follows what happens.

use std::sync::{Arc, Mutex, PoisonError};

use super::load::id_list;
use super::{Reader, Store, StoreError};
use crate::vocabulary::{JobId, SweepId, TrialNumber};

/// Nobody is told of more at a time: whoever follows looks at everything anew instead.
const MOST: usize = 4096;

/// Jobs that ended since somebody asked: filled after each commit.
#[derive(Clone, Default)]
pub(super) struct Finished(Arc<Mutex<RecentlyFinished>>);

/// What ended since this was asked last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecentlyFinished {
    /// Some may have been reopened since.
    pub jobs: Vec<JobId>,
    /// There were too many to remember.
    pub has_more: bool,
}

/// A trial that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedTrialRow {
    pub sweep: SweepId,
    pub number: TrialNumber,
    pub job_state: String,
}

impl RecentlyFinished {
    /// Remembers these too, as far as there is room.
    pub fn append(&mut self, later: RecentlyFinished) {
        self.has_more |= later.has_more;
        self.add(later.jobs.into_iter());
    }

    fn add(&mut self, jobs: impl ExactSizeIterator<Item = JobId>) {
        let room = MOST.saturating_sub(self.jobs.len());
        self.has_more |= jobs.len() > room;
        self.jobs.extend(jobs.take(room));
    }
}

impl Finished {
    pub(super) fn add(&self, jobs: &mut Vec<JobId>) {
        if jobs.is_empty() {
            return;
        }
        self.recent().add(jobs.drain(..));
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, RecentlyFinished> {
        // A list is whole after every step, so one that a panic left behind can be used.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Jobs that ended, however they did, since this was asked last.
    #[must_use]
    pub fn take_finished(&self) -> RecentlyFinished {
        std::mem::take(&mut *self.finished.recent())
    }
}

/// Trials that end in these jobs and have ended, by sweep and number; one more than `most` at most.
///
/// # Errors
/// When the file can't be read.
pub async fn list_finished_trials(
    reader: &mut Reader,
    jobs: &[JobId],
    most: u32,
) -> Result<Vec<FinishedTrialRow>, StoreError> {
    let jobs = id_list(jobs);
    let most = i64::from(most) + 1;
    let rows = sqlx::query!(
        "-- list_finished_trials
        SELECT trials.sweep_id AS \"sweep_id!\", trials.number AS \"number!\", jobs.state
        FROM json_each(?) AS job
        CROSS JOIN jobs ON jobs.id = job.value
        CROSS JOIN trials ON trials.job_id = jobs.id
        WHERE jobs.state IN ('succeeded', 'failed', 'cancelled')
        LIMIT ?",
        jobs,
        most
    )
    .fetch_all(reader.connection())
    .await?;
    let mut trials: Vec<_> = rows
        .into_iter()
        .map(|row| FinishedTrialRow {
            sweep: SweepId(row.sweep_id),
            number: TrialNumber(row.number),
            job_state: row.state,
        })
        .collect();
    trials.sort_by_key(|trial| (trial.sweep, trial.number));
    Ok(trials)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let jobs = |count: usize| RecentlyFinished { jobs: vec![JobId(1); count], has_more: false };
        let mut owed = RecentlyFinished::default();
        owed.append(jobs(MOST));
        assert_eq!((owed.jobs.len(), owed.has_more), (MOST, false));
        owed.append(jobs(1));
        assert_eq!((owed.jobs.len(), owed.has_more), (MOST, true));
    }
}
