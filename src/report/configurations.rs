use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::rank::compare;
use crate::protocol::http::{ResultsResponse, TrialResult, TrialState};
use crate::vocabulary::Parameters;

/// All trials that differ only in their seed, each seed once: a random search may draw a configuration again, and what is the
/// same computation says nothing about the spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration<'a> {
    pub parameters: &'a Parameters,
    pub trials: Vec<&'a TrialResult>,
    /// Mean and spread of each metric over the trials that succeeded.
    pub metrics: BTreeMap<&'a str, Spread>,
}

/// A metric over the seeds of one configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub n: usize,
    pub mean: f64,
    /// Sample standard deviation (divided by n − 1); `None` with a single value.
    pub std: Option<f64>,
}

/// A sweep's configurations, best mean first; equals in the order of their first trial.
#[must_use]
pub fn by_configuration(results: &ResultsResponse) -> Vec<Configuration<'_>> {
    let mut groups: Vec<(&Parameters, Vec<&TrialResult>)> = Vec::new();
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    let mut places: BTreeMap<(usize, u64), usize> = BTreeMap::new();
    for trial in &results.trials {
        let key = serde_json::to_string(&trial.parameters).unwrap_or_default();
        let at = *index.entry(key).or_insert_with(|| {
            groups.push((&trial.parameters, Vec::new()));
            groups.len() - 1
        });
        let trials = &mut groups[at].1;
        match places.entry((at, trial.seed)) {
            Entry::Vacant(place) => {
                place.insert(trials.len());
                trials.push(trial);
            }
            Entry::Occupied(place) if trials[*place.get()].state != TrialState::Succeeded => {
                trials[*place.get()] = trial;
            }
            Entry::Occupied(_) => {}
        }
    }
    let mut configurations: Vec<_> = groups
        .into_iter()
        .map(|(parameters, trials)| Configuration { parameters, metrics: spreads(&trials), trials })
        .collect();
    let metric = results.metric.as_ref();
    let mean = |configuration: &Configuration<'_>| {
        metric.and_then(|metric| configuration.metrics.get(metric.name.as_str())).map(|spread| spread.mean)
    };
    configurations.sort_by(|a, b| compare(metric, mean(a), mean(b)));
    configurations
}

fn spreads<'a>(trials: &[&'a TrialResult]) -> BTreeMap<&'a str, Spread> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    // A trial that is still running has metrics too, but of an epoch that the others left behind.
    for trial in trials.iter().filter(|trial| trial.state == TrialState::Succeeded) {
        for (name, value) in &trial.metrics {
            values.entry(name).or_default().push(*value);
        }
    }
    values.into_iter().map(|(name, values)| (name, Spread::of(&values))).collect()
}

impl Spread {
    /// Of at least one value.
    fn of(values: &[f64]) -> Spread {
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 seeds")]
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Spread { n: values.len(), mean, std: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::tests::{results, trial};

    #[test]
    fn seeds_of_one_configuration_are_averaged() {
        let results = results(vec![
            trial(1, 0, &[("lr", 0.1)], &[("top1", 40.0)]),
            trial(2, 1, &[("lr", 0.1)], &[("top1", 44.0)]),
            trial(3, 0, &[("lr", 0.2)], &[("top1", 50.0)]),
        ]);
        let configurations = by_configuration(&results);
        assert_eq!(configurations[0].metrics["top1"], Spread { n: 1, mean: 50.0, std: None });
        let spread = configurations[1].metrics["top1"];
        assert_eq!((spread.n, spread.mean), (2, 42.0));
        assert!((spread.std.unwrap() - 8f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_configuration_that_was_drawn_twice_has_each_seed_once() {
        let drawn = |number, seed, top1| trial(number, seed, &[("lr", 0.1)], &[("top1", top1)]);
        let results =
            results(vec![drawn(1, 0, 40.0), drawn(2, 1, 44.0), drawn(3, 0, 40.0), drawn(4, 1, 44.0)]);
        let configurations = by_configuration(&results);
        assert_eq!((configurations.len(), configurations[0].trials.len()), (1, 2));
        let spread = configurations[0].metrics["top1"];
        assert_eq!((spread.n, spread.mean), (2, 42.0));
        assert!((spread.std.unwrap() - 8f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_trial_that_still_runs_does_not_count() {
        let mut running = trial(1, 0, &[("lr", 0.1)], &[("top1", 10.0)]);
        running.state = TrialState::Running;
        let results = results(vec![running, trial(2, 1, &[("lr", 0.1)], &[("top1", 44.0)])]);
        assert_eq!(by_configuration(&results)[0].metrics["top1"], Spread { n: 1, mean: 44.0, std: None });
    }
}
