//! The job state machine: what an event does to a job at a given time.
//!
//! Pure. [`step`] decides; `store` applies the decision in one transaction. Invariants: a job has at most one lease;
//! attempt numbers only grow, so the newest one fences off whoever holds an older; an attempt ends exactly once.

mod budget;
#[cfg(test)]
pub(crate) mod histories;
mod state;
mod step;

pub use budget::Failures;
#[cfg(feature = "coordinator")]
pub(crate) use budget::LONGEST_BACKOFF;
pub use state::{EndedAttempt, Job, JobState, Outcome, ParseOutcomeError, READY};
pub use step::{Begun, Effect, Event, Needs, Refusal, step};
