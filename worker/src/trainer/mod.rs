//! The built-in trainer: what a trial process computes with libtorch (METHOD.md).
//!
//! It knows a [`Recipe`](sweep::recipe::Recipe), a seed and a dataset, and gives metrics and a record; it has no word
//! for lease or job. Start with [`train`], the one training loop; [`serve`] is the process around it.
//!
//! Invariants:
//! - All chance comes from [`random`]; libtorch's generators are never used. Each purpose has a stream of its own,
//!   so that switching a method on leaves the augmentation that a trial sees as it was.
//! - All that training changes is in one [`State`]; on the CPU equal states go on to equal bits.
//! - Nothing waits for the device within an epoch: losses add up in tensors and are read once at its end.
//!
//! Tensors of images and convolution weights lie in memory channels-last throughout, which is what the kernels of
//! both kinds of device like best.

pub mod augment;
pub mod checkpoint;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod examine;
pub mod head;
pub mod inputs;
pub mod loss;
pub mod mask;
pub mod model;
pub mod native;
pub mod optimizer;
pub mod probe;
pub mod random;
pub mod rankme;
pub mod record;
pub mod reference;
pub mod serve;
pub mod shadow;
pub mod state;
pub mod stop;
pub mod train;

mod layers;

pub use error::TrainError;
pub use serve::{JobEnd, Setup, Trainer, serve};
pub use state::State;
pub use stop::Stop;
pub use train::{Ended, Job, Observer, train};
