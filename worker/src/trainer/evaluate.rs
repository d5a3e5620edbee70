//! Accuracy and features of a network on a whole split, in evaluation mode.

use tch::{Kind, Tensor};

use super::data::Images;
use super::model::{Mode, ResNet};

/// Images that are looked at together. A constant, because sums in libtorch may depend on it.
const BATCH: usize = 256;

/// What a network makes of a split.
#[derive(Debug)]
pub struct Evaluation {
    /// Percent of images whose label has the highest logit.
    pub top1: f64,
    /// Percent of images whose label is among the five highest logits; only with more than five classes.
    pub top5: Option<f64>,
    /// `[N, D]`.
    pub features: Tensor,
}

/// Evaluates `network` on all of `images`; waits for the device once, at the end.
#[must_use]
pub fn evaluate(network: &ResNet, images: &Images, kind: Kind) -> Evaluation {
    let _guard = tch::no_grad_guard();
    let (mut features, mut top1, mut top5) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..images.count).step_by(BATCH) {
        let batch = images.plain_batch(first..images.count.min(first + BATCH), kind);
        let x = network.features(&batch.images, Mode::Evaluate); // [B, D]
        let logits = network.head.forward(&x); // [B, C]
        top1.push(hits(&logits, &batch.labels, 1));
        if logits.size()[1] > 5 {
            top5.push(hits(&logits, &batch.labels, 5));
        }
        features.push(x);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2⁵³")]
    let percent = |hits: &[Tensor]| {
        let total = Tensor::stack(hits, 0).sum(Kind::Int64).int64_value(&[]);
        100.0 * total as f64 / images.count as f64
    };
    Evaluation {
        top1: percent(&top1),
        top5: (!top5.is_empty()).then(|| percent(&top5)),
        features: Tensor::cat(&features, 0),
    }
}

/// How many of `labels` `[B]` are among the `k` highest of `logits` `[B, C]`; i64 scalar.
fn hits(logits: &Tensor, labels: &Tensor, k: i64) -> Tensor {
    let (_, highest) = logits.topk(k, 1, true, true); // [B, k]
    highest.eq_tensor(&labels.unsqueeze(1)).sum(Kind::Int64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_a_label_among_the_highest() {
        let logits = Tensor::from_slice(&[0.1, 0.9, 0.5, 0.7, 0.2, 0.3]).view([2, 3]);
        let labels = Tensor::from_slice(&[2_i64, 0]);
        assert_eq!(hits(&logits, &labels, 1).int64_value(&[]), 1);
        assert_eq!(hits(&logits, &labels, 2).int64_value(&[]), 2);
    }
}
