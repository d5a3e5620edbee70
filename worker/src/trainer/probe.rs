//! Linear probes (METHOD.md §6): fresh heads that are trained on the student's features during the epoch before an
//! evaluation, evaluated and thrown away. Nothing of them reaches the student.

use tch::Tensor;

use super::head::{Head, HeadMode, Widths};
use super::loss;
use super::model::ResNet;
use super::optimizer::{Group, Momentum, Rates};

/// One probe with an optimizer of its own.
#[derive(Debug)]
pub struct Probe {
    pub head: Head,
    pub momentum: Momentum,
    /// Factor on the learning rate.
    pub multiplier: f64,
}

impl Probe {
    /// Fresh probes for one epoch, one for each of `multipliers`; all begin with the same weights.
    #[must_use]
    pub fn fresh(multipliers: &[f64], student: &ResNet, seed: u64, epoch: u32) -> Vec<Probe> {
        let widths: Widths = student.architecture().widths();
        let like = &student.tensors()[0].tensor;
        multipliers
            .iter()
            .map(|&multiplier| Probe {
                head: Head::draw_probe(widths, seed, epoch, like.kind(), like.device()),
                momentum: Momentum::default(),
                multiplier,
            })
            .collect()
    }

    /// One step at `rates.lr` × the probe's factor down the cross entropy of `features` `[N, D]`, which have no gradient, and `labels` `[N]`.
    pub fn step(&mut self, features: &Tensor, labels: &Tensor, rates: Rates) {
        let loss = loss::ce(&self.head.forward(features, HeadMode::Evaluate), labels);
        let parameters = self.head.tensors().iter().map(|named| &named.tensor).collect();
        let group = Group { parameters, lr: rates.lr * self.multiplier };
        self.momentum.step(&loss, &[group], rates.momentum, rates.weight_decay);
    }
}
