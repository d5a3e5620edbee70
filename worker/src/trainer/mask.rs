//! Masks of features (METHOD.md §5): per sample some channels are removed, and a token stands in their place.

use sweep::recipe::{MaskMode, Masking, TokenMode};
use tch::{Device, Kind, Tensor};

use super::device::upload;
use super::model::ResNet;
use super::random::{Purpose, Step, Stream};

/// Which channels of which samples are removed.
#[derive(Debug)]
pub struct Mask {
    /// bool `[N, D]`, true where removed.
    removed: Tensor,
    survivors: Survivors,
}

/// What a mask knows beside the removed places.
#[derive(Debug)]
enum Survivors {
    /// i64 `[N, D]`: a random order of each sample's channels, the kept ones before the removed ones; with how many are
    /// removed. Only where a vector of tokens needs it.
    Ordered(Option<(Tensor, i64)>),
    /// They are divided by this.
    Scaled(f64),
}

/// What stands in the places that are not kept.
#[derive(Debug)]
pub enum Token {
    /// A scalar, in masked features and in their inverse.
    Scalar(Tensor),
    Vector {
        /// `[D − L]`: entry k stands in the k-th removed place of the masked features.
        removed: Tensor,
        /// `[L]`: entry k stands in the k-th kept place of the inverse.
        kept: Tensor,
    },
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
    /// Removes the last `removed` channels of each row of `permutation`, i64 `[N, D]`.
    #[must_use]
    pub fn from_permutation(permutation: &Tensor, removed: i64) -> Mask {
        let (samples, width) = permutation.size2().expect("a permutation of channels for each sample");
        let places = permutation.narrow(1, width - removed, removed); // [N, removed]
        let none = Tensor::zeros([samples, width], (Kind::Bool, permutation.device()));
        let removed_places = none.scatter_value(1, &places, 1); // [N, D]
        let order = Some((permutation.shallow_clone(), removed));
        Mask { removed: removed_places, survivors: Survivors::Ordered(order) }
    }

    /// Mode `d`: removes where `removed` (bool `[N, D]`) says so, which was drawn with probability `ratio`.
    #[must_use]
    pub fn dropout(removed: Tensor, ratio: f64) -> Mask {
        Mask { removed, survivors: Survivors::Scaled(1.0 - ratio) }
    }

    /// `features` `[N, D]` with `token` in the removed places.
    ///
    /// # Panics
    /// Where a vector of tokens meets a mask without an order.
    pub fn masked(&self, features: &Tensor, token: &Token) -> Tensor {
        match (&self.survivors, token) {
            (Survivors::Scaled(divisor), _) => (features / *divisor).masked_fill(&self.removed, 0.0),
            (Survivors::Ordered(_), Token::Scalar(token)) => token.where_self(&self.removed, features),
            (Survivors::Ordered(_), Token::Vector { removed: token, .. }) => {
                let (order, removed) = self.order();
                let places = order.narrow(1, order.size()[1] - removed, removed); // [N, D − L]
                features.scatter(1, &places, &rows_of(token, features))
            }
        }
    }

    /// The complement: what the mask removes is kept, and `token` stands in all other places.
    ///
    /// # Panics
    /// As [`Mask::masked`], and for mode `d`, which has no inverse.
    pub fn inverse(&self, features: &Tensor, token: &Token) -> Tensor {
        match (&self.survivors, token) {
            (Survivors::Scaled(_), _) => panic!("dropout has no inverse; a recipe can't ask for one"),
            (Survivors::Ordered(_), Token::Scalar(token)) => features.where_self(&self.removed, token),
            (Survivors::Ordered(_), Token::Vector { kept: token, .. }) => {
                let (order, removed) = self.order();
                let places = order.narrow(1, 0, order.size()[1] - removed); // [N, L]
                features.scatter(1, &places, &rows_of(token, features))
            }
        }
    }

    fn order(&self) -> (&Tensor, i64) {
        match &self.survivors {
            Survivors::Ordered(Some((order, removed))) => (order, *removed),
            Survivors::Ordered(None) | Survivors::Scaled(_) => {
                panic!("a mask for a vector of tokens is drawn with its order")
            }
        }
    }
}

/// `token` `[K]` once for each of the samples in `features` `[N, D]`: `[N, K]`.
fn rows_of(token: &Tensor, features: &Tensor) -> Tensor {
    token.unsqueeze(0).expand([features.size()[0], token.size()[0]], false)
}

impl Token {
    /// The token at the method's start, for `student`'s features.
    #[must_use]
    pub fn zeros_for(masking: &Masking, student: &ResNet) -> Token {
        let like = &student.tensors()[0].tensor;
        Token::zeros(masking, student.architecture().widths().features, like.kind(), like.device())
    }

    /// Zeros for features of `width` channels, with a gradient where the mode trains them.
    #[must_use]
    pub fn zeros(masking: &Masking, width: i64, kind: Kind, device: Device) -> Token {
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (kind, device));
        let scalar = |is_trained| Token::Scalar(zeros(&[]).set_requires_grad(is_trained));
        let vector = |is_trained| {
            let removed = removed_count(width, masking.ratio);
            Token::Vector {
                removed: zeros(&[removed]).set_requires_grad(is_trained),
                // The inverse is a constant, so no gradient reaches its token.
                kept: zeros(&[width - removed]),
            }
        };
        match masking.mode {
            MaskMode::Token(TokenMode::TrainedScalar, _) => scalar(true),
            MaskMode::Token(TokenMode::ConstantScalar, _) | MaskMode::Dropout => scalar(false),
            MaskMode::Token(TokenMode::TrainedVector, _) => vector(true),
            MaskMode::Token(TokenMode::ConstantVector, _) => vector(false),
        }
    }

    /// Every tensor with a name of its own.
    #[must_use]
    pub fn tensors(&self) -> Vec<(&str, &Tensor)> {
        match self {
            Token::Scalar(scalar) => vec![("masked", scalar)],
            Token::Vector { removed, kept } => vec![("masked", removed), ("inverse", kept)],
        }
    }

    /// What the optimizer changes.
    #[must_use]
    pub fn trained(&self) -> Option<&Tensor> {
        let (Token::Scalar(token) | Token::Vector { removed: token, .. }) = self;
        token.requires_grad().then_some(token)
    }
}

/// A mask of one step before it is on a device. Plain numbers, so that another thread can draw it.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnMask {
    /// `[N × D]`, row-major, true where removed.
    removed: Vec<bool>,
    /// `[N × D]`: see [`Mask::from_permutation`]; empty where no vector of tokens needs it.
    order: Vec<i64>,
}

/// The masks of one step, one after the other, for `samples` samples with `width` channels.
#[must_use]
pub fn draw_masks(at: Step, masking: &Masking, samples: usize, width: usize) -> Vec<DrawnMask> {
    let mut stream = at.draw(Purpose::Mask);
    (0..masking.masks).map(|_| draw_mask(&mut stream, masking, samples, width)).collect()
}

fn draw_mask(stream: &mut Stream, masking: &Masking, samples: usize, width: usize) -> DrawnMask {
    let keeps_order = match masking.mode {
        MaskMode::Dropout => {
            return DrawnMask { removed: stream.events(masking.ratio, samples * width), order: Vec::new() };
        }
        MaskMode::Token(mode, _) => {
            matches!(mode, TokenMode::TrainedVector | TokenMode::ConstantVector)
        }
    };
    let count = |number: usize| i64::try_from(number).expect("widths are far below 2⁶³");
    let kept = width - usize::try_from(removed_count(count(width), masking.ratio)).expect("a count");
    let mut removed = vec![false; samples * width];
    let mut order = Vec::new();
    for row in removed.chunks_mut(width) {
        let permutation = stream.permutation(u32::try_from(width).expect("widths are far below 2³²"));
        for &place in &permutation[kept..] {
            row[usize::try_from(place).expect("a place in a row")] = true;
        }
        if keeps_order {
            order.extend(permutation);
        }
    }
    DrawnMask { removed, order }
}

impl DrawnMask {
    /// The mask on `device`, for features of `width` channels.
    #[must_use]
    pub fn to_device(&self, masking: &Masking, width: i64, device: Device) -> Mask {
        let removed = upload(&Tensor::from_slice(&self.removed).view([-1, width]), device);
        if masking.mode == MaskMode::Dropout {
            return Mask::dropout(removed, masking.ratio);
        }
        let order = (!self.order.is_empty()).then(|| {
            let order = upload(&Tensor::from_slice(&self.order).view([-1, width]), device);
            (order, removed_count(width, masking.ratio))
        });
        Mask { removed, survivors: Survivors::Ordered(order) }
    }
}

#[cfg(test)]
mod tests {
    use sweep::recipe::InverseMode;

    use super::*;

    const AT: Step = Step { seed: 1, epoch: 2, step: 3 };

    fn masking(mode: TokenMode, ratio: f64) -> Masking {
        Masking { ratio, mode: MaskMode::Token(mode, InverseMode::Unused), masks: 1 }
    }

    fn draw(masking: &Masking, samples: usize, width: usize) -> Mask {
        draw_masks(AT, masking, samples, width)[0].to_device(masking, width as i64, Device::Cpu)
    }

    #[test]
    fn a_mask_and_its_inverse_keep_each_channel_once() {
        let features = Tensor::arange_start(1, 61, (Kind::Double, Device::Cpu)).view([5, 12]);
        for mode in [TokenMode::ConstantScalar, TokenMode::ConstantVector] {
            let masking = masking(mode, 0.35);
            let zero = Token::zeros(&masking, 12, Kind::Double, Device::Cpu);
            let mask = draw(&masking, 5, 12);
            let (masked, inverse) = (mask.masked(&features, &zero), mask.inverse(&features, &zero));
            assert_eq!(&masked + &inverse, features);
            let kept = masked.not_equal(0.0).sum_dim_intlist(1, false, Kind::Int64);
            assert_eq!(Vec::<i64>::try_from(kept).unwrap(), [8; 5]);
        }
    }

    #[test]
    fn scalar_and_vector_modes_remove_the_same_channels() {
        let [scalar, vector] = [TokenMode::TrainedScalar, TokenMode::TrainedVector]
            .map(|mode| draw_masks(AT, &masking(mode, 0.5), 6, 10).remove(0));
        assert_eq!(scalar.removed, vector.removed);
        assert!(scalar.order.is_empty());
        assert_eq!(vector.order.len(), 60);
    }

    #[test]
    fn every_channel_is_removed_about_as_often() {
        let dropout = Masking { ratio: 0.5, mode: MaskMode::Dropout, masks: 1 };
        for masking in [masking(TokenMode::ConstantScalar, 0.5), dropout] {
            let removed = draw(&masking, 4000, 8).removed;
            let counts = Vec::<i64>::try_from(removed.sum_dim_intlist(0, false, Kind::Int64)).unwrap();
            // 2,000 expected of each; the binomial deviation is 32.
            assert!(counts.iter().all(|count| (1840..2160).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn a_ratio_that_removes_nothing_leaves_the_features() {
        let features = Tensor::ones([3, 12], (Kind::Double, Device::Cpu));
        let mask = draw(&masking(TokenMode::ConstantScalar, 0.05), 3, 12);
        assert_eq!(mask.masked(&features, &Token::Scalar(Tensor::from(9.0))), features);
    }

    #[test]
    fn several_masks_of_one_step_differ_and_begin_with_the_single_one() {
        let single = masking(TokenMode::ConstantScalar, 0.5);
        let three = draw_masks(AT, &Masking { masks: 3, ..single }, 4, 16);
        assert_eq!(three.len(), 3);
        assert_eq!(three[0], draw_masks(AT, &single, 4, 16)[0]);
        assert_ne!(three[0], three[1]);
        assert_ne!(three[1], three[2]);
    }
}
