//! Whether the node may be trusted with jobs: a circuit breaker, so that a node that can't run any doesn't go through the
//! whole queue. Pure.
//!
//! After some different jobs in a row failed through the node's fault it takes none for a while. Then the node is
//! examined, and gets one job at a time until one goes well; where it fails again the pause is twice as long.

use std::collections::BTreeSet;
use std::time::Duration;

use sweep::vocabulary::{FailureReason, JobId};

/// So many different jobs are no coincidence.
const MOST_IN_A_ROW: usize = 3;
/// Long enough to matter to the queue, short enough for a file server that restarts.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Whoever mends the node shall not have to wait for long.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is known of the node.
#[derive(Debug, Default)]
pub(crate) struct Health {
    state: State,
    /// Jobs that failed through the node's fault since one went well.
    failed: BTreeSet<JobId>,
    /// Pauses since then.
    pauses: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Well,
    Paused,
    /// After a pause, until a job goes well.
    OnProbation,
}

impl Health {
    /// A job was completed. Says whether that ends a probation.
    pub(crate) fn job_went_well(&mut self) -> bool {
        let was_on_probation = self.state == State::OnProbation;
        // One that began before the pause says nothing of the node as it is now.
        if self.state != State::Paused {
            *self = Health::default();
        }
        was_on_probation
    }

    /// A job has failed; says how long to take no other one, where a pause begins.
    pub(crate) fn job_failed(&mut self, job: JobId, reason: FailureReason) -> Option<Duration> {
        if reason != FailureReason::NodeFault || self.state == State::Paused {
            return None;
        }
        self.failed.insert(job);
        let is_enough = self.state == State::OnProbation || self.failed.len() >= MOST_IN_A_ROW;
        is_enough.then(|| self.pause())
    }

    /// The node was examined at the end of a pause; says how long the next one is, where it is not well.
    pub(crate) fn examined(&mut self, is_well: bool) -> Option<Duration> {
        if is_well {
            self.state = State::OnProbation;
            return None;
        }
        Some(self.pause())
    }

    fn pause(&mut self) -> Duration {
        self.state = State::Paused;
        let doublings = self.pauses.min(16);
        self.pauses += 1;
        (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
    }

    /// How many jobs the agent may hold.
    pub(crate) fn most_jobs(&self) -> usize {
        match self.state {
            State::Well => usize::MAX,
            State::OnProbation => 1,
            State::Paused => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(health: &mut Health, job: i64) -> Option<Duration> {
        health.job_failed(JobId(job), FailureReason::NodeFault)
    }

    #[test]
    fn three_different_jobs_in_a_row_begin_a_pause() {
        let mut health = Health::default();
        for job in [1, 1, 2, 1] {
            assert_eq!(fail(&mut health, job), None);
        }
        assert_eq!(fail(&mut health, 3), Some(FIRST_PAUSE));
        assert_eq!(health.most_jobs(), 0);
        assert_eq!(fail(&mut health, 4), None, "it is paused already");
    }

    #[test]
    fn one_that_goes_well_begins_it_anew_and_failures_of_their_own_count_for_nothing() {
        let mut health = Health::default();
        fail(&mut health, 1);
        fail(&mut health, 2);
        assert!(!health.job_went_well());
        fail(&mut health, 3);
        for job in 4..100 {
            assert_eq!(health.job_failed(JobId(job), FailureReason::Exit(1)), None);
            assert_eq!(health.job_failed(JobId(job), FailureReason::BadConfig), None);
        }
        assert_eq!(fail(&mut health, 100), None);
        assert_eq!(health.most_jobs(), usize::MAX);
    }

    #[test]
    fn after_a_pause_one_job_at_a_time_shows_whether_the_node_is_well() {
        let mut health = Health::default();
        let pauses: Vec<_> = (1..=3).map(|job| fail(&mut health, job)).collect();
        assert_eq!(pauses, [None, None, Some(FIRST_PAUSE)]);
        assert!(!health.job_went_well(), "it began before the pause");
        assert_eq!(health.most_jobs(), 0);
        assert_eq!(health.examined(true), None);
        assert_eq!(health.most_jobs(), 1);
        assert_eq!(fail(&mut health, 1), Some(FIRST_PAUSE * 2), "once is enough now");
        assert_eq!(health.examined(false), Some(FIRST_PAUSE * 4));
        health.examined(true);
        assert!(health.job_went_well());
        assert_eq!(health.most_jobs(), usize::MAX);
        let pauses: Vec<_> = (1..=3).map(|job| fail(&mut health, job)).collect();
        assert_eq!(pauses, [None, None, Some(FIRST_PAUSE)], "counting begins anew");
    }

    #[test]
    fn pauses_have_an_upper_bound() {
        let mut health = Health::default();
        let last = (0..100).filter_map(|_| health.examined(false)).last();
        assert_eq!(last, Some(LONGEST_PAUSE));
    }
}
