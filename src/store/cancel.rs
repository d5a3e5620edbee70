//! Cancelling trials: their last jobs and what comes before them, as far as no other live trial needs it.
//!
//! That a trial was cancelled is noted (`given_up`) until somebody retries it: where its job goes on for others, or is run
//! again for them, it is no reason to go on once these are cancelled too.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::load::id_list;
use super::unit::{Entry, Remains, Trials, Unit};
use super::writer::{Request, Wants};
use super::{Reader, Store, StoreError};
use crate::lease::{Event, JobState};
use crate::vocabulary::{JobId, SweepId, Timestamp, TrialNumber};

/// Trials that are looked at together.
const CHUNK: i64 = 1000;

/// Which trials of a sweep are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    All,
    These(BTreeSet<TrialNumber>),
}

impl Chosen {
    /// The numbers as a JSON array; nothing where all trials are meant.
    pub(super) fn numbers(&self) -> Result<Option<String>, StoreError> {
        match self {
            Chosen::All => Ok(None),
            Chosen::These(trials) => {
                let numbers: Vec<i64> = trials.iter().map(|trial| trial.0).collect();
                super::flush::rows(&numbers).map(Some)
            }
        }
    }
}

/// What came of cancelling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Trials that are cancelled now and were not before.
    pub trials: u64,
    /// How many of these a worker was running.
    pub running: u64,
    /// Jobs that are cancelled now, those before a trial's last one too.
    pub jobs: u64,
    /// Trials that were meant and go on, since others need the jobs in which they end.
    pub kept: u64,
    /// The other sweeps among those that need them; empty where they are trials of the same sweep.
    pub needed_by: BTreeSet<SweepId>,
}

impl Store {
    /// Cancels trials that have not ended: jobs that no other live trial needs, whoever runs them.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn cancel(
        &self,
        sweep: SweepId,
        chosen: Chosen,
        now: Timestamp,
    ) -> Result<Cancelled, StoreError> {
        self.writer.write(Cancel { sweep, chosen, now }).await
    }
}

/// The first of these numbers that is no trial of the sweep.
///
/// # Errors
/// When the file can't be read.
pub async fn find_missing_trial(
    reader: &mut Reader,
    sweep: SweepId,
    chosen: &Chosen,
) -> Result<Option<TrialNumber>, StoreError> {
    let Some(numbers) = chosen.numbers()? else { return Ok(None) };
    let missing = sqlx::query_scalar!(
        "-- find_missing_trial
        SELECT MIN(chosen.value) AS \"number: i64\"
        FROM json_each(?) AS chosen
        WHERE NOT EXISTS (SELECT 1 FROM trials WHERE sweep_id = ? AND number = chosen.value)",
        numbers,
        sweep.0
    )
    .fetch_one(reader.connection())
    .await?;
    Ok(missing.map(TrialNumber))
}

struct Cancel {
    sweep: SweepId,
    chosen: Chosen,
    now: Timestamp,
}

impl Request for Cancel {
    type Answer = Cancelled;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Cancelled, StoreError> {
        let numbers = self.chosen.numbers()?;
        give_up(unit.connection(), self.sweep, numbers.as_deref()).await?;
        let (mut cancelled, mut after) = (Cancelled::default(), 0);
        loop {
            let (last, candidates) =
                list_live(unit.connection(), self.sweep, numbers.as_deref(), after).await?;
            let Some(last) = last else { break };
            unit.cancel_unneeded(candidates, self.now, |entry| cancelled.add(entry)).await?;
            unit.flush().await?;
            after = last;
        }
        cancelled.kept = count_live(unit.connection(), self.sweep, numbers.as_deref()).await?;
        if cancelled.kept > 0 {
            cancelled.needed_by = list_needing(unit.connection(), self.sweep, numbers.as_deref()).await?;
        }
        Ok(cancelled)
    }
}

impl Cancelled {
    /// Adds a job that is about to be cancelled; all trials that end in it are given up.
    fn add(&mut self, entry: &Entry) {
        let Trials { own, others } = &entry.trials;
        let trials = own + others.iter().map(|(_, trials)| trials).sum::<i64>();
        let trials = u64::try_from(trials).unwrap_or(0);
        self.jobs += 1;
        self.trials += trials;
        if let JobState::Leased { .. } = entry.job.state {
            self.running += trials;
        }
    }
}

impl Unit {
    /// Cancels those of these jobs that nobody needs: no live job needs them, and all trials that end in them were given up. Then
    /// those that led only to them, and so on. `note` is told of each before it is cancelled.
    pub(super) async fn cancel_unneeded(
        &mut self,
        mut candidates: Vec<JobId>,
        now: Timestamp,
        mut note: impl FnMut(&Entry),
    ) -> Result<(), StoreError> {
        while !candidates.is_empty() {
            self.load(candidates.clone()).await?;
            let given_up = count_given_up(self.connection(), &candidates).await?;
            for job in candidates {
                let entry = self.entry(job)?;
                if entry.is_live() && entry.live_dependents == 0 && is_given_up(entry, &given_up) {
                    note(entry);
                    self.step(job, &Event::Cancel, &Remains::default(), now);
                }
            }
            candidates = self.settle().await?;
        }
        Ok(())
    }
}

/// Whether every trial that ends in the job was given up; `given_up` says how many of each sweep were.
fn is_given_up(entry: &Entry, given_up: &BTreeMap<(JobId, SweepId), i64>) -> bool {
    let all = std::iter::once((entry.sweep, entry.trials.own)).chain(entry.trials.others.iter().copied());
    all.filter(|(_, trials)| *trials > 0)
        .all(|(sweep, trials)| given_up.get(&(entry.id, sweep)) == Some(&trials))
}

/// Notes that nobody wants the chosen trials any more, as far as they have not ended.
async fn give_up(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    numbers: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- give_up
        INSERT INTO given_up (sweep_id, number, job_id)
        SELECT trials.sweep_id, trials.number, trials.job_id
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        WHERE trials.sweep_id = ?1 AND jobs.state IN ('blocked', 'queued', 'leased')
          AND (?2 IS NULL OR trials.number IN (SELECT value FROM json_each(?2)))
        ON CONFLICT (sweep_id, number) DO NOTHING",
        sweep.0,
        numbers
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the chosen trials are wanted again.
pub(super) async fn want_again(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    numbers: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- want_again
        DELETE FROM given_up
        WHERE sweep_id = ?1 AND (?2 IS NULL OR number IN (SELECT value FROM json_each(?2)))",
        sweep.0,
        numbers
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the trials are wanted that go on for others although they were given up.
pub(super) async fn want_what_goes_on(
    connection: &mut SqliteConnection,
    sweep: SweepId,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- want_what_goes_on
        DELETE FROM given_up
        WHERE sweep_id = ?
          AND EXISTS (SELECT 1 FROM jobs
                      WHERE jobs.id = given_up.job_id AND jobs.state IN ('blocked', 'queued', 'leased'))",
        sweep.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many trials of each sweep that end in these jobs were given up.
async fn count_given_up(
    connection: &mut SqliteConnection,
    jobs: &[JobId],
) -> Result<BTreeMap<(JobId, SweepId), i64>, StoreError> {
    let jobs = id_list(jobs);
    let rows = sqlx::query!(
        "-- count_given_up
        SELECT given_up.job_id AS \"job_id!\", given_up.sweep_id AS \"sweep_id!\", COUNT(*) AS \"trials!: i64\"
        FROM json_each(?) AS job
        CROSS JOIN given_up ON given_up.job_id = job.value
        GROUP BY 1, 2",
        jobs
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| ((JobId(row.job_id), SweepId(row.sweep_id)), row.trials)).collect())
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

/// How many of the chosen trials have not ended.
async fn count_live(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    numbers: Option<&str>,
) -> Result<u64, StoreError> {
    let trials = sqlx::query_scalar!(
        "-- count_live_trials
        SELECT COUNT(*) AS \"trials!: i64\"
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        WHERE trials.sweep_id = ?1 AND jobs.state IN ('blocked', 'queued', 'leased')
          AND (?2 IS NULL OR trials.number IN (SELECT value FROM json_each(?2)))",
        sweep.0,
        numbers
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(trials).unwrap_or(0))
}

/// Other sweeps with trials, not given up, that end in the jobs of chosen trials that have not ended, or in what goes on from
/// these.
async fn list_needing(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    numbers: Option<&str>,
) -> Result<BTreeSet<SweepId>, StoreError> {
    let sweeps = sqlx::query_scalar!(
        "-- list_needing_sweeps
        WITH RECURSIVE needing (id) AS (
            SELECT trials.job_id
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ?1 AND jobs.state IN ('blocked', 'queued', 'leased')
              AND (?2 IS NULL OR trials.number IN (SELECT value FROM json_each(?2)))
            UNION
            SELECT jobs.id
            FROM needing
            CROSS JOIN jobs ON jobs.parent_id = needing.id
            WHERE jobs.state IN ('blocked', 'queued', 'leased')
            UNION
            SELECT jobs.id
            FROM needing
            CROSS JOIN job_requirements ON job_requirements.required_id = needing.id
            CROSS JOIN jobs ON jobs.id = job_requirements.job_id
            WHERE jobs.state IN ('blocked', 'queued', 'leased')
        )
        SELECT DISTINCT trials.sweep_id AS \"sweep_id!\"
        FROM needing
        CROSS JOIN trials ON trials.job_id = needing.id
        WHERE trials.sweep_id <> ?1
          AND NOT EXISTS (SELECT 1 FROM given_up
                          WHERE given_up.sweep_id = trials.sweep_id AND given_up.number = trials.number)",
        sweep.0,
        numbers
    )
    .fetch_all(connection)
    .await?;
    Ok(sweeps.into_iter().map(SweepId).collect())
}
