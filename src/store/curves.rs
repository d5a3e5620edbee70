//! What was reported epoch by epoch, and the jobs of which a sweep's trials consist: what pictures are made of.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;

use super::{Reader, StoreError, epoch};
use crate::vocabulary::{JobId, SweepId, TrialNumber};

/// Reports of each trial: by metric, the epochs and the values.
pub type CurveRows = BTreeMap<TrialNumber, BTreeMap<String, Vec<(u32, f64)>>>;

/// A job that trials of a sweep go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRow {
    pub job: JobId,
    pub parent: Option<JobId>,
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub state: String,
    /// How many of the sweep's trials end in it.
    pub ends: u64,
    /// The first of these; otherwise the one with whose parameters it is run.
    pub trial: TrialNumber,
}

/// All reports of some trials, those of shared epochs too.
///
/// # Errors
/// When the file can't be read.
pub async fn list_curves(
    reader: &mut Reader,
    sweep: SweepId,
    trials: &BTreeSet<TrialNumber>,
) -> Result<CurveRows, StoreError> {
    let wanted: Vec<i64> = trials.iter().map(|trial| trial.0).collect();
    let wanted = super::flush::rows(&wanted)?;
    // Of each job before the last one what counts ends where the next one begins.
    let mut rows = sqlx::query!(
        "-- list_curves
        WITH RECURSIVE line (number, id, until) AS (
            SELECT trials.number, trials.job_id, 4294967295
            FROM json_each(?2) AS wanted
            CROSS JOIN trials ON trials.sweep_id = ?1 AND trials.number = wanted.value
            UNION ALL
            SELECT line.number, jobs.parent_id, jobs.first_epoch - 1
            FROM line
            CROSS JOIN jobs ON jobs.id = line.id
            WHERE jobs.parent_id IS NOT NULL
        )
        SELECT line.number AS \"number!: i64\", reports.metric AS \"metric!: String\", reports.epoch AS \"epoch!: i64\",
               reports.value AS \"value!: f64\"
        FROM line
        CROSS JOIN reports ON reports.job_id = line.id AND reports.epoch <= line.until",
        sweep.0,
        wanted
    )
    .fetch(reader.connection());
    // One by one: a row is several times as large as what is kept of it.
    let mut curves = CurveRows::new();
    while let Some(row) = rows.try_next().await? {
        let epoch = epoch(row.epoch);
        let metrics = curves.entry(TrialNumber(row.number)).or_default();
        metrics.entry(row.metric).or_default().push((epoch, row.value));
    }
    drop(rows);
    for values in curves.values_mut().flat_map(BTreeMap::values_mut) {
        values.sort_by_key(|(epoch, _)| *epoch);
    }
    Ok(curves)
}

/// Every job that a sweep's trials go through, once; parents have smaller epochs than what goes on from them.
///
/// # Errors
/// When the file can't be read.
pub async fn list_tree(reader: &mut Reader, sweep: SweepId) -> Result<Vec<TreeRow>, StoreError> {
    let rows = sqlx::query!(
        "-- list_tree
        WITH RECURSIVE chain (id) AS (
            SELECT job_id FROM trials WHERE sweep_id = ?
            UNION
            SELECT jobs.parent_id
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.id
            WHERE jobs.parent_id IS NOT NULL
        )
        SELECT jobs.id AS \"id!: i64\", jobs.parent_id, jobs.first_epoch, jobs.last_epoch, jobs.state, jobs.trial
        FROM chain
        CROSS JOIN jobs ON jobs.id = chain.id
        ORDER BY jobs.first_epoch, jobs.id",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let mut ends: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let ending = sqlx::query!(
        "-- list_ends
        SELECT job_id, number FROM trials WHERE sweep_id = ? ORDER BY number",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    for row in ending {
        ends.entry(row.job_id).or_insert((0, row.number)).0 += 1;
    }
    let tree = rows.into_iter().map(|row| {
        let own = ends.get(&row.id);
        TreeRow {
            job: JobId(row.id),
            parent: row.parent_id.map(JobId),
            first_epoch: epoch(row.first_epoch),
            last_epoch: epoch(row.last_epoch),
            state: row.state,
            ends: own.map_or(0, |(ends, _)| u64::try_from(*ends).unwrap_or(0)),
            trial: TrialNumber(own.map_or(row.trial, |(_, number)| *number)),
        }
    });
    Ok(tree.collect())
}
