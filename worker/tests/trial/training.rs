//! The training loop on images in memory.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use sweep::recipe::{
    AuxLoss, Device as Wish, Distillation, InverseMode, MaskMode, Masking, Method, PairwiseLoss, Recipe,
};
use sweep::vocabulary::{FailureReason, Metrics};
use sweep_worker::trainer::data::{Data, Splits};
use sweep_worker::trainer::record::weights_hash;
use sweep_worker::trainer::train::KIND;
use sweep_worker::trainer::{Job, State, TrainError, train};
use tch::Device;

use crate::dataset::{CLASSES, Synthetic};

fn data() -> Data {
    let [train, test, dim] = [(60, 0), (30, 1), (20, 2)].map(|(count, seed)| Synthetic::new(count, seed));
    let extra = vec![("dim".to_owned(), dim.split())];
    let splits = Splits { classes: CLASSES, train: train.split(), test: test.split(), extra };
    Data::load(splits, Device::Cpu).unwrap()
}

fn recipe(method: Method) -> Recipe {
    Recipe {
        dataset: "synthetic".to_owned(),
        eval_sets: None,
        width: 2,
        depth: 18,
        epochs: 4,
        batch_size: 16,
        lr: 0.05,
        lr_steps: vec![3],
        lr_gamma: 0.1,
        momentum: 0.9,
        weight_decay: 1e-4,
        eval_every: 2,
        device: Wish::Cpu,
        threads: 1,
        method,
    }
}

/// The method starts after epoch 2.
fn distillation(weight: f64) -> Distillation {
    let loss = AuxLoss { pairwise: PairwiseLoss::Kd { temperature: 2.0 }, softmax_first: false };
    Distillation { start: 1, every: 1, loss, weight, ce_weight: 1.0 }
}

fn masking(mode: MaskMode) -> Masking {
    Masking { ratio: 0.5, mode, inverse: InverseMode::AddToStudent }
}

type Reports = BTreeMap<u32, Metrics>;

fn go_on(
    recipe: &Recipe,
    data: &Data,
    state: State,
    epochs: RangeInclusive<u32>,
) -> Result<(State, Reports), TrainError> {
    tch::set_num_threads(1);
    let mut reports = Reports::new();
    let job = Job { recipe, seed: 3, epochs, data };
    let state = train(&job, state, &mut |epoch, metrics| {
        reports.insert(epoch, metrics);
        Ok(())
    })?;
    Ok((state, reports))
}

fn fresh(recipe: &Recipe) -> State {
    State::fresh(recipe, 3, CLASSES as i64, KIND, Device::Cpu).unwrap()
}

fn run(recipe: &Recipe) -> Result<(State, Reports), TrainError> {
    go_on(recipe, &data(), fresh(recipe), 1..=recipe.epochs)
}

fn names(metrics: &Metrics) -> Vec<&str> {
    metrics.keys().map(String::as_str).collect()
}

#[test]
fn reports_have_the_metrics_of_their_epoch() {
    let (state, reports) =
        run(&recipe(Method::Mask(distillation(0.5), masking(MaskMode::TrainedScalar)))).unwrap();
    let always = ["ce_loss", "images_per_second", "lr", "seconds", "train_loss"];
    assert_eq!(names(&reports[&1]), always);
    let evaluated = [
        "ce_loss",
        "dim_top1",
        "images_per_second",
        "lr",
        "rankme",
        "rankme_batch",
        "seconds",
        "top1",
        "top5",
        "train_loss",
    ];
    assert_eq!(names(&reports[&2]), evaluated);
    assert!(reports[&3].contains_key("aux_loss") && reports[&4].contains_key("aux_loss"));
    assert_eq!(reports.len(), 4);
    assert_eq!(reports[&3]["lr"], 0.05);
    assert!((reports[&4]["lr"] - 0.005).abs() < 1e-15);
    assert!(reports.values().flat_map(Metrics::values).all(|value| value.is_finite()));
    assert_ne!(state.token.unwrap().double_value(&[]), 0.0, "a trained token moves");
}

#[test]
fn the_total_is_the_weighted_sum_of_its_parts() {
    let (_, reports) =
        run(&recipe(Method::Kd(Distillation { ce_weight: 2.0, ..distillation(0.5) }))).unwrap();
    assert_eq!(reports[&2]["train_loss"], reports[&2]["ce_loss"]);
    let expected = 2.0 * reports[&3]["ce_loss"] + 0.5 * reports[&3]["aux_loss"];
    assert!((reports[&3]["train_loss"] - expected).abs() < 1e-5);
}

#[test]
fn brightness_is_learned() {
    let (_, reports) = run(&Recipe { epochs: 12, lr_steps: vec![10], ..recipe(Method::Ce) }).unwrap();
    let [first, last] = [&reports[&2], &reports[&12]];
    assert!(last["train_loss"] < 0.8 * reports[&1]["train_loss"], "{reports:?}");
    assert!(last["top1"] > 40.0 && last["top5"] >= last["top1"], "{first:?} {last:?}");
}

#[test]
fn a_method_whose_loss_counts_nothing_sees_the_same_images_as_cross_entropy_alone() {
    let student = |method| {
        let mut state = run(&recipe(method)).unwrap().0;
        state.token = None;
        weights_hash(&state)
    };
    let ce = student(Method::Ce);
    assert_eq!(student(Method::Kd(distillation(0.0))), ce);
    assert_eq!(student(Method::Mask(distillation(0.0), masking(MaskMode::ConstantScalar))), ce);
    assert_ne!(student(Method::Kd(distillation(0.5))), ce);
}

#[test]
fn training_in_two_jobs_gives_the_bits_of_one() {
    let recipe = recipe(Method::Mask(distillation(0.5), masking(MaskMode::TrainedScalar)));
    let (whole, reports) = run(&recipe).unwrap();
    let data = data();
    for cut in 1..recipe.epochs {
        let (state, _) = go_on(&recipe, &data, fresh(&recipe), 1..=cut).unwrap();
        let (state, later) = go_on(&recipe, &data, state, cut + 1..=recipe.epochs).unwrap();
        assert_eq!(weights_hash(&state), weights_hash(&whole), "cut after {cut}");
        let without_times = |reports: &Reports| {
            let mut metrics = reports[&4].clone();
            metrics.retain(|name, _| !sweep::vocabulary::VOLATILE_METRICS.contains(&name.as_str()));
            metrics
        };
        assert_eq!(without_times(&later), without_times(&reports));
    }
}

#[test]
fn a_loss_that_explodes_ends_the_job_at_its_epoch() {
    let error = run(&Recipe { lr: 1e30, ..recipe(Method::Ce) }).unwrap_err();
    assert_eq!(error.reason(), FailureReason::Nan);
    assert!(error.to_string().contains("training loss of epoch 1 "), "{error}");
}

#[test]
fn a_job_that_cannot_be_run_is_refused_before_its_first_step() {
    let refusal = |recipe: &Recipe, epochs| {
        let error = go_on(recipe, &data(), fresh(recipe), epochs).unwrap_err();
        assert_eq!(error.reason(), FailureReason::BadConfig);
        error.to_string()
    };
    let large = Recipe { batch_size: 61, ..recipe(Method::Ce) };
    assert_eq!(
        refusal(&large, 1..=4),
        "`batch_size` is `61`, but dataset `synthetic` has 60 training images; take at most that many"
    );
    assert_eq!(
        refusal(&recipe(Method::Ce), 2..=4),
        "the job starts at epoch 2, but the state is that after 0"
    );
    assert_eq!(refusal(&recipe(Method::Ce), 1..=5), "the job ends at epoch 5; that is not within 1 to 4");
}
