//! Numbers about numbers. docs/ANALYSIS.md has the formulas with their sources.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Student's t that a value exceeds in size with the probability 1 − `level`, at so many degrees of freedom: 4.303 for 0.95 and 2.
#[must_use]
pub fn student_t(level: f64, degrees: f64) -> f64 {
    let distribution = StudentsT::new(0.0, 1.0, degrees);
    distribution.map_or(f64::NAN, |distribution| distribution.inverse_cdf(0.5 + level / 2.0))
}

/// Pearson's r of weighted pairs; nothing where one side does not vary.
pub(super) fn pearson(x: &[f64], y: &[f64], weights: &[f64]) -> Option<f64> {
    let total: f64 = weights.iter().sum();
    let mean = |values: &[f64]| values.iter().zip(weights).map(|(value, w)| value * w).sum::<f64>() / total;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for ((x, y), w) in x.iter().zip(y).zip(weights) {
        let (dx, dy) = (x - mean_x, y - mean_y);
        xx += w * dx * dx;
        yy += w * dy * dy;
        xy += w * dx * dy;
    }
    // What is equal may come out of the subtraction with a last bit of its own.
    let varies = |squares: f64, mean: f64| squares > 1e-24 * mean * mean * total;
    (varies(xx, mean_x) && varies(yy, mean_y)).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

/// Ranks of weighted values, equal ones with the mean of theirs; `order` has their places by size.
pub(super) fn ranks(values: &[f64], order: &[usize], weights: &[f64]) -> Vec<f64> {
    let mut ranks = vec![0.0; values.len()];
    let (mut below, mut at) = (0.0, 0);
    while at < order.len() {
        let same = order[at..].iter().take_while(|place| values[**place] == values[order[at]]).count();
        let equals = &order[at..at + same];
        let together: f64 = equals.iter().map(|place| weights[*place]).sum();
        for place in equals {
            ranks[*place] = below + (together + 1.0) / 2.0;
        }
        below += together;
        at += same;
    }
    ranks
}

/// Places by size.
pub(super) fn order(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order
}

/// The value below which this share lies, between two neighbours in proportion; `sorted` is not empty.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "some thousand values")]
    let place = share * (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last place"
    )]
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same draws in every run, so that an interval is one number and no chance.
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new() -> Draws {
        Draws(0x5357_4545_5000_0001)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.next()) * end as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_the_mean_of_their_ranks() {
        let values = [3.0, 1.0, 3.0, 2.0];
        assert_eq!(ranks(&values, &order(&values), &[1.0; 4]), [3.5, 1.0, 3.5, 2.0]);
        // As often as its weight: 1 1 2 3 3 3.
        assert_eq!(ranks(&values, &order(&values), &[1.0, 2.0, 2.0, 1.0])[..2], [5.0, 1.5]);
    }

    #[test]
    fn what_does_not_vary_is_correlated_with_nothing() {
        assert_eq!(pearson(&[0.1; 3], &[1.0, 2.0, 3.0], &[1.0; 3]), None);
        assert_eq!(pearson(&[1.0, 2.0], &[3.0, 1.0], &[1.0; 2]), Some(-1.0));
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!([0.0, 0.5, 1.0].map(|share| quantile(&[1.0, 2.0, 4.0], share)), [1.0, 2.0, 4.0]);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
    }
}
