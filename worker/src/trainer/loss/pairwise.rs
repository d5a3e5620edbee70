//! Losses between two sets of logits (METHOD.md §4). Gradients flow into both arguments: whoever holds a reference
//! model hands over logits that have no gradient.

use sweep::recipe::{AuxLoss, PairwiseLoss};
use tch::Tensor;

/// The auxiliary loss that `loss` describes. `student`, `target`: `[N, C]`. Returns a scalar.
pub fn pairwise(loss: AuxLoss, student: &Tensor, target: &Tensor) -> Tensor {
    let apply = |student: &Tensor, target: &Tensor| match loss.pairwise {
        PairwiseLoss::Kd { temperature } => kd(student, target, temperature),
        PairwiseLoss::L2 => l2(student, target),
        PairwiseLoss::Cosine => cosine(student, target),
    };
    if loss.softmax_first {
        apply(&student.softmax(-1, student.kind()), &target.softmax(-1, target.kind()))
    } else {
        apply(student, target)
    }
}

/// Distillation −(1/N) Σᵢ Σ_c softmax(t/τ) · log softmax(s/τ).
/// Deviation from Hinton et al. 2015 (arXiv 1503.02531) §2: no factor τ², as in the study; the target's entropy,
/// which is constant in s, stays in.
pub fn kd(student: &Tensor, target: &Tensor, tau: f64) -> Tensor {
    let kind = student.kind();
    let log_s = (student / tau).log_softmax(-1, kind); // [N, C]
    let t = (target / tau).softmax(-1, kind); // [N, C]
    -(t * log_s).sum_dim_intlist(-1, false, kind).mean(kind)
}

/// Mean over all N·C entries of (s − t)².
pub fn l2(student: &Tensor, target: &Tensor) -> Tensor {
    (student - target).square().mean(student.kind())
}

/// −(1/N) Σᵢ cos(sᵢ, tᵢ), norms floored at 1e-12.
pub fn cosine(student: &Tensor, target: &Tensor) -> Tensor {
    const SMALLEST_NORM: f64 = 1e-12;
    let unit = |x: &Tensor| x / x.norm_scalaropt_dim(2, [-1], true).clamp_min(SMALLEST_NORM); // [N, C]
    let kind = student.kind();
    -(unit(student) * unit(target)).sum_dim_intlist(-1, false, kind).mean(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Tensor {
        Tensor::from_slice(&[1.0, -2.0, 0.5, 3.0, 0.0, -1.0]).view([2, 3])
    }

    #[test]
    fn kd_of_equal_logits_is_the_entropy_of_the_target() {
        let p = (logits() / 2.0).softmax(-1, tch::Kind::Double);
        let entropy = -(&p * p.log()).sum(tch::Kind::Double).double_value(&[]) / 2.0;
        assert!((kd(&logits(), &logits(), 2.0).double_value(&[]) - entropy).abs() < 1e-12);
    }

    #[test]
    fn equal_logits_have_no_distance_and_cosine_one() {
        assert_eq!(l2(&logits(), &logits()).double_value(&[]), 0.0);
        assert!((cosine(&logits(), &logits()).double_value(&[]) + 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_cosine_of_zero_logits_is_zero_and_has_a_finite_gradient() {
        let zero = Tensor::zeros([2, 3], (tch::Kind::Double, tch::Device::Cpu)).set_requires_grad(true);
        let loss = cosine(&zero, &logits());
        loss.backward();
        assert_eq!(loss.double_value(&[]), 0.0);
        assert_eq!(zero.grad().isfinite().all().int64_value(&[]), 1);
    }
}
