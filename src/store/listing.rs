//! Pages of a sweep's trials, and one trial with its attempts: what somebody looks at who can't look at all of them.

use super::{Reader, StoreError, epoch};
use crate::vocabulary::{
    Attempt, Goal, JobId, Metric, SweepId, Timestamp, TrialNumber, TrialState, WorkerId,
};

/// Which trials.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrialFilter {
    pub state: Option<TrialState>,
    /// All of these hold.
    pub wanted: Vec<Wanted>,
}

/// What a trial's parameters have to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// This parameter has this value; a text is compared as text, a number as a number.
    Value { name: String, value: serde_json::Value },
    /// They contain this, as canonical JSON and in small letters.
    Text(String),
}

/// The order of a page.
#[derive(Debug, Clone, PartialEq)]
pub enum TrialOrder {
    Number,
    NumberDescending,
    /// By the last value of a metric in the trial's last job; those without one come last.
    BestFirst(Metric),
    WorstFirst(Metric),
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub offset: u64,
    pub limit: u32,
}

/// A trial in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedTrialRow {
    pub number: TrialNumber,
    pub seed: u64,
    /// Canonical JSON.
    pub parameters: String,
    /// Name of its last job's state.
    pub job_state: String,
    /// The last epoch that its last job reported, and that job's last one.
    pub reported_epoch: u32,
    pub last_epoch: u32,
    /// The last value of the sweep's metric in its last job.
    pub value: Option<f64>,
    pub failure_reason: Option<String>,
    /// What the newest attempt said when it failed.
    pub message: Option<String>,
}

/// One attempt at one of the jobs of which a trial consists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialAttemptRow {
    pub job: JobId,
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub attempt: Attempt,
    pub worker: WorkerId,
    pub host: String,
    pub leased_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// `lease::Outcome` as text; none while it runs.
    pub outcome: Option<String>,
    pub message: Option<String>,
    pub log_tail: Option<String>,
}

impl TrialFilter {
    /// As the statements take it: pairs of a name, or null, and a value.
    fn rows(&self) -> Result<String, StoreError> {
        let pair = |wanted: &Wanted| match wanted {
            Wanted::Value { name, value } => (Some(name.clone()), value.clone()),
            Wanted::Text(text) => (None, text.to_lowercase().into()),
        };
        super::flush::rows(&self.wanted.iter().map(pair).collect::<Vec<_>>())
    }
}

/// A statement over the trials of sweep ?1 that pass the filter, whose state is ?2 and whose rows are ?3. A macro, since what is
/// counted and what is listed must be the same trials, and sqlx checks only statements that are made of literals.
macro_rules! over_filtered {
    ($kind:ident, $head:literal, $tail:literal, $($argument:expr),*) => {
        sqlx::$kind!(
            $head + "
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        WHERE trials.sweep_id = ?1
          AND (?2 IS NULL
               OR ?2 = CASE jobs.state WHEN 'blocked' THEN 'queued' WHEN 'leased' THEN 'running' ELSE jobs.state END)
          AND NOT EXISTS (
              SELECT 1 FROM json_each(?3) AS wanted
              WHERE NOT CASE
                  WHEN wanted.value ->> 0 IS NULL
                  THEN instr(lower(trials.parameters), wanted.value ->> 1) > 0
                  ELSE EXISTS (SELECT 1 FROM json_each(trials.parameters) AS own
                               WHERE own.key = wanted.value ->> 0 AND own.atom = wanted.value ->> 1)
              END)" + $tail,
            $($argument),*
        )
    };
}

/// How many trials of a sweep there are in all pages.
///
/// # Errors
/// When the file can't be read.
pub async fn count_listed(
    reader: &mut Reader,
    sweep: SweepId,
    filter: &TrialFilter,
) -> Result<u64, StoreError> {
    let (state, wanted) = (filter.state.map(TrialState::name), filter.rows()?);
    let count = over_filtered!(
        query_scalar,
        "-- count_listed
        SELECT COUNT(*) AS \"count!: i64\"",
        "",
        sweep.0,
        state,
        wanted
    )
    .fetch_one(reader.connection())
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// One page of a sweep's trials. `metric` is the one whose value stands in it.
///
/// # Errors
/// When the file can't be read.
pub async fn list_page(
    reader: &mut Reader,
    sweep: SweepId,
    metric: Option<&Metric>,
    filter: &TrialFilter,
    order: &TrialOrder,
    page: Page,
) -> Result<Vec<ListedTrialRow>, StoreError> {
    let (state, wanted) = (filter.state.map(TrialState::name), filter.rows()?);
    let best = |metric: &Metric| if metric.goal == Goal::Maximize { -1.0 } else { 1.0 };
    let (by_value, sign) = match order {
        TrialOrder::Number => (false, 1.0),
        TrialOrder::NumberDescending => (false, -1.0),
        TrialOrder::BestFirst(metric) => (true, best(metric)),
        TrialOrder::WorstFirst(metric) => (true, -best(metric)),
    };
    let metric = match order {
        TrialOrder::BestFirst(metric) | TrialOrder::WorstFirst(metric) => Some(metric),
        TrialOrder::Number | TrialOrder::NumberDescending => metric,
    };
    let metric = metric.map(|metric| metric.name.as_str());
    let (limit, offset) = (i64::from(page.limit), i64::try_from(page.offset).unwrap_or(i64::MAX));
    // Sorted are numbers only; parameters and messages are read for the rows of the page.
    let rows = over_filtered!(
        query,
        "-- list_page
        WITH listed (number, job_id, value) AS (
            SELECT trials.number, trials.job_id,
                   (SELECT reports.value FROM reports
                    WHERE reports.job_id = trials.job_id AND reports.metric = ?4
                    ORDER BY reports.epoch DESC LIMIT 1) AS value",
        "
            ORDER BY CASE WHEN ?5 THEN ?6 * value ELSE ?6 * trials.number END NULLS LAST, trials.number
            LIMIT ?7 OFFSET ?8
        )
        SELECT listed.number AS \"number!: i64\", listed.value AS \"value?: f64\", trials.seed AS \"seed!: i64\",
               trials.parameters AS \"parameters!: String\", jobs.state AS \"state!: String\",
               jobs.reported_epoch AS \"reported_epoch!: i64\", jobs.last_epoch AS \"last_epoch!: i64\",
               jobs.failure_reason AS \"failure_reason?: String\", attempts.message AS \"message?: String\"
        FROM listed
        CROSS JOIN trials ON trials.sweep_id = ?1 AND trials.number = listed.number
        CROSS JOIN jobs ON jobs.id = listed.job_id
        LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt",
        sweep.0,
        state,
        wanted,
        metric,
        by_value,
        sign,
        limit,
        offset
    )
    .fetch_all(reader.connection())
    .await?;
    let page = rows.into_iter().map(|row| ListedTrialRow {
        number: TrialNumber(row.number),
        seed: row.seed.cast_unsigned(),
        parameters: row.parameters,
        job_state: row.state,
        reported_epoch: epoch(row.reported_epoch),
        last_epoch: epoch(row.last_epoch),
        value: row.value,
        failure_reason: row.failure_reason,
        message: row.message,
    });
    Ok(page.collect())
}

/// A trial's state, seed and parameters.
///
/// # Errors
/// When the file can't be read.
pub async fn find_listed(
    reader: &mut Reader,
    sweep: SweepId,
    trial: TrialNumber,
) -> Result<Option<(String, u64, String)>, StoreError> {
    let row = sqlx::query!(
        "-- find_listed
        SELECT jobs.state, trials.seed, trials.parameters
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        WHERE trials.sweep_id = ? AND trials.number = ?",
        sweep.0,
        trial.0
    )
    .fetch_optional(reader.connection())
    .await?;
    Ok(row.map(|row| (row.state, row.seed.cast_unsigned(), row.parameters)))
}

/// The newest attempts at these jobs, in the order in which they began.
///
/// # Errors
/// When the file can't be read.
pub async fn list_attempts(
    reader: &mut Reader,
    jobs: &[JobId],
    most: u32,
) -> Result<Vec<TrialAttemptRow>, StoreError> {
    let (jobs, most) = (super::load::id_list(jobs), i64::from(most));
    let rows = sqlx::query!(
        "-- list_attempts
        SELECT attempts.job_id AS \"job_id!: i64\", jobs.first_epoch AS \"first_epoch!: i64\",
               jobs.last_epoch AS \"last_epoch!: i64\", attempts.attempt AS \"attempt!: i64\",
               attempts.worker_id AS \"worker_id!: i64\", workers.host AS \"host!: String\",
               attempts.leased_at AS \"leased_at!: i64\", attempts.ended_at AS \"ended_at?: i64\",
               attempts.outcome AS \"outcome?: String\", attempts.message AS \"message?: String\",
               attempts.log_tail AS \"log_tail?: String\"
        FROM json_each(?) AS job
        CROSS JOIN jobs ON jobs.id = job.value
        CROSS JOIN attempts ON attempts.job_id = jobs.id
        CROSS JOIN workers ON workers.id = attempts.worker_id
        ORDER BY attempts.leased_at DESC, attempts.job_id DESC, attempts.attempt DESC
        LIMIT ?",
        jobs,
        most
    )
    .fetch_all(reader.connection())
    .await?;
    let attempts = rows.into_iter().rev().map(|row| TrialAttemptRow {
        job: JobId(row.job_id),
        first_epoch: epoch(row.first_epoch),
        last_epoch: epoch(row.last_epoch),
        attempt: Attempt(row.attempt),
        worker: WorkerId(row.worker_id),
        host: row.host,
        leased_at: Timestamp(row.leased_at),
        ended_at: row.ended_at.map(Timestamp),
        outcome: row.outcome,
        message: row.message,
        log_tail: row.log_tail,
    });
    Ok(attempts.collect())
}
