//! What a sweep's configurations differ in.

use std::collections::BTreeMap;

use serde_json::Value;

use super::configurations::Configuration;
use super::value::bare;

/// A swept parameter, or several that move together.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis<'a> {
    pub names: Vec<&'a str>,
    /// Its values, in the order of the trials that have them first.
    pub levels: Vec<Level<'a>>,
    /// The level of each configuration; none where the parameter does not apply.
    pub level_of: Vec<Option<usize>>,
}

/// One value of each of an axis' parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Level<'a> {
    pub values: Vec<&'a Value>,
}

impl Axis<'_> {
    /// `lr`, or `method_start+method_every`.
    #[must_use]
    pub fn name(&self) -> String {
        self.names.join("+")
    }
}

impl Level<'_> {
    /// `0.1`, or `25, 1`.
    #[must_use]
    pub fn label(&self) -> String {
        self.values.iter().map(|value| bare(value)).collect::<Vec<_>>().join(", ")
    }

    /// The number that it is, where it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self.values[..] {
            [value] => value.as_f64(),
            _ => None,
        }
    }
}

/// The parameters of which these configurations have more than one value, in the order of `swept`. Two that always change
/// together are one axis.
#[must_use]
pub fn axes<'a>(swept: &'a [String], configurations: &[Configuration<'a>]) -> Vec<Axis<'a>> {
    let mut order: Vec<usize> = (0..configurations.len()).collect();
    order.sort_by_key(|at| configurations[*at].trials[0].trial);
    let mut axes: Vec<Axis<'a>> = Vec::new();
    for name in swept {
        let axis = axis(name, configurations, &order);
        match axes.iter_mut().find(|other| move_together(other, &axis)) {
            Some(other) => other.join(axis),
            None => axes.push(axis),
        }
    }
    axes.retain(|axis| axis.levels.len() > 1);
    axes
}

fn axis<'a>(name: &'a str, configurations: &[Configuration<'a>], order: &[usize]) -> Axis<'a> {
    let mut axis = Axis { names: vec![name], levels: vec![], level_of: vec![None; configurations.len()] };
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for &at in order {
        let Some(value) = configurations[at].parameters.get(name) else { continue };
        let level = *known.entry(value.to_string()).or_insert_with(|| {
            axis.levels.push(Level { values: vec![value] });
            axis.levels.len() - 1
        });
        axis.level_of[at] = Some(level);
    }
    axis
}

/// Whether each level of one goes with one level of the other. Levels are counted in the same order, so they are the same.
fn move_together(one: &Axis<'_>, other: &Axis<'_>) -> bool {
    one.levels.len() > 1 && one.level_of == other.level_of
}

impl<'a> Axis<'a> {
    fn join(&mut self, other: Axis<'a>) {
        self.names.extend(other.names);
        for (level, more) in self.levels.iter_mut().zip(other.levels) {
            level.values.extend(more.values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::configurations::by_configuration;
    use super::*;
    use crate::protocol::http::ResultsResponse;
    use crate::report::fixtures::{results, trial};

    fn shown(results: &ResultsResponse) -> Vec<String> {
        let axes = axes(&results.swept, &by_configuration(results));
        let levels = |axis: &Axis<'_>| axis.levels.iter().map(Level::label).collect::<Vec<_>>().join(" | ");
        axes.iter().map(|axis| format!("{}: {}", axis.name(), levels(axis))).collect()
    }

    #[test]
    fn parameters_that_move_together_are_one_axis_and_constant_ones_are_none() {
        let rows = [
            &[("a", 3.0), ("b", 1.0), ("c", 5.0), ("d", 0.0)][..],
            &[("a", 2.0), ("b", 9.0), ("c", 5.0), ("d", 0.0)],
            &[("a", 3.0), ("b", 1.0), ("c", 5.0)],
        ];
        let trials = rows.iter().zip(1..).map(|(row, number)| trial(number, 0, row, &[])).collect();
        let swept = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let results = ResultsResponse { swept, ..results(trials) };
        assert_eq!(shown(&results), ["a+b: 3.0, 1.0 | 2.0, 9.0"]);
    }

    #[test]
    fn where_a_parameter_does_not_apply_it_has_no_level() {
        let rows = [&[("a", 1.0)][..], &[("a", 2.0), ("b", 7.0)], &[("a", 2.0), ("b", 8.0)]];
        let trials = rows.iter().zip(1..).map(|(row, number)| trial(number, 0, row, &[])).collect();
        let results = ResultsResponse { swept: vec!["a".to_owned(), "b".to_owned()], ..results(trials) };
        let configurations = by_configuration(&results);
        let axes = axes(&results.swept, &configurations);
        assert_eq!(axes[1].level_of, [None, Some(0), Some(1)]);
        assert_eq!(shown(&results), ["a: 1.0 | 2.0", "b: 7.0 | 8.0"]);
    }
}
