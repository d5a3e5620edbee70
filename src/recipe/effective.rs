//! What can influence an epoch, and the names of the states that follow from it (DESIGN.md §5).
//!
//! The effective configuration of an epoch holds what the epoch is computed from and nothing else: its learning rate in
//! the place of the schedule behind it, the teacher event that it begins with in the place of `method_start` and
//! `method_every`, and of a method nothing before the method has started. Trials whose effective configurations agree up to
//! an epoch are in the same state after it.

use serde::Serialize;

use super::schema::{canonical, identifying};
use super::{NUMERICS_VERSION, OptimizerAtStart, Recipe, Teacher, TeacherEvent};
use crate::vocabulary::{Parameters, StateHash};

/// Parameters in whose place an epoch has values derived from them, or which say when something happens.
const DERIVED: &[&str] = &[
    "epochs",
    "eval_every",
    "eval_weights",
    "lp",
    "lp_lr_mult",
    "lr",
    "lr_gamma",
    "lr_schedule",
    "lr_steps",
    "method_every",
    "method_start",
    "optimizer_at_start",
    "warmup_epochs",
];

/// Neighbouring epochs with one effective configuration, up to `last_epoch`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    pub last_epoch: u32,
    pub effective: Parameters,
}

impl Stretch {
    /// Names the effective configuration.
    #[must_use]
    pub fn hash(&self) -> StateHash {
        hash_of(&self.effective)
    }
}

/// All epochs of a trial. `recipe` is made from the `canonical` parameters.
#[must_use]
pub fn stretches(canonical: &Parameters, recipe: &Recipe) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut before = None;
    for epoch in 1..=recipe.epochs {
        let derived = Derived::of(recipe, epoch);
        match stretches.last_mut() {
            Some(last) if before.as_ref() == Some(&derived) => last.last_epoch = epoch,
            _ => stretches.push(Stretch { last_epoch: epoch, effective: derived.beside(canonical, recipe) }),
        }
        before = Some(derived);
    }
    stretches
}

/// The state before a trial's first epoch.
#[must_use]
pub fn initial_state(seed: u64, dataset_checksum: &str) -> StateHash {
    #[derive(Serialize)]
    struct Start<'a> {
        trainer: &'static str,
        numerics_version: u32,
        seed: u64,
        dataset_checksum: &'a str,
    }
    hash_of(&Start { trainer: "resnet", numerics_version: NUMERICS_VERSION, seed, dataset_checksum })
}

/// The first of `epochs` epochs that two trials don't train in the same way, with the name of what differs.
#[must_use]
pub fn first_difference(one: &[Stretch], other: &[Stretch], epochs: u32) -> Option<(u32, String)> {
    let in_epoch = |stretches: &[Stretch], epoch| {
        let stretch = stretches.iter().find(|stretch| epoch <= stretch.last_epoch);
        stretch.map(|stretch| stretch.effective.clone()).unwrap_or_default()
    };
    (1..=epochs).find_map(|epoch| {
        let (one, other) = (in_epoch(one, epoch), in_epoch(other, epoch));
        let name = one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name)).min()?;
        Some((epoch, name.clone()))
    })
}

fn hash_of(value: &impl Serialize) -> StateHash {
    StateHash::of(&serde_json::to_vec(value).expect("maps have text keys and numbers are finite"))
}

/// What an epoch has in the place of [`DERIVED`].
#[derive(Debug, PartialEq)]
struct Derived {
    lr: f64,
    /// Whether there is a reference model, and so an auxiliary loss.
    is_taught: bool,
    event: Option<TeacherEvent>,
    resets_optimizer: bool,
    shadow_ratio: Option<f64>,
    evaluates: bool,
}

impl Derived {
    fn of(recipe: &Recipe, epoch: u32) -> Derived {
        let event = recipe.teacher_event_before(epoch);
        let at_start = recipe.self_teaching().map(|teaching| teaching.optimizer_at_start);
        Derived {
            lr: recipe.learning_rate(epoch),
            is_taught: match recipe.teacher() {
                None => false,
                Some(Teacher::Checkpoints(_)) => true,
                Some(Teacher::Student(teaching)) => epoch > teaching.first_event(),
            },
            event,
            resets_optimizer: event == Some(TeacherEvent::Start) && at_start == Some(OptimizerAtStart::Reset),
            shadow_ratio: recipe.shadow_ratio_in(epoch),
            evaluates: recipe.evaluates_after(epoch),
        }
    }

    /// The effective configuration: these values beside the other parameters that count.
    fn beside(&self, parameters: &Parameters, recipe: &Recipe) -> Parameters {
        let mut effective = parameters.clone();
        if !self.is_taught {
            // Without a method nothing that belongs to one has an effect, and so it is left out.
            effective.insert("method".to_owned(), "ce".into());
            effective = canonical(&effective);
        }
        effective = identifying(&effective);
        effective.retain(|name, _| !DERIVED.contains(&name.as_str()));
        let mut put = |name: &str, value: serde_json::Value| effective.insert(name.to_owned(), value);
        put("lr", self.lr.into());
        if let Some(event) = self.event {
            let event = match event {
                TeacherEvent::Start => "start",
                TeacherEvent::Replace => "replace",
            };
            put("teacher_event", event.into());
        }
        if self.resets_optimizer {
            put("optimizer", "reset".into());
        }
        if let Some(ratio) = self.shadow_ratio {
            put("shadow_ratio", ratio.into());
        }
        if self.evaluates {
            put("evaluates", true.into());
            if !recipe.probes.is_empty() {
                put("lp_lr_mult", recipe.probes.clone().into());
            }
        }
        effective
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::schema::{PARAMETERS, complete};
    use super::*;

    fn parameters(written: Value) -> Parameters {
        complete(&serde_json::from_value(written).unwrap()).unwrap()
    }

    /// States after each epoch.
    fn states(written: Value) -> Vec<StateHash> {
        let parameters = parameters(written);
        let recipe = Recipe::try_from(&parameters).unwrap();
        let stretches = stretches(&parameters, &recipe);
        let (mut state, mut states) = (initial_state(0, "checksum"), Vec::new());
        for stretch in &stretches {
            for _ in states.len()..stretch.last_epoch as usize {
                state = state.then(stretch.hash());
                states.push(state);
            }
        }
        states
    }

    /// How many epochs two trials have in common.
    fn shared(one: Value, other: Value) -> usize {
        let (one, other) = (states(one), states(other));
        one.iter().zip(&other).take_while(|(a, b)| a == b).count()
    }

    fn with(base: &Value, changes: Value) -> Value {
        let mut changed = base.clone();
        changed.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        changed
    }

    fn ema() -> Value {
        json!({"method": "kd", "teacher": "ema", "method_start": 25, "method_every": 5, "loss_weight": 1,
               "ema_ratio": 0.5, "eval_every": 5})
    }

    #[test]
    fn a_method_has_no_effect_before_its_first_reference() {
        assert_eq!(shared(ema(), json!({"eval_every": 5})), 30);
        assert_eq!(shared(ema(), with(&ema(), json!({"ema_ratio": 0.1, "loss_weight": 0.5}))), 30);
        assert_eq!(shared(ema(), with(&ema(), json!({"method_start": 31}))), 30);
    }

    #[test]
    fn it_is_the_event_that_counts_and_not_how_it_was_written() {
        // 24 and 25 with steps of 5 give a first event after epochs 25 and 30.
        assert_eq!(shared(ema(), with(&ema(), json!({"method_start": 27}))), 50);
        assert_eq!(shared(ema(), with(&ema(), json!({"method_start": 29, "method_every": 30}))), 50);
        let frozen = json!({"method": "kd", "method_start": 25, "method_every": 5, "loss_weight": 1});
        assert_eq!(shared(frozen.clone(), with(&frozen, json!({"method_every": 10}))), 35);
    }

    #[test]
    fn a_milestone_has_no_effect_before_it_comes() {
        assert_eq!(shared(json!({"lr_steps": [25, 35]}), json!({"lr_steps": [25, 40]})), 35);
        assert_eq!(shared(json!({"lr_steps": [25]}), json!({"lr_steps": [25], "lr_gamma": 0.2})), 25);
        assert_eq!(shared(json!({"lr_schedule": "cosine"}), json!({"lr_steps": []})), 1);
    }

    #[test]
    fn the_number_of_epochs_has_an_effect_where_the_schedule_has_one() {
        assert_eq!(shared(json!({}), json!({"epochs": 70})), 50);
        // The last epoch is evaluated whatever its number.
        assert_eq!(shared(json!({"epochs": 48}), json!({})), 47);
        let cosine = json!({"lr_schedule": "cosine"});
        assert_eq!(shared(cosine.clone(), with(&cosine, json!({"epochs": 51}))), 1);
    }

    #[test]
    fn what_changes_reports_only_forks_where_it_first_changes_one() {
        assert_eq!(shared(json!({"eval_every": 5}), json!({"eval_every": 7})), 4);
        assert_eq!(shared(json!({"eval_every": 5}), json!({"eval_every": 5, "lp": true})), 4);
    }

    #[test]
    fn an_optimizer_that_is_reset_and_an_average_that_is_evaluated_count_from_where_they_act() {
        assert_eq!(shared(ema(), with(&ema(), json!({"optimizer_at_start": "reset"}))), 30);
        // The average is updated from the epoch `method_start` on, before there is a reference.
        assert_eq!(shared(ema(), with(&ema(), json!({"eval_weights": "average"}))), 24);
    }

    #[test]
    fn a_difference_is_named_with_its_epoch() {
        let of = |written: Value| {
            let parameters = parameters(written);
            let recipe = Recipe::try_from(&parameters).unwrap();
            stretches(&parameters, &recipe)
        };
        let (one, other) = (of(ema()), of(with(&ema(), json!({"loss_weight": 2}))));
        assert_eq!(first_difference(&one, &other, 30), None);
        assert_eq!(first_difference(&one, &other, 31), Some((31, "loss_weight".to_owned())));
        let (short, long) = (of(json!({"epochs": 50})), of(json!({"epochs": 70})));
        assert_eq!(first_difference(&short, &long, 50), None);
        assert!(first_difference(&short, &long, 51).is_some());
    }

    #[test]
    fn another_seed_or_dataset_is_another_state_from_the_beginning() {
        assert_ne!(initial_state(0, "a"), initial_state(1, "a"));
        assert_ne!(initial_state(0, "a"), initial_state(0, "b"));
    }

    #[test]
    fn every_parameter_that_changes_results_changes_a_state() {
        let base = json!({"method": "mask", "teacher": "frozen", "method_start": 1, "method_every": 2, "loss_weight": 1,
            "mask_ratio": 0.5, "mask_mode": "s", "inv_mode": "v1", "lp": true, "head_hidden": [8], "pool": "gem",
            "lr_steps": [10], "epochs": 20});
        let others: Value = serde_json::from_str(
            r#"{"dataset": "d", "eval_sets": ["shifted"], "width": 8, "stem": "5x5", "depth": 34, "pool": "avg",
            "gem_p": 2, "head_hidden": [9], "head_dropout": 0.5, "head_bn": true, "epochs": 21, "batch_size": 64,
            "lr": 0.2, "lr_schedule": "cosine", "lr_steps": [11], "lr_gamma": 0.5, "warmup_epochs": 1,
            "momentum": 0.5, "weight_decay": 0, "head_lr_mult": 2, "backbone_lr_mult": 2, "eval_every": 3, "lp": false,
            "lp_lr_mult": [2], "device": "cuda", "precision": "bf16", "threads": 2, "method": "kd", "teacher": "sto",
            "method_start": 3, "method_every": 3, "cls_only": true, "aux_loss": "l2", "loss_weight": 2, "ce_weight": 0.5,
            "temperature": 3, "mask_ratio": 0.25, "mask_mode": "a", "inv_mode": "v2", "mask_multi": 2,
            "optimizer_at_start": "reset", "teacher_bn": "batch"}"#,
        )
        .unwrap();
        // Only one word there is, or tested by a case of their own.
        let elsewhere = [
            "arch",
            "head_activation",
            "deterministic",
            "ema_ratio",
            "eval_weights",
            "cls_only_grad",
            "teachers",
        ];
        for parameter in PARAMETERS.iter().filter(|parameter| parameter.changes_results) {
            if elsewhere.contains(&parameter.name) {
                continue;
            }
            let mut changed = with(&base, json!({parameter.name: others[parameter.name]}));
            changed.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            assert_ne!(states(base.clone()).last(), states(changed).last(), "{}", parameter.name);
        }
        let head = with(&base, json!({"cls_only": true}));
        assert_ne!(states(head.clone()).last(), states(with(&head, json!({"cls_only_grad": true}))).last());
        let gpu = json!({"device": "cuda"});
        assert_eq!(shared(gpu.clone(), with(&gpu, json!({"deterministic": true}))), 0);
        let taught = |hash: &str| {
            json!({"method": "kd", "teacher": "checkpoint", "teachers": [hash.repeat(64)],
            "loss_weight": 1})
        };
        assert_eq!(shared(taught("a"), taught("b")), 0);
    }
}
