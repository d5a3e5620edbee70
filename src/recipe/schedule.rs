//! What happens in which epoch: learning rates, teacher events, evaluations, checkpoints. Epochs are counted from 1.

use super::{
    Averaging, EvalWeights, LrSchedule, Method, OptimizerAtStart, Recipe, SelfTeaching, Teacher,
    TeacherUpdate,
};

impl Recipe {
    /// Learning rate during `epoch` (METHOD.md §2): the schedule's, or the initial one where the method's start has
    /// rebuilt the optimizer (§3).
    #[must_use]
    pub fn learning_rate(&self, epoch: u32) -> f64 {
        let is_rebuilt = self.self_teaching().is_some_and(|teaching| {
            teaching.optimizer_at_start == OptimizerAtStart::Reset && epoch > teaching.first_event()
        });
        if is_rebuilt { self.lr } else { self.scheduled_rate(epoch) }
    }

    /// Warm-up in its w epochs: e/(w+1), so that the first epoch after it has the full rate. Then multi-step: `gamma`
    /// for every step that lies before `epoch`; cosine: ½(1 + cos πt) with t from 0 towards 1 over the epochs that the
    /// warm-up leaves (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts).
    fn scheduled_rate(&self, epoch: u32) -> f64 {
        let warmup = self.warmup_epochs;
        if epoch <= warmup {
            return self.lr * (f64::from(epoch) / f64::from(warmup + 1));
        }
        match &self.lr_schedule {
            LrSchedule::Constant => self.lr,
            LrSchedule::MultiStep { steps, gamma } => {
                // One product after the other, as PyTorch's MultiStepLR does: `powi` may round differently from host
                // to host.
                let steps_taken = steps.iter().filter(|&&step| epoch > step);
                steps_taken.fold(self.lr, |rate, _| rate * gamma)
            }
            LrSchedule::Cosine => {
                let t = f64::from(epoch - 1 - warmup) / f64::from(self.epochs - warmup);
                // Not the standard library's cosine: that is the C library's, whose last bit differs between hosts.
                self.lr * (0.5 * (1.0 + libm::cos(std::f64::consts::PI * t)))
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

    /// How the reference moves towards the student after every step; `None` where it doesn't.
    #[must_use]
    pub fn averaging(&self) -> Option<Averaging> {
        match self.self_teaching()?.update {
            TeacherUpdate::Average(averaging) => Some(averaging),
            TeacherUpdate::Replace => None,
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
            TeacherUpdate::Replace if happens => Some(TeacherEvent::Replace),
            TeacherUpdate::Replace | TeacherUpdate::Average(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::vocabulary::Parameters;

    fn recipe(parameters: Value) -> Recipe {
        let parameters: Parameters = serde_json::from_value(parameters).unwrap();
        Recipe::try_from(&parameters).unwrap()
    }

    /// What `kd` needs, with these epochs of the method, and `more`.
    fn kd(start: u32, every: u32, epochs: u32, more: Value) -> Recipe {
        let mut parameters = json!({"method": "kd", "loss_weight": 1, "method_start": start,
            "method_every": every, "epochs": epochs});
        let Value::Object(more) = more else { panic!("not a map") };
        parameters.as_object_mut().unwrap().extend(more);
        recipe(parameters)
    }

    /// The rates of all epochs, equal neighbours once, each with its last epoch.
    fn rates(recipe: &Recipe) -> Vec<(u32, f64)> {
        let mut rates: Vec<(u32, f64)> = Vec::new();
        for epoch in 1..=recipe.epochs {
            let rate = recipe.learning_rate(epoch);
            match rates.last_mut() {
                Some((last, same)) if *same == rate => *last = epoch,
                _ => rates.push((epoch, rate)),
            }
        }
        rates
    }

    /// Epochs after which a reference is taken.
    fn events(recipe: &Recipe) -> Vec<u32> {
        (1..=recipe.epochs + 1)
            .filter(|epoch| recipe.teacher_event_before(*epoch).is_some())
            .map(|epoch| epoch - 1)
            .collect()
    }

    // As PyTorch has them: 0.1 · 0.1 and 0.1 · 0.1 · 0.1 in double precision.
    const HUNDREDTH: f64 = 0.010000000000000002;
    const THOUSANDTH: f64 = 0.0010000000000000002;

    #[test]
    fn steps_act_in_the_epoch_after_them() {
        for (epochs, steps) in [(50, [25, 35]), (70, [35, 50]), (200, [100, 150])] {
            let recipe = recipe(json!({"epochs": epochs, "lr_steps": steps}));
            let expected = [(steps[0], 0.1), (steps[1], HUNDREDTH), (epochs, THOUSANDTH)];
            assert_eq!(rates(&recipe), expected);
        }
    }

    #[test]
    fn each_step_multiplies_what_the_one_before_left() {
        let recipe = recipe(json!({"lr_steps": [25, 35, 45], "lr_gamma": 0.2}));
        assert_eq!(recipe.learning_rate(50), 0.1 * 0.2 * 0.2 * 0.2);
    }

    #[test]
    fn a_rebuilt_optimizer_keeps_the_initial_rate_from_the_start_on() {
        let reset = json!({"optimizer_at_start": "reset"});
        let as_run_kd = kd(25, 5, 50, reset.clone());
        assert_eq!(rates(&as_run_kd), [(25, 0.1), (30, HUNDREDTH), (50, 0.1)]);
        let as_run_mask = kd(25, 1, 50, reset);
        assert_eq!(rates(&as_run_mask), [(25, 0.1), (26, HUNDREDTH), (50, 0.1)]);
        let as_described = kd(25, 5, 50, json!({}));
        assert_eq!(rates(&as_described), [(25, 0.1), (35, HUNDREDTH), (50, THOUSANDTH)]);
    }

    #[test]
    fn a_warm_up_rises_in_equal_parts_and_the_schedule_follows() {
        let warm = recipe(json!({"epochs": 6, "warmup_epochs": 3, "lr": 0.4, "lr_schedule": "constant"}));
        let rates: Vec<_> = (1..=6).map(|epoch| warm.learning_rate(epoch)).collect();
        assert_eq!(rates, [0.1, 0.2, 0.4 * 0.75, 0.4, 0.4, 0.4]);
        // Steps are epochs of training, not of what the warm-up leaves.
        let stepped = recipe(json!({"epochs": 6, "warmup_epochs": 3, "lr": 0.4, "lr_steps": [4]}));
        assert_eq!((stepped.learning_rate(4), stepped.learning_rate(5)), (0.4, 0.4 * 0.1));
    }

    #[test]
    fn a_cosine_falls_from_the_full_rate_to_almost_nothing() {
        let cosine = |warmup: u32| {
            recipe(json!({"epochs": 10 + warmup, "warmup_epochs": warmup, "lr": 2, "lr_schedule": "cosine"}))
        };
        for warmup in [0, 4] {
            let recipe = cosine(warmup);
            let rate = |epoch: u32| recipe.learning_rate(epoch + warmup);
            assert_eq!(rate(1), 2.0);
            // The middle: half the rate, and the other half is lost between the same epochs on either side.
            assert!((rate(6) - 1.0).abs() < 1e-15 && (rate(4) + rate(8) - 2.0).abs() < 1e-15);
            // 1 + cos(0.9 π) by hand.
            assert!((rate(10) - 0.048_943_483_704_846_43).abs() < 1e-15);
            assert!((2..=10).all(|epoch| rate(epoch) < rate(epoch - 1)));
        }
    }

    #[test]
    fn references_are_taken_after_the_epochs_of_the_study() {
        for (start, every, epochs, expected) in [
            (25, 5, 50, (30..50).step_by(5).collect::<Vec<_>>()),
            (25, 1, 50, (26..50).collect()),
            (24, 5, 50, (25..50).step_by(5).collect()),
            (1, 5, 50, (5..50).step_by(5).collect()),
            (1, 1, 50, (2..50).collect()),
            (0, 1, 3, vec![1, 2]),
            (30, 5, 50, vec![35, 40, 45]),
            (35, 5, 70, (40..70).step_by(5).collect()),
            (25, 10, 50, vec![30, 40]),
            (100, 5, 200, (105..200).step_by(5).collect()),
        ] {
            let recipe = kd(start, every, epochs, json!({}));
            assert_eq!(events(&recipe), expected, "{start} {every} {epochs}");
            let first = expected[0];
            assert_eq!(recipe.teacher_event_before(first + 1), Some(TeacherEvent::Start));
            if let Some(second) = expected.get(1) {
                assert_eq!(recipe.teacher_event_before(second + 1), Some(TeacherEvent::Replace));
            }
        }
    }

    #[test]
    fn an_average_starts_once_and_is_never_replaced() {
        for teacher in ["ema", "anne", "sto"] {
            let recipe = kd(25, 5, 50, json!({"teacher": teacher, "ema_ratio": 0.5}));
            assert_eq!(events(&recipe), [30]);
            assert_eq!(recipe.teacher_event_before(31), Some(TeacherEvent::Start));
        }
    }

    #[test]
    fn other_networks_teach_from_the_first_epoch_on() {
        let recipe = recipe(json!({"method": "kd", "teacher": "checkpoint", "teachers": ["5".repeat(64)],
            "loss_weight": 1}));
        assert_eq!(events(&recipe), [0]);
        assert_eq!(recipe.teacher_event_before(1), Some(TeacherEvent::Start));
    }

    #[test]
    fn the_average_that_is_evaluated_begins_with_the_epoch_of_the_start() {
        let shadow = json!({"eval_weights": "average", "ema_ratio": 0.5});
        let recipe = kd(25, 5, 50, shadow.clone());
        assert_eq!((recipe.shadow_ratio_in(24), recipe.shadow_ratio_in(25)), (None, Some(0.5)));
        assert_eq!(kd(0, 1, 3, shadow).shadow_ratio_in(1), Some(0.5));
        assert_eq!(kd(25, 5, 50, json!({})).shadow_ratio_in(40), None);
    }

    #[test]
    fn evaluations_probes_and_checkpoints_come_at_their_epochs_and_at_the_end() {
        let recipe = recipe(json!({"epochs": 7, "eval_every": 3, "lp": true, "checkpoint_every": 2}));
        let epochs = |is_due: &dyn Fn(u32) -> bool| (1..=7).filter(|e| is_due(*e)).collect::<Vec<_>>();
        assert_eq!(epochs(&|epoch| recipe.evaluates_after(epoch)), [3, 6, 7]);
        assert_eq!(epochs(&|epoch| recipe.trains_probes_in(epoch)), [3, 6, 7]);
        assert_eq!(epochs(&|epoch| recipe.writes_checkpoint_after(epoch)), [2, 4, 6, 7]);
    }
}
