//! Two runs of one trial compared, number by number.

use std::collections::BTreeMap;

use crate::protocol::http::TrialHistory;
use crate::vocabulary::{Metrics, TrialNumber, is_volatile};

/// By how much accuracies in percent may differ where a GPU was not asked for the same bits: about what another seed
/// changes on a small test set.
pub const TOLERANCE: f64 = 2.0;

/// The first thing in which a trial that was trained again differs from what the table holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    Report {
        epoch: u32,
        metric: String,
        stored: Option<f64>,
        again: Option<f64>,
    },
    /// Every report is the same, but the weights are not.
    Weights {
        stored: String,
        again: String,
    },
}

/// A trial that was trained again.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    pub trial: TrialNumber,
    pub inherited_epochs: u32,
    pub difference: Option<Difference>,
}

/// Compares every report and the final weights bit for bit; accuracies only, and within [`TOLERANCE`], where one of the two ran on
/// a GPU that was not asked for the same bits.
#[must_use]
pub fn first_difference(stored: &TrialHistory, again: &TrialHistory) -> Option<Difference> {
    let is_exact = [stored, again].iter().all(|history| {
        history.record.device == "cpu" || history.record.is_deterministic
        // A program says nothing of devices; its reports are all there is, and they are compared as they are.
        || history.record.device.is_empty()
    });
    let (one, other) = (by_epoch(stored), by_epoch(again));
    for epoch in one.keys().chain(other.keys()).copied().collect::<std::collections::BTreeSet<_>>() {
        let (one, other) = (one.get(&epoch), other.get(&epoch));
        let names = one.into_iter().chain(other).flat_map(|metrics| metrics.keys());
        for metric in names.filter(|name| !is_volatile(name)).collect::<std::collections::BTreeSet<_>>() {
            let value = |metrics: Option<&&Metrics>| metrics.and_then(|metrics| metrics.get(metric)).copied();
            let (stored, again) = (value(one), value(other));
            let is_same = if is_exact {
                stored.map(f64::to_bits) == again.map(f64::to_bits)
            } else {
                is_close(metric, stored, again)
            };
            if !is_same {
                return Some(Difference::Report { epoch, metric: metric.clone(), stored, again });
            }
        }
    }
    let (stored, again) = (&stored.record.weights_hash, &again.record.weights_hash);
    (is_exact && stored != again)
        .then(|| Difference::Weights { stored: stored.clone(), again: again.clone() })
}

fn is_close(metric: &str, stored: Option<f64>, again: Option<f64>) -> bool {
    match (stored, again) {
        (Some(stored), Some(again)) => !metric.ends_with("top1") || (stored - again).abs() <= TOLERANCE,
        (None, None) => true,
        _ => false,
    }
}

fn by_epoch(history: &TrialHistory) -> BTreeMap<u32, &Metrics> {
    history.reports.iter().map(|report| (report.epoch, &report.metrics)).collect()
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown =
            |value: &Option<f64>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        match self {
            Difference::Report { epoch, metric, stored, again } => {
                write!(
                    f,
                    "`{metric}` after epoch {epoch} is {} in the table, {} again",
                    shown(stored),
                    shown(again)
                )
            }
            Difference::Weights { stored, again } => {
                write!(f, "the final weights are {stored} in the table, {again} again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::EpochMetrics;
    use crate::protocol::trial::TrialRecord;

    fn history(top1: f64, weights: &str, device: &str) -> TrialHistory {
        let metrics = Metrics::from([("top1".to_owned(), top1), ("seconds".to_owned(), top1 * 7.0)]);
        TrialHistory {
            trial: TrialNumber(1),
            reports: vec![EpochMetrics { epoch: 5, metrics, checkpoint: None }],
            inherited_epochs: 3,
            record: TrialRecord {
                weights_hash: weights.to_owned(),
                device: device.to_owned(),
                ..TrialRecord::default()
            },
        }
    }

    #[test]
    fn one_bit_is_a_difference_and_the_time_is_none() {
        let stored = history(70.0, "a", "cpu");
        let mut slow = stored.clone();
        slow.reports[0].metrics.insert("seconds".to_owned(), 1.0);
        assert_eq!(first_difference(&stored, &slow), None);
        let off = history(f64::from_bits(70.0_f64.to_bits() + 1), "a", "cpu");
        let difference = first_difference(&stored, &off).unwrap().to_string();
        assert_eq!(difference, "`top1` after epoch 5 is 70 in the table, 70.00000000000001 again");
    }

    #[test]
    fn weights_count_where_all_reports_agree() {
        let difference = first_difference(&history(70.0, "a", "cpu"), &history(70.0, "b", "cpu"));
        assert_eq!(difference, Some(Difference::Weights { stored: "a".to_owned(), again: "b".to_owned() }));
    }

    #[test]
    fn a_report_that_is_missing_is_a_difference() {
        let mut less = history(70.0, "a", "cpu");
        less.reports.clear();
        let difference = first_difference(&history(70.0, "a", "cpu"), &less).unwrap().to_string();
        assert_eq!(difference, "`top1` after epoch 5 is 70 in the table, nothing again");
    }

    #[test]
    fn a_gpu_that_was_not_asked_for_the_same_bits_is_compared_within_the_tolerance() {
        let stored = history(70.0, "a", "cuda:0");
        assert_eq!(first_difference(&stored, &history(71.9, "b", "cuda:0")), None);
        assert!(first_difference(&stored, &history(72.1, "b", "cuda:0")).is_some());
    }
}
