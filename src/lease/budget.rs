use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vocabulary::{FailureReason, Timestamp};

/// How often a worker may vanish under one job before the job itself is suspected.
const NODE_LOST_BUDGET: u32 = 5;

/// The same for a job that only waited there, whose fault it can't be: far more often than that happens, and a bound all the same.
const LOST_UNBEGUN_BUDGET: u32 = 100;

/// Under which name those are counted.
const LOST_UNBEGUN: &str = "lost_unbegun";

/// How many times a job may meet a node that can't run it.
const NODE_FAULT_BUDGET: u32 = 5;

/// The wait before a second try, but for jitter; doubled for each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait between two tries, but for jitter: long enough for a full disk to be noticed, short enough for a night's run.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Failures of one job, counted by the kind of their reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Failures(BTreeMap<String, u32>);

/// Whether a job that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    TryAgainIn(Duration),
    GiveUp,
}

impl Failures {
    /// Counts one failure and says what follows from it.
    pub(super) fn record(&mut self, reason: FailureReason, retries: u32, now: Timestamp) -> Verdict {
        let count = self.count(reason.kind());
        let (budget, backoff) = match reason {
            FailureReason::Preempted => (u32::MAX, Duration::ZERO),
            FailureReason::NodeLost => (NODE_LOST_BUDGET, Duration::ZERO),
            FailureReason::NodeFault => (NODE_FAULT_BUDGET, spread(backoff(count), now)),
            FailureReason::Nan | FailureReason::BadConfig | FailureReason::Upstream => (0, Duration::ZERO),
            FailureReason::GpuOom
            | FailureReason::HostOom
            | FailureReason::Timeout
            | FailureReason::Stalled
            | FailureReason::Exit(_)
            | FailureReason::Signal(_) => (retries, spread(backoff(count), now)),
        };
        if count <= budget { Verdict::TryAgainIn(backoff) } else { Verdict::GiveUp }
    }

    /// Counts a worker that vanished before it can have begun the job.
    pub(super) fn record_lost_unbegun(&mut self) -> Verdict {
        let is_too_often = self.count(LOST_UNBEGUN) > LOST_UNBEGUN_BUDGET;
        if is_too_often { Verdict::GiveUp } else { Verdict::TryAgainIn(Duration::ZERO) }
    }

    /// One more of this kind; how many there are now.
    fn count(&mut self, kind: &str) -> u32 {
        let count = self.0.entry(kind.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_BACKOFF * 2u32.pow(doublings)).min(LONGEST_BACKOFF)
}

/// Up to half as long again, so that what failed together, because a file server was away, does not come back together.
/// Which part of it is a matter of the millisecond: chance from elsewhere would make `step` give two answers to one question.
fn spread(backoff: Duration, now: Timestamp) -> Duration {
    // The finishing steps of SplitMix64 (Steele, Lea and Flood 2014), which scatter neighbouring numbers.
    let mut bits = now.0.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let share = (bits ^ (bits >> 31)) >> 40;
    let half = u64::try_from(backoff.as_millis() / 2).unwrap_or(u64::MAX);
    backoff + Duration::from_millis((half * share) >> 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(5);

    #[test]
    fn each_kind_of_failure_has_its_own_budget() {
        let (mut failures, mut waits) = (Failures::default(), Vec::new());
        for reason in [FailureReason::Exit(1), FailureReason::Signal(9), FailureReason::Exit(7)] {
            let Verdict::TryAgainIn(wait) = failures.record(reason, 2, NOW) else { panic!("gave up") };
            waits.push(wait.as_secs());
        }
        assert_eq!(failures.record(FailureReason::Exit(1), 2, NOW), Verdict::GiveUp);
        assert!(waits[0] == 1 && waits[1] == 1 && waits[2] >= 2, "{waits:?}");
    }

    #[test]
    fn a_lost_node_is_forgiven_five_times_whatever_the_retries() {
        let mut failures = Failures::default();
        for _ in 0..NODE_LOST_BUDGET {
            let verdict = failures.record(FailureReason::NodeLost, 0, NOW);
            assert_eq!(verdict, Verdict::TryAgainIn(Duration::ZERO));
        }
        assert_eq!(failures.record(FailureReason::NodeLost, 0, NOW), Verdict::GiveUp);
    }

    #[test]
    fn a_job_that_only_waited_on_lost_nodes_is_not_suspected_for_long() {
        let mut failures = Failures::default();
        for _ in 0..LOST_UNBEGUN_BUDGET {
            assert_eq!(failures.record_lost_unbegun(), Verdict::TryAgainIn(Duration::ZERO));
        }
        for _ in 0..NODE_LOST_BUDGET {
            let verdict = failures.record(FailureReason::NodeLost, 0, NOW);
            assert_eq!(verdict, Verdict::TryAgainIn(Duration::ZERO));
        }
        assert_eq!(failures.record_lost_unbegun(), Verdict::GiveUp);
    }

    #[test]
    fn a_node_that_cant_run_a_job_is_forgiven_five_times_after_a_wait() {
        let mut failures = Failures::default();
        for _ in 0..NODE_FAULT_BUDGET {
            let verdict = failures.record(FailureReason::NodeFault, 0, NOW);
            assert!(matches!(verdict, Verdict::TryAgainIn(wait) if wait >= FIRST_BACKOFF), "{verdict:?}");
        }
        assert_eq!(failures.record(FailureReason::NodeFault, 0, NOW), Verdict::GiveUp);
    }

    #[test]
    fn what_would_fail_again_is_never_retried() {
        for reason in [FailureReason::Nan, FailureReason::BadConfig, FailureReason::Upstream] {
            assert_eq!(Failures::default().record(reason, 100, NOW), Verdict::GiveUp);
        }
    }

    #[test]
    fn the_wait_between_tries_has_an_upper_bound() {
        assert_eq!(backoff(u32::MAX), LONGEST_BACKOFF);
        let waits: Vec<_> = (0..1000).map(|now| spread(LONGEST_BACKOFF, Timestamp(now))).collect();
        let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
        assert!(least >= LONGEST_BACKOFF && most < LONGEST_BACKOFF * 3 / 2);
        // Neighbours are spread over all of it.
        assert!(least < LONGEST_BACKOFF * 102 / 100 && most > LONGEST_BACKOFF * 148 / 100);
    }
}
