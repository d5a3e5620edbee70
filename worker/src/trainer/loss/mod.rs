//! Losses: tensors in, scalar out, one function each. They only compute; what is detached is said at each.

mod ce;
mod masked;
mod pairwise;

pub use ce::ce;
pub use masked::{Side, masked};
pub use pairwise::{cosine, kd, l2, pairwise};
