//! Spellings of the fixtures as values of a recipe; schedules.

use serde_json::Value;
use sweep::recipe::{
    AuxLoss, Averaging, Device, Distillation, EvalWeights, Head, InverseMode, LrSchedule, MaskMode, Masking,
    Method, Network, OptimizerAtStart, PairwiseLoss, Pool, Precision, Recipe, SelfTeaching, Stem,
    TargetGradient, Teacher, TeacherBatchNorm, TeacherScope, TeacherUpdate, TokenMode,
};

use sweep_worker::trainer::model::{Named, Role};
use sweep_worker::trainer::reference;

use crate::fixtures::{assert_close, cases, load, numbers};

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

/// `sgd` and `agd` are other spellings of `sgf` and `agf`.
pub(crate) fn token_mode(name: &str) -> TokenMode {
    match name {
        "s" => TokenMode::TrainedScalar,
        "a" => TokenMode::TrainedVector,
        "sgf" | "sgd" => TokenMode::ConstantScalar,
        "agf" | "agd" => TokenMode::ConstantVector,
        other => panic!("`{other}` is no mode with a token"),
    }
}

pub(crate) fn masking(mode: &str, inverse: InverseMode, ratio: f64, masks: u32) -> Masking {
    Masking { ratio, mode: MaskMode::Token(token_mode(mode), inverse), masks }
}

pub(crate) fn averaging(mode: &str, momentum: f64) -> Averaging {
    match mode {
        "ema" => Averaging::Ema { ratio: momentum },
        "anne" => Averaging::Annealed { ratio: momentum },
        "sto" => Averaging::Plain,
        other => panic!("`{other}` is no average"),
    }
}

/// A reference that is a frozen copy of the whole student.
pub(crate) fn frozen() -> SelfTeaching {
    SelfTeaching {
        start: 25,
        every: 5,
        update: TeacherUpdate::Replace,
        scope: TeacherScope::Network(TeacherBatchNorm::Running),
        optimizer_at_start: OptimizerAtStart::Keep,
        eval_weights: EvalWeights::Student,
    }
}

/// The scope that a fixture's `cls_only` and `teacher_bn` describe.
pub(crate) fn scope(cls_only: &Value, teacher_bn: &str) -> TeacherScope {
    match cls_only.as_str() {
        None if teacher_bn == "batch" => TeacherScope::Network(TeacherBatchNorm::Batch),
        None => TeacherScope::Network(TeacherBatchNorm::Running),
        Some("in_graph") => TeacherScope::Head(TargetGradient::Flows),
        Some(_) => TeacherScope::Head(TargetGradient::Stopped),
    }
}

pub(crate) fn network(width: u32) -> Network {
    let head = Head::default();
    Network { depth: 18, width, stem: Stem::ThreeByThree, pool: Pool::Average, head }
}

pub(crate) fn study() -> Recipe {
    Recipe {
        dataset: "cifar10".to_owned(),
        eval_sets: None,
        network: network(40),
        epochs: 50,
        batch_size: 128,
        lr: 0.1,
        lr_schedule: LrSchedule::MultiStep { steps: vec![25, 35], gamma: 0.1 },
        warmup_epochs: 0,
        head_lr_mult: 1.0,
        backbone_lr_mult: 1.0,
        momentum: 0.9,
        weight_decay: 1e-4,
        eval_every: 5,
        probes: Vec::new(),
        checkpoint_every: 1,
        device: Device::Cpu,
        precision: Precision::Fp32,
        threads: 1,
        deterministic: false,
        method: Method::Ce,
    }
}

fn kd(teaching: SelfTeaching) -> Method {
    Method::Kd(Distillation {
        teacher: Teacher::Student(teaching),
        loss: aux_loss("kd", 2.0),
        weight: 1.0,
        ce_weight: 1.0,
    })
}

fn integers(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|number| number as u32).collect()
}

#[test]
fn references_are_taken_after_the_epochs_of_the_study() {
    for case in load("schedules")["teacher_snapshots"].as_array().unwrap() {
        let [start, every, epochs] = ["start", "period", "max_epochs"].map(|name| integers(&case[name])[0]);
        let recipe = Recipe { epochs, method: kd(SelfTeaching { start, every, ..frozen() }), ..study() };
        let taken: Vec<u32> = (1..=epochs + 1)
            .filter(|&epoch| recipe.teacher_event_before(epoch).is_some())
            .map(|epoch| epoch - 1)
            .collect();
        assert_eq!(taken, integers(&case["snapshots"]), "{case}");
    }
}

#[test]
fn cross_entropy_alone_takes_no_reference() {
    assert!(!(1..=50).any(|epoch| study().teacher_event_before(epoch).is_some()));
}

#[test]
fn learning_rates_are_those_of_the_study() {
    let fixture = load("schedules");
    let rates = fixture["learning_rates"].as_array().unwrap();
    for case in rates {
        let epochs = integers(&case["max_epochs"])[0];
        let lr_schedule = LrSchedule::MultiStep { steps: integers(&case["milestones"]), gamma: 0.1 };
        let mut recipe = Recipe { epochs, lr_schedule, ..study() };
        if let Some(restart) = case["restart_at"].as_u64() {
            let (start, every) = (restart as u32 - 1, 1);
            let optimizer_at_start = OptimizerAtStart::Reset;
            recipe.method = kd(SelfTeaching { start, every, optimizer_at_start, ..frozen() });
        }
        let rates: Vec<f64> = (1..=epochs).map(|epoch| recipe.learning_rate(epoch)).collect();
        assert_eq!(rates, numbers(&case["rates"]), "{case}");
    }
    let restarted = rates.iter().filter(|case| !case["restart_at"].is_null()).count();
    assert!(restarted >= 2 && rates.len() - restarted == 3, "{restarted} of {}", rates.len());
}

#[test]
fn averages_and_their_weights_agree() {
    let fixture = load("averaging");
    let source = numbers(&fixture["source"]);
    let width = source.len() / 6;
    for case in cases(&fixture) {
        let averaging = averaging(case["mode"].as_str().unwrap(), case["momentum"].as_f64().unwrap());
        for (kind, tolerance) in crate::fixtures::kinds(1e-9, 1e-5) {
            let named = |row: &[f64]| {
                let tensor = tch::Tensor::from_slice(row).to_kind(kind);
                [Named { name: "w".to_owned(), role: Role::Parameter, tensor }]
            };
            let average_of = named(&source[..width]);
            for (update, row) in (0..).zip(source[width..].chunks(width)) {
                let weight = reference::weight(averaging, update);
                let expected = case["weights"][update as usize].as_f64().unwrap();
                assert!((weight - expected).abs() < 1e-15, "{case} {update}");
                reference::average(&average_of, &named(row), weight);
                let what = format!("{} after update {update} in {kind:?}", case["mode"]);
                let expected = &case["values"][update as usize];
                assert_close(&what, &average_of[0].tensor, expected, tolerance);
            }
        }
    }
    assert_eq!(cases(&fixture).len(), 6);
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
