//! What a sweep will cost and what it can show, by what others of its kind have cost and shown.

use std::collections::{BTreeMap, BTreeSet};

use super::{Coordinator, CoordinatorError};
use crate::protocol::insight::{CostOfEpoch, Forecast, SpreadOfSeeds};
use crate::store::{self, FinishedJobRow, Keep, NewSweep};

/// Sweeps that are looked at, the newest.
const MOST_SWEEPS: usize = 20;

/// What the forecast of a sweep depends on.
pub(super) struct Outline {
    /// A JSON array of what its trials have in common.
    contexts: String,
    metric: Option<String>,
    seeds: u64,
    /// Checkpoints that stay.
    kept: u64,
    on_gpus: Option<bool>,
}

/// What of a spec a forecast needs beside the rows that it becomes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpecFacts {
    pub(super) seeds: usize,
    /// How many GPUs a trial asks for, where it says.
    pub(super) gpus: Option<u32>,
    pub(super) is_program: bool,
}

impl Outline {
    pub(super) fn of(sweep: &NewSweep, spec: &SpecFacts) -> Outline {
        let SpecFacts { seeds, gpus, is_program } = *spec;
        let ends: BTreeSet<u32> = sweep.trial_ends.iter().copied().collect();
        let ends = super::wire::count(ends.len());
        // A program without stages has one epoch and leaves nothing.
        let leaves_none = is_program && sweep.jobs.iter().all(|job| job.last_epoch == 1);
        let kept = match sweep.keep {
            _ if leaves_none => 0,
            Keep::None => 0,
            Keep::Last => ends,
            // The best one and the last one, which may be the same.
            Keep::Best => 2 * ends,
            Keep::All => sweep.jobs.iter().map(|job| u64::from(job.last_epoch - job.first_epoch + 1)).sum(),
        };
        Outline {
            contexts: serde_json::to_string(&sweep.contexts).unwrap_or_default(),
            metric: sweep.metric.as_ref().map(|metric| metric.name.clone()),
            seeds: super::wire::count(seeds),
            kept,
            on_gpus: gpus.map(|gpus| gpus > 0),
        }
    }
}

impl Coordinator {
    /// What is known of a sweep before it runs: the newest sweeps of its kind say it.
    ///
    /// # Errors
    /// When the table can't be read.
    pub(super) async fn forecast(&self, outline: &Outline) -> Result<Forecast, CoordinatorError> {
        let mut reader = self.store.reader().await?;
        let (mut jobs, mut values) = (Vec::new(), Vec::new());
        for sweep in store::list_sweeps(&mut reader).await?.iter().rev().take(MOST_SWEEPS) {
            jobs.extend(store::list_experience(&mut reader, sweep.id, &outline.contexts).await?);
            if let Some(metric) = &outline.metric {
                let found = store::list_seed_values(&mut reader, sweep.id, &outline.contexts, metric).await?;
                // The same configuration in two sweeps is the same jobs.
                values.extend(
                    found.into_iter().map(|(configuration, value)| ((sweep.id, configuration), value)),
                );
            }
        }
        let sizes: Vec<u64> = jobs.iter().filter_map(|job| job.checkpoint_bytes).collect();
        let has_gpu = |job: &FinishedJobRow| job.device.starts_with("cuda");
        Ok(Forecast {
            metric: outline.metric.clone(),
            seeds: outline.seeds,
            cost: cost(&jobs),
            on_gpus: outline.on_gpus.unwrap_or_else(|| !jobs.is_empty() && jobs.iter().all(has_gpu)),
            checkpoints_kept: outline.kept,
            checkpoint_bytes: match sizes.len() {
                0 => None,
                n => Some(sizes.iter().sum::<u64>() / super::wire::count(n)),
            },
            spread: spread(values),
        })
    }
}

/// Seconds an epoch, with the range in which nine of ten jobs lie.
fn cost(jobs: &[FinishedJobRow]) -> Option<CostOfEpoch> {
    let mut rates: Vec<f64> = jobs.iter().map(|job| job.seconds / as_float(job.epochs)).collect();
    rates.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
        let place = (share * as_float(super::wire::count(rates.len() - 1))).round() as usize;
        rates[place.min(rates.len() - 1)]
    };
    let (epochs, seconds) =
        jobs.iter().fold((0, 0.0), |(epochs, seconds), job| (epochs + job.epochs, seconds + job.seconds));
    (epochs > 0).then(|| CostOfEpoch {
        seconds: seconds / as_float(epochs),
        low: at(0.05),
        high: at(0.95),
        jobs: super::wire::count(jobs.len()),
    })
}

/// The standard deviation among seeds, pooled over configurations that have several.
fn spread<K: Ord>(values: Vec<(K, f64)>) -> Option<SpreadOfSeeds> {
    let mut by_configuration: BTreeMap<K, Vec<f64>> = BTreeMap::new();
    for (configuration, value) in values {
        by_configuration.entry(configuration).or_default().push(value);
    }
    let (mut squares, mut degrees) = (0.0, 0);
    for values in by_configuration.values() {
        let mean = values.iter().sum::<f64>() / as_float(super::wire::count(values.len()));
        squares += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        degrees += super::wire::count(values.len() - 1);
    }
    (degrees > 0)
        .then(|| SpreadOfSeeds { std: (squares / as_float(degrees)).sqrt(), degrees_of_freedom: degrees })
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 of them")]
fn as_float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_spread_as_they_do_within_configurations() {
        let values = vec![("a", 1.0), ("a", 3.0), ("b", 10.0), ("b", 10.0), ("b", 13.0), ("c", 7.0)];
        let spread = spread(values).unwrap();
        assert_eq!(spread.degrees_of_freedom, 3);
        assert!((spread.std - (8.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{}", spread.std);
        assert_eq!(super::spread(vec![("a", 1.0), ("b", 2.0)]), None);
    }

    #[test]
    fn an_epoch_costs_what_it_has_cost() {
        let job = |epochs, seconds| FinishedJobRow {
            epochs,
            seconds,
            device: String::new(),
            checkpoint_bytes: None,
        };
        let cost = cost(&[job(10, 20.0), job(30, 30.0)]).unwrap();
        assert_eq!((cost.seconds, cost.low, cost.high, cost.jobs), (1.25, 1.0, 2.0, 2));
        assert_eq!(super::cost(&[]), None);
    }
}
