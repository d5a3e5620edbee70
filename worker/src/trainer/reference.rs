//! The reference model ("teacher"): what the student is drawn to (METHOD.md §3). It is never trained.

use sweep::recipe::{Averaging, TargetGradient, TeacherBatchNorm, TeacherScope};
use tch::Tensor;

use super::head::{Dropping, Head, HeadMode, Pass};
use super::model::{Mode, Named, ResNet, Role};
use super::random::Step;

/// A reference model.
#[derive(Debug)]
pub enum Reference {
    /// An earlier or an averaged student.
    Network { network: ResNet, batch_norm: TeacherBatchNorm },
    /// `cls_only`: an earlier or an averaged head, for the student's features.
    Head { head: Head, gradient: TargetGradient },
    /// `checkpoint`: networks of other trials.
    Ensemble(Vec<ResNet>),
}

impl Reference {
    /// The student as it is now: a copy of the backbone and the head, or of the head alone.
    #[must_use]
    pub fn take(student: &ResNet, scope: TeacherScope) -> Reference {
        match scope {
            TeacherScope::Network(batch_norm) => {
                Reference::Network { network: student.frozen_copy(), batch_norm }
            }
            TeacherScope::Head(gradient) => Reference::Head { head: student.head.frozen_copy(), gradient },
        }
    }

    /// The target t: images `[N, 3, H, W]` and the student's features `[N, D]` → logits `[N, C]`. They have a gradient
    /// only where it is to flow through the student's features; an ensemble's are the mean over its networks.
    ///
    /// # Panics
    /// Without a network in an ensemble.
    pub fn logits(&self, images: &Tensor, features: &Tensor, at: Step) -> Tensor {
        if let Reference::Head { head, gradient: TargetGradient::Flows } = self {
            return head.forward(features, HeadMode::Evaluate);
        }
        let _guard = tch::no_grad_guard();
        match self {
            Reference::Head { head, .. } => head.forward(features, HeadMode::Evaluate),
            Reference::Network { network, batch_norm: TeacherBatchNorm::Running } => {
                evaluate(network, images)
            }
            Reference::Network { network, batch_norm: TeacherBatchNorm::Batch } => {
                let features = network.features(images, Mode::Train);
                network.head.forward(&features, HeadMode::Train(Dropping { at, pass: Pass::Target }))
            }
            Reference::Ensemble(networks) => {
                let logits: Vec<_> = networks.iter().map(|network| evaluate(network, images)).collect();
                Tensor::stack(&logits, 0).mean_dim(0, false, features.kind())
            }
        }
    }

    /// Moves an average towards `student`; `update` counts from 0.
    pub fn average(&mut self, student: &ResNet, averaging: Averaging, update: u32) {
        let weight = weight(averaging, update);
        match self {
            Reference::Network { network, .. } => average(network.tensors(), student.tensors(), weight),
            Reference::Head { head, .. } => average(head.tensors(), student.head.tensors(), weight),
            Reference::Ensemble(_) => {}
        }
    }

    /// The tensors that a checkpoint has to hold; an ensemble's have files of their own.
    #[must_use]
    pub fn tensors(&self) -> &[Named] {
        match self {
            Reference::Network { network, .. } => network.tensors(),
            Reference::Head { head, .. } => head.tensors(),
            Reference::Ensemble(_) => &[],
        }
    }
}

fn evaluate(network: &ResNet, images: &Tensor) -> Tensor {
    network.head.forward(&network.features(images, Mode::Evaluate), HeadMode::Evaluate)
}

/// Weight w of the new value in update number k, counted from 0 (METHOD.md §3): the first copies; then `ema`: the ratio;
/// `anne`: max(ratio, γ/(γ+k)) with γ = 100; `sto`: 1/(k+1).
#[must_use]
pub fn weight(averaging: Averaging, update: u32) -> f64 {
    const GAMMA: f64 = 100.0;
    if update == 0 {
        return 1.0;
    }
    let k = f64::from(update);
    match averaging {
        Averaging::Ema { ratio } => ratio,
        Averaging::Annealed { ratio } => ratio.max(GAMMA / (GAMMA + k)),
        Averaging::Plain => 1.0 / (k + 1.0),
    }
}

/// average ← average + w·(source − average) for parameters; buffers (batch norm's statistics) are copied.
pub fn average(averages: &[Named], sources: &[Named], weight: f64) {
    let _guard = tch::no_grad_guard();
    for (average, source) in averages.iter().zip(sources) {
        // The alias is the average itself: tch's in-place operations want a handle of their own.
        let mut average_alias = average.tensor.shallow_clone();
        match average.role {
            Role::Parameter => {
                let _ = average_alias.lerp_(&source.tensor, weight);
            }
            Role::Buffer => average_alias.copy_(&source.tensor),
        }
    }
}
