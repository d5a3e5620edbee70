use std::time::Duration;

use super::budget::Verdict;
use super::state::{EndedAttempt, Job, JobState, Outcome, READY};
use crate::vocabulary::{Attempt, FailureReason, Timestamp, WorkerId};

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Everything that it needs has succeeded.
    NeedsMet,
    /// Something that it needs has not succeeded, or is to be made again: its own first part, or a parent whose checkpoint
    /// is gone.
    NeedOpened,
    /// Something that it needs failed for good.
    NeedFailed,
    Lease {
        worker: WorkerId,
        lasts: Duration,
    },
    Heartbeat {
        attempt: Attempt,
        lasts: Duration,
    },
    Complete {
        attempt: Attempt,
    },
    Fail {
        attempt: Attempt,
        reason: FailureReason,
    },
    Release {
        attempt: Attempt,
    },
    /// The deadline is over.
    Expire {
        begun: Begun,
    },
    /// The worker that holds the lease is known to be dead, so that the deadline need not be waited for.
    WorkerDied {
        attempt: Attempt,
        begun: Begun,
    },
    Cancel,
    Retry {
        needs: Needs,
    },
}

/// Whether a job that is reopened can start at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Met,
    Open,
}

/// Whether a worker that is lost may have begun a job that it held.
///
/// A worker begins jobs in the order in which it got them, as many at a time as it has slots. So of those whose end nobody
/// knows it can be at work on the oldest only, and not on what it leased ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    Maybe,
    /// It waited for others that were leased before it, and so has no part in what became of the worker.
    Never,
}

/// What follows from a step, to be done in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    OpenAttempt {
        attempt: Attempt,
        worker: WorkerId,
    },
    CloseAttempt(EndedAttempt),
    /// Jobs that need this one have one need less.
    UnblockDependents,
    /// Jobs that need this one can't be run any more.
    FailDependents,
}

/// Why an event does nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The lease that was shown is not the current one: its holder has lost the job and drops it.
    #[error("attempt {shown} is no longer leased: {now}")]
    Stale { shown: Attempt, now: String },
    /// The deadline lies ahead, or the job waits before it is tried again.
    #[error("too early")]
    TooEarly,
    /// The event does not fit the state.
    #[error("a job that is {state} can't {event}")]
    WrongState { state: &'static str, event: &'static str },
}

/// Decides what `event` does to `job` at `now`; changes nothing by itself.
///
/// # Errors
/// A pair that does not fit is refused, and the refusal names both.
pub fn step(job: &Job, event: &Event, now: Timestamp) -> Result<(Job, Vec<Effect>), Refusal> {
    match event {
        Event::NeedsMet => on_needs_met(job),
        Event::NeedOpened => on_need_opened(job),
        Event::NeedFailed => on_need_failed(job),
        Event::Lease { worker, lasts } => on_lease(job, *worker, *lasts, now),
        Event::Heartbeat { attempt, lasts } => on_heartbeat(job, *attempt, *lasts, now),
        Event::Complete { attempt } => on_end(job, ended(*attempt, Outcome::Completed), Begun::Maybe, now),
        Event::Fail { attempt, reason } => {
            on_end(job, ended(*attempt, Outcome::Failed(*reason)), Begun::Maybe, now)
        }
        Event::Release { attempt } => on_end(job, ended(*attempt, Outcome::Released), Begun::Maybe, now),
        Event::Expire { begun } => on_expire(job, *begun, now),
        Event::WorkerDied { attempt, begun } => on_end(job, ended(*attempt, Outcome::Expired), *begun, now),
        Event::Cancel => on_cancel(job),
        Event::Retry { needs } => on_retry(job, *needs),
    }
}

type Step = Result<(Job, Vec<Effect>), Refusal>;

fn on_needs_met(job: &Job) -> Step {
    match job.state {
        JobState::Blocked => Ok((job.clone().with(JobState::Queued { not_before: READY }), vec![])),
        JobState::Queued { .. } | JobState::Leased { .. } | JobState::Succeeded => Ok((job.clone(), vec![])),
        JobState::Failed { .. } | JobState::Cancelled => Err(job.wrong_state("be queued")),
    }
}

fn on_need_opened(job: &Job) -> Step {
    match job.state {
        JobState::Queued { .. } => Ok((job.clone().with(JobState::Blocked), vec![])),
        JobState::Blocked | JobState::Failed { .. } | JobState::Cancelled => Ok((job.clone(), vec![])),
        JobState::Leased { .. } | JobState::Succeeded => Err(job.wrong_state("wait for what it needs")),
    }
}

fn on_need_failed(job: &Job) -> Step {
    match job.state {
        JobState::Blocked | JobState::Queued { .. } => {
            let failed = JobState::Failed { reason: FailureReason::Upstream };
            Ok((job.clone().with(failed), vec![Effect::FailDependents]))
        }
        JobState::Failed { .. } | JobState::Cancelled => Ok((job.clone(), vec![])),
        JobState::Leased { .. } | JobState::Succeeded => Err(job.wrong_state("fail with what it needs")),
    }
}

fn on_lease(job: &Job, worker: WorkerId, lasts: Duration, now: Timestamp) -> Step {
    match job.state {
        JobState::Queued { not_before } if not_before <= now => {
            let attempt = job.next_attempt();
            let leased = JobState::Leased { attempt, worker, deadline: now.after(lasts) };
            Ok((job.clone().with(leased), vec![Effect::OpenAttempt { attempt, worker }]))
        }
        JobState::Queued { .. } => Err(Refusal::TooEarly),
        JobState::Blocked
        | JobState::Leased { .. }
        | JobState::Succeeded
        | JobState::Failed { .. }
        | JobState::Cancelled => Err(job.wrong_state("be leased")),
    }
}

/// A heartbeat after the deadline still counts as long as nobody else has the job: the work is not lost for nothing.
fn on_heartbeat(job: &Job, shown: Attempt, lasts: Duration, now: Timestamp) -> Step {
    match job.state {
        JobState::Leased { attempt, worker, deadline } if attempt == shown => {
            let deadline = deadline.max(now.after(lasts));
            Ok((job.clone().with(JobState::Leased { attempt, worker, deadline }), vec![]))
        }
        JobState::Blocked
        | JobState::Queued { .. }
        | JobState::Leased { .. }
        | JobState::Succeeded
        | JobState::Failed { .. }
        | JobState::Cancelled => Err(job.stale(shown)),
    }
}

fn ended(attempt: Attempt, outcome: Outcome) -> EndedAttempt {
    EndedAttempt { attempt, outcome }
}

fn on_end(job: &Job, ended: EndedAttempt, begun: Begun, now: Timestamp) -> Step {
    let shown = ended.attempt;
    match job.state {
        JobState::Leased { attempt, .. } if attempt == shown => Ok(end_attempt(job, ended, begun, now)),
        // The same call again: the first answer was lost on its way.
        _ if job.last_ended == Some(ended) => Ok((job.clone(), vec![])),
        JobState::Blocked
        | JobState::Queued { .. }
        | JobState::Leased { .. }
        | JobState::Succeeded
        | JobState::Failed { .. }
        | JobState::Cancelled => Err(job.stale(shown)),
    }
}

fn on_expire(job: &Job, begun: Begun, now: Timestamp) -> Step {
    match job.state {
        JobState::Leased { attempt, deadline, .. } if deadline <= now => {
            Ok(end_attempt(job, ended(attempt, Outcome::Expired), begun, now))
        }
        JobState::Leased { .. } => Err(Refusal::TooEarly),
        JobState::Blocked
        | JobState::Queued { .. }
        | JobState::Succeeded
        | JobState::Failed { .. }
        | JobState::Cancelled => Err(job.wrong_state("expire")),
    }
}

fn on_cancel(job: &Job) -> Step {
    match job.state {
        JobState::Leased { attempt, .. } => {
            let ended = EndedAttempt { attempt, outcome: Outcome::Cancelled };
            let mut next = job.clone().with(JobState::Cancelled);
            next.last_ended = Some(ended);
            Ok((next, vec![Effect::CloseAttempt(ended)]))
        }
        JobState::Blocked | JobState::Queued { .. } => Ok((job.clone().with(JobState::Cancelled), vec![])),
        JobState::Cancelled => Ok((job.clone(), vec![])),
        JobState::Succeeded | JobState::Failed { .. } => Err(job.wrong_state("be cancelled")),
    }
}

fn on_retry(job: &Job, needs: Needs) -> Step {
    match job.state {
        JobState::Failed { .. } | JobState::Cancelled => {
            let state = match needs {
                Needs::Met => JobState::Queued { not_before: READY },
                Needs::Open => JobState::Blocked,
            };
            let mut next = job.clone().with(state);
            next.failures = super::Failures::default();
            Ok((next, vec![]))
        }
        JobState::Blocked | JobState::Queued { .. } | JobState::Leased { .. } | JobState::Succeeded => {
            Err(job.wrong_state("be retried"))
        }
    }
}

/// Ends the current attempt of a leased job.
fn end_attempt(job: &Job, ended: EndedAttempt, begun: Begun, now: Timestamp) -> (Job, Vec<Effect>) {
    let mut next = job.clone();
    next.last_ended = Some(ended);
    let mut effects = vec![Effect::CloseAttempt(ended)];
    let reason = match ended.outcome {
        Outcome::Completed => {
            next.state = JobState::Succeeded;
            effects.push(Effect::UnblockDependents);
            return (next, effects);
        }
        Outcome::Cancelled => {
            next.state = JobState::Cancelled;
            return (next, effects);
        }
        Outcome::Failed(reason) => reason,
        Outcome::Released => FailureReason::Preempted,
        Outcome::Expired => FailureReason::NodeLost,
    };
    let verdict = match begun {
        Begun::Maybe => next.failures.record(reason, job.retries, now),
        Begun::Never => next.failures.record_lost_unbegun(),
    };
    match verdict {
        Verdict::TryAgainIn(Duration::ZERO) => next.state = JobState::Queued { not_before: READY },
        Verdict::TryAgainIn(backoff) => next.state = JobState::Queued { not_before: now.after(backoff) },
        Verdict::GiveUp => {
            next.state = JobState::Failed { reason };
            effects.push(Effect::FailDependents);
        }
    }
    (next, effects)
}

impl Begun {
    #[must_use]
    pub fn of(is_possible: bool) -> Begun {
        if is_possible { Begun::Maybe } else { Begun::Never }
    }
}

impl Job {
    fn with(mut self, state: JobState) -> Job {
        self.state = state;
        self
    }

    fn wrong_state(&self, event: &'static str) -> Refusal {
        Refusal::WrongState { state: self.state.name(), event }
    }

    fn stale(&self, shown: Attempt) -> Refusal {
        let now = match self.state {
            JobState::Leased { attempt, .. } => format!("the job is leased under attempt {attempt}"),
            _ => format!("the job is {}", self.state.name()),
        };
        Refusal::Stale { shown, now }
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
