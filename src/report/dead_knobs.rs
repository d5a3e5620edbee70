//! Parameters that do nothing: configurations that differ in one alone and whose losses are the same to the last bit.

use std::collections::{BTreeMap, BTreeSet};

use super::axes::{Axis, axes};
use super::configurations::Configuration;
use super::{counted, listed};
use crate::protocol::http::{ResultsResponse, TrialResult};
use crate::vocabulary::{TrialNumber, is_volatile};

/// Values of one parameter between which nothing changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadKnob {
    /// `mask_mode`; several that move together are joined by `+`.
    pub parameter: String,
    /// `sgf`, `agf`
    pub values: Vec<String>,
    /// In how many combinations of all other parameters.
    pub places: usize,
    /// In how many combinations there are results of two of these values at least.
    pub compared: usize,
    /// Two trials to look at.
    pub example: (TrialNumber, TrialNumber),
    /// Other metrics are not the same, so it changes what is evaluated.
    pub changes_metrics: bool,
}

/// Finds them among these configurations. Losses are all metrics called `loss` or `…_loss`, at the last epoch.
#[must_use]
pub fn dead_knobs(results: &ResultsResponse, configurations: &[Configuration<'_>]) -> Vec<DeadKnob> {
    let axes = axes(&results.swept, configurations);
    let losses: Vec<Bits> = configurations.iter().map(|one| Bits::of(one, is_loss)).collect();
    let mut knobs = Vec::new();
    for (at, axis) in axes.iter().enumerate() {
        let mut found: BTreeMap<BTreeSet<usize>, DeadKnob> = BTreeMap::new();
        let cells = cells(&axes, at, configurations.len());
        for cell in cells.values().filter(|cell| cell.len() > 1) {
            for same in equal_losses(cell, &losses) {
                let levels = same.iter().filter_map(|at| axis.level_of[*at]).collect();
                let knob = found
                    .entry(levels)
                    .or_insert_with_key(|levels| knob(axis, levels, &same, configurations));
                knob.places += 1;
                knob.changes_metrics |= differ_in_metrics(&same, configurations);
            }
        }
        for (levels, mut knob) in found {
            knob.compared = cells.values().filter(|cell| has_two_of(&levels, cell, axis, &losses)).count();
            knobs.push(knob);
        }
    }
    knobs
}

/// Configurations that differ in one axis alone, by the levels of all others.
type Cells = BTreeMap<Vec<Option<usize>>, Vec<usize>>;

fn cells(axes: &[Axis<'_>], without: usize, configurations: usize) -> Cells {
    let mut cells = Cells::new();
    for at in 0..configurations {
        if axes[without].level_of[at].is_none() {
            continue;
        }
        let others = axes.iter().enumerate().filter(|(axis, _)| *axis != without);
        cells.entry(others.map(|(_, axis)| axis.level_of[at]).collect()).or_default().push(at);
    }
    cells
}

fn has_two_of(levels: &BTreeSet<usize>, cell: &[usize], axis: &Axis<'_>, losses: &[Bits<'_>]) -> bool {
    let is_one = |at: &&usize| {
        !losses[**at].0.is_empty() && axis.level_of[**at].is_some_and(|level| levels.contains(&level))
    };
    cell.iter().filter(is_one).count() > 1
}

/// The bits of some of a configuration's metrics by seed.
struct Bits<'a>(BTreeMap<u64, Vec<(&'a str, u64)>>);

impl<'a> Bits<'a> {
    fn of(configuration: &Configuration<'a>, which: impl Fn(&str) -> bool) -> Bits<'a> {
        let of_trial = |trial: &'a TrialResult| {
            let metrics = trial.metrics.iter().filter(|(name, _)| which(name));
            metrics.map(|(name, value)| (name.as_str(), value.to_bits())).collect::<Vec<_>>()
        };
        let trials = configuration.succeeded().map(|trial| (trial.seed, of_trial(trial)));
        Bits(trials.filter(|(_, metrics)| !metrics.is_empty()).collect())
    }

    /// Whether both have a seed in common, and the same bits for each.
    fn are_those_of(&self, other: &Bits<'_>) -> bool {
        let mut common = self.0.iter().filter_map(|(seed, bits)| Some((bits, other.0.get(seed)?))).peekable();
        common.peek().is_some() && common.all(|(ours, theirs)| ours == theirs)
    }
}

fn is_loss(metric: &str) -> bool {
    metric == "loss" || metric.ends_with("_loss")
}

/// Groups of at least two with equal losses.
fn equal_losses(cell: &[usize], losses: &[Bits<'_>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &at in cell {
        match groups.iter_mut().find(|group| losses[group[0]].are_those_of(&losses[at])) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn knob(
    axis: &Axis<'_>,
    levels: &BTreeSet<usize>,
    same: &[usize],
    configurations: &[Configuration<'_>],
) -> DeadKnob {
    let mut trials: Vec<TrialNumber> = same.iter().map(|at| configurations[*at].trials[0].trial).collect();
    trials.sort_unstable();
    DeadKnob {
        parameter: axis.name(),
        values: levels.iter().map(|level| axis.levels[*level].label()).collect(),
        places: 0,
        compared: 0,
        example: (trials[0], trials[1]),
        changes_metrics: false,
    }
}

/// Seed by seed: the means of configurations of which one lacks a seed differ anyway.
fn differ_in_metrics(same: &[usize], configurations: &[Configuration<'_>]) -> bool {
    let bits = |at: usize| Bits::of(&configurations[at], |name| !is_volatile(name));
    let first = bits(same[0]);
    same[1..].iter().any(|at| !first.are_those_of(&bits(*at)))
}

impl std::fmt::Display for DeadKnob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let values: Vec<String> = self.values.iter().map(|value| format!("`{value}`")).collect();
        let places = u64::try_from(self.places).unwrap_or(u64::MAX);
        let where_ = match self.places == self.compared {
            true => "wherever there are results of two of them".to_owned(),
            false => format!("in {} of {}", counted(places, "place", "places"), self.compared),
        };
        write!(
            f,
            "`{}` changes nothing in training: {} give the same losses to the last bit, {where_} (trials {} and {})",
            self.parameter,
            listed(&values),
            self.example.0,
            self.example.1
        )?;
        if self.changes_metrics {
            write!(f, "; other metrics differ, so it changes what is evaluated")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::configurations::by_configuration;
    use super::*;
    use crate::protocol::http::TrialState;
    use crate::report::fixtures::grid;

    fn found(results: &ResultsResponse) -> Vec<String> {
        dead_knobs(results, &by_configuration(results)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_parameter_without_effect_is_found_and_one_bit_is_an_effect() {
        let dead = grid(&[1.0, 2.0], &[5.0, 6.0], 2, &[("train_loss", &|a, _, seed| a / 3.0 + seed)]);
        assert_eq!(
            found(&dead),
            [
                "`b` changes nothing in training: `5.0` and `6.0` give the same losses to the last bit, wherever there are \
              results of two of them (trials 1 and 3)"
            ]
        );
        let mut alive = dead.clone();
        for trial in alive.trials.iter_mut().filter(|trial| trial.seed == 1) {
            let bits = trial.metrics["train_loss"].to_bits();
            let b = trial.parameters["b"].as_f64().unwrap();
            trial.metrics.insert("train_loss".to_owned(), f64::from_bits(bits + (b > 5.5) as u64));
        }
        assert_eq!(found(&alive), Vec::<String>::new());
    }

    #[test]
    fn where_it_is_dead_only_for_some_values_these_are_named() {
        let loss = |a: f64, b: f64, _: f64| if b < 2.5 { a } else { a + b };
        let top1 = |a: f64, b: f64, _: f64| a * b;
        let results = grid(&[1.0, 2.0], &[1.0, 2.0, 3.0], 1, &[("loss", &loss), ("top1", &top1)]);
        let said = found(&results);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("`1.0` and `2.0` give the same losses"), "{}", said[0]);
        assert!(said[0].ends_with("other metrics differ, so it changes what is evaluated"), "{}", said[0]);
        // Elsewhere it has an effect.
        let loss = |a: f64, b: f64, _: f64| if a < 1.5 { a } else { a + b };
        let results = grid(&[1.0, 2.0], &[1.0, 2.0], 1, &[("loss", &loss)]);
        assert!(found(&results)[0].contains("in 1 place of 2"), "{:?}", found(&results));
    }

    #[test]
    fn a_seed_that_is_missing_is_no_effect_on_other_metrics() {
        let mut results = grid(
            &[1.0, 2.0],
            &[5.0, 6.0],
            2,
            &[("loss", &|a, _, seed| a + seed), ("top1", &|a, _, seed| a * 10.0 + seed)],
        );
        let last = results.trials.last_mut().unwrap();
        (last.state, last.metrics) = (TrialState::Failed, BTreeMap::new());
        let said = found(&results);
        assert!(said[0].ends_with("(trials 1 and 3)"), "{said:?}");
    }

    #[test]
    fn without_losses_nothing_is_said() {
        let results = grid(&[1.0, 2.0], &[5.0, 6.0], 1, &[("top1", &|_, _, _| 50.0)]);
        assert_eq!(found(&results), Vec::<String>::new());
    }
}
