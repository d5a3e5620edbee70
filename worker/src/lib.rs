//! The built-in trainer. The agent beside it, in `agent/`, is a program of its own that sees none of this.
//!
//! The trainer has no word for lease or job; the agent has no tensors.

#[cfg(feature = "torch")]
pub mod trainer;
