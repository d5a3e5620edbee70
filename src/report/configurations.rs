use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::protocol::http::{ResultsResponse, TrialResult, TrialState};
use crate::vocabulary::{Parameters, StateHash, TrialNumber};

/// Digits of a configuration's hash: two of a sweep's configurations never have the same.
const HASH_DIGITS: usize = 16;

/// All trials that differ only in their seed, each seed once: a random search may draw a configuration again, and what is the
/// same computation says nothing about the spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration<'a> {
    pub parameters: &'a Parameters,
    /// Names it in exported tables: the first digits of the BLAKE3 hash of its parameters as canonical JSON.
    pub hash: String,
    /// By number.
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

/// A sweep's configurations in the order of their first trials.
#[must_use]
pub fn by_configuration(results: &ResultsResponse) -> Vec<Configuration<'_>> {
    let mut groups: Vec<(String, Vec<&TrialResult>)> = Vec::new();
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    let mut places: BTreeMap<(usize, u64), usize> = BTreeMap::new();
    for trial in &results.trials {
        let key = serde_json::to_string(&trial.parameters).unwrap_or_default();
        let at = *index.entry(key).or_insert_with_key(|key| {
            let mut hash = StateHash::of(key.as_bytes()).to_string();
            hash.truncate(HASH_DIGITS);
            groups.push((hash, Vec::new()));
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
    groups.into_iter().map(|(hash, trials)| configuration(hash, trials)).collect()
}

/// Of at least one trial.
fn configuration(hash: String, trials: Vec<&TrialResult>) -> Configuration<'_> {
    Configuration { parameters: &trials[0].parameters, hash, metrics: spreads(&trials), trials }
}

impl<'a> Configuration<'a> {
    /// The trials that count.
    pub fn succeeded(&self) -> impl Iterator<Item = &'a TrialResult> {
        self.trials.iter().copied().filter(|trial| trial.state == TrialState::Succeeded)
    }

    /// How many trials count.
    #[must_use]
    pub fn n(&self) -> usize {
        self.succeeded().count()
    }

    #[must_use]
    pub fn mean(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric).map(|spread| spread.mean)
    }

    /// The trials that count, as a selector names them: `1-3,7`.
    #[must_use]
    pub fn counted_trials(&self) -> String {
        numbers(self.succeeded().map(|trial| trial.trial))
    }
}

/// Numbers in ascending order as ranges: `1-3,7`.
#[must_use]
pub(super) fn numbers(trials: impl IntoIterator<Item = TrialNumber>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for TrialNumber(number) in trials {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |(first, last): (i64, i64)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(",")
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
    use crate::report::fixtures::{results, trial};

    #[test]
    fn seeds_of_one_configuration_are_averaged() {
        let results = results(vec![
            trial(1, 0, &[("lr", 0.1)], &[("top1", 40.0)]),
            trial(2, 1, &[("lr", 0.1)], &[("top1", 44.0)]),
            trial(3, 0, &[("lr", 0.2)], &[("top1", 50.0)]),
        ]);
        let configurations = by_configuration(&results);
        assert_eq!(configurations[1].metrics["top1"], Spread { n: 1, mean: 50.0, std: None });
        let spread = configurations[0].metrics["top1"];
        assert_eq!((spread.n, spread.mean), (2, 42.0));
        assert!((spread.std.unwrap() - 8f64.sqrt()).abs() < 1e-12);
        assert_eq!(configurations[0].counted_trials(), "1-2");
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
        let configurations = by_configuration(&results);
        assert_eq!(configurations[0].metrics["top1"], Spread { n: 1, mean: 44.0, std: None });
        assert_eq!((configurations[0].n(), configurations[0].counted_trials().as_str()), (1, "2"));
    }

    #[test]
    fn a_configuration_has_the_same_hash_whatever_else_there_is() {
        let one = results(vec![trial(7, 0, &[("lr", 0.1)], &[])]);
        let other = results(vec![trial(1, 3, &[("lr", 0.2)], &[]), trial(2, 3, &[("lr", 0.1)], &[])]);
        let hash = &by_configuration(&one)[0].hash;
        assert_eq!(*hash, by_configuration(&other)[1].hash);
        assert_ne!(*hash, by_configuration(&other)[0].hash);
        // `{"lr":0.1}` | b3sum | head -c 16
        assert_eq!(hash.len(), 16);
    }

    #[test]
    fn numbers_are_shown_as_ranges() {
        let shown = |list: &[i64]| numbers(list.iter().copied().map(TrialNumber));
        assert_eq!([shown(&[]), shown(&[4]), shown(&[1, 2, 3, 7, 9, 10])], ["", "4", "1-3,7,9-10"]);
    }
}
