//! Spellings of the fixtures as values of a recipe; schedules.

use serde_json::Value;
use sweep::recipe::{AuxLoss, Device, Distillation, InverseMode, Method, PairwiseLoss, Recipe};

use crate::fixtures::{cases, load, numbers};

pub(crate) fn aux_loss(kind: &str, temperature: f64) -> AuxLoss {
    let (name, softmax_first) = kind.strip_suffix("_softmax").map_or((kind, false), |name| (name, true));
    let pairwise = match name {
        "kd" => PairwiseLoss::Kd { temperature },
        "l2" => PairwiseLoss::L2,
        "cs" => PairwiseLoss::Cosine,
        other => panic!("`{other}` is no pairwise loss"),
    };
    AuxLoss { pairwise, softmax_first }
}

pub(crate) fn inverse(value: &Value) -> InverseMode {
    match value.as_str() {
        None => InverseMode::Unused,
        Some("v1") => InverseMode::AddToStudent,
        Some("v2") => InverseMode::TakeFromTarget,
        Some(other) => panic!("`{other}` is no inverse mode"),
    }
}

/// Distillation with `weight` and `ce_weight` from the start given on.
pub(crate) fn distillation(loss: AuxLoss, weight: f64, ce_weight: f64) -> Distillation {
    Distillation { start: 25, every: 5, loss, weight, ce_weight }
}

fn study() -> Recipe {
    Recipe {
        dataset: "cifar10".to_owned(),
        eval_sets: None,
        width: 40,
        depth: 18,
        epochs: 50,
        batch_size: 128,
        lr: 0.1,
        lr_steps: vec![25, 35],
        lr_gamma: 0.1,
        momentum: 0.9,
        weight_decay: 1e-4,
        eval_every: 5,
        device: Device::Cpu,
        threads: 1,
        method: Method::Ce,
    }
}

fn integers(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|number| number as u32).collect()
}

#[test]
fn references_are_taken_after_the_epochs_of_the_study() {
    for case in load("schedules")["teacher_snapshots"].as_array().unwrap() {
        let [start, every, epochs] = ["start", "period", "max_epochs"].map(|name| integers(&case[name])[0]);
        let kd = Distillation { start, every, ..distillation(aux_loss("kd", 2.0), 1.0, 1.0) };
        let recipe = Recipe { epochs, method: Method::Kd(kd), ..study() };
        let taken: Vec<u32> = (1..=epochs + 1)
            .filter(|&epoch| recipe.takes_reference_before(epoch))
            .map(|epoch| epoch - 1)
            .collect();
        assert_eq!(taken, integers(&case["snapshots"]), "{case}");
    }
}

#[test]
fn cross_entropy_alone_takes_no_reference() {
    assert!(!(1..=50).any(|epoch| study().takes_reference_before(epoch)));
}

#[test]
fn learning_rates_are_those_of_the_study() {
    let fixture = load("schedules");
    let plain =
        fixture["learning_rates"].as_array().unwrap().iter().filter(|case| case["restart_at"].is_null());
    let mut compared = 0;
    for case in plain {
        let epochs = integers(&case["max_epochs"])[0];
        let recipe = Recipe { epochs, lr_steps: integers(&case["milestones"]), ..study() };
        let rates: Vec<f64> = (1..=epochs).map(|epoch| recipe.learning_rate(epoch)).collect();
        assert_eq!(rates, numbers(&case["rates"]));
        compared += 1;
    }
    assert_eq!(compared, 3);
}

#[test]
fn removed_channels_are_counted_as_in_the_study() {
    let masks = load("masks");
    for (width, counts) in masks["counts"].as_object().unwrap() {
        for (ratio, count) in counts.as_object().unwrap() {
            let (d, r) = (width.parse().unwrap(), ratio.parse().unwrap());
            let removed = sweep_worker::trainer::mask::removed_count(d, r);
            assert_eq!(removed, count.as_i64().unwrap(), "D = {width}, r = {ratio}");
        }
    }
    assert!(!cases(&masks).is_empty());
}
