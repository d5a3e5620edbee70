//! The worker: [`agent`] leases jobs and watches trial processes; [`trainer`] is the built-in trial process.
//!
//! The trainer has no word for lease or job; the agent has no tensors.

pub mod agent;
#[cfg(feature = "torch")]
pub mod trainer;
