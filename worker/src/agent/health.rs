//! Whether the node may be trusted with jobs: a circuit breaker, so that a node that can't run any doesn't go through the
//! whole queue. Pure.
//!
//! After some different jobs in a row failed through the node's fault it takes none for a while. Then the node is
//! examined, and gets one job at a time until one goes well; where it fails again the pause is twice as long. Jobs that were
//! under way when the pause began run on, and say nothing about the node after it.

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
    term: Term,
    /// Jobs that failed through the node's fault since one went well.
    failed: BTreeSet<JobId>,
    /// Pauses since a job was completed.
    pauses: u32,
}

/// The time from one pause to the next, by which a job remembers when it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Term(u64);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Well,
    Paused,
    /// After a pause, until a job goes well.
    OnProbation,
}

impl Health {
    /// The term in which a job is that starts now.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// A job that was started in `started` was completed. Says whether that ends a probation.
    pub(crate) fn job_went_well(&mut self, started: Term) -> bool {
        if !self.is_telling(started) {
            return false;
        }
        let was_on_probation = self.state == State::OnProbation;
        *self = Health { term: self.term, ..Health::default() };
        was_on_probation
    }

    /// The coordinator has taken a report of such a job. Says whether that ends a probation: a job may take hours, and others
    /// need not wait for its end. The next pause is longer all the same until a job is completed.
    pub(crate) fn job_reported(&mut self, started: Term) -> bool {
        let ends_probation = self.state == State::OnProbation && self.is_telling(started);
        if ends_probation {
            self.state = State::Well;
            self.failed.clear();
        }
        ends_probation
    }

    /// Such a job has failed; says how long to take no other one, where a pause begins.
    pub(crate) fn job_failed(
        &mut self,
        job: JobId,
        reason: FailureReason,
        started: Term,
    ) -> Option<Duration> {
        if reason != FailureReason::NodeFault || !self.is_telling(started) {
            return None;
        }
        self.failed.insert(job);
        let is_enough = self.state == State::OnProbation || self.failed.len() >= MOST_IN_A_ROW;
        is_enough.then(|| self.pause())
    }

    /// Whether what becomes of such a job says something of the node as it is now.
    fn is_telling(&self, started: Term) -> bool {
        match self.state {
            State::Well => true,
            State::OnProbation => started == self.term,
            State::Paused => false,
        }
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
        self.term = Term(self.term.0 + 1);
        let doublings = self.pauses.min(16);
        self.pauses += 1;
        (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
    }

    /// How many jobs of this term the agent may hold.
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
        health.job_failed(JobId(job), FailureReason::NodeFault, health.term())
    }

    /// Whether a job that is started now and completed ends a probation.
    fn complete(health: &mut Health) -> bool {
        health.job_went_well(health.term())
    }

    /// After its first pause, with the term before it.
    fn on_probation() -> (Health, Term) {
        let mut health = Health::default();
        let before = health.term();
        let pauses: Vec<_> = (1..=3).map(|job| fail(&mut health, job)).collect();
        assert_eq!(pauses, [None, None, Some(FIRST_PAUSE)]);
        assert_eq!(health.most_jobs(), 0);
        assert_eq!(health.examined(true), None);
        assert_eq!(health.most_jobs(), 1);
        (health, before)
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
        assert!(!complete(&mut health));
        fail(&mut health, 3);
        for job in 4..100 {
            for reason in [FailureReason::Exit(1), FailureReason::BadConfig] {
                assert_eq!(health.job_failed(JobId(job), reason, health.term()), None);
            }
        }
        assert_eq!(fail(&mut health, 100), None);
        assert_eq!(health.most_jobs(), usize::MAX);
    }

    #[test]
    fn after_a_pause_one_job_at_a_time_shows_whether_the_node_is_well() {
        let (mut health, _) = on_probation();
        assert_eq!(fail(&mut health, 1), Some(FIRST_PAUSE * 2), "once is enough now");
        assert_eq!(health.examined(false), Some(FIRST_PAUSE * 4));
        health.examined(true);
        assert!(complete(&mut health));
        assert_eq!(health.most_jobs(), usize::MAX);
        let pauses: Vec<_> = (1..=3).map(|job| fail(&mut health, job)).collect();
        assert_eq!(pauses, [None, None, Some(FIRST_PAUSE)], "counting begins anew");
    }

    #[test]
    fn a_job_from_before_the_pause_neither_ends_a_probation_nor_begins_another_pause() {
        let (mut health, before) = on_probation();
        assert!(!health.job_went_well(before));
        assert!(!health.job_reported(before));
        assert_eq!(health.job_failed(JobId(7), FailureReason::NodeFault, before), None);
        assert_eq!(health.most_jobs(), 1, "it is on probation still");
    }

    #[test]
    fn the_first_report_ends_a_probation_but_the_next_pause_is_longer_until_a_job_is_completed() {
        let (mut health, _) = on_probation();
        assert!(health.job_reported(health.term()));
        assert!(!health.job_reported(health.term()), "only the first one");
        assert_eq!(health.most_jobs(), usize::MAX);
        let pauses: Vec<_> = (1..=3).map(|job| fail(&mut health, job)).collect();
        assert_eq!(pauses, [None, None, Some(FIRST_PAUSE * 2)]);
        health.examined(true);
        health.job_reported(health.term());
        complete(&mut health);
        let pauses: Vec<_> = (1..=3).map(|job| fail(&mut health, job)).collect();
        assert_eq!(pauses, [None, None, Some(FIRST_PAUSE)]);
    }

    #[test]
    fn reports_of_a_node_that_is_well_do_not_hide_that_its_jobs_fail() {
        let mut health = Health::default();
        for job in 1..=2 {
            assert!(!health.job_reported(health.term()));
            assert_eq!(fail(&mut health, job), None);
        }
        assert!(!health.job_reported(health.term()));
        assert_eq!(fail(&mut health, 3), Some(FIRST_PAUSE));
    }

    #[test]
    fn pauses_have_an_upper_bound() {
        let mut health = Health::default();
        let last = (0..100).filter_map(|_| health.examined(false)).last();
        assert_eq!(last, Some(LONGEST_PAUSE));
    }
}
