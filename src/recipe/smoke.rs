//! The smallest trial that runs the same code as another one.
//!
//! Words and flags choose code and stay. Numbers choose none, but for those at which something is left out (0, and a
//! parameter's default), so all others become one. Time is drawn together: every event that the trial has (warm-up, milestones, an
//! average that is evaluated, the reference's first and second event, epochs with and without evaluation) comes within a few
//! epochs, in its order, and at least one whole epoch follows the last. So two trials run the same code where these forms of
//! theirs are equal.

use serde_json::{Value, json};

use super::schema::{Kind, Parameter, Preset, Problems, canonical, find};
use super::{EvalWeights, LrSchedule, Recipe, TeacherEvent};
use crate::vocabulary::Parameters;

/// The dataset of such trials: a few images that come with the program.
pub const DATASET: &str = "cifar10-smoke";

/// How many networks teach where others do: their logits are averaged.
pub const TEACHERS: usize = 2;

/// An epoch of [`DATASET`]'s 80 images has two whole batches and a part of one, as most epochs have.
const BATCH_SIZE: u32 = 32;

/// With stages of 8, 16, 32 and 64 channels.
const WIDTH: u32 = 8;
const HIDDEN_WIDTH: u32 = 8;

/// The smallest trial that runs the same code as one with these parameters. The result is canonical; networks that teach
/// have names that mean nothing.
///
/// # Errors
/// When the parameters are not canonical.
pub fn smoke(parameters: &Parameters) -> Result<Parameters, Problems> {
    let mut smoke = parameters.clone();
    // Files that teach need not have been looked at.
    if let Some(teachers) = smoke.get_mut("teachers") {
        *teachers = (0..TEACHERS).map(|n| n.to_string().repeat(64)).collect();
    }
    let recipe = Recipe::try_from(&smoke)?;
    for (name, value) in &mut smoke {
        if let Some(parameter) = find(name) {
            *value = reduced(parameter, value);
        }
    }
    for (name, value) in machine(parameters).into_iter().chain(timeline(&recipe)) {
        // What has no effect in the trial has none here.
        if let Some(place) = smoke.get_mut(name) {
            *place = value;
        }
    }
    Ok(canonical(&smoke))
}

/// A value that runs the same code, the same one for all that do.
fn reduced(parameter: &Parameter, value: &Value) -> Value {
    match (&parameter.kind, value) {
        (Kind::Number(..), Value::Number(number)) => number_like(parameter, number.as_f64()),
        (Kind::Integer { least, most }, _) => {
            value.as_i64().map_or_else(|| value.clone(), |number| number.clamp(*least, 2).min(*most).into())
        }
        (Kind::List { of: Kind::Integer { .. }, .. }, Value::Array(items)) => {
            items.iter().map(|_| json!(HIDDEN_WIDTH)).collect()
        }
        (Kind::Set { of: Kind::Number(..), .. }, Value::Array(items)) => {
            json!([0.5, 1.0][..items.len().min(2)])
        }
        _ => value.clone(),
    }
}

fn number_like(parameter: &Parameter, number: Option<f64>) -> Value {
    let default = match parameter.default {
        Preset::Number(default) => Some(default),
        _ => None,
    };
    match number {
        Some(0.0) => json!(0.0),
        number if number == default => json!(default),
        // Half lies in every parameter's range.
        _ => json!(default.filter(|default| *default != 0.0 && *default != 1.0).unwrap_or(0.5)),
    }
}

/// What says where and on what it runs.
fn machine(parameters: &Parameters) -> Vec<(&'static str, Value)> {
    let device = if parameters.get("device").is_some_and(|word| word == "cpu") { "cpu" } else { "auto" };
    vec![
        ("dataset", json!(DATASET)),
        ("width", json!(WIDTH)),
        ("batch_size", json!(BATCH_SIZE)),
        ("threads", json!(1)),
        ("device", json!(device)),
        ("checkpoint_every", json!(1)),
    ]
}

/// What says when something happens.
fn timeline(recipe: &Recipe) -> Vec<(&'static str, Value)> {
    let happens =
        |wanted| (1..=recipe.epochs).any(|epoch| recipe.teacher_event_before(epoch) == Some(wanted));
    let (start, every, epochs) = match recipe.self_teaching() {
        // One with the events or none, the one before, and the last.
        None => (0, 1, 3),
        Some(teaching) => {
            // An average that is evaluated begins with the epoch `method_start`, otherwise only the event counts.
            let start = match teaching.eval_weights {
                EvalWeights::Average { .. } => teaching.start.min(2),
                EvalWeights::Student => 2,
            };
            // The first event is after the epoch behind `start`, the second one after the next, or never.
            let every = if happens(TeacherEvent::Replace) { 1 } else { start + 1 };
            (start, every, 5)
        }
    };
    let mut steps = vec![1, epochs - 1];
    if let LrSchedule::MultiStep { steps: written, .. } = &recipe.lr_schedule {
        steps.truncate(written.len());
    }
    vec![
        ("method_start", json!(start)),
        ("method_every", json!(every)),
        ("epochs", json!(epochs)),
        ("lr_steps", json!(steps)),
        ("warmup_epochs", json!(recipe.warmup_epochs.min(1))),
        ("eval_every", json!(recipe.eval_every.min(2))),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::schema::complete;
    use super::super::stretches;
    use super::*;

    fn parameters(written: Value) -> Parameters {
        complete(&serde_json::from_value(written).unwrap()).unwrap()
    }

    /// What of an epoch chooses code: which effective parameters there are, and all of their values but numbers.
    fn choices(parameters: &Parameters) -> BTreeSet<(String, String)> {
        let recipe = Recipe::try_from(parameters).unwrap();
        let stretches = stretches(parameters, &recipe);
        let effective = stretches.iter().flat_map(|stretch| &stretch.effective);
        let shown = |value: &Value| match value {
            Value::Number(_) => "number".to_owned(),
            Value::Array(items) => format!("{} of them", items.len().min(2)),
            other => other.to_string(),
        };
        effective.map(|(name, value)| (name.clone(), shown(value))).collect()
    }

    fn with(base: &Value, changes: Value) -> Value {
        let mut changed = base.clone();
        changed.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        changed
    }

    fn kd() -> Value {
        json!({"method": "kd", "method_start": 25, "method_every": 5, "loss_weight": 7, "eval_every": 5})
    }

    fn mask() -> Value {
        with(
            &kd(),
            json!({"method": "mask", "mask_ratio": 0.01, "mask_mode": "a", "inv_mode": "v2", "mask_multi": 8}),
        )
    }

    fn varied() -> Vec<Value> {
        vec![
            json!({}),
            json!({"epochs": 200, "lr_steps": [100, 150], "eval_every": 7, "lp": true, "lp_lr_mult": [1, 3, 10]}),
            json!({"lr_schedule": "cosine", "warmup_epochs": 5, "stem": "7x7", "pool": "gem", "gem_p": 7}),
            json!({"head_hidden": [512, 64], "head_bn": true, "head_dropout": 0.3, "momentum": 0, "depth": 34}),
            kd(),
            with(&kd(), json!({"method_every": 30})),
            with(&kd(), json!({"teacher": "anne", "ema_ratio": 0.01, "optimizer_at_start": "reset"})),
            with(&kd(), json!({"eval_weights": "average", "ema_ratio": 0.2, "teacher_bn": "batch"})),
            with(&kd(), json!({"eval_weights": "average", "ema_ratio": 0.2, "method_start": 0})),
            with(&kd(), json!({"cls_only": true, "cls_only_grad": true, "aux_loss": "cs_softmax"})),
            mask(),
            with(&mask(), json!({"method_start": 1, "method_every": 1, "ce_weight": 2, "teacher": "sto"})),
            json!({"method": "kd", "teacher": "checkpoint", "teachers": ["5".repeat(64)], "loss_weight": 0.9}),
        ]
    }

    #[test]
    fn it_runs_all_the_code_of_the_trial_and_is_a_trial() {
        for written in varied() {
            let full = parameters(written.clone());
            let small = smoke(&full).unwrap();
            assert_eq!(complete(&small).unwrap(), small, "{written}");
            let expected =
                choices(&full).into_iter().filter(|(name, _)| name != "dataset" && name != "teachers");
            let found = choices(&small);
            let missing: Vec<_> = expected.filter(|choice| !found.contains(choice)).collect();
            assert!(missing.is_empty(), "{written}: {missing:?}");
            // Nothing that the trial doesn't do is asked for either: what it fails by, the trial would.
            let events = |parameters: &Parameters| -> BTreeSet<_> {
                let choices = choices(parameters);
                choices.into_iter().filter(|(name, _)| name == "teacher_event").collect()
            };
            assert_eq!(events(&full), events(&small), "{written}");
        }
    }

    #[test]
    fn the_reference_is_followed_by_two_epochs_and_every_epoch_has_two_steps() {
        const IMAGES: u32 = 80;
        assert!(IMAGES > 2 * BATCH_SIZE && !IMAGES.is_multiple_of(BATCH_SIZE));
        for written in varied() {
            let recipe = Recipe::try_from(&smoke(&parameters(written.clone())).unwrap()).unwrap();
            let first = recipe.self_teaching().map_or(0, |teaching| teaching.first_event());
            assert!(first + 2 <= recipe.epochs && recipe.epochs <= 5, "{written}: {first}");
            assert!((1..=recipe.epochs).any(|epoch| !recipe.evaluates_after(epoch)), "{written}");
        }
    }

    #[test]
    fn numbers_choose_no_code_and_words_do() {
        let form = |written: Value| smoke(&parameters(written)).unwrap();
        let same = |base: &Value, changes: Value| form(base.clone()) == form(with(base, changes));
        for changes in [
            json!({"loss_weight": 0.1}),
            json!({"method_start": 1}),
            json!({"lr_steps": [10, 45]}),
            json!({"width": 16, "epochs": 70, "batch_size": 256, "lr": 0.2, "dataset": "cifar100"}),
        ] {
            assert!(same(&kd(), changes.clone()), "{changes}");
        }
        for changes in [
            json!({"teacher": "sto"}),
            json!({"aux_loss": "l2"}),
            json!({"cls_only": true}),
            json!({"optimizer_at_start": "reset"}),
            json!({"teacher_bn": "batch"}),
            json!({"method_every": 30}),
            json!({"stem": "5x5"}),
            json!({"pool": "avg2x2"}),
            json!({"head_hidden": [4]}),
            json!({"head_lr_mult": 0.1}),
            json!({"weight_decay": 0}),
            json!({"precision": "bf16"}),
            json!({"lp": true}),
            json!({"lr_schedule": "cosine"}),
            json!({"warmup_epochs": 9}),
            json!({"ce_weight": 0.5}),
            json!({"loss_weight": 0}),
        ] {
            assert!(!same(&kd(), changes.clone()), "{changes}");
        }
        for changes in [json!({"mask_mode": "s"}), json!({"inv_mode": "v1"}), json!({"mask_multi": 1})] {
            assert!(!same(&mask(), changes.clone()), "{changes}");
        }
    }
}
