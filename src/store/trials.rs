//! What is known of a sweep's trials: parameters, metrics, failures.
//!
//! A trial's epochs are those of the job in which it ends and of all jobs before it: see `chains`.

use std::collections::BTreeMap;

use super::chains::{At, Chains, Stretch};
use super::{Reader, StoreError, epoch};
use crate::vocabulary::{CheckpointHash, FailureReason, JobId, Metrics, SweepId, TrialNumber};

/// A trial with what is known of its jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialRow {
    pub number: TrialNumber,
    pub seed: u64,
    /// Canonical JSON.
    pub parameters: String,
    /// Name of its last job's state.
    pub job_state: String,
    /// The last value of each metric, or those of one epoch.
    pub metrics: Metrics,
    /// Of which epoch the metrics are, where they are of one.
    pub epoch: Option<u32>,
    /// States that are there as files, by epoch: those that its sweep keeps, and the last one of a trial that succeeded.
    pub checkpoints: Vec<KeptRow>,
    pub failure: Option<FailureRow>,
}

/// A state of a trial that stays.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptRow {
    pub epoch: u32,
    pub hash: CheckpointHash,
    /// What the sweep's metric was after that epoch.
    pub value: Option<f64>,
}

/// Why a trial failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    pub reason: FailureReason,
    /// Where the reason is that a job failed which it needs: that one, and the rest is about it.
    pub cause: Option<Cause>,
    pub message: String,
    pub log_tail: String,
}

/// A failure that others failed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    pub reason: FailureReason,
    /// A trial that failed so.
    pub sweep: SweepId,
    pub trial: TrialNumber,
}

/// All trials of a sweep by number, each with the last value of each of its metrics.
///
/// # Errors
/// When the file can't be read.
pub async fn list_trials(reader: &mut Reader, sweep: SweepId) -> Result<Vec<TrialRow>, StoreError> {
    list_trials_at(reader, sweep, &At::Last).await
}

/// All trials of a sweep by number, each with its metrics at some epoch.
///
/// # Errors
/// When the file can't be read.
pub async fn list_trials_at(
    reader: &mut Reader,
    sweep: SweepId,
    at: &At,
) -> Result<Vec<TrialRow>, StoreError> {
    let chains = Chains::read(reader, sweep, at).await?;
    let kept = list_kept(reader, sweep).await?;
    let mut causes = read_causes(reader, sweep).await?;
    let rows = sqlx::query!(
        "-- list_trials
        SELECT trials.number, trials.seed, trials.parameters, trials.job_id, jobs.state, jobs.failure_reason,
               attempts.message AS \"message?\", attempts.log_tail AS \"log_tail?\"
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        WHERE trials.sweep_id = ?
        ORDER BY trials.number",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let trials = rows.into_iter().map(|row| {
        let reason = row.failure_reason.and_then(|reason| reason.parse().ok());
        let own = |reason| FailureRow {
            reason,
            cause: None,
            message: row.message.unwrap_or_default(),
            log_tail: row.log_tail.unwrap_or_default(),
        };
        let last = Stretch::last(row.job_id);
        let (epoch, metrics) = chains.metrics(last);
        let failure = reason.map(|reason| match reason {
            // Two trials may end in one job, so what is taken for one must stay for the other.
            FailureReason::Upstream => causes.entry(row.job_id).or_insert_with(|| own(reason)).clone(),
            _ => own(reason),
        });
        Ok(TrialRow {
            number: TrialNumber(row.number),
            seed: row.seed.cast_unsigned(),
            parameters: row.parameters,
            job_state: row.state,
            metrics,
            epoch,
            checkpoints: chains.kept(last, &kept),
            failure,
        })
    });
    trials.collect()
}

/// Epoch by epoch and job by job the states that stay: kept ones, and the last ones of jobs that succeeded and in which the
/// sweep's trials end.
async fn list_kept(
    reader: &mut Reader,
    sweep: SweepId,
) -> Result<BTreeMap<JobId, BTreeMap<i64, KeptRow>>, StoreError> {
    let rows = sqlx::query!(
        "-- list_kept
        WITH RECURSIVE chain (id, parent_id) AS (
            SELECT jobs.id, jobs.parent_id
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ?1
            UNION
            SELECT jobs.id, jobs.parent_id
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.parent_id
        ),
        named (job_id, epoch, hash) AS (
            SELECT kept_checkpoints.job_id, kept_checkpoints.epoch, kept_checkpoints.hash
            FROM chain
            CROSS JOIN kept_checkpoints ON kept_checkpoints.job_id = chain.id
            UNION
            SELECT jobs.id, artifacts.epoch, artifacts.hash
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id AND jobs.state = 'succeeded'
            CROSS JOIN artifacts ON artifacts.job_id = jobs.id AND artifacts.kind = 'checkpoint' AND artifacts.step = 0
            WHERE trials.sweep_id = ?1
        )
        SELECT named.job_id AS \"job_id!: i64\", named.epoch AS \"epoch!: i64\", named.hash AS \"hash!: String\",
               reports.value AS \"value?\"
        FROM named
        CROSS JOIN sweeps ON sweeps.id = ?1
        LEFT JOIN reports ON reports.job_id = named.job_id AND reports.epoch = named.epoch
                         AND reports.metric = sweeps.metric_name",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let mut kept: BTreeMap<JobId, BTreeMap<i64, KeptRow>> = BTreeMap::new();
    for row in rows {
        let hash = row.hash.parse().map_err(|_| StoreError::Damaged(format!("`{}` is kept", row.hash)))?;
        let epoch = epoch(row.epoch);
        let kept = kept.entry(JobId(row.job_id)).or_default();
        kept.insert(row.epoch, KeptRow { epoch, hash, value: row.value });
    }
    Ok(kept)
}

/// For jobs in which a sweep's trials end and that failed with what they need: the failure behind it.
async fn read_causes(reader: &mut Reader, sweep: SweepId) -> Result<BTreeMap<i64, FailureRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_causes
        WITH RECURSIVE upstream (last_id, id) AS (
            SELECT trials.job_id, trials.job_id
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ? AND jobs.failure_reason = 'upstream'
            UNION
            SELECT upstream.last_id, jobs.parent_id
            FROM upstream
            CROSS JOIN jobs ON jobs.id = upstream.id
            WHERE jobs.failure_reason = 'upstream' AND jobs.parent_id IS NOT NULL
            UNION
            SELECT upstream.last_id, job_requirements.required_id
            FROM upstream
            CROSS JOIN jobs ON jobs.id = upstream.id
            CROSS JOIN job_requirements ON job_requirements.job_id = jobs.id
            WHERE jobs.failure_reason = 'upstream'
        )
        SELECT upstream.last_id AS \"last_id!: i64\", MIN(jobs.id) AS \"id: i64\", jobs.failure_reason AS \"reason!\",
               jobs.sweep_id AS \"sweep_id!\", jobs.trial AS \"trial!\", attempts.message AS \"message?\", attempts.log_tail AS \"log_tail?\"
        FROM upstream
        CROSS JOIN jobs ON jobs.id = upstream.id
        LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
        WHERE jobs.failure_reason <> 'upstream'
        GROUP BY upstream.last_id",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let causes = rows.into_iter().map(|row| {
        let failure = FailureRow {
            reason: FailureReason::Upstream,
            cause: row.reason.parse().ok().map(|reason| Cause {
                reason,
                sweep: SweepId(row.sweep_id),
                trial: TrialNumber(row.trial),
            }),
            message: row.message.unwrap_or_default(),
            log_tail: row.log_tail.unwrap_or_default(),
        };
        (row.last_id, failure)
    });
    Ok(causes.collect())
}
