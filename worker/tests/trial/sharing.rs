//! What planning counts on: trials that `recipe::stretches` says are trained in the same way up to an epoch have the same bits
//! up to there, whatever comes after it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sweep::recipe::schema::complete;
use sweep::recipe::{Recipe, Stretch, first_difference, stretches};
use sweep_worker::trainer::record::weights_hash;

use crate::training::{comparable, data, fresh, go_on};

fn trial(written: &Value) -> (Recipe, Vec<Stretch>) {
    let parameters = complete(&serde_json::from_value(written.clone()).unwrap()).unwrap();
    let recipe = Recipe::try_from(&parameters).unwrap();
    let stretches = stretches(&parameters, &recipe);
    (recipe, stretches)
}

/// Trials of six epochs with a little of everything in them.
fn bases() -> Vec<Value> {
    let base = json!({"dataset": "synthetic", "width": 2, "epochs": 6, "batch_size": 20, "lr": 0.05, "lr_steps": [4, 5],
                      "eval_every": 2, "device": "cpu"});
    let with = |changes: Value| {
        let mut changed = base.clone();
        changed.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        changed
    };
    vec![
        base.clone(),
        with(json!({"lp": true})),
        with(json!({"method": "kd", "method_start": 1, "method_every": 2, "loss_weight": 0.5})),
        with(
            json!({"method": "kd", "teacher": "ema", "ema_ratio": 0.5, "method_start": 2, "method_every": 1,
                    "loss_weight": 0.5, "optimizer_at_start": "reset"}),
        ),
        with(
            json!({"method": "kd", "method_start": 2, "method_every": 1, "loss_weight": 0.5, "eval_weights": "average",
                    "ema_ratio": 0.3}),
        ),
        with(
            json!({"method": "mask", "method_start": 1, "method_every": 2, "loss_weight": 0.5, "mask_ratio": 0.5,
                    "mask_mode": "s", "inv_mode": "v2", "cls_only": true}),
        ),
    ]
}

#[test]
fn trials_that_plan_the_same_epochs_have_the_same_bits_after_them() {
    let changes = [
        json!({"lr_steps": [4]}),
        json!({"lr_steps": [3, 5]}),
        json!({"lr_gamma": 0.5}),
        json!({"epochs": 5}),
        json!({"epochs": 8}),
        json!({"eval_every": 4}),
        json!({"lp": true, "lp_lr_mult": [0.5, 2]}),
        json!({"method_start": 3}),
        json!({"method_every": 3}),
        json!({"loss_weight": 0.25, "temperature": 4}),
        json!({"ema_ratio": 0.9}),
        json!({"optimizer_at_start": "keep"}),
        json!({"method": "ce"}),
        json!({"mask_ratio": 0.25}),
        json!({"mask_mode": "a"}),
    ];
    let data = data();
    let mut compared = 0;
    for base in bases() {
        let (one, its_stretches) = trial(&base);
        // What the base has come to after so many epochs, since most changes act after the same ones.
        let mut ends = BTreeMap::new();
        for change in &changes {
            let mut written = base.clone();
            written.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let (other, other_stretches) = trial(&written);
            let differs =
                |epochs: &u32| first_difference(&its_stretches, &other_stretches, *epochs).is_some();
            let last = one.epochs.min(other.epochs);
            let shared = (1..=last).find(differs).map_or(last, |epoch| epoch - 1);
            if shared == 0 {
                continue;
            }
            let end_of = |recipe: &Recipe| {
                let (state, reports) = go_on(recipe, &data, fresh(recipe), shared).unwrap();
                (weights_hash(&state), comparable(&reports))
            };
            let expected = ends.entry(shared).or_insert_with(|| end_of(&one));
            assert_eq!(end_of(&other), *expected, "{written} shares {shared} epochs with {base}");
            compared += 1;
        }
    }
    assert!(compared > 60, "only {compared} pairs share anything");
}
