//! Masks of features (METHOD.md §5): per sample some channels are removed, and a token stands in their place.

use tch::{Device, Kind, Tensor};

use super::random::{Purpose, Step};

/// Which channels of which samples are removed.
#[derive(Debug)]
pub struct Mask {
    /// bool `[N, D]`, true where removed.
    removed: Tensor,
}

/// How many of `width` channels are removed at `ratio`: trunc(D·r) in double arithmetic.
#[must_use]
pub fn removed_count(width: i64, ratio: f64) -> i64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "widths are far below 2⁵³"
    )]
    let removed = (width as f64 * ratio) as i64;
    removed
}

impl Mask {
    /// The mask of one training step: uniformly random channels of each of `samples` samples.
    #[must_use]
    pub fn draw(at: Step, samples: i64, width: i64, ratio: f64, device: Device) -> Mask {
        Mask::from_permutation(&draw_permutations(at, samples, width, device), removed_count(width, ratio))
    }

    /// Removes the last `removed` channels of each row of `permutation`, i64 `[N, D]`.
    #[must_use]
    pub fn from_permutation(permutation: &Tensor, removed: i64) -> Mask {
        let (samples, width) = permutation.size2().expect("a permutation of channels for each sample");
        let places = permutation.narrow(1, width - removed, removed); // [N, removed]
        let none = Tensor::zeros([samples, width], (Kind::Bool, permutation.device()));
        Mask { removed: none.scatter_value(1, &places, 1) }
    }

    /// `features` `[N, D]` with `token` (scalar) in the removed places.
    pub fn masked(&self, features: &Tensor, token: &Tensor) -> Tensor {
        token.where_self(&self.removed, features)
    }

    /// The complement: what the mask removes is kept, and `token` stands in all other places.
    pub fn inverse(&self, features: &Tensor, token: &Tensor) -> Tensor {
        features.where_self(&self.removed, token)
    }
}

/// A random order of `width` channels for each of `samples` samples, i64 `[N, D]`: what sorts drawn keys. The sort is
/// stable, so that equal keys (a chance of about D²/2³³ per sample) don't make the result depend on the device.
pub fn draw_permutations(at: Step, samples: i64, width: i64, device: Device) -> Tensor {
    let mut stream = at.draw(Purpose::Mask);
    // Any order of the 2³² words is as good as another, so their bits may be read as signed.
    let keys: Vec<i32> = (0..samples * width).map(|_| stream.word().cast_signed()).collect();
    Tensor::from_slice(&keys).view([samples, width]).to_device(device).argsort_stable(true, 1, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Step = Step { seed: 1, epoch: 2, step: 3 };

    #[test]
    fn a_mask_and_its_inverse_keep_each_channel_once() {
        let features = Tensor::arange_start(1, 61, (Kind::Double, Device::Cpu)).view([5, 12]);
        let zero = Tensor::from(0.0);
        let mask = Mask::draw(AT, 5, 12, 0.35, Device::Cpu);
        let (masked, inverse) = (mask.masked(&features, &zero), mask.inverse(&features, &zero));
        assert_eq!(&masked + &inverse, features);
        let kept = masked.not_equal(0.0).sum_dim_intlist(1, false, Kind::Int64);
        assert_eq!(Vec::<i64>::try_from(kept).unwrap(), [8; 5]);
    }

    #[test]
    fn every_channel_is_removed_about_as_often() {
        let mask = Mask::draw(AT, 4000, 8, 0.5, Device::Cpu);
        let counts = Vec::<i64>::try_from(mask.removed.sum_dim_intlist(0, false, Kind::Int64)).unwrap();
        // 2,000 expected of each; the binomial deviation is 32.
        assert!(counts.iter().all(|count| (1840..2160).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_ratio_that_removes_nothing_leaves_the_features() {
        let features = Tensor::ones([3, 12], (Kind::Double, Device::Cpu));
        let mask = Mask::draw(AT, 3, 12, 0.05, Device::Cpu);
        assert_eq!(mask.masked(&features, &Tensor::from(9.0)), features);
    }
}
