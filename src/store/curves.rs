//! What was reported epoch by epoch, and the jobs of which a sweep's trials consist: what pictures are made of.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;

use super::{Reader, StoreError, epoch};
use crate::vocabulary::{JobId, SweepId, TrialNumber};

/// Reports of each trial: by metric, the epochs and the values.
pub type CurveRows = BTreeMap<TrialNumber, BTreeMap<String, Vec<(u32, f64)>>>;

/// With fewer no stride of epochs, however wide, would leave few enough.
const FEWEST_POINTS: u32 = 4;

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

/// One metric of one trial, and no more of it than is wanted: where there are too many epochs every second, fourth or so on is
/// kept, the same ones of all trials, and the last.
struct Points {
    kept: Vec<(u32, f64)>,
    last: Option<(u32, f64)>,
    stride: u32,
}

impl Points {
    fn new() -> Points {
        Points { kept: Vec::new(), last: None, stride: 1 }
    }

    fn add(&mut self, epoch: u32, value: f64, most: usize) {
        if self.last.is_none_or(|(last, _)| epoch > last) {
            self.last = Some((epoch, value));
        }
        // Whether it counts from 0 or from 1, the first one stays.
        let stays = |epoch: u32, stride: u32| epoch.saturating_sub(1).is_multiple_of(stride);
        if stays(epoch, self.stride) {
            self.kept.push((epoch, value));
        }
        // What is reported of one epoch more than once is not shed.
        while self.kept.len() > most && self.stride < u32::MAX {
            self.stride = self.stride.saturating_mul(2);
            self.kept.retain(|(epoch, _)| stays(*epoch, self.stride));
        }
    }

    fn in_order(self) -> Vec<(u32, f64)> {
        let mut points = self.kept;
        points.extend(self.last.filter(|(last, _)| points.iter().all(|(epoch, _)| epoch != last)));
        points.sort_by_key(|(epoch, _)| *epoch);
        points
    }
}

/// Reports of some trials, those of shared epochs too: all, or of each curve about so many, from `FEWEST_POINTS` on. Whatever has
/// been reported, no more than that is in memory.
///
/// # Errors
/// When the file can't be read.
pub async fn list_curves(
    reader: &mut Reader,
    sweep: SweepId,
    trials: &BTreeSet<TrialNumber>,
    points: Option<u32>,
) -> Result<CurveRows, StoreError> {
    let most = points.map_or(usize::MAX, |points| points.max(FEWEST_POINTS) as usize);
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
    let mut curves: BTreeMap<TrialNumber, BTreeMap<String, Points>> = BTreeMap::new();
    while let Some(row) = rows.try_next().await? {
        let metrics = curves.entry(TrialNumber(row.number)).or_default();
        metrics.entry(row.metric).or_insert_with(Points::new).add(epoch(row.epoch), row.value, most);
    }
    drop(rows);
    let in_order = |metrics: BTreeMap<String, Points>| {
        metrics.into_iter().map(|(metric, points)| (metric, points.in_order())).collect()
    };
    Ok(curves.into_iter().map(|(trial, metrics)| (trial, in_order(metrics))).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(all: impl IntoIterator<Item = u32>, most: usize) -> Vec<u32> {
        let mut points = Points::new();
        for epoch in all {
            points.add(epoch, f64::from(epoch), most);
            assert!(points.kept.len() <= most);
        }
        points.in_order().into_iter().map(|(epoch, _)| epoch).collect()
    }

    #[test]
    fn what_is_reported_of_one_epoch_again_and_again_stays() {
        let mut points = Points::new();
        for _ in 0..10 {
            points.add(1, 0.5, 4);
        }
        assert_eq!(points.in_order(), [(1, 0.5); 10]);
    }

    #[test]
    fn of_a_long_curve_as_many_points_are_kept_as_are_wanted_in_whichever_order_they_come() {
        assert_eq!(epochs(1..=5, 5), [1, 2, 3, 4, 5]);
        assert_eq!(epochs(1..=10, 5), [1, 3, 5, 7, 9, 10]);
        assert_eq!(epochs(0..=10, 4), [0, 1, 5, 9, 10]);
        // A trial's last job comes first.
        assert_eq!(epochs((6..=10).chain(1..=5), 5), [1, 3, 5, 7, 9, 10]);
        assert_eq!(epochs([0, 1, u32::MAX, u32::MAX - 1, 1 << 31], 4), [0, 1, u32::MAX]);
    }
}
