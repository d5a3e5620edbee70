//! Chance as a function: `draw(seed, purpose, epoch, step)` names a stream of random words, and nothing is kept
//! between calls, so that a resumed run needs no generator state.
//!
//! The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", §4.3): the seed
//! is its key, and the counter holds block, step, epoch and purpose.

/// What the numbers are for; each purpose has streams of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// First weights; the step is the parameter's place in the network.
    Initialisation = 1,
    /// Order of the training images in an epoch.
    Shuffle = 2,
    /// Where images are cropped.
    Crop = 3,
    /// Which images are mirrored.
    Flip = 4,
    /// Which channels are masked.
    Mask = 5,
    /// What is dropped in the head.
    Dropout = 6,
    /// First weights of linear probes, by epoch; the step is the parameter's place.
    Probe = 7,
}

/// The stream that belongs to one purpose at one step of one epoch.
#[must_use]
pub fn draw(seed: u64, purpose: Purpose, epoch: u32, step: u32) -> Stream {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the seed")]
    let key = [seed as u32, (seed >> 32) as u32];
    Stream { key, counter: [0, step, epoch, purpose as u32], block: [0; 4], used: 4 }
}

/// One step of training, as chance sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub seed: u64,
    pub epoch: u32,
    /// Counted from 0 within the epoch.
    pub step: u32,
}

impl Step {
    /// The stream of `purpose` at this step.
    #[must_use]
    pub fn draw(self, purpose: Purpose) -> Stream {
        draw(self.seed, purpose, self.epoch, self.step)
    }
}

/// An endless sequence of random words.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u32; 2],
    /// Word 0 counts blocks; a stream repeats after 2³² of them, more than fits in memory.
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Stream {
    /// The next word, uniform over all 2³².
    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// A number uniform over 0 … `bound` − 1, without bias (Lemire 2019, "Fast random integer generation in an
    /// interval", algorithm 5). `bound` is at least 1.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "no number is below 0");
        let unusable = bound.wrapping_neg() % bound; // 2³² mod bound
        loop {
            let product = u64::from(self.word()) * u64::from(bound);
            let (whole, fraction) = halves(product);
            if fraction >= unusable {
                return whole;
            }
        }
    }

    /// The stream that begins `section` × 2²⁶ words after this one's beginning: parts of one step that may be drawn in any
    /// order, or not at all, without moving each other.
    #[must_use]
    pub fn section(mut self, section: u32) -> Stream {
        assert!(section < 1 << 8, "a stream has 256 sections");
        self.counter[0] = section << 24;
        self.used = 4;
        self
    }

    /// `count` events, each of which happens with `probability`.
    pub fn events(&mut self, probability: f64, count: usize) -> Vec<bool> {
        (0..count).map(|_| f64::from(self.word()) / WORDS < probability).collect()
    }

    /// True or false with equal chances.
    pub fn coin(&mut self) -> bool {
        self.word() & 1 == 1
    }

    /// The numbers 0 … `count` − 1 in an order uniform over all orders (Fisher and Yates).
    pub fn permutation(&mut self, count: u32) -> Vec<i64> {
        let mut order: Vec<i64> = (0..i64::from(count)).collect();
        for last in (1..count).rev() {
            order.swap(last as usize, self.below(last + 1) as usize);
        }
        order
    }

    /// `count` standard normal numbers (Box and Muller 1958).
    pub fn normals(&mut self, count: usize) -> Vec<f64> {
        let mut numbers = Vec::with_capacity(count + 1);
        while numbers.len() < count {
            // In (0, 1], so that the logarithm is finite.
            let radius_word = f64::from(self.word()) + 1.0;
            let angle_word = f64::from(self.word());
            // Not the standard library's functions: those are the C library's, whose last bit differs between hosts.
            let radius = (-2.0 * libm::log(radius_word / WORDS)).sqrt();
            let angle = std::f64::consts::TAU * angle_word / WORDS;
            numbers.extend([radius * libm::cos(angle), radius * libm::sin(angle)]);
        }
        numbers.truncate(count);
        numbers
    }
}

/// 2³².
const WORDS: f64 = 4_294_967_296.0;

/// Ten rounds of Philox4x32: a bijection of `counter` that `key` chooses.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for _ in 0..10 {
        let (high_0, low_0) = halves(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let (high_1, low_1) = halves(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

/// High and low word of `product`.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
fn halves(product: u64) -> (u32, u32) {
    ((product >> 32) as u32, product as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        // Lines `philox4x32 10` of Random123's tests/kat_vectors: counter, key, answer.
        let known = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, answer) in known {
            assert_eq!(philox(counter, key), answer);
        }
    }

    #[test]
    fn seed_purpose_epoch_and_step_each_choose_another_stream() {
        let first = |seed, purpose, epoch, step| {
            let mut stream = draw(seed, purpose, epoch, step);
            [stream.word(), stream.word(), stream.word(), stream.word(), stream.word()]
        };
        let base = first(1, Purpose::Crop, 2, 3);
        assert_eq!(base, first(1, Purpose::Crop, 2, 3));
        let others = [
            first(2, Purpose::Crop, 2, 3),
            first(1 + (1 << 32), Purpose::Crop, 2, 3),
            first(1, Purpose::Flip, 2, 3),
            first(1, Purpose::Crop, 3, 3),
            first(1, Purpose::Crop, 2, 4),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn every_order_of_four_is_about_as_frequent() {
        let mut counts = std::collections::BTreeMap::new();
        for step in 0..24_000 {
            *counts.entry(draw(5, Purpose::Shuffle, 1, step).permutation(4)).or_insert(0_u32) += 1;
        }
        // 1,000 expected of each; the binomial deviation is 31.
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|count| (845..1155).contains(count)), "{counts:?}");
    }

    #[test]
    fn normal_numbers_have_the_moments_of_the_normal_distribution() {
        let numbers = draw(3, Purpose::Initialisation, 0, 0).normals(100_001);
        let moment = |power| numbers.iter().map(|x: &f64| x.powi(power)).sum::<f64>() / 100_001.0;
        assert_eq!(numbers.len(), 100_001);
        assert!(moment(1).abs() < 0.015, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.025, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.2, "{}", moment(4));
    }

    proptest! {
        #[test]
        fn a_permutation_has_every_number_once(seed: u64, count in 0_u32..300) {
            let mut order = draw(seed, Purpose::Shuffle, 1, 0).permutation(count);
            order.sort_unstable();
            prop_assert_eq!(order, (0..i64::from(count)).collect::<Vec<_>>());
        }

        #[test]
        fn a_bounded_number_is_below_its_bound(seed: u64, bound in 1_u32..) {
            prop_assert!(draw(seed, Purpose::Crop, 1, 0).below(bound) < bound);
        }
    }
}
