//! Counts the configurations of a space, and finds conditions that never hold.

use std::collections::BTreeSet;

use super::space::{Axis, Search, Space};

/// The most combinations of axes with and under conditions that are looked at.
const MOST_STEPS: u64 = 10_000_000;

/// What is in a space.
#[derive(Debug)]
pub(super) struct Census {
    /// Configurations, without gaps.
    pub(super) configurations: u64,
    /// For each axis, whether it ever exists.
    pub(super) exists: Vec<bool>,
    /// Parameters that some configurations don't have.
    pub(super) absent: BTreeSet<String>,
    /// For each exclusion, whether it ever leaves something out.
    pub(super) excludes: Vec<bool>,
}

/// `None` where there are too many combinations to look at.
pub(super) fn census(space: &Space) -> Option<Census> {
    let moves: Vec<bool> = space.axes.iter().map(|axis| matters(space, axis)).collect();
    let mut census = Census {
        configurations: 0,
        exists: vec![false; space.axes.len()],
        absent: BTreeSet::new(),
        excludes: vec![false; space.exclude.len()],
    };
    let is_plain = !moves.contains(&true);
    if is_plain && space.exclude.is_empty() {
        census.configurations = space.index_count();
        census.exists.fill(true);
        return Some(census);
    }
    // Axes that nothing depends on multiply what the others make.
    let free =
        space.axes.iter().zip(&moves).filter(|(_, moves)| !**moves).map(|(axis, _)| axis.rows().len() as u64);
    let factor = match space.search {
        Search::Grid => free.fold(1, u64::saturating_mul),
        Search::Random { .. } => 1,
    };
    let mut steps = 0;
    for combination in space.combinations(moves) {
        steps += 1;
        if steps > MOST_STEPS {
            return None;
        }
        for (seen, exists) in census.exists.iter_mut().zip(&combination.exists) {
            *seen |= exists;
        }
        for (seen, conditions) in census.excludes.iter_mut().zip(&space.exclude) {
            *seen |= conditions.iter().all(|condition| condition.holds(&combination.parameters));
        }
        if !space.is_excluded(&combination.parameters) {
            census.configurations = census.configurations.saturating_add(factor);
            let missing = space.axes.iter().zip(&combination.exists).filter(|(_, exists)| !**exists);
            for name in missing.flat_map(|(axis, _)| &axis.names) {
                if !combination.parameters.contains_key(name) && !census.absent.contains(name) {
                    census.absent.insert(name.clone());
                }
            }
        }
    }
    Some(census)
}

/// Whether the axis stands under conditions or in one.
fn matters(space: &Space, axis: &Axis) -> bool {
    let all = space.axes.iter().map(|axis| &axis.when).chain(&space.exclude);
    !axis.when.is_empty() || all.flatten().any(|condition| axis.names.contains(&condition.parameter))
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn counts(text: &str) -> (u64, u64) {
        let spec = parse("s.yaml", &format!("command: [run]\n{text}"), &[]).unwrap();
        assert_eq!(spec.count_trials(), spec.trials().count() as u64);
        (spec.number_count(), spec.count_trials())
    }

    #[test]
    fn numbers_count_the_product_and_trials_what_is_left_of_it() {
        assert_eq!(counts("parameters: {a: [1, 2, 3], b: [1, 2]}\nseeds: 2"), (12, 12));
        let ema = "when:\n- {if: {t: ema}, parameters: {r: [0.1, 0.5, 0.9], s: [1, 2]}}";
        assert_eq!(counts(&format!("parameters: {{t: [frozen, ema], x: [1, 2]}}\n{ema}")), (24, 14));
        assert_eq!(
            counts("parameters: {a: [1, 2, 3], b: [1, 2], c: [1, 2]}\nexclude: [{a: [1, 2], b: 2}]"),
            (12, 8)
        );
        assert_eq!(counts("search: random\ncount: 50\nparameters: {a: [1, 2]}\nexclude: [{a: 1}]").0, 50);
    }

    #[test]
    fn a_space_of_conditions_may_have_more_numbers_than_trials() {
        let axes: String = (0..6)
            .map(|n| {
                format!(
                    "- {{if: {{k: {n}}}, parameters: {{p{n}: [{}]}}}}\n",
                    (0..40).map(|v| v.to_string()).collect::<Vec<_>>().join(", ")
                )
            })
            .collect();
        let (numbers, trials) = counts(&format!("parameters: {{k: [0, 1, 2, 3, 4, 5]}}\nwhen:\n{axes}"));
        assert_eq!((numbers, trials), (6 * 40_u64.pow(6), 240));
    }
}
