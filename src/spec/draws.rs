//! Chance of a random search as a function: `draw(search_seed, axis, index)` is a stream of random words of its own, and
//! nothing is kept between calls. What is drawn for one axis does not depend on which other axes there are.
//!
//! The words are BLAKE3's output in key-derivation mode (BLAKE3 paper, §2.3 and §2.6) under a context string of ours: over
//! the seed and the index, as little-endian numbers of 64 bits, and the axis' name. A change of anything here changes the
//! trials of every random sweep: the golden test below holds it.

/// Names the use, as BLAKE3 asks for.
const CONTEXT: &str = "sweep 2025-01-01 random search, draws of one axis, v1";

/// The random words of one axis in one configuration.
pub(super) struct Draw(blake3::OutputReader);

/// The words for `axis` in the configuration of this index, counted from 0.
pub(super) fn draw(search_seed: u64, axis: &str, index: u64) -> Draw {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&search_seed.to_le_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(axis.as_bytes());
    Draw(hasher.finalize_xof())
}

impl Draw {
    /// The next word, uniform over all 2⁶⁴.
    pub(super) fn word(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub(super) fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let bits = (self.word() >> 11) as f64;
        bits / 9_007_199_254_740_992.0 // 2⁵³
    }

    /// Uniform over 0 … `bound` − 1, but for a bias below `bound` ÷ 2⁶⁴. `bound` is at least 1.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        let product = u128::from(self.word()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the high half of 128 bits has 64")
    }

    /// Standard normal (Box and Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        // In (0, 1], so that the logarithm is finite.
        let radius = 1.0 - self.unit();
        let angle = std::f64::consts::TAU * self.unit();
        // Not the standard library's functions: those are the C library's, whose last bit differs between hosts.
        (-2.0 * libm::log(radius)).sqrt() * libm::cos(angle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_stay_what_they_are() {
        let words = |seed, axis, index| {
            let mut draw = draw(seed, axis, index);
            [draw.word(), draw.word()]
        };
        insta::assert_debug_snapshot!([
            words(0, "lr", 0),
            words(1, "lr", 0),
            words(0, "lr", 1),
            words(0, "wd", 0)
        ]);
    }

    #[test]
    fn numbers_have_the_moments_of_their_distribution() {
        let draws = |of: fn(&mut Draw) -> f64| {
            (0..20_000).map(|index| of(&mut draw(3, "x", index))).collect::<Vec<_>>()
        };
        let moment = |numbers: &[f64], power| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / 20_000.0;
        let units = draws(Draw::unit);
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        assert!((moment(&units, 1) - 0.5).abs() < 0.01 && (moment(&units, 2) - 1.0 / 3.0).abs() < 0.01);
        let normals = draws(Draw::normal);
        assert!(moment(&normals, 1).abs() < 0.03 && (moment(&normals, 2) - 1.0).abs() < 0.05);
    }

    #[test]
    fn every_number_below_a_bound_is_about_as_frequent() {
        let mut counts = [0; 5];
        for index in 0..10_000 {
            counts[usize::try_from(draw(0, "x", index).below(5)).unwrap()] += 1;
        }
        // 2,000 expected of each; the binomial deviation is 40.
        assert!(counts.iter().all(|count| (1840..2160).contains(count)), "{counts:?}");
    }
}
