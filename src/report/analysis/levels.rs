//! Parameters as factors of an analysis: what has too many values to be compared one by one is put into classes.

use super::effects::Observation;
use crate::report::axes::Axis;
use crate::report::value::bare;

/// A number with more values is put into classes.
const MOST_LEVELS: usize = 24;
const MOST_CLASSES: usize = 8;

/// A parameter with few values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Factor {
    pub(super) name: String,
    pub(super) levels: Vec<String>,
    /// By configuration; none where it does not apply.
    pub(super) level_of: Vec<Option<usize>>,
}

impl Factor {
    /// Of the configurations in these places.
    pub(super) fn of(axis: &Axis<'_>, places: &[usize]) -> Option<Factor> {
        let name = axis.name();
        let level_of: Vec<Option<usize>> = places.iter().map(|place| axis.level_of[*place]).collect();
        let numbers: Option<Vec<f64>> = axis.levels.iter().map(|level| level.number()).collect();
        let factor = match numbers {
            Some(numbers) if axis.levels.len() > MOST_LEVELS => classes(name, axis, &numbers, &level_of),
            _ => Factor { name, levels: axis.levels.iter().map(|level| level.label()).collect(), level_of },
        };
        factor.without_empty_levels()
    }

    /// How many configurations each level has, and the mean over their trials.
    pub(super) fn means(&self, observations: &[Observation]) -> Vec<(usize, f64)> {
        let mut sums = vec![(0, 0.0, 0.0); self.levels.len()];
        for (level, observation) in self.level_of.iter().zip(observations) {
            if let Some(level) = level {
                let (count, n, sum) = &mut sums[*level];
                *count += 1;
                *n += observation.n;
                *sum += observation.n * observation.mean;
            }
        }
        sums.into_iter().map(|(count, n, sum)| (count, sum / n)).collect()
    }

    /// Nothing is left of one that does not vary.
    fn without_empty_levels(self) -> Option<Factor> {
        let counts = counts(&self.level_of, self.levels.len());
        let mut levels = Vec::new();
        let mut places = vec![None; counts.len()];
        for (level, label) in self.levels.into_iter().enumerate().filter(|(level, _)| counts[*level] > 0) {
            places[level] = Some(levels.len());
            levels.push(label);
        }
        let level_of = self.level_of.iter().map(|level| level.and_then(|level| places[level])).collect();
        (levels.len() > 1).then_some(Factor { name: self.name, levels, level_of })
    }
}

/// How many configurations each of so many levels has.
fn counts(level_of: &[Option<usize>], levels: usize) -> Vec<usize> {
    let mut counts = vec![0; levels];
    level_of.iter().flatten().for_each(|level| counts[*level] += 1);
    counts
}

/// Classes with about as many configurations each.
fn classes(name: String, axis: &Axis<'_>, numbers: &[f64], level_of: &[Option<usize>]) -> Factor {
    let mut sorted: Vec<usize> = (0..numbers.len()).collect();
    sorted.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
    let counts = counts(level_of, numbers.len());
    let count: usize = counts.iter().sum();
    let classes = MOST_CLASSES.min(count / 4).max(2);
    let mut class_of = vec![0; numbers.len()];
    let (mut before, mut levels): (usize, Vec<Vec<usize>>) = (0, vec![Vec::new(); classes]);
    for level in sorted {
        let class = (before * classes / count.max(1)).min(classes - 1);
        class_of[level] = class;
        levels[class].push(level);
        before += counts[level];
    }
    let label = |members: &Vec<usize>| match (members.first(), members.last()) {
        (Some(first), Some(last)) if first != last => {
            let value = |level: usize| bare(axis.levels[level].values[0]);
            format!("{} … {}", value(*first), value(*last))
        }
        (Some(only), _) => axis.levels[*only].label(),
        (None, _) => String::new(),
    };
    Factor {
        name,
        levels: levels.iter().map(label).collect(),
        level_of: level_of.iter().map(|level| level.map(|level| class_of[level])).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::axes::axes;
    use crate::report::configurations::by_configuration;
    use crate::report::fixtures::{results, trial};

    #[test]
    fn many_numbers_are_put_into_classes_of_about_the_same_size() {
        // Drawn, as it were: in no order, and no two alike.
        let drawn = (0..40).map(|at| f64::from(at * 17 % 40) / 10.0);
        let trials = drawn.zip(1..).map(|(lr, number)| trial(number, 0, &[("lr", lr)], &[("top1", lr)]));
        let results = results(trials.collect());
        let configurations = by_configuration(&results);
        let axes = axes(&results.swept, &configurations);
        let factor = Factor::of(&axes[0], &(0..40).collect::<Vec<_>>()).unwrap();
        assert_eq!(factor.levels.len(), 8);
        assert_eq!((factor.levels[0].as_str(), factor.levels[7].as_str()), ("0.0 … 0.4", "3.5 … 3.9"));
        let sizes = (0..8).map(|level| factor.level_of.iter().filter(|of| **of == Some(level)).count());
        assert_eq!(sizes.collect::<Vec<_>>(), [5; 8]);
    }

    #[test]
    fn of_some_configurations_only_what_varies_among_them_counts() {
        let trials = [1.0, 2.0, 3.0].iter().zip(1..).map(|(lr, n)| trial(n, 0, &[("lr", *lr)], &[]));
        let results = results(trials.collect());
        let configurations = by_configuration(&results);
        let axes = axes(&results.swept, &configurations);
        assert_eq!(Factor::of(&axes[0], &[0, 2]).unwrap().levels, ["1.0", "3.0"]);
        assert_eq!(Factor::of(&axes[0], &[1]), None);
    }
}
