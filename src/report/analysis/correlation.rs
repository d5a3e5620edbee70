//! How two metrics go together over a sweep's configurations.

use std::collections::BTreeMap;

use super::statistics::{Draws, order, pearson, quantile, ranks};
use super::{Interval, LEVEL};
use crate::report::configurations::Configuration;

/// As many resamples as make the interval's ends steady in the second digit.
const RESAMPLES: usize = 2000;
/// Fewer where there are many configurations, whose interval is narrow anyway: so many draws in all.
const MOST_DRAWS: usize = 4_000_000;
const FEWEST_RESAMPLES: usize = 200;

/// Two metrics, and with what held fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Correlation {
    pub x: String,
    pub y: String,
    /// Parameters within whose values the metrics are compared.
    pub given: Vec<String>,
    /// Configurations that count.
    pub n: usize,
    pub pearson: Option<Coefficient>,
    pub spearman: Option<Coefficient>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    pub value: f64,
    /// From bootstrap resamples of configurations; none where hardly one of them varies.
    pub interval: Option<Interval>,
}

/// Correlates the configurations' means. With `given`, each metric is compared with its mean over the configurations with
/// the same values of these parameters; those that are alone don't count.
#[must_use]
pub fn correlate(configurations: &[Configuration<'_>], [x, y]: [&str; 2], given: &[String]) -> Correlation {
    let sample = Sample::of(configurations, [x, y], given);
    let n = sample.x.len();
    let mut correlation = Correlation {
        x: x.to_owned(),
        y: y.to_owned(),
        given: given.to_vec(),
        n,
        pearson: None,
        spearman: None,
    };
    if n < 3 {
        return correlation;
    }
    let all = vec![1.0; n];
    let values = [sample.pearson(&all), sample.spearman(&all)];
    let resamples = RESAMPLES.min((MOST_DRAWS / n).max(FEWEST_RESAMPLES));
    let (mut draws, mut weights) = (Draws::new(), vec![0.0; n]);
    let mut drawn: [Vec<f64>; 2] = Default::default();
    for _ in 0..resamples {
        weights.fill(0.0);
        for _ in 0..n {
            weights[draws.below(n)] += 1.0;
        }
        drawn[0].extend(sample.pearson(&weights));
        drawn[1].extend(sample.spearman(&weights));
    }
    let [pearson, spearman] = drawn;
    let coefficient = |value: Option<f64>, drawn: Vec<f64>| {
        value.map(|value| Coefficient { value, interval: interval(drawn, resamples) })
    };
    correlation.pearson = coefficient(values[0], pearson);
    correlation.spearman = coefficient(values[1], spearman);
    correlation
}

/// The percentile interval (Efron and Tibshirani 1993, chapter 13).
fn interval(mut drawn: Vec<f64>, resamples: usize) -> Option<Interval> {
    // Where many resamples have no coefficient, those that do say little.
    if drawn.len() * 10 < resamples * 9 {
        return None;
    }
    drawn.sort_by(f64::total_cmp);
    let tail = (1.0 - LEVEL) / 2.0;
    Some(Interval { low: quantile(&drawn, tail), high: quantile(&drawn, 1.0 - tail) })
}

/// Pairs of means in groups within which they are compared.
struct Sample {
    x: Vec<f64>,
    y: Vec<f64>,
    groups: Vec<Group>,
}

/// Places of a group's pairs, by the size of x and of y.
struct Group {
    members: Vec<usize>,
    by_x: Vec<usize>,
    by_y: Vec<usize>,
}

impl Sample {
    fn of(configurations: &[Configuration<'_>], [x, y]: [&str; 2], given: &[String]) -> Sample {
        let mut pairs: BTreeMap<Vec<Option<String>>, Vec<(f64, f64)>> = BTreeMap::new();
        // In the order of the trials: the draws, and so the interval, must not depend on how a table is sorted.
        let mut in_order: Vec<&Configuration<'_>> = configurations.iter().collect();
        in_order.sort_by_key(|configuration| configuration.trials[0].trial);
        for configuration in in_order {
            let (Some(x), Some(y)) = (configuration.mean(x), configuration.mean(y)) else { continue };
            let value = |name: &String| configuration.parameters.get(name).map(serde_json::Value::to_string);
            pairs.entry(given.iter().map(value).collect()).or_default().push((x, y));
        }
        let mut sample = Sample { x: vec![], y: vec![], groups: vec![] };
        for group in pairs.into_values().filter(|group| group.len() > 1) {
            let first = sample.x.len();
            sample.x.extend(group.iter().map(|(x, _)| x));
            sample.y.extend(group.iter().map(|(_, y)| y));
            let places = |values: &[f64]| order(&values[first..]).iter().map(|at| first + at).collect();
            let members = (first..sample.x.len()).collect();
            sample.groups.push(Group { members, by_x: places(&sample.x), by_y: places(&sample.y) });
        }
        sample
    }

    fn pearson(&self, weights: &[f64]) -> Option<f64> {
        if self.groups.len() == 1 {
            return pearson(&self.x, &self.y, weights);
        }
        let centred = |values: &[f64]| {
            let mut centred = vec![0.0; values.len()];
            for group in &self.groups {
                let total: f64 = group.members.iter().map(|at| weights[*at]).sum();
                if total > 0.0 {
                    let mean = group.members.iter().map(|at| weights[*at] * values[*at]).sum::<f64>() / total;
                    for at in &group.members {
                        centred[*at] = values[*at] - mean;
                    }
                }
            }
            centred
        };
        pearson(&centred(&self.x), &centred(&self.y), weights)
    }

    /// Pearson's r of the ranks, which count within each group.
    fn spearman(&self, weights: &[f64]) -> Option<f64> {
        let ranked = |values: &[f64], by: fn(&Group) -> &[usize]| {
            let mut all = vec![0.0; values.len()];
            for group in &self.groups {
                let of_group = ranks(values, by(group), weights);
                let total: f64 = group.members.iter().map(|at| weights[*at]).sum();
                for at in &group.members {
                    all[*at] = of_group[*at] - (total + 1.0) / 2.0;
                }
            }
            all
        };
        pearson(&ranked(&self.x, |group| &group.by_x), &ranked(&self.y, |group| &group.by_y), weights)
    }
}
