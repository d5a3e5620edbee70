//! The typed configuration of one trial of the built-in trainer.
//!
//! A [`Recipe`] is made from canonical parameters (see [`super::schema`]), so whatever holds one needs no checks.

/// All that decides what a trial computes, but for its seed and the contents of its dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Name of the imported dataset.
    pub dataset: String,
    /// Extra evaluation sets to report on; `None` means all that the dataset has.
    pub eval_sets: Option<Vec<String>>,
    /// Base width of the network; the features have 8 × `width` channels.
    pub width: u32,
    /// 18 or 34.
    pub depth: u32,
    pub epochs: u32,
    pub batch_size: u32,
    /// Initial learning rate.
    pub lr: f64,
    /// After each of these epochs the learning rate is multiplied by `lr_gamma`; ascending.
    pub lr_steps: Vec<u32>,
    pub lr_gamma: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    /// The test set is evaluated after every epoch that this divides, and after the last.
    pub eval_every: u32,
    pub device: Device,
    /// Threads inside libtorch; part of the configuration because the order of sums depends on it.
    pub threads: u32,
    pub method: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A GPU where the trial process sees one, otherwise the CPU.
    Auto,
    Cpu,
    Cuda,
}

/// What is trained on (METHOD.md §3).
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Cross entropy alone.
    Ce,
    /// Cross entropy and a pairwise loss between the student's and the reference model's logits.
    Kd(Distillation),
    /// The same with logits of masked features on the student's side.
    Mask(Distillation, Masking),
}

/// The reference model and how the student is drawn to it. The reference is a frozen copy of the student.
#[derive(Debug, Clone, PartialEq)]
pub struct Distillation {
    /// The first reference is taken after the first epoch beyond this that `every` divides.
    pub start: u32,
    pub every: u32,
    pub loss: AuxLoss,
    /// λ: weight of the auxiliary loss.
    pub weight: f64,
    /// Weight of the cross entropy from the method's start on.
    pub ce_weight: f64,
}

/// An auxiliary loss (METHOD.md §4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AuxLoss {
    pub pairwise: PairwiseLoss,
    /// Both arguments first go through a softmax over the classes at temperature 1.
    pub softmax_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PairwiseLoss {
    /// Cross entropy of the two softened distributions, without the factor T².
    Kd { temperature: f64 },
    /// Mean squared difference over all entries.
    L2,
    /// Minus the mean cosine similarity.
    Cosine,
}

/// How features are masked (METHOD.md §5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Masking {
    /// Share of the channels that is removed, 0 < r < 1.
    pub ratio: f64,
    pub mode: MaskMode,
    pub inverse: InverseMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskMode {
    /// `s`: removed places hold one scalar token, which is trained.
    TrainedScalar,
    /// `sgf`: removed places hold zero.
    ConstantScalar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InverseMode {
    /// `none`: the inverse is not used.
    Unused,
    /// `v1`: the inverse's logits are added to the student's.
    AddToStudent,
    /// `v2`: the inverse's logits are taken from the target.
    TakeFromTarget,
}
