//! What is known about the built-in trainer without running it: its parameters, their defaults and ranges, which
//! of them matter when and in which epoch, learning rates, the epochs at which the reference model is taken, and what is reported.
//!
//! Planner and trainer both call this room; there is no second copy of any of it. It is pure.
//! Start with [`Recipe`], the typed configuration of one trial; [`schema`] is its description as data,
//! [`metrics`] that of its results; [`smoke`] makes the smallest trial that runs the same code; [`variant`] knows where the study departs from its own text.

mod config;
mod effective;
mod from_parameters;
pub mod metrics;
pub mod schedule;
pub mod schema;
pub mod smoke;
pub mod variant;

pub use config::{
    AuxLoss, Averaging, Device, Distillation, EvalWeights, Head, InverseMode, LrSchedule, MaskMode, Masking,
    Method, Network, OptimizerAtStart, PairwiseLoss, Pool, Precision, Recipe, SelfTeaching, Stem,
    TargetGradient, Teacher, TeacherBatchNorm, TeacherScope, TeacherUpdate, TeacherWeights, TokenMode,
};
pub use effective::{Stretch, first_difference, initial_state, stretches};
pub use schedule::TeacherEvent;

/// Names the numerics of the built-in trainer. Raised by hand whenever the same configuration would give other
/// bits; part of every trial's identity, so that old and new results are never taken for each other.
pub const NUMERICS_VERSION: u32 = 3;

/// What the trainer takes from each channel of an image before the network sees it, on the 0–255 scale: the mean of CIFAR-10's
/// training images, whatever the dataset (METHOD.md §2).
pub const PIXEL_MEAN: [f64; 3] = [125.307, 122.961, 113.8575];

/// By what it divides them then.
pub const PIXEL_STANDARD_DEVIATION: [f64; 3] = [51.5865, 50.847, 51.255];
