//! The training loop. Methods differ by values and by the loss that the state computes, never by a loop.

use std::ops::RangeInclusive;
use std::time::Instant;

use sweep::recipe::{Method, Recipe};
use sweep::vocabulary::Metrics;
use tch::{Device, Kind, Tensor};

use super::augment::draw_views;
use super::data::{Data, Images};
use super::error::TrainError;
use super::evaluate::evaluate;
use super::loss;
use super::model::Mode;
use super::optimizer::Rates;
use super::random::{Purpose, Step, draw};
use super::rankme::{rankme, rankme_of_unit_rows};
use super::state::State;

/// The numbers that trials are trained in.
pub const KIND: Kind = Kind::Float;

/// A run of epochs of one trial.
#[derive(Debug)]
pub struct Job<'a> {
    pub recipe: &'a Recipe,
    pub seed: u64,
    /// Counted from 1.
    pub epochs: RangeInclusive<u32>,
    pub data: &'a Data,
}

/// What takes each epoch's metrics.
pub type Report<'a> = dyn FnMut(u32, Metrics) -> Result<(), TrainError> + 'a;

/// Trains the epochs of `job` from `state` on and reports each of them.
///
/// # Errors
/// [`TrainError::BadConfig`] before the first step, [`TrainError::NotFinite`] at the end of the epoch in which a loss
/// or a feature stopped being a number, and what `report` answers.
pub fn train(job: &Job<'_>, mut state: State, report: &mut Report<'_>) -> Result<State, TrainError> {
    check(job, &state)?;
    let (recipe, images) = (job.recipe, &job.data.train);
    let batch_size = recipe.batch_size as usize;
    for epoch in job.epochs.clone() {
        let started = Instant::now();
        if recipe.takes_reference_before(epoch) {
            state.take_reference(&recipe.method);
        }
        let Recipe { momentum, weight_decay, .. } = *recipe;
        let rates = Rates { lr: recipe.learning_rate(epoch), momentum, weight_decay };
        let mut sums = Sums::new(job.data.device());
        let mut last_full_batch = None;
        for (step, samples) in (0..).zip(shuffled(images, job.seed, epoch).chunks(batch_size)) {
            let at = Step { seed: job.seed, epoch, step };
            let batch = images.batch(samples, &draw_views(at, samples.len()), KIND);
            let features = state.student.features(&batch.images, Mode::Train); // [B, D]
            let logits = state.student.head.forward(&features); // [B, C]
            let ce = loss::ce(&logits, &batch.labels); // []
            let aux = state.auxiliary_loss(&recipe.method, at, &batch.images, &features, &logits); // []
            let total = total_loss(&recipe.method, &ce, aux.as_ref()); // []
            state.descend(&total, rates);
            sums.add(samples.len(), &total, &ce, aux.as_ref());
            if samples.len() == batch_size {
                last_full_batch = Some(features.detach());
            }
        }
        state.epoch = epoch;
        let mut metrics = sums.means(images.count, epoch)?;
        metrics.insert("lr".to_owned(), rates.lr);
        metrics.insert("images_per_second".to_owned(), per_second(images.count, started));
        if recipe.evaluates_after(epoch) {
            metrics.extend(evaluations(job.data, &state)?);
            let rank = last_full_batch.as_ref().and_then(rankme_of_unit_rows);
            metrics.extend(rank.map(|rank| ("rankme_batch".to_owned(), rank)));
        }
        metrics.insert("seconds".to_owned(), started.elapsed().as_secs_f64());
        report(epoch, metrics)?;
    }
    Ok(state)
}

/// Refuses what would fail or mean nothing later on.
fn check(job: &Job<'_>, state: &State) -> Result<(), TrainError> {
    let (recipe, images) = (job.recipe, &job.data.train);
    let (first, last) = (*job.epochs.start(), *job.epochs.end());
    let refuse = |message: String| Err(TrainError::BadConfig(message));
    if first != state.epoch + 1 {
        return refuse(format!(
            "the job starts at epoch {first}, but the state is that after {}",
            state.epoch
        ));
    }
    if last < first || last > recipe.epochs {
        return refuse(format!(
            "the job ends at epoch {last}; that is not within {first} to {}",
            recipe.epochs
        ));
    }
    let batch_size = recipe.batch_size as usize;
    if batch_size > images.count {
        let count = images.count;
        return refuse(format!(
            "`batch_size` is `{batch_size}`, but dataset `{}` has {count} training images; take at most that many",
            recipe.dataset
        ));
    }
    // The last stage sees each image at an eighth of its sides, rounded up.
    let is_last_batch_single = images.count % batch_size == 1 || batch_size == 1;
    let (height, width) = images.sides();
    if is_last_batch_single && height <= 8 && width <= 8 {
        return refuse(format!(
            "`batch_size: {batch_size}` leaves one image in the last batch, and images of {height}×{width} have one \
             place in the last stage: batch norm needs more than one value"
        ));
    }
    Ok(())
}

/// The numbers of all training images in the order of `epoch`.
fn shuffled(images: &Images, seed: u64, epoch: u32) -> Vec<i64> {
    let count = u32::try_from(images.count).expect("four billion images don't fit into memory");
    draw(seed, Purpose::Shuffle, epoch, 0).permutation(count)
}

/// CE before the method's start, `ce_weight` · CE + λ · auxiliary from then on.
pub fn total_loss(method: &Method, ce: &Tensor, aux: Option<&Tensor>) -> Tensor {
    match (method, aux) {
        (Method::Kd(kd) | Method::Mask(kd, _), Some(aux)) => ce * kd.ce_weight + aux * kd.weight,
        (Method::Ce, _) | (_, None) => ce.shallow_clone(),
    }
}

/// Losses of an epoch, summed over images on the device: reading them earlier would make every step wait for it.
struct Sums {
    total: Tensor,
    ce: Tensor,
    aux: Option<Tensor>,
}

impl Sums {
    fn new(device: Device) -> Sums {
        let zero = || Tensor::zeros([0; 0], (Kind::Double, device));
        Sums { total: zero(), ce: zero(), aux: None }
    }

    fn add(&mut self, images: usize, total: &Tensor, ce: &Tensor, aux: Option<&Tensor>) {
        #[expect(clippy::cast_precision_loss, reason = "batches are far below 2⁵³")]
        let weighted = |loss: &Tensor| loss.detach().to_kind(Kind::Double) * images as f64;
        self.total += weighted(total);
        self.ce += weighted(ce);
        if let Some(aux) = aux.map(weighted) {
            self.aux = Some(self.aux.take().map_or(aux.shallow_clone(), |sum| sum + aux));
        }
    }

    /// Means over the `images` of `epoch`; waits for the device.
    fn means(&self, images: usize, epoch: u32) -> Result<Metrics, TrainError> {
        let sums =
            [("train_loss", Some(&self.total)), ("ce_loss", Some(&self.ce)), ("aux_loss", self.aux.as_ref())];
        let mut means = Metrics::new();
        for (name, sum) in sums.into_iter().filter_map(|(name, sum)| Some((name, sum?))) {
            #[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2⁵³")]
            let mean = sum.double_value(&[]) / images as f64;
            if !mean.is_finite() {
                return Err(TrainError::NotFinite { what: "training loss", epoch });
            }
            means.insert(name.to_owned(), mean);
        }
        Ok(means)
    }
}

/// Accuracies on test set and extra evaluation sets, and RankMe of the test set's features.
fn evaluations(data: &Data, state: &State) -> Result<Metrics, TrainError> {
    let mut metrics = Metrics::new();
    let test = evaluate(&state.student, &data.test, KIND);
    if test.features.isfinite().all().int64_value(&[]) == 0 {
        return Err(TrainError::NotFinite { what: "test features", epoch: state.epoch });
    }
    metrics.insert("top1".to_owned(), test.top1);
    metrics.extend(test.top5.map(|top5| ("top5".to_owned(), top5)));
    metrics.extend(rankme(&test.features).map(|rank| ("rankme".to_owned(), rank)));
    for (name, images) in &data.extra {
        metrics.insert(format!("{name}_top1"), evaluate(&state.student, images, KIND).top1);
    }
    Ok(metrics)
}

fn per_second(images: usize, started: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2⁵³")]
    let images = images as f64;
    // A clock that did not move must not make the rate infinite.
    images / started.elapsed().as_secs_f64().max(1e-9)
}
