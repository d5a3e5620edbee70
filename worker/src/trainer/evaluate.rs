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
use super::state::{State, Within};

/// Images that are looked at together. A constant, because sums in libtorch may depend on it.
const BATCH: usize = 256;

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
    /// All metrics of test set and extra evaluation sets; `None` when asked to stop.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] where the evaluated network's features or logits, or an average's logits, are no numbers.
    pub fn run(&self) -> Result<Option<Metrics>, TrainError> {
        let mut found = Metrics::new();
        let Some(features) = self.evaluate(None, &self.data.test, &mut found)? else { return Ok(None) };
        found.extend(rankme(&features).map(|rank| ("rankme".to_owned(), rank)));
        for (name, images) in &self.data.extra {
            if self.evaluate(Some(name), images, &mut found)?.is_none() {
                return Ok(None);
            }
            let gap = found["top1"] - found[&metrics::on_set("top1", Some(name))];
            found.insert(metrics::on_set("gap", Some(name)), gap);
        }
        Ok(Some(found))
    }

    /// Adds the accuracies on one split, named `set` unless it is the test set. Gives the evaluated network's features;
    /// `None` when asked to stop.
    fn evaluate(
        &self,
        set: Option<&str>,
        images: &Images,
        found: &mut Metrics,
    ) -> Result<Option<Tensor>, TrainError> {
        let _guard = tch::no_grad_guard();
        let (state, labels, probes) = (self.state, images.labels(), &self.within.probes);
        let logits = |head: &Head, features: &Tensor| head.forward(features, HeadMode::Evaluate); // [N, C]
        let evaluated = state.shadow.as_ref().map_or(&state.student, |shadow| &shadow.network);
        let Some(features) = self.features(evaluated, images) else { return Ok(None) }; // [N, D]
        let of_test = self.finite(logits(&evaluated.head, &features), "test logits")?;
        found.insert(metrics::on_set("top1", set), percent_correct(&of_test, labels, 1));
        if set.is_none() && of_test.size()[1] > 5 {
            found.insert("top5".to_owned(), percent_correct(&of_test, labels, 5));
        }
        let averaged = self.recipe.averaging().and(state.reference.as_ref());
        // Probes and an averaged head belong to the student's features.
        let needs_students = !probes.is_empty() || matches!(averaged, Some(Reference::Head { .. }));
        let of_student = match &state.shadow {
            Some(_) if needs_students => self.features(&state.student, images),
            _ => Some(features.shallow_clone()),
        };
        let Some(of_student) = of_student else { return Ok(None) };
        for probe in probes {
            let logits = logits(&probe.head, &of_student);
            // A probe that diverged, as one with a large factor may, has nothing to say; the trial goes on.
            if is_finite(&logits) {
                let name = metrics::probe_metric(probe.multiplier, probes.len() > 1, set);
                found.insert(name, percent_correct(&logits, labels, 1));
            }
        }
        let of_average = match averaged {
            Some(Reference::Network { network, .. }) => match self.features(network, images) {
                Some(features) => Some(logits(&network.head, &features)),
                None => return Ok(None),
            },
            Some(Reference::Head { head, .. }) => Some(logits(head, &of_student)),
            Some(Reference::Ensemble(_)) | None => None,
        };
        if let Some(of_average) = of_average {
            let of_average = self.finite(of_average, "averaged network's test logits")?;
            let name = format!("ema_{}", metrics::on_set("top1", set));
            found.insert(name, percent_correct(&of_average, labels, 1));
        }
        Ok(Some(features))
    }

    fn finite(&self, logits: Tensor, what: &'static str) -> Result<Tensor, TrainError> {
        let epoch = self.state.epoch + 1;
        if is_finite(&logits) { Ok(logits) } else { Err(TrainError::NotFinite { what, epoch, step: None }) }
    }

    /// Features `[N, D]` of all `images`; `None` when asked to stop.
    fn features(&self, network: &ResNet, images: &Images) -> Option<Tensor> {
        let kind = compute_kind(self.recipe.precision);
        let mut features = Vec::new();
        for first in (0..images.count).step_by(BATCH) {
            if (self.stops)() {
                return None;
            }
            let batch = images.plain_batch(first..images.count.min(first + BATCH), kind);
            features.push(network.features(&batch.images, Mode::Evaluate)); // [B, D]
        }
        Some(Tensor::cat(&features, 0))
    }
}

fn is_finite(logits: &Tensor) -> bool {
    logits.isfinite().all().int64_value(&[]) == 1
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
