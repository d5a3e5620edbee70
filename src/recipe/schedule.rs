//! Learning rates and teacher events by epoch. Epochs are counted from 1.

use super::{Distillation, Method, Recipe};

impl Recipe {
    /// Learning rate during `epoch`: `lr` × `lr_gamma` for every step that lies before it (METHOD.md §2).
    #[must_use]
    pub fn learning_rate(&self, epoch: u32) -> f64 {
        let steps_taken = self.lr_steps.iter().filter(|&&step| epoch > step).count();
        self.lr * self.lr_gamma.powi(i32::try_from(steps_taken).unwrap_or(i32::MAX))
    }

    /// Whether the test set is evaluated at the end of `epoch`.
    #[must_use]
    pub fn evaluates_after(&self, epoch: u32) -> bool {
        epoch.is_multiple_of(self.eval_every) || epoch == self.epochs
    }

    /// Whether the reference model is taken from the student at the beginning of `epoch`, that is from the weights
    /// after `epoch − 1`.
    #[must_use]
    pub fn takes_reference_before(&self, epoch: u32) -> bool {
        let (Method::Kd(distillation) | Method::Mask(distillation, _)) = &self.method else {
            return false;
        };
        epoch > 1 && distillation.takes_reference_after(epoch - 1) && epoch <= self.epochs
    }
}

impl Distillation {
    /// METHOD.md §3: after epoch e, when e > `start` and e mod `every` = 0. (That e < epochs is the caller's.)
    fn takes_reference_after(&self, epoch: u32) -> bool {
        epoch > self.start && epoch.is_multiple_of(self.every)
    }
}
