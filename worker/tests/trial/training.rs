//! The training loop on images in memory.

use std::cell::Cell;
use std::collections::BTreeMap;

use sweep::recipe::{
    AuxLoss, Averaging, Device as Wish, Distillation, EvalWeights, Head, InverseMode, LrSchedule, MaskMode,
    Masking, Method, Network, OptimizerAtStart, PairwiseLoss, Pool, Precision, Recipe, SelfTeaching, Stem,
    TargetGradient, Teacher, TeacherBatchNorm, TeacherScope, TeacherUpdate, TeacherWeights, TokenMode,
};
use sweep::vocabulary::{FailureReason, Metrics, is_volatile};
use sweep_worker::trainer::data::{Data, Splits};
use sweep_worker::trainer::record::weights_hash;
use sweep_worker::trainer::reference::Reference;
use sweep_worker::trainer::train::KIND;
use sweep_worker::trainer::{Ended, Job, Observer, State, TrainError, train};
use tch::Device;

use crate::dataset::{CLASSES, Synthetic};

pub(crate) fn data() -> Data {
    let [train, test, dim] = [(60, 0), (30, 1), (20, 2)].map(|(count, seed)| Synthetic::new(count, seed));
    let extra = vec![("dim".to_owned(), dim.split())];
    let splits = Splits { classes: CLASSES, train: train.split(), test: test.split(), extra };
    Data::load(splits, Device::Cpu).unwrap()
}

pub(crate) fn recipe(method: Method) -> Recipe {
    Recipe {
        dataset: "synthetic".to_owned(),
        eval_sets: None,
        network: Network {
            depth: 18,
            width: 2,
            stem: Stem::ThreeByThree,
            pool: Pool::Average,
            head: Head::default(),
        },
        epochs: 4,
        batch_size: 16,
        lr: 0.05,
        lr_schedule: LrSchedule::MultiStep { steps: vec![3], gamma: 0.1 },
        warmup_epochs: 0,
        head_lr_mult: 1.0,
        backbone_lr_mult: 1.0,
        momentum: 0.9,
        weight_decay: 1e-4,
        eval_every: 2,
        probes: Vec::new(),
        checkpoint_every: 1,
        device: Wish::Cpu,
        precision: Precision::Fp32,
        threads: 1,
        deterministic: false,
        method,
    }
}

/// The method starts after epoch 2.
pub(crate) fn teaching() -> SelfTeaching {
    SelfTeaching {
        start: 1,
        every: 1,
        update: TeacherUpdate::Replace,
        scope: TeacherScope::Network(TeacherBatchNorm::Running),
        optimizer_at_start: OptimizerAtStart::Keep,
        eval_weights: EvalWeights::Student,
    }
}

pub(crate) fn distillation(weight: f64) -> Distillation {
    taught_by(teaching(), weight)
}

pub(crate) fn taught_by(teaching: SelfTeaching, weight: f64) -> Distillation {
    let loss = AuxLoss { pairwise: PairwiseLoss::Kd { temperature: 2.0 }, softmax_first: false };
    Distillation { teacher: Teacher::Student(teaching), loss, weight, ce_weight: 1.0 }
}

pub(crate) fn masking(mode: TokenMode) -> Masking {
    Masking { ratio: 0.5, mode: MaskMode::Token(mode, InverseMode::AddToStudent), masks: 1 }
}

pub(crate) fn averaged(averaging: Averaging) -> SelfTeaching {
    SelfTeaching { update: TeacherUpdate::Average(averaging), ..teaching() }
}

pub(crate) fn head_alone(gradient: TargetGradient) -> SelfTeaching {
    SelfTeaching { scope: TeacherScope::Head(gradient), ..teaching() }
}

pub(crate) type Reports = BTreeMap<u32, Metrics>;

/// Keeps reports, and asks to stop after so many questions whether to.
pub(crate) struct Follower {
    pub(crate) reports: Reports,
    pub(crate) questions_left: Cell<u32>,
}

impl Follower {
    pub(crate) fn stopping_after(questions: u32) -> Follower {
        Follower { reports: Reports::new(), questions_left: Cell::new(questions) }
    }
}

impl Observer for Follower {
    fn stops(&self) -> bool {
        self.questions_left.set(self.questions_left.get().saturating_sub(1));
        self.questions_left.get() == 0
    }

    fn report(&mut self, state: &State, metrics: Metrics) -> Result<(), TrainError> {
        self.reports.insert(state.epoch, metrics);
        Ok(())
    }
}

pub(crate) fn go_on(
    recipe: &Recipe,
    data: &Data,
    state: State,
    last_epoch: u32,
) -> Result<(State, Reports), TrainError> {
    tch::set_num_threads(1);
    let mut follower = Follower::stopping_after(u32::MAX);
    let job = Job { recipe, seed: 3, last_epoch, data };
    match train(&job, state, &mut follower)? {
        Ended::Done(state) => Ok((state, follower.reports)),
        Ended::Stopped(_) => panic!("nobody asked to stop"),
    }
}

pub(crate) fn fresh(recipe: &Recipe) -> State {
    State::fresh(recipe, 3, CLASSES as i64, KIND, Device::Cpu).unwrap()
}

pub(crate) fn run(recipe: &Recipe) -> Result<(State, Reports), TrainError> {
    go_on(recipe, &data(), fresh(recipe), recipe.epochs)
}

/// All but times and rates.
pub(crate) fn comparable(reports: &Reports) -> Reports {
    reports.iter().map(|(epoch, metrics)| (*epoch, without_times(metrics.clone()))).collect()
}

pub(crate) fn without_times(mut metrics: Metrics) -> Metrics {
    metrics.retain(|name, _| !is_volatile(name));
    metrics
}

fn names(metrics: &Metrics) -> Vec<&str> {
    metrics.keys().map(String::as_str).collect()
}

#[test]
fn reports_have_the_metrics_of_their_epoch() {
    let (state, reports) =
        run(&recipe(Method::Mask(distillation(0.5), masking(TokenMode::TrainedScalar)))).unwrap();
    let always = ["ce_loss", "images_per_second", "lr", "seconds", "train_loss"];
    assert_eq!(names(&reports[&1]), always);
    let evaluated = [
        "ce_loss",
        "dim_gap",
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
    assert_ne!(state.token.unwrap().trained().unwrap().double_value(&[]), 0.0, "a trained token moves");
    assert!((reports[&4]["top1"] - reports[&4]["dim_top1"] - reports[&4]["dim_gap"]).abs() < 1e-12);
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
    let (_, reports) =
        run(&Recipe { epochs: 12, lr_schedule: LrSchedule::Constant, ..recipe(Method::Ce) }).unwrap();
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
    assert_eq!(student(Method::Mask(distillation(0.0), masking(TokenMode::ConstantScalar))), ce);
    assert_ne!(student(Method::Kd(distillation(0.5))), ce);
}

/// One recipe for each thing that a state can hold.
pub(crate) fn recipes() -> Vec<(&'static str, Recipe)> {
    let ema = averaged(Averaging::Ema { ratio: 0.3 });
    let head_ema = SelfTeaching { scope: TeacherScope::Head(TargetGradient::Stopped), ..ema.clone() };
    let kd = |teaching| recipe(Method::Kd(taught_by(teaching, 0.5)));
    let mask = |masking| recipe(Method::Mask(distillation(0.5), masking));
    let hidden = Head { hidden: vec![9, 5], batch_norm: true, dropout: 0.3 };
    let as_run = SelfTeaching {
        scope: TeacherScope::Network(TeacherBatchNorm::Batch),
        optimizer_at_start: OptimizerAtStart::Reset,
        eval_weights: EvalWeights::Average { ratio: 0.2 },
        ..teaching()
    };
    let network = recipe(Method::Ce).network;
    vec![
        ("ce", recipe(Method::Ce)),
        ("frozen", kd(teaching())),
        ("ema", kd(ema.clone())),
        ("annealed", kd(averaged(Averaging::Annealed { ratio: 0.1 }))),
        ("plain mean", kd(averaged(Averaging::Plain))),
        ("head", kd(head_alone(TargetGradient::Flows))),
        ("averaged head", kd(head_ema)),
        ("as run", kd(as_run.clone())),
        ("as run, with probes", Recipe { probes: vec![1.0, 3.0], ..kd(as_run) }),
        ("trained scalar", mask(masking(TokenMode::TrainedScalar))),
        ("trained vector", mask(Masking { masks: 2, ..masking(TokenMode::TrainedVector) })),
        ("constant vector", mask(masking(TokenMode::ConstantVector))),
        ("dropped features", mask(Masking { mode: MaskMode::Dropout, ..masking(TokenMode::ConstantScalar) })),
        (
            "masked, averaged, hidden head",
            Recipe {
                network: Network { head: hidden, pool: Pool::Quarters, ..network.clone() },
                lr_schedule: LrSchedule::Cosine,
                warmup_epochs: 1,
                head_lr_mult: 3.0,
                ..recipe(Method::Mask(taught_by(ema, 0.5), masking(TokenMode::TrainedScalar)))
            },
        ),
        (
            "other network, bf16",
            Recipe {
                network: Network {
                    stem: Stem::FiveByFive,
                    pool: Pool::GeneralisedMean { exponent: 3.0 },
                    ..network.clone()
                },
                precision: Precision::Bf16,
                ..kd(teaching())
            },
        ),
        ("large stem", Recipe { network: Network { stem: Stem::SevenBySeven, ..network }, ..kd(teaching()) }),
    ]
}

#[test]
fn training_in_two_jobs_gives_the_bits_of_one() {
    let data = data();
    for (what, recipe) in recipes() {
        let (whole, reports) = run(&recipe).unwrap();
        for cut in 1..recipe.epochs {
            let (state, _) = go_on(&recipe, &data, fresh(&recipe), cut).unwrap();
            let (state, later) = go_on(&recipe, &data, state, recipe.epochs).unwrap();
            assert_eq!(weights_hash(&state), weights_hash(&whole), "{what}, cut after {cut}");
            assert_eq!(comparable(&later)[&4], comparable(&reports)[&4], "{what}, cut after {cut}");
        }
    }
}

#[test]
fn averaged_references_are_evaluated_themselves() {
    let ema = averaged(Averaging::Ema { ratio: 1.0 });
    let (_, reports) = run(&recipe(Method::Kd(taught_by(ema, 0.5)))).unwrap();
    assert!(!reports[&2].contains_key("ema_top1"), "the method has not started");
    // An average whose new value has all the weight is the student.
    assert_eq!(reports[&4]["ema_top1"], reports[&4]["top1"]);
    assert_eq!(reports[&4]["ema_dim_top1"], reports[&4]["dim_top1"]);
}

#[test]
fn a_shadow_is_evaluated_in_the_students_place_and_does_not_disturb_it() {
    let shadowed = SelfTeaching { eval_weights: EvalWeights::Average { ratio: 0.2 }, ..teaching() };
    let (plain, _) = run(&recipe(Method::Kd(distillation(0.5)))).unwrap();
    let (state, _) = run(&recipe(Method::Kd(taught_by(shadowed, 0.5)))).unwrap();
    assert_eq!(weights_hash(&state), weights_hash(&plain));
    // From the first step of epoch 1 on: four epochs of four steps.
    assert_eq!(state.shadow.unwrap().updates, 16);
}

#[test]
fn probes_do_not_disturb_the_student() {
    let method = || Method::Mask(distillation(0.5), masking(TokenMode::TrainedScalar));
    let (plain, without) = run(&recipe(method())).unwrap();
    let (state, with) = run(&Recipe { probes: vec![1.0, 0.1], ..recipe(method()) }).unwrap();
    assert_eq!(weights_hash(&state), weights_hash(&plain));
    for (epoch, metrics) in comparable(&with) {
        let (probed, rest): (Metrics, Metrics) =
            metrics.into_iter().partition(|(name, _)| name.starts_with("lp_"));
        assert_eq!(rest, comparable(&without)[&epoch]);
        let expected: &[_] = match epoch {
            2 | 4 => &["lp_x0.1_dim_top1", "lp_x0.1_top1", "lp_x1_dim_top1", "lp_x1_top1"],
            _ => &[],
        };
        assert_eq!(names(&probed), expected);
    }
}

#[test]
fn a_trial_without_momentum_is_trained() {
    let (_, reports) = run(&Recipe { momentum: 0.0, ..recipe(Method::Ce) }).unwrap();
    assert!(reports[&4]["train_loss"] < reports[&1]["train_loss"], "{reports:?}");
}

#[test]
fn a_probe_that_diverges_has_no_figure_and_harms_nobody() {
    let (plain, _) = run(&recipe(Method::Ce)).unwrap();
    let (state, reports) = run(&Recipe { probes: vec![1.0, 1e30], ..recipe(Method::Ce) }).unwrap();
    assert_eq!(weights_hash(&state), weights_hash(&plain));
    assert!(reports[&4].contains_key("lp_x1_top1"));
    assert!(!reports[&4].keys().any(|name| name.starts_with("lp_x1000")), "{:?}", reports[&4]);
}

#[test]
fn an_optimizer_that_is_reset_starts_again_at_the_initial_rate() {
    let reset = SelfTeaching { optimizer_at_start: OptimizerAtStart::Reset, ..teaching() };
    let (_, reports) = run(&Recipe {
        lr_schedule: LrSchedule::MultiStep { steps: vec![1], gamma: 0.1 },
        ..recipe(Method::Kd(taught_by(reset, 0.5)))
    })
    .unwrap();
    let rates: Vec<f64> = reports.values().map(|metrics| metrics["lr"]).collect();
    assert_eq!(rates, [0.05, 0.05 * 0.1, 0.05, 0.05]);
}

#[test]
fn an_ensemble_teaches_from_the_first_epoch_on() {
    let (teacher, _) = run(&recipe(Method::Ce)).unwrap();
    let mut distillation = distillation(0.5);
    distillation.teacher = Teacher::Checkpoints(vec![TeacherWeights::File("0".repeat(64).parse().unwrap())]);
    let recipe = recipe(Method::Kd(distillation));
    let refusal = run(&recipe).unwrap_err();
    assert!(refusal.to_string().contains("`teachers`"), "{refusal}");
    let networks = vec![teacher.student.frozen_copy(), teacher.student.frozen_copy()];
    let state = State { reference: Some(Reference::Ensemble(networks)), ..fresh(&recipe) };
    let (_, reports) = go_on(&recipe, &data(), state, 4).unwrap();
    assert!(reports.values().all(|metrics| metrics.contains_key("aux_loss")));
    assert!(reports[&4]["top1"] > 20.0, "{reports:?}");
}

#[test]
fn a_loss_that_explodes_ends_the_job_at_its_epoch() {
    let error = run(&Recipe { lr: 1e30, ..recipe(Method::Ce) }).unwrap_err();
    assert_eq!(error.reason(), FailureReason::Nan);
    assert!(error.to_string().contains("training loss of epoch 1, step "), "{error}");
}

#[test]
fn a_job_that_cannot_be_run_is_refused_before_its_first_step() {
    let refusal = |recipe: &Recipe, last_epoch| {
        let error = go_on(recipe, &data(), fresh(recipe), last_epoch).unwrap_err();
        assert_eq!(error.reason(), FailureReason::BadConfig);
        error.to_string()
    };
    let large = Recipe { batch_size: 61, ..recipe(Method::Ce) };
    assert_eq!(
        refusal(&large, 4),
        "`batch_size` is `61`, but dataset `synthetic` has 60 training images; take at most that many"
    );
    assert_eq!(refusal(&recipe(Method::Ce), 5), "the job ends at epoch 5; that is not within 1 to 4");
    let done = State { epoch: 4, ..fresh(&recipe(Method::Ce)) };
    let error = go_on(&recipe(Method::Ce), &data(), done, 3).unwrap_err();
    assert_eq!(error.to_string(), "the job ends at epoch 3, but the state is that after 4");
}

#[test]
fn a_job_whose_bits_libtorch_would_not_repeat_is_refused() {
    let network = Network { stem: Stem::SevenBySeven, ..recipe(Method::Ce).network };
    let error = run(&Recipe { network, precision: Precision::Bf16, ..recipe(Method::Ce) }).unwrap_err();
    assert_eq!(error.reason(), FailureReason::BadConfig);
    assert!(error.to_string().starts_with("`precision` is `bf16`, but images of 12×12"), "{error}");
}
