//! The reference model ("teacher"): an earlier state of the student, to which the student is drawn (METHOD.md §3).

use tch::Tensor;

use super::model::{Mode, ResNet};

/// A network that is not trained, in evaluation mode.
#[derive(Debug)]
pub struct Reference {
    pub network: ResNet,
}

impl Reference {
    /// Basic swap and freeze: the student as it is now, backbone and head.
    #[must_use]
    pub fn take(student: &ResNet) -> Reference {
        Reference { network: student.frozen_copy() }
    }

    /// Images `[N, 3, H, W]` → logits `[N, C]`, without gradient.
    pub fn logits(&self, images: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        self.network.head.forward(&self.network.features(images, Mode::Evaluate))
    }
}
