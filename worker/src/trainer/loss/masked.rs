use sweep::recipe::{AuxLoss, InverseMode};
use tch::Tensor;

use super::pairwise;
use crate::trainer::mask::{Mask, Token};

/// Auxiliary loss of masked features (METHOD.md §5): with s_m = W·masked + b and z = W·inverse + b,
/// `none`: aux(s_m, t); `v1`: aux(s_m + z, t); `v2`: aux(s_m, t − z).
///
/// `head` is what makes logits of features, `masked` and `inverse`; `features` `[N, D]`, `target` `[N, C]`. Gradients reach
/// features, head and token through s_m, and whatever the target depends on; z is a constant. With M ≥ 2 `masks` the masked
/// features are stacked along the batch and the mean over all of them is divided once more by M, as the study does. Returns
/// a scalar.
///
/// # Panics
/// Without a mask.
pub fn masked(
    loss: AuxLoss,
    inverse: InverseMode,
    head: &dyn Fn(&Tensor, Side) -> Tensor,
    features: &Tensor,
    target: &Tensor,
    masks: &[Mask],
    token: &Token,
) -> Tensor {
    assert!(!masks.is_empty(), "masked features need a mask");
    let stack = |each: &dyn Fn(&Mask) -> Tensor| match masks {
        [single] => each(single),
        several => Tensor::cat(&several.iter().map(each).collect::<Vec<_>>(), 0),
    };
    let student = head(&stack(&|mask| mask.masked(features, token)), Side::Masked); // [M·N, C]
    let inverse_logits = || {
        let _guard = tch::no_grad_guard();
        head(&stack(&|mask| mask.inverse(features, token)), Side::Inverse) // [M·N, C]
    };
    let count = i64::try_from(masks.len()).expect("there are few masks");
    let target = if count == 1 { target.shallow_clone() } else { target.repeat([count, 1]) }; // [M·N, C]
    let value = match inverse {
        InverseMode::Unused => pairwise(loss, &student, &target),
        InverseMode::AddToStudent => pairwise(loss, &(student + inverse_logits()), &target),
        InverseMode::TakeFromTarget => pairwise(loss, &student, &(target - inverse_logits())),
    };
    if count == 1 { value } else { value / count }
}

/// Which features a head is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Masked,
    Inverse,
}
