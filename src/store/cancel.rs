//! Cancelling trials: their last jobs and what comes before them, as far as no other live trial needs it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::unit::{Entry, Remains, Unit};
use super::writer::{Request, Wants};
use super::{Store, StoreError};
use crate::lease::Event;
use crate::vocabulary::{JobId, SweepId, Timestamp, TrialNumber};

/// Trials that are looked at together.
const CHUNK: i64 = 1000;

/// Which trials of a sweep are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    All,
    These(BTreeSet<TrialNumber>),
}

impl Store {
    /// Cancels trials that have not ended: jobs that no other live trial needs, whoever runs them. Says how many jobs.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn cancel(&self, sweep: SweepId, chosen: Chosen, now: Timestamp) -> Result<u64, StoreError> {
        self.writer.write(Cancel { sweep, chosen, now }).await
    }
}

struct Cancel {
    sweep: SweepId,
    chosen: Chosen,
    now: Timestamp,
}

impl Request for Cancel {
    type Answer = u64;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<u64, StoreError> {
        let numbers = match &self.chosen {
            Chosen::All => None,
            Chosen::These(trials) => {
                Some(super::flush::rows(&trials.iter().map(|trial| trial.0).collect::<Vec<_>>())?)
            }
        };
        let given_up = match &numbers {
            None => None,
            Some(numbers) => Some(count_by_job(unit.connection(), self.sweep, numbers).await?),
        };
        let (mut cancelled, mut after) = (0, 0);
        loop {
            let (last, mut candidates) =
                list_live(unit.connection(), self.sweep, numbers.as_deref(), after).await?;
            let Some(last) = last else { return Ok(cancelled) };
            while !candidates.is_empty() {
                unit.load(candidates.clone()).await?;
                for job in candidates {
                    let entry = unit.entry(job)?;
                    if entry.is_live()
                        && entry.live_dependents == 0
                        && is_given_up(entry, self.sweep, given_up.as_ref())
                    {
                        unit.step(job, &Event::Cancel, &Remains::default(), self.now);
                        cancelled += 1;
                    }
                }
                candidates = unit.settle().await?;
            }
            unit.flush().await?;
            after = last;
        }
    }
}

/// Whether every trial that ends in the job is one of those that are cancelled; `given_up` says how many of these do,
/// where they are not the whole sweep.
fn is_given_up(entry: &Entry, sweep: SweepId, given_up: Option<&BTreeMap<JobId, i64>>) -> bool {
    let all = std::iter::once((entry.sweep, entry.trials.own)).chain(entry.trials.others.iter().copied());
    all.filter(|(_, trials)| *trials > 0).all(|(owner, trials)| {
        owner == sweep && given_up.is_none_or(|given_up| given_up.get(&entry.id) == Some(&trials))
    })
}

/// How many of these trials end in each job.
async fn count_by_job(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    numbers: &str,
) -> Result<BTreeMap<JobId, i64>, StoreError> {
    let rows = sqlx::query!(
        "-- count_by_job
        SELECT trials.job_id, COUNT(*) AS \"trials!: i64\"
        FROM json_each(?) AS chosen
        CROSS JOIN trials ON trials.sweep_id = ? AND trials.number = chosen.value
        GROUP BY trials.job_id",
        numbers,
        sweep.0
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (JobId(row.job_id), row.trials)).collect())
}

/// Jobs that have not ended and in which chosen trials do, by trial; and the last trial that was looked at.
async fn list_live(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    numbers: Option<&str>,
    after: i64,
) -> Result<(Option<i64>, Vec<JobId>), StoreError> {
    let rows = sqlx::query!(
        "-- list_live_trials
        SELECT trials.number, trials.job_id
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        WHERE trials.sweep_id = ?1 AND trials.number > ?2 AND jobs.state IN ('blocked', 'queued', 'leased')
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
    let last = rows.last().map(|row| row.number);
    Ok((last, rows.into_iter().map(|row| JobId(row.job_id)).collect()))
}
