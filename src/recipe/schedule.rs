//! What happens in which epoch: learning rates, teacher events, evaluations, checkpoints. Epochs are counted from 1.

use super::{EvalWeights, LrSchedule, Method, OptimizerAtStart, Recipe, SelfTeaching, Teacher};

impl Recipe {
    /// Learning rate during `epoch` (METHOD.md §2): the schedule's, or the initial one where the method's start has
    /// rebuilt the optimizer (§3).
    #[must_use]
    pub fn learning_rate(&self, epoch: u32) -> f64 {
        let is_rebuilt = self.self_teaching().is_some_and(|teaching| {
            teaching.optimizer_at_start == OptimizerAtStart::Reset && epoch > teaching.first_event()
        });
        if is_rebuilt { self.lr } else { self.lr * self.lr_factor(epoch) }
    }

    /// Warm-up in its w epochs: e/(w+1), so that the first epoch after it has the full rate. Then multi-step: `gamma`
    /// for every step that lies before `epoch`; cosine: ½(1 + cos πt) with t from 0 towards 1 over the epochs that the
    /// warm-up leaves (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts).
    fn lr_factor(&self, epoch: u32) -> f64 {
        let warmup = self.warmup_epochs;
        if epoch <= warmup {
            return f64::from(epoch) / f64::from(warmup + 1);
        }
        match &self.lr_schedule {
            LrSchedule::Constant => 1.0,
            LrSchedule::MultiStep { steps, gamma } => {
                let steps_taken = steps.iter().filter(|&&step| epoch > step).count();
                gamma.powi(i32::try_from(steps_taken).unwrap_or(i32::MAX))
            }
            LrSchedule::Cosine => {
                let t = f64::from(epoch - 1 - warmup) / f64::from(self.epochs - warmup);
                // Not the standard library's cosine: that is the C library's, whose last bit differs between hosts.
                0.5 * (1.0 + libm::cos(std::f64::consts::PI * t))
            }
        }
    }

    /// Whether the test set is evaluated at the end of `epoch`.
    #[must_use]
    pub fn evaluates_after(&self, epoch: u32) -> bool {
        epoch.is_multiple_of(self.eval_every) || epoch == self.epochs
    }

    /// Whether linear probes are trained during `epoch`: before each evaluation.
    #[must_use]
    pub fn trains_probes_in(&self, epoch: u32) -> bool {
        !self.probes.is_empty() && self.evaluates_after(epoch)
    }

    /// Whether a checkpoint is due at the end of `epoch`, which may be the last of a job.
    #[must_use]
    pub fn writes_checkpoint_after(&self, epoch: u32) -> bool {
        epoch.is_multiple_of(self.checkpoint_every) || epoch == self.epochs
    }

    /// What happens to the reference model at the beginning of `epoch`, that is to the weights after `epoch − 1`.
    #[must_use]
    pub fn teacher_event_before(&self, epoch: u32) -> Option<TeacherEvent> {
        match self.teacher()? {
            Teacher::Checkpoints(_) => (epoch == 1).then_some(TeacherEvent::Start),
            Teacher::Student(teaching) => teaching.event_before(epoch, self.epochs),
        }
    }

    /// Weight of the new value in the shadow average of the student that is updated during `epoch` and evaluated after
    /// it; `None` where there is none (METHOD.md §3, `eval_weights`).
    #[must_use]
    pub fn shadow_ratio_in(&self, epoch: u32) -> Option<f64> {
        let teaching = self.self_teaching()?;
        match teaching.eval_weights {
            EvalWeights::Average { ratio } if epoch >= teaching.start => Some(ratio),
            EvalWeights::Average { .. } | EvalWeights::Student => None,
        }
    }

    /// Where the reference model comes from, where the method has one.
    #[must_use]
    pub fn teacher(&self) -> Option<&Teacher> {
        match &self.method {
            Method::Ce => None,
            Method::Kd(distillation) | Method::Mask(distillation, _) => Some(&distillation.teacher),
        }
    }

    /// The reference that is taken from the student, where the method has one.
    #[must_use]
    pub fn self_teaching(&self) -> Option<&SelfTeaching> {
        match self.teacher()? {
            Teacher::Student(teaching) => Some(teaching),
            Teacher::Checkpoints(_) => None,
        }
    }
}

/// What a teacher event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeacherEvent {
    /// The method starts with a first reference.
    Start,
    /// The student takes the place of a frozen reference.
    Replace,
}

impl SelfTeaching {
    /// The epoch after which the method starts: the first one beyond `start` that `every` divides.
    #[must_use]
    pub fn first_event(&self) -> u32 {
        (self.start / self.every + 1) * self.every
    }

    /// METHOD.md §3: after epoch e, when e > `start`, e mod `every` = 0 and e < epochs. Averages are never replaced.
    fn event_before(&self, epoch: u32, epochs: u32) -> Option<TeacherEvent> {
        let after = epoch.checked_sub(1)?;
        let happens = after > self.start && after.is_multiple_of(self.every) && after < epochs;
        match self.update {
            _ if happens && after == self.first_event() => Some(TeacherEvent::Start),
            super::TeacherUpdate::Replace if happens => Some(TeacherEvent::Replace),
            super::TeacherUpdate::Replace | super::TeacherUpdate::Average(_) => None,
        }
    }
}
