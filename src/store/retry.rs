//! `sweep retry`: whatever of a sweep failed or was cancelled is tried again.

use sqlx::SqliteConnection;

use super::cancel::{Chosen, want_again};
use super::joins::join;
use super::reopen::{Asker, Reopened};
use super::unit::Unit;
use super::writer::{Request, Wants};
use super::{Store, StoreError};
use crate::vocabulary::{JobId, SweepId, Timestamp, TrialNumber};

/// Trials that are looked at together.
const CHUNK: i64 = 1000;

impl Store {
    /// Reopens every failed or cancelled job that these trials need, with full budgets. Says how many.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn retry(&self, sweep: SweepId, chosen: Chosen, now: Timestamp) -> Result<u64, StoreError> {
        self.writer.write(Retry { sweep, chosen, now }).await
    }
}

struct Retry {
    sweep: SweepId,
    chosen: Chosen,
    now: Timestamp,
}

impl Request for Retry {
    type Answer = u64;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<u64, StoreError> {
        let numbers = self.chosen.numbers()?;
        want_again(unit.connection(), self.sweep, numbers.as_deref()).await?;
        let mut reopened = 0;
        let mut after = 0;
        loop {
            let ended = list_ended_badly(unit.connection(), self.sweep, numbers.as_deref(), after).await?;
            let Some(&(last, _)) = ended.last() else { return Ok(reopened) };
            unit.load(ended.iter().map(|(_, job)| *job).collect()).await?;
            let mut log = Reopened::default();
            for (trial, job) in ended {
                let asker = Asker { sweep: self.sweep, trial, now: self.now };
                unit.reopen(job, asker, &mut log).await?;
            }
            reopened += u64::try_from(log.jobs.len()).unwrap_or(u64::MAX);
            let waiting = unit.sweeps_waiting_for(&log.jobs)?;
            unit.flush().await?;
            for (sweep, jobs) in waiting {
                join(unit, sweep, &jobs).await?;
            }
            after = last.0;
        }
    }
}

/// Trials whose jobs failed or were cancelled, by number.
async fn list_ended_badly(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    numbers: Option<&str>,
    after: i64,
) -> Result<Vec<(TrialNumber, JobId)>, StoreError> {
    let rows = sqlx::query!(
        "-- list_ended_badly
        SELECT trials.number, trials.job_id
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        WHERE trials.sweep_id = ?1 AND trials.number > ?2 AND jobs.state IN ('failed', 'cancelled')
          AND (?3 IS NULL OR trials.number IN (SELECT value FROM json_each(?3)))
        ORDER BY trials.number
        LIMIT ?4",
        sweep.0,
        after,
        numbers,
        CHUNK
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (TrialNumber(row.number), JobId(row.job_id))).collect())
}
