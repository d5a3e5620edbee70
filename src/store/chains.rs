//! The stretches of epochs of which a sweep's trials consist, and what was reported in them.
//!
//! What an earlier job of a trial reported counts up to where the later one begins. Reports lie by job, metric and epoch, so each
//! metric of a stretch is found without reading the others' epochs: `named` walks from one metric's name to the next.

use std::collections::BTreeMap;

use super::trials::KeptRow;
use super::{Reader, StoreError};
use crate::vocabulary::{Goal, JobId, Metric, Metrics, SweepId};

/// Whatever a trial's last job reports is the trial's: a program counts its epochs as it likes.
const TO_THE_END: i64 = i64::MAX;

/// Of which epoch a trial's metrics are.
#[derive(Debug, Clone, PartialEq)]
pub enum At {
    /// The last value of each.
    Last,
    /// The epoch in which this one was best, the first of equals.
    Best(Metric),
    Epoch(u32),
}

/// A job's epochs up to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stretch {
    job: JobId,
    until: i64,
}

impl Stretch {
    /// The one with which a trial ends.
    pub(super) fn last(job: i64) -> Stretch {
        Stretch { job: JobId(job), until: TO_THE_END }
    }
}

/// The stretches of which a sweep's trials consist.
pub(super) struct Chains {
    at: At,
    before: BTreeMap<Stretch, Stretch>,
    reported: BTreeMap<Stretch, Reported>,
}

/// What counts of a stretch.
#[derive(Default)]
struct Reported {
    /// After which epoch, where it is one.
    epoch: Option<u32>,
    metrics: Metrics,
}

impl Chains {
    pub(super) async fn read(reader: &mut Reader, sweep: SweepId, at: &At) -> Result<Chains, StoreError> {
        let stretches = list_stretches(reader, sweep).await?;
        let reported = match at {
            At::Last => last_metrics(reader, sweep).await?,
            At::Best(metric) => {
                let wanted = best_epochs(reader, sweep, metric).await?;
                metrics_at(reader, &wanted).await?
            }
            At::Epoch(epoch) => {
                let epoch = i64::from(*epoch);
                let has_it = |stretch: &&Stretch| stretch.until >= epoch;
                let wanted: Vec<_> = stretches
                    .keys()
                    .filter(has_it)
                    .map(|stretch| (stretch.job.0, stretch.until, epoch))
                    .collect();
                metrics_at(reader, &wanted).await?
            }
        };
        let before = stretches.into_iter().filter_map(|(stretch, before)| Some((stretch, before?))).collect();
        Ok(Chains { at: at.clone(), before, reported })
    }

    /// What counts of a trial that ends in this stretch, and after which epoch it was, where it is of one.
    pub(super) fn metrics(&self, last: Stretch) -> (Option<u32>, Metrics) {
        match &self.at {
            At::Last => (None, self.last_values(last)),
            At::Epoch(_) => {
                let found = self.line(last).filter_map(|stretch| self.reported.get(&stretch)).next();
                found.map_or((None, Metrics::new()), |found| (found.epoch, found.metrics.clone()))
            }
            At::Best(metric) => {
                let value = |reported: &Reported| {
                    let value = reported.metrics.get(&metric.name).copied();
                    value.map(|value| if metric.goal == Goal::Maximize { -value } else { value })
                };
                let candidates = self.line(last).filter_map(|stretch| {
                    let reported = self.reported.get(&stretch)?;
                    Some((value(reported)?, reported))
                });
                // From the last stretch to the first, so that of equals the earliest is taken.
                let best = candidates.reduce(|best, one| if one.0 <= best.0 { one } else { best });
                best.map_or((None, Metrics::new()), |(_, best)| (best.epoch, best.metrics.clone()))
            }
        }
    }

    /// The last value of each metric over a stretch and all before it.
    fn last_values(&self, last: Stretch) -> Metrics {
        let mut metrics = Metrics::new();
        for reported in self.line(last).filter_map(|stretch| self.reported.get(&stretch)) {
            for (metric, value) in &reported.metrics {
                if !metrics.contains_key(metric) {
                    metrics.insert(metric.clone(), *value);
                }
            }
        }
        metrics
    }

    /// What is kept of a stretch and all before it, by epoch.
    pub(super) fn kept(&self, last: Stretch, kept: &BTreeMap<JobId, BTreeMap<i64, KeptRow>>) -> Vec<KeptRow> {
        let of = |stretch: Stretch| {
            kept.get(&stretch.job).into_iter().flat_map(move |own| own.range(..=stretch.until))
        };
        let mut rows: Vec<KeptRow> = self.line(last).flat_map(of).map(|(_, row)| row.clone()).collect();
        rows.sort_by_key(|row| row.epoch);
        rows
    }

    /// A stretch and all before it.
    fn line(&self, last: Stretch) -> impl Iterator<Item = Stretch> {
        std::iter::successors(Some(last), |stretch| self.before.get(stretch).copied())
    }
}

/// All stretches, each with the one before it.
async fn list_stretches(
    reader: &mut Reader,
    sweep: SweepId,
) -> Result<BTreeMap<Stretch, Option<Stretch>>, StoreError> {
    let rows = sqlx::query!(
        "-- list_stretches
        WITH RECURSIVE chain (id, until, parent_id, before) AS (
            SELECT jobs.id, ?2, jobs.parent_id, jobs.first_epoch - 1
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ?1
            UNION
            SELECT jobs.id, chain.before, jobs.parent_id, jobs.first_epoch - 1
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.parent_id
        )
        SELECT id AS \"id!: i64\", until AS \"until!: i64\", parent_id AS \"parent_id: i64\", before AS \"before!: i64\"
        FROM chain",
        sweep.0,
        TO_THE_END
    )
    .fetch_all(reader.connection())
    .await?;
    let stretches = rows.into_iter().map(|row| {
        let before = row.parent_id.map(|parent| Stretch { job: JobId(parent), until: row.before });
        (Stretch { job: JobId(row.id), until: row.until }, before)
    });
    Ok(stretches.collect())
}

/// The last value of each metric within each stretch.
async fn last_metrics(
    reader: &mut Reader,
    sweep: SweepId,
) -> Result<BTreeMap<Stretch, Reported>, StoreError> {
    let rows = sqlx::query!(
        "-- last_metrics
        WITH RECURSIVE chain (id, until, parent_id, before) AS (
            SELECT jobs.id, ?2, jobs.parent_id, jobs.first_epoch - 1
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ?1
            UNION
            SELECT jobs.id, chain.before, jobs.parent_id, jobs.first_epoch - 1
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.parent_id
        ),
        named (id, until, metric) AS (
            SELECT chain.id, chain.until,
                   (SELECT reports.metric FROM reports
                    WHERE reports.job_id = chain.id
                    ORDER BY reports.metric LIMIT 1)
            FROM chain
            UNION ALL
            SELECT named.id, named.until,
                   (SELECT reports.metric FROM reports
                    WHERE reports.job_id = named.id AND reports.metric > named.metric
                    ORDER BY reports.metric LIMIT 1)
            FROM named
            WHERE named.metric IS NOT NULL
        )
        SELECT named.id AS \"id!: i64\", named.until AS \"until!: i64\", named.metric AS \"metric!: String\",
               (SELECT reports.value FROM reports
                WHERE reports.job_id = named.id AND reports.metric = named.metric AND reports.epoch <= named.until
                ORDER BY reports.epoch DESC LIMIT 1) AS \"value?: f64\"
        FROM named
        WHERE named.metric IS NOT NULL",
        sweep.0,
        TO_THE_END
    )
    .fetch_all(reader.connection())
    .await?;
    let mut reported: BTreeMap<Stretch, Reported> = BTreeMap::new();
    for row in rows {
        // There is none where the metric came later than the stretch ends.
        if let Some(value) = row.value {
            let stretch = Stretch { job: JobId(row.id), until: row.until };
            reported.entry(stretch).or_default().metrics.insert(row.metric, value);
        }
    }
    Ok(reported)
}

/// For each stretch the epoch in which a metric was best, as `(job, until, epoch)`.
async fn best_epochs(
    reader: &mut Reader,
    sweep: SweepId,
    metric: &Metric,
) -> Result<Vec<(i64, i64, i64)>, StoreError> {
    let sign = if metric.goal == Goal::Maximize { -1.0 } else { 1.0 };
    let rows = sqlx::query!(
        "-- best_epochs
        WITH RECURSIVE chain (id, until, parent_id, before) AS (
            SELECT jobs.id, ?2, jobs.parent_id, jobs.first_epoch - 1
            FROM trials
            CROSS JOIN jobs ON jobs.id = trials.job_id
            WHERE trials.sweep_id = ?1
            UNION
            SELECT jobs.id, chain.before, jobs.parent_id, jobs.first_epoch - 1
            FROM chain
            CROSS JOIN jobs ON jobs.id = chain.parent_id
        )
        SELECT chain.id AS \"id!: i64\", chain.until AS \"until!: i64\",
               (SELECT reports.epoch FROM reports
                WHERE reports.job_id = chain.id AND reports.metric = ?3 AND reports.epoch <= chain.until
                ORDER BY ?4 * reports.value, reports.epoch LIMIT 1) AS \"epoch?: i64\"
        FROM chain",
        sweep.0,
        TO_THE_END,
        metric.name,
        sign
    )
    .fetch_all(reader.connection())
    .await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.id, row.until, row.epoch?))).collect())
}

/// All metrics of some epochs, each as `(job, until, epoch)`; `until` names the stretch.
async fn metrics_at(
    reader: &mut Reader,
    wanted: &[(i64, i64, i64)],
) -> Result<BTreeMap<Stretch, Reported>, StoreError> {
    let wanted = super::flush::rows(&wanted)?;
    let rows = sqlx::query!(
        "-- metrics_at
        WITH RECURSIVE named (id, until, epoch, metric) AS (
            SELECT wanted.value ->> 0, wanted.value ->> 1, wanted.value ->> 2,
                   (SELECT reports.metric FROM reports
                    WHERE reports.job_id = wanted.value ->> 0
                    ORDER BY reports.metric LIMIT 1)
            FROM json_each(?) AS wanted
            UNION ALL
            SELECT named.id, named.until, named.epoch,
                   (SELECT reports.metric FROM reports
                    WHERE reports.job_id = named.id AND reports.metric > named.metric
                    ORDER BY reports.metric LIMIT 1)
            FROM named
            WHERE named.metric IS NOT NULL
        )
        SELECT named.id AS \"id!: i64\", named.until AS \"until!: i64\", named.epoch AS \"epoch!: i64\",
               named.metric AS \"metric!: String\", reports.value AS \"value!: f64\"
        FROM named
        CROSS JOIN reports ON reports.job_id = named.id AND reports.metric = named.metric AND reports.epoch = named.epoch",
        wanted
    )
    .fetch_all(reader.connection())
    .await?;
    let mut reported: BTreeMap<Stretch, Reported> = BTreeMap::new();
    for row in rows {
        let of_stretch = reported.entry(Stretch { job: JobId(row.id), until: row.until }).or_default();
        of_stretch.epoch = u32::try_from(row.epoch).ok();
        of_stretch.metrics.insert(row.metric, row.value);
    }
    Ok(reported)
}
