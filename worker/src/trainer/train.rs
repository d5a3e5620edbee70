//! The training loop. Methods differ by values and by the loss that the state computes, never by a loop.

use std::thread;
use std::time::Instant;

use sweep::recipe::{Method, Precision, Recipe, Teacher};
use sweep::vocabulary::Metrics;
use tch::{Device, Kind, Tensor};

use super::data::Data;
use super::device::compute_kind;
use super::error::TrainError;
use super::evaluate::Evaluation;
use super::head::{Dropping, HeadMode, Pass};
use super::inputs::{Epoch, Input, draw_ahead};
use super::loss;
use super::model::Mode;
use super::optimizer::Rates;
use super::rankme::rankme_of_unit_rows;
use super::reference::Reference;
use super::state::{Forward, State, Within};

/// The numbers that weights, features and losses are; `precision` decides what lies between images and features.
pub const KIND: Kind = Kind::Float;
/// Rows of a batch that `rankme_batch` looks at.
const RANKME_ROWS: i64 = 128;

/// Epochs of one trial, up to the last one of a job.
#[derive(Debug)]
pub struct Job<'a> {
    pub recipe: &'a Recipe,
    pub seed: u64,
    /// Counted from 1.
    pub last_epoch: u32,
    pub data: &'a Data,
}

/// Who follows a training.
pub trait Observer {
    /// Whether to stop at the next step's boundary; asked after every step and before every batch of an evaluation.
    fn stops(&self) -> bool;

    /// `state.epoch` is complete, with these metrics.
    ///
    /// # Errors
    /// Ends the training.
    fn report(&mut self, state: &State, metrics: Metrics) -> Result<(), TrainError>;
}

/// How a training ended, unless it failed.
#[derive(Debug)]
pub enum Ended {
    /// All epochs are complete.
    Done(State),
    /// The observer asked for it; the state goes on exactly.
    Stopped(State),
}

/// Trains the epochs of `job` that `state` has not seen yet, and reports each of them.
///
/// # Errors
/// [`TrainError::BadConfig`] before the first step, [`TrainError::NotFinite`] for a loss or a feature that is no number
/// (on a GPU at the end of its epoch), and what the observer answers.
pub fn train(job: &Job<'_>, mut state: State, observer: &mut dyn Observer) -> Result<Ended, TrainError> {
    check(job, &state)?;
    let recipe = job.recipe;
    while state.epoch < job.last_epoch {
        let (started, epoch) = (Instant::now(), state.epoch + 1);
        let rates = Rates::of(recipe, epoch);
        let mut within = state.begin_epoch(recipe, job.seed);
        let inputs = inputs_of(job, &state, &within);
        let is_stopped = thread::scope(|scope| {
            for input in draw_ahead(scope, inputs) {
                step(job, &mut state, &mut within, &input, rates)?;
                if observer.stops() {
                    return Ok(true);
                }
            }
            Ok::<_, TrainError>(false)
        })?;
        if is_stopped {
            state.within = Some(within);
            return Ok(Ended::Stopped(state));
        }
        let mut metrics = means(job, &within, epoch)?;
        metrics.insert("lr".to_owned(), rates.lr);
        metrics.insert("images_per_second".to_owned(), per_second(inputs.images_left(), started));
        if recipe.evaluates_after(epoch) {
            let stops = || observer.stops();
            let evaluation =
                Evaluation { recipe, data: job.data, state: &state, within: &within, stops: &stops };
            let Some(found) = evaluation.run()? else {
                state.within = Some(within);
                return Ok(Ended::Stopped(state));
            };
            metrics.extend(found);
            let rank = within.last_full_batch.as_ref().and_then(rankme_of_unit_rows);
            metrics.extend(rank.map(|rank| ("rankme_batch".to_owned(), rank)));
        }
        metrics.insert("seconds".to_owned(), started.elapsed().as_secs_f64());
        state.epoch = epoch;
        observer.report(&state, metrics)?;
    }
    Ok(Ended::Done(state))
}

/// One step: forward, losses, backward, optimizer, averages, probes.
fn step(
    job: &Job<'_>,
    state: &mut State,
    within: &mut Within,
    input: &Input,
    rates: Rates,
) -> Result<(), TrainError> {
    let (recipe, at) = (job.recipe, input.at);
    let batch = job.data.train.batch(&input.samples, &input.views, compute_kind(recipe.precision));
    let features = state.student.features(&batch.images, Mode::Train); // [B, D]
    let pass = HeadMode::Train(Dropping { at, pass: Pass::Features });
    let logits = state.student.head.forward(&features, pass); // [B, C]
    let ce = loss::ce(&logits, &batch.labels); // []
    let forward = Forward { at, images: &batch.images, features: &features, logits: &logits };
    let masks = input.masks_on(recipe, features.size()[1], features.device());
    let aux = state.auxiliary_loss(&recipe.method, &forward, &masks); // []
    let total = total_loss(&recipe.method, &ce, aux.as_ref()); // []
    state.descend(&total, rates);
    state.average(recipe, at.epoch);
    let features = features.detach();
    for probe in &mut within.probes {
        probe.step(&features, &batch.labels, rates);
    }
    if input.samples.len() == recipe.batch_size as usize {
        within.last_full_batch = Some(features.narrow(0, 0, features.size()[0].min(RANKME_ROWS)));
    }
    let losses: Vec<Tensor> = [Some(total), Some(ce), aux].into_iter().flatten().collect();
    let losses = Tensor::stack(&losses, 0).detach().to_kind(Kind::Double); // [2 or 3]
    // A GPU would be waited for here; its losses are looked at after the epoch.
    if !losses.device().is_cuda() && losses.isfinite().all().int64_value(&[]) == 0 {
        return Err(TrainError::NotFinite { what: "training loss", epoch: at.epoch, step: Some(at.step) });
    }
    within.losses.push(losses);
    within.step = at.step + 1;
    Ok(())
}

fn inputs_of(job: &Job<'_>, state: &State, within: &Within) -> Epoch {
    let width = state.student.architecture().widths().features;
    let width = usize::try_from(width).expect("a width is a count");
    Epoch {
        seed: job.seed,
        number: state.epoch + 1,
        images: u32::try_from(job.data.train.count).expect("four billion images don't fit into memory"),
        batch_size: job.recipe.batch_size as usize,
        first_step: within.step,
        masking: Epoch::masking_of(job.recipe, state.token.is_some()).map(|masking| (masking, width)),
    }
}

/// Refuses what would fail or mean nothing later on.
fn check(job: &Job<'_>, state: &State) -> Result<(), TrainError> {
    let (recipe, images) = (job.recipe, &job.data.train);
    let refuse = |message: String| Err(TrainError::BadConfig(message));
    let last = job.last_epoch;
    if last == 0 || last > recipe.epochs {
        return refuse(format!("the job ends at epoch {last}; that is not within 1 to {}", recipe.epochs));
    }
    if state.epoch > last {
        return refuse(format!("the job ends at epoch {last}, but the state is that after {}", state.epoch));
    }
    let batch_size = recipe.batch_size as usize;
    if batch_size > images.count {
        let count = images.count;
        return refuse(format!(
            "`batch_size` is `{batch_size}`, but dataset `{}` has {count} training images; take at most that many",
            recipe.dataset
        ));
    }
    let is_last_batch_single = images.count % batch_size == 1 || batch_size == 1;
    let (height, width) = images.sides();
    let has_norm_in_head = recipe.network.head.batch_norm && !recipe.network.head.hidden.is_empty();
    let has_one_place = state.student.architecture().last_sides((height, width)) == (1, 1);
    if is_last_batch_single && (has_one_place || has_norm_in_head) {
        return refuse(format!(
            "`batch_size: {batch_size}` leaves one image in the last batch, and batch norm needs more than one value \
             (images of {height}×{width} have one place in the last stage, or `head_bn` is on)"
        ));
    }
    // Seen with libtorch 2.11: the weights' gradient of a strided 3×3 convolution of such maps holds what happened to be in
    // memory.
    let width_before_last = state.student.architecture().sides_before_last((height, width)).1;
    let is_on_cpu = !job.data.device().is_cuda();
    if recipe.precision == Precision::Bf16 && is_on_cpu && width_before_last == 1 {
        return refuse(format!(
            "`precision` is `bf16`, but images of {height}×{width} are one pixel wide before the last stage, and there \
             libtorch's bf16 gradients on a CPU are not the same twice; take `fp32`, a smaller `stem` or larger images"
        ));
    }
    let (Method::Kd(distillation) | Method::Mask(distillation, _)) = &recipe.method else { return Ok(()) };
    let has_ensemble =
        matches!(&state.reference, Some(Reference::Ensemble(networks)) if !networks.is_empty());
    if matches!(distillation.teacher, Teacher::Checkpoints(_)) && !has_ensemble {
        return refuse("`teacher` is `checkpoint`, but there is no network in `teachers`".to_owned());
    }
    Ok(())
}

/// CE before the method's start, `ce_weight` · CE + λ · auxiliary from then on.
pub fn total_loss(method: &Method, ce: &Tensor, aux: Option<&Tensor>) -> Tensor {
    match (method, aux) {
        (Method::Kd(kd) | Method::Mask(kd, _), Some(aux)) => ce * kd.ce_weight + aux * kd.weight,
        (Method::Ce, _) | (_, None) => ce.shallow_clone(),
    }
}

/// Means of an epoch's losses over its images; waits for the device.
fn means(job: &Job<'_>, within: &Within, epoch: u32) -> Result<Metrics, TrainError> {
    const NAMES: [&str; 3] = ["train_loss", "ce_loss", "aux_loss"];
    let losses = Tensor::stack(&within.losses, 0).to_device(Device::Cpu); // [steps, 2 or 3]
    let columns = usize::try_from(losses.size()[1]).expect("a count");
    let losses = Vec::<f64>::try_from(losses.flatten(0, -1))?;
    let (images, batch_size) = (job.data.train.count, job.recipe.batch_size as usize);
    let mut means = [0.0; NAMES.len()];
    for (step, losses) in (0..).zip(losses.chunks(columns)) {
        if losses.iter().any(|loss| !loss.is_finite()) {
            return Err(TrainError::NotFinite { what: "training loss", epoch, step: Some(step) });
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2⁵³")]
        let share = batch_size.min(images - step as usize * batch_size) as f64 / images as f64;
        for (mean, loss) in means.iter_mut().zip(losses) {
            *mean += loss * share;
        }
    }
    Ok(NAMES.iter().zip(means).take(columns).map(|(name, mean)| ((*name).to_owned(), mean)).collect())
}

fn per_second(images: usize, started: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2⁵³")]
    let images = images as f64;
    // A clock that did not move must not make the rate infinite.
    images / started.elapsed().as_secs_f64().max(1e-9)
}
