//! Accuracies and features of networks on whole splits, in evaluation mode (METHOD.md §6).

use sweep::recipe::{Recipe, metrics};
use sweep::vocabulary::Metrics;
use tch::{Kind, Tensor};

use super::data::{Data, Images};
use super::device::compute_kind;
use super::error::TrainError;
use super::head::{Head, HeadMode};
use super::model::{Mode, ResNet};
use super::rankme::rankme;
use super::reference::Reference;
use super::state::{State, Within, averaging};

/// Images that are looked at together. A constant, because sums in libtorch may depend on it.
const BATCH: usize = 256;

/// Someone asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// One evaluation of a state at the end of the epoch that is under way.
pub struct Evaluation<'a> {
    pub recipe: &'a Recipe,
    pub data: &'a Data,
    pub state: &'a State,
    pub within: &'a Within,
    /// Whether to stop; asked before each batch.
    pub stops: &'a dyn Fn() -> bool,
}

impl Evaluation<'_> {
    /// All metrics of test set and extra evaluation sets.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] where features are no numbers.
    pub fn run(&self) -> Result<Result<Metrics, Stopped>, TrainError> {
        let mut found = Metrics::new();
        let Ok(features) = self.evaluate(None, &self.data.test, &mut found) else { return Ok(Err(Stopped)) };
        if features.isfinite().all().int64_value(&[]) == 0 {
            let epoch = self.state.epoch + 1;
            return Err(TrainError::NotFinite { what: "test features", epoch, step: None });
        }
        found.extend(rankme(&features).map(|rank| ("rankme".to_owned(), rank)));
        for (name, images) in &self.data.extra {
            if self.evaluate(Some(name), images, &mut found).is_err() {
                return Ok(Err(Stopped));
            }
            let gap = found["top1"] - found[&metrics::on_set("top1", Some(name))];
            found.insert(metrics::on_set("gap", Some(name)), gap);
        }
        Ok(Ok(found))
    }

    /// Adds the accuracies on one split, named `set` unless it is the test set. Gives the evaluated network's features.
    fn evaluate(&self, set: Option<&str>, images: &Images, found: &mut Metrics) -> Result<Tensor, Stopped> {
        let _guard = tch::no_grad_guard();
        let (state, labels, probes) = (self.state, images.labels(), &self.within.probes);
        let top1 = |head: &Head, features: &Tensor| {
            percent_correct(&head.forward(features, HeadMode::Evaluate), labels, 1)
        };
        let evaluated = state.shadow.as_ref().map_or(&state.student, |shadow| &shadow.network);
        let features = self.features(evaluated, images)?; // [N, D]
        let logits = evaluated.head.forward(&features, HeadMode::Evaluate); // [N, C]
        found.insert(metrics::on_set("top1", set), percent_correct(&logits, labels, 1));
        if set.is_none() && logits.size()[1] > 5 {
            found.insert("top5".to_owned(), percent_correct(&logits, labels, 5));
        }
        let averaged = averaging(&self.recipe.method).and(state.reference.as_ref());
        // Probes and an averaged head belong to the student's features.
        let needs_students = !probes.is_empty() || matches!(averaged, Some(Reference::Head { .. }));
        let of_student = match &state.shadow {
            Some(_) if needs_students => self.features(&state.student, images)?,
            _ => features.shallow_clone(),
        };
        for probe in probes {
            let name = metrics::probe_metric(probe.multiplier, probes.len() > 1, set);
            found.insert(name, top1(&probe.head, &of_student));
        }
        let of_average = match averaged {
            Some(Reference::Network { network, .. }) => {
                Some(top1(&network.head, &self.features(network, images)?))
            }
            Some(Reference::Head { head, .. }) => Some(top1(head, &of_student)),
            Some(Reference::Ensemble(_)) | None => None,
        };
        found.extend(of_average.map(|top1| (format!("ema_{}", metrics::on_set("top1", set)), top1)));
        Ok(features)
    }

    /// Features `[N, D]` of all `images`.
    fn features(&self, network: &ResNet, images: &Images) -> Result<Tensor, Stopped> {
        let kind = compute_kind(self.recipe.precision);
        let mut features = Vec::new();
        for first in (0..images.count).step_by(BATCH) {
            if (self.stops)() {
                return Err(Stopped);
            }
            let batch = images.plain_batch(first..images.count.min(first + BATCH), kind);
            features.push(network.features(&batch.images, Mode::Evaluate)); // [B, D]
        }
        Ok(Tensor::cat(&features, 0))
    }
}

/// Percent of the rows of `logits` `[N, C]` whose label is among the `k` highest.
fn percent_correct(logits: &Tensor, labels: &Tensor, k: i64) -> f64 {
    let (_, highest) = logits.topk(k, 1, true, true); // [N, k]
    let hits = highest.eq_tensor(&labels.unsqueeze(1)).sum(Kind::Int64).int64_value(&[]);
    #[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2⁵³")]
    let percent = 100.0 * hits as f64 / logits.size()[0] as f64;
    percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_a_label_among_the_highest() {
        let logits = Tensor::from_slice(&[0.1, 0.9, 0.5, 0.7, 0.2, 0.3]).view([2, 3]);
        let labels = Tensor::from_slice(&[2_i64, 0]);
        assert_eq!(percent_correct(&logits, &labels, 1), 50.0);
        assert_eq!(percent_correct(&logits, &labels, 2), 100.0);
    }
}
