//! How far a sweep is, and how long it still takes: what its finished stages cost says what the others will.

use super::{Coordinator, CoordinatorError};
use crate::protocol::insight::{BestTrial, FailedTrials, RecentFailure, SweepProgress};
use crate::store::{self, StretchRow};
use crate::vocabulary::SweepId;

/// Failures that are named.
const RECENT: u32 = 5;

impl Coordinator {
    /// How far a sweep is. It reads every trial of the sweep: some milliseconds for a thousand.
    ///
    /// # Errors
    /// When there is no such sweep, or the table can't be read.
    pub async fn progress(&self, sweep: SweepId) -> Result<SweepProgress, CoordinatorError> {
        let row = self.find(sweep).await?;
        let now = self.clock.now();
        let mut reader = self.store.reader().await?;
        let stretches = store::list_progress(&mut reader, sweep).await?;
        let epochs_unshared = store::count_unshared_epochs(&mut reader, sweep).await?;
        let best = match &row.metric {
            Some(metric) => store::find_best_trial(&mut reader, sweep, metric).await?,
            None => None,
        };
        let failed = match row.counts.failed {
            0 => vec![],
            _ => store::list_failed(&mut reader, sweep).await?,
        };
        let recent = store::list_recent_failures(&mut reader, sweep, RECENT).await?;
        let work = Work::of(&stretches);
        Ok(SweepProgress {
            sweep,
            metric: row.metric,
            epochs: work.epochs,
            epochs_done: work.epochs_done,
            epochs_shared: work.epochs_shared,
            epochs_unshared,
            jobs_left: work.jobs_left,
            seconds_left: work.seconds.map(|(_, left)| left),
            seconds_done: work.seconds.map(|(done, _)| done),
            best: best.map(|(trial, value)| BestTrial { trial, value }),
            failed: failed
                .into_iter()
                .map(|row| FailedTrials {
                    reason: row.reason,
                    trials: row.trials,
                    trial: row.trial,
                    message: row.message,
                })
                .collect(),
            recent_failures: recent
                .into_iter()
                .map(|row| RecentFailure {
                    trial: row.trial,
                    reason: row.reason,
                    message: row.message,
                    seconds_ago: now.since(row.ended_at).as_secs_f64(),
                    is_final: row.is_final,
                })
                .collect(),
        })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Work {
    epochs: u64,
    epochs_done: u64,
    epochs_shared: u64,
    jobs_left: u64,
    /// Of one slot: for what is done, and for what is left.
    seconds: Option<(f64, f64)>,
}

impl Work {
    /// An epoch costs what it cost in finished stages of the same epochs, or else in all finished ones: epochs in which a method is
    /// at work cost more than those before.
    fn of(stretches: &[StretchRow]) -> Work {
        let rate = |rows: &mut dyn Iterator<Item = &StretchRow>| {
            let (epochs, seconds) = rows.fold((0, 0.0), |(epochs, seconds), row| {
                (epochs + row.timed_epochs, seconds + row.timed_seconds)
            });
            (epochs > 0).then(|| seconds / as_float(epochs))
        };
        let overall = rate(&mut stretches.iter());
        let mut work = Work { seconds: overall.map(|_| (0.0, 0.0)), ..Work::default() };
        for row in stretches {
            let is_live = matches!(row.state.as_str(), "blocked" | "queued" | "leased");
            let length = u64::from(row.last_epoch - row.first_epoch + 1) * row.jobs;
            // What failed or was cancelled is not left to do.
            let total = if is_live { length } else { row.done_epochs };
            work.epochs += total;
            work.epochs_done += row.done_epochs;
            work.epochs_shared += length;
            work.jobs_left += if is_live { row.jobs } else { 0 };
            let same = |other: &&StretchRow| {
                (other.first_epoch, other.last_epoch) == (row.first_epoch, row.last_epoch)
            };
            if let (Some(seconds), Some(overall)) = (&mut work.seconds, overall) {
                let rate = rate(&mut stretches.iter().filter(same)).unwrap_or(overall);
                seconds.0 += rate * as_float(row.done_epochs);
                seconds.1 += rate * as_float(total.saturating_sub(row.done_epochs));
            }
        }
        work
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody trains 2^53 epochs")]
fn as_float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epochs: (u32, u32), state: &str, jobs: u64, done: u64, timed: (u64, f64)) -> StretchRow {
        StretchRow {
            first_epoch: epochs.0,
            last_epoch: epochs.1,
            state: state.to_owned(),
            jobs,
            done_epochs: done,
            timed_epochs: timed.0,
            timed_seconds: timed.1,
        }
    }

    #[test]
    fn what_is_left_costs_what_finished_stages_of_the_same_epochs_cost() {
        let rows = [
            row((1, 30), "succeeded", 1, 30, (30, 30.0)),
            row((31, 50), "succeeded", 2, 40, (40, 120.0)),
            row((31, 50), "leased", 1, 5, (0, 0.0)),
            row((31, 50), "queued", 1, 0, (0, 0.0)),
            row((31, 50), "failed", 1, 3, (0, 0.0)),
        ];
        let work = Work::of(&rows);
        assert_eq!((work.epochs, work.epochs_done, work.jobs_left), (30 + 40 + 40 + 3, 78, 2));
        // What failed is not saved by anybody.
        assert_eq!(work.epochs_shared, 30 + 5 * 20);
        // Three seconds an epoch, of which 35 are left.
        assert_eq!(work.seconds, Some((30.0 + 3.0 * 48.0, 105.0)));
    }

    #[test]
    fn before_anything_has_finished_nobody_knows() {
        let work = Work::of(&[row((1, 1), "queued", 4, 0, (0, 0.0))]);
        assert_eq!((work.epochs, work.jobs_left, work.seconds), (4, 4, None));
    }
}
