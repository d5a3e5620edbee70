use sweep::recipe::{AuxLoss, InverseMode};
use tch::Tensor;

use super::pairwise;
use crate::trainer::mask::Mask;
use crate::trainer::model::Linear;

/// Auxiliary loss of masked features (METHOD.md §5): with s_m = W·masked + b and z = W·inverse + b,
/// `none`: aux(s_m, t); `v1`: aux(s_m + z, t); `v2`: aux(s_m, t − z).
///
/// `features` `[N, D]`, `target` `[N, C]`, `token` scalar. Gradients reach features, head and token through s_m only:
/// z is a constant. Returns a scalar.
pub fn masked(
    loss: AuxLoss,
    inverse: InverseMode,
    head: &Linear,
    features: &Tensor,
    target: &Tensor,
    mask: &Mask,
    token: &Tensor,
) -> Tensor {
    let student = head.forward(&mask.masked(features, token)); // [N, C]
    let inverse_logits = || {
        let _guard = tch::no_grad_guard();
        head.forward(&mask.inverse(features, token)) // [N, C]
    };
    match inverse {
        InverseMode::Unused => pairwise(loss, &student, target),
        InverseMode::AddToStudent => pairwise(loss, &(student + inverse_logits()), target),
        InverseMode::TakeFromTarget => pairwise(loss, &student, &(target - inverse_logits())),
    }
}
