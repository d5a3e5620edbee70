//! The order in which a sweep's trials are to run. Numbers never depend on it.

use crate::spec::{Axis, Order, Search, SeedOrder, Spec, Trial};
use crate::vocabulary::{StateHash, TrialNumber};

/// A spec's trials in the order in which they are to run.
pub(super) fn trials(spec: &Spec) -> Box<dyn Iterator<Item = Trial> + '_> {
    let seeds = spec.seeds.len() as u64;
    match (spec.order, spec.seed_order) {
        (Order::Listed, SeedOrder::Interleaved) => Box::new(spec.trials()),
        (_, SeedOrder::Interleaved) => {
            let places = configurations(spec).into_iter();
            Box::new(
                places.flat_map(move |index| (0..seeds).filter_map(move |seed| trial(spec, index, seed))),
            )
        }
        (_, SeedOrder::Last) => {
            let places = configurations(spec);
            Box::new((0..seeds).flat_map(move |seed| {
                places.clone().into_iter().filter_map(move |index| trial(spec, index, seed))
            }))
        }
    }
}

/// Indices of all configurations, gaps among them.
fn configurations(spec: &Spec) -> Vec<u64> {
    match (spec.order, &spec.space.search) {
        (Order::Listed, _) => spec.space.configurations().map(|(index, _)| index).collect(),
        (Order::Shuffled, _) => shuffled(spec.space.index_count(), &spec.name),
        // Draws are scattered as they are.
        (Order::Balanced, Search::Random { count, .. }) => (0..*count).collect(),
        (Order::Balanced, Search::Grid) => {
            let radices: Vec<_> = spec.space.axes.iter().map(Axis::radix).collect();
            balanced(&radices).collect()
        }
    }
}

fn trial(spec: &Spec, index: u64, seed: u64) -> Option<Trial> {
    let number = index.checked_mul(spec.seeds.len() as u64)?.checked_add(seed + 1)?;
    spec.trial(TrialNumber(i64::try_from(number).ok()?))
}

/// Places of a product's combinations, 0 … n − 1 in mixed radix (the first radix counts the slowest axis), in an order in
/// which every value of every axis comes early.
///
/// The combinations lie on a torus, with a side for each axis. We walk along its diagonal, a step on every axis at once, so
/// that any stretch as long as an axis has all values of that axis. Where the diagonal closes we start again beside it. The
/// diagonal of the first i axes has length Lᵢ = lcm(r₁ … rᵢ), and axis i adds gcd(Lᵢ₋₁, rᵢ) diagonals beside one another.
fn balanced(radices: &[u64]) -> impl Iterator<Item = u64> + use<> {
    let (mut length, mut beside) = (1, Vec::new());
    for &radix in radices {
        let common = gcd(length, radix);
        beside.push(common);
        length = length / common * radix;
    }
    let radices = radices.to_vec();
    let count: u64 = radices.iter().product();
    (0..count).map(move |step| {
        let mut diagonal = step / length;
        let mut place = 0;
        for (&radix, &beside) in radices.iter().zip(&beside) {
            let offset = diagonal % beside;
            diagonal /= beside;
            place = place * radix + (step % length + offset) % radix;
        }
        place
    })
}

/// The numbers below `count` in an order that looks like chance and is always the same for the same `purpose`.
fn shuffled(count: u64, purpose: &str) -> Vec<u64> {
    let mut order: Vec<u64> = (0..count).collect();
    // The order of names that have nothing to do with the numbers. Equal names are as good as impossible, and harmless.
    order.sort_by_cached_key(|number| StateHash::of(format!("{purpose} {number}").as_bytes()));
    order
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The digits of a place.
    fn digits(mut place: u64, radices: &[u64]) -> Vec<u64> {
        let mut digits: Vec<u64> = radices
            .iter()
            .rev()
            .map(|radix| {
                let digit = place % radix;
                place /= radix;
                digit
            })
            .collect();
        digits.reverse();
        digits
    }

    proptest! {
        #[test]
        fn the_balanced_order_has_every_combination_once_and_every_value_early(
            radices in prop::collection::vec(1_u64..6, 0..5)
        ) {
            let order: Vec<_> = balanced(&radices).collect();
            let count: u64 = radices.iter().product();
            prop_assert_eq!(&order.iter().copied().collect::<BTreeSet<_>>(), &(0..count).collect());
            prop_assert_eq!(order.len() as u64, count);
            let longest = radices.iter().copied().max().unwrap_or(1) as usize;
            for start in order.chunks(longest).filter(|chunk| chunk.len() == longest) {
                for (axis, radix) in radices.iter().enumerate() {
                    let seen: BTreeSet<_> = start.iter().map(|place| digits(*place, &radices)[axis]).collect();
                    prop_assert_eq!(seen.len() as u64, *radix);
                }
            }
        }

        #[test]
        fn a_shuffled_order_has_every_number_once(count in 0_u64..300) {
            let mut order = shuffled(count, "test");
            prop_assert_eq!(&order, &shuffled(count, "test"));
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_quarter_of_a_balanced_sweep_has_every_value_as_often_as_any_other() {
        let radices = [4, 3, 2];
        let quarter: Vec<_> = balanced(&radices).take(6).collect();
        for (axis, expected) in [(1, vec![2, 2, 2]), (2, vec![3, 3])] {
            let mut seen = vec![0; expected.len()];
            for place in &quarter {
                seen[digits(*place, &radices)[axis] as usize] += 1;
            }
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn seeds_come_one_after_the_other_or_last_and_numbers_do_not_depend_on_it() {
        let numbers = |keys: &str| {
            let text = format!("command: [run]\nparameters: {{x: [1, 2], y: [1, 2, 3]}}\n{keys}");
            let spec = crate::spec::parse("s.yaml", &text, &[]).unwrap();
            trials(&spec).map(|trial| trial.number.0).collect::<Vec<_>>()
        };
        assert_eq!(numbers("seeds: 2"), (1..=12).collect::<Vec<_>>());
        assert_eq!(numbers("seeds: 2\nseed_order: last")[..7], [1, 3, 5, 7, 9, 11, 2]);
        for order in ["balanced", "shuffled"] {
            let mut some = numbers(&format!("seeds: 2\norder: {order}"));
            assert_ne!(some, (1..=12).collect::<Vec<_>>());
            some.sort_unstable();
            assert_eq!(some, (1..=12).collect::<Vec<_>>());
        }
    }
}
