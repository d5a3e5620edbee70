//! The typed configuration of one trial of the built-in trainer.
//!
//! A [`Recipe`] is made from canonical parameters (see [`super::schema`]), so whatever holds one needs no checks.

use crate::vocabulary::{CheckpointHash, StateHash};

/// All that decides what a trial computes, but for its seed and the contents of its dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Name of the imported dataset.
    pub dataset: String,
    /// Extra evaluation sets to report on; `None` means all that the dataset has.
    pub eval_sets: Option<Vec<String>>,
    pub network: Network,
    pub epochs: u32,
    pub batch_size: u32,
    /// Initial learning rate.
    pub lr: f64,
    pub lr_schedule: LrSchedule,
    /// Epochs of linear warm-up before the schedule.
    pub warmup_epochs: u32,
    /// Factor on the learning rate of the head's parameters.
    pub head_lr_mult: f64,
    /// Factor on the learning rate of all other parameters of the network.
    pub backbone_lr_mult: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    /// The test set is evaluated after every epoch that this divides, and after the last.
    pub eval_every: u32,
    /// Factors on the learning rate of linear probes, one probe each; empty where none is trained.
    pub probes: Vec<f64>,
    /// A checkpoint is written after every epoch that this divides, and after the job's last.
    pub checkpoint_every: u32,
    pub device: Device,
    pub precision: Precision,
    /// Threads inside libtorch; part of the configuration because the order of sums depends on it.
    pub threads: u32,
    /// Whether a GPU is asked for the same bits every time; a CPU always gives them.
    pub deterministic: bool,
    pub method: Method,
}

/// What decides the network's shape, beside the number of classes (METHOD.md §1).
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// 18 or 34.
    pub depth: u32,
    /// Channels of the first stage; the last one has 8 times as many.
    pub width: u32,
    pub stem: Stem,
    pub pool: Pool,
    pub head: Head,
}

/// The first convolution; it has 64 channels whatever the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stem {
    /// `3x3`, stride 1.
    ThreeByThree,
    /// `5x5`, stride 1.
    FiveByFive,
    /// `7x7`, stride 2, and max-pooling.
    SevenBySeven,
}

/// How the last stage's maps become features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pool {
    /// `avg`: the average over all places.
    Average,
    /// `avg2x2`: the averages of the four quarters, so four times as many features.
    Quarters,
    /// `gem`: the generalised mean over all places.
    GeneralisedMean { exponent: f64 },
}

/// What makes logits of features: hidden layers (linear, batch norm, ReLU, dropout), then a linear one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Head {
    /// Widths of the hidden layers; empty for a linear head.
    pub hidden: Vec<u32>,
    pub batch_norm: bool,
    /// Share of a hidden layer's outputs that is dropped in training, 0 ≤ p < 1.
    pub dropout: f64,
}

/// How the learning rate changes from epoch to epoch.
#[derive(Debug, Clone, PartialEq)]
pub enum LrSchedule {
    /// After each of `steps` (epochs, ascending) it is multiplied by `gamma`.
    MultiStep {
        steps: Vec<u32>,
        gamma: f64,
    },
    /// Half a cosine from the initial rate towards 0.
    Cosine,
    Constant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A GPU where the trial process sees one, otherwise the CPU.
    Auto,
    Cpu,
    /// The GPU of this number among those that the trial process sees.
    Cuda(u32),
}

/// Number format of convolutions and of what lies between them; weights, batch norm's statistics, features, head and
/// losses are float32 in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Fp32,
    /// On a GPU: products of numbers with 10 bits of mantissa. On a CPU the same as [`Precision::Fp32`].
    Tf32,
    Bf16,
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

/// The reference model and how the student is drawn to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Distillation {
    pub teacher: Teacher,
    pub loss: AuxLoss,
    /// λ: weight of the auxiliary loss.
    pub weight: f64,
    /// Weight of the cross entropy from the method's start on.
    pub ce_weight: f64,
}

/// Where the reference model comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Teacher {
    /// From the student itself, during training.
    Student(SelfTeaching),
    /// `checkpoint`: networks of other trials, whose logits are averaged, from the first epoch on.
    Checkpoints(Vec<TeacherWeights>),
}

/// The weights of a network that teaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeacherWeights {
    /// A file, by the hash of its contents.
    File(CheckpointHash),
    /// Those that a trial ends with, by the state in which they are: wherever and whenever it was trained.
    Trial(StateHash),
}

/// A reference that is taken from the student (METHOD.md §3).
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTeaching {
    /// The first reference is taken after the first epoch beyond this that `every` divides.
    pub start: u32,
    pub every: u32,
    pub update: TeacherUpdate,
    pub scope: TeacherScope,
    pub optimizer_at_start: OptimizerAtStart,
    pub eval_weights: EvalWeights,
}

/// What becomes of the reference after its first event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TeacherUpdate {
    /// `frozen`: each later event replaces it by the student as it is then.
    Replace,
    /// It is moved towards the student after every step and never replaced.
    Average(Averaging),
}

/// How the weight of the new value in an average depends on the update's number k (METHOD.md §3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Averaging {
    /// `ema`: constant.
    Ema { ratio: f64 },
    /// `anne`: max(ratio, γ/(γ+k)), γ = 100.
    Annealed { ratio: f64 },
    /// `sto`: 1/(k+1), the plain mean.
    Plain,
}

/// How much of the student the reference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeacherScope {
    /// Backbone and head.
    Network(TeacherBatchNorm),
    /// `cls_only`: the head, applied to the student's features.
    Head(TargetGradient),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeacherBatchNorm {
    /// `running`: the reference's own statistics.
    Running,
    /// `batch`: the current batch's, and the running ones go on moving.
    Batch,
}

/// Whether a gradient reaches the backbone through the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetGradient {
    Stopped,
    Flows,
}

/// What the method's first event does to the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptimizerAtStart {
    Keep,
    /// Momentum is lost, and the learning rate is the initial one from then on.
    Reset,
}

/// Which weights are evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EvalWeights {
    Student,
    /// A moving average of the student, updated after every step from the first step of epoch `start` on, with the
    /// student's batch norm statistics. `ratio` is the weight of the new value.
    Average {
        ratio: f64,
    },
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
    /// M: how many masks each sample gets, at least 1.
    pub masks: u32,
}

/// What stands in removed places, and how the inverse is used where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskMode {
    /// Exactly trunc(D·r) channels of each sample make way for a token.
    Token(TokenMode, InverseMode),
    /// `d`: each channel is removed with probability r, and survivors are scaled by 1/(1−r). It has no inverse.
    Dropout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenMode {
    /// `s`: one scalar, which is trained.
    TrainedScalar,
    /// `a`: a vector, which is trained; entry k stands in the k-th removed place.
    TrainedVector,
    /// `sgf`: zero.
    ConstantScalar,
    /// `agf`: zeros.
    ConstantVector,
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

impl MaskMode {
    /// How the inverse is used.
    #[must_use]
    pub fn inverse(self) -> InverseMode {
        match self {
            MaskMode::Token(_, inverse) => inverse,
            MaskMode::Dropout => InverseMode::Unused,
        }
    }
}
