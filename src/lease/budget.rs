use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vocabulary::FailureReason;

/// How often a worker may vanish under one job before the job itself is suspected.
const NODE_LOST_BUDGET: u32 = 5;

/// The wait before a second try; doubled for each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait between two tries: long enough for a full disk to be noticed, short enough for a night's run.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

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
    pub(super) fn record(&mut self, reason: FailureReason, retries: u32) -> Verdict {
        let count = self.0.entry(reason.kind().to_owned()).or_default();
        *count = count.saturating_add(1);
        let (budget, backoff) = match reason {
            FailureReason::Preempted => (u32::MAX, Duration::ZERO),
            FailureReason::NodeLost => (NODE_LOST_BUDGET, Duration::ZERO),
            FailureReason::Nan | FailureReason::BadConfig | FailureReason::Upstream => (0, Duration::ZERO),
            FailureReason::GpuOom
            | FailureReason::HostOom
            | FailureReason::Timeout
            | FailureReason::Stalled
            | FailureReason::Exit(_)
            | FailureReason::Signal(_) => (retries, backoff(*count)),
        };
        if *count <= budget { Verdict::TryAgainIn(backoff) } else { Verdict::GiveUp }
    }
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_BACKOFF * 2u32.pow(doublings)).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_own_budget() {
        let mut failures = Failures::default();
        assert_eq!(failures.record(FailureReason::Exit(1), 2), Verdict::TryAgainIn(Duration::from_secs(1)));
        assert_eq!(failures.record(FailureReason::Signal(9), 2), Verdict::TryAgainIn(Duration::from_secs(1)));
        assert_eq!(failures.record(FailureReason::Exit(7), 2), Verdict::TryAgainIn(Duration::from_secs(2)));
        assert_eq!(failures.record(FailureReason::Exit(1), 2), Verdict::GiveUp);
    }

    #[test]
    fn a_lost_node_is_forgiven_five_times_whatever_the_retries() {
        let mut failures = Failures::default();
        for _ in 0..NODE_LOST_BUDGET {
            assert_eq!(failures.record(FailureReason::NodeLost, 0), Verdict::TryAgainIn(Duration::ZERO));
        }
        assert_eq!(failures.record(FailureReason::NodeLost, 0), Verdict::GiveUp);
    }

    #[test]
    fn what_would_fail_again_is_never_retried() {
        for reason in [FailureReason::Nan, FailureReason::BadConfig, FailureReason::Upstream] {
            assert_eq!(Failures::default().record(reason, 100), Verdict::GiveUp);
        }
    }

    #[test]
    fn the_wait_between_tries_has_an_upper_bound() {
        assert_eq!(backoff(u32::MAX), LONGEST_BACKOFF);
    }
}
