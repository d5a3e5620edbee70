//! The order in which a sweep's trials are to run. Numbers never depend on it.

use crate::vocabulary::StateHash;

/// Places of a product's combinations, 0 … n − 1 in mixed radix (the first radix counts the slowest axis), in an order in
/// which every value of every axis comes early.
///
/// The combinations lie on a torus, with a side for each axis. We walk along its diagonal, a step on every axis at once, so
/// that any stretch as long as an axis has all values of that axis. Where the diagonal closes we start again beside it. The
/// diagonal of the first i axes has length Lᵢ = lcm(r₁ … rᵢ), and axis i adds gcd(Lᵢ₋₁, rᵢ) diagonals beside one another.
#[expect(dead_code, reason = "wired when specs have an order")]
pub(super) fn balanced(radices: &[u64]) -> impl Iterator<Item = u64> + use<> {
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
#[expect(dead_code, reason = "wired when specs have an order")]
pub(super) fn shuffled(count: u32, purpose: &str) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
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
        fn a_shuffled_order_has_every_number_once(count in 0_u32..300) {
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
}
