//! How fast jobs come and go, and so how many to ask for. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::slots::Need;

/// Only jobs shorter than this are worth leasing ahead: for longer ones a round trip is nothing, and a job that
/// waits here could run elsewhere.
const SHORT: Duration = Duration::from_secs(1);
/// How much work is leased ahead: several slow round trips.
const AHEAD: Duration = Duration::from_secs(2);
/// No more jobs are leased ahead, however short: so many are given back quickly, and half of them, when the next are asked
/// for, outlast some slow commits where jobs take a millisecond.
const MOST_AHEAD: usize = 256;
/// How many jobs are remembered. One long job among them ends leasing ahead until so many short ones have passed.
const REMEMBERED: usize = 16;

/// After so many failures in a row nothing is leased ahead: jobs that fail at once would go through the queue before anybody
/// could notice that this node, or the sweep, is to blame.
const MOST_FAILURES: u32 = 3;

/// What the agent has learnt of its jobs.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Wall time of the last jobs, newest last.
    recent: VecDeque<Duration>,
    /// Jobs that failed since one went well.
    failures: u32,
    /// What the job leased last uses.
    need: Option<Need>,
}

impl Pace {
    /// A job has failed, which says nothing about how long jobs take.
    pub(crate) fn job_failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// A job took so long.
    pub(crate) fn job_ended(&mut self, wall: Duration) {
        self.failures = 0;
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(wall);
    }

    pub(crate) fn job_leased(&mut self, need: Need) {
        self.need = Some(need);
    }

    /// What the next job probably uses.
    pub(crate) fn expected_need(&self) -> Need {
        self.need.unwrap_or(Need { cpus: 1, gpus: None })
    }

    /// How many jobs to hold beyond those that `slots` slots run.
    pub(crate) fn jobs_ahead(&self, slots: usize) -> usize {
        let Some(longest) = self.recent.iter().max() else {
            return 0;
        };
        if *longest >= SHORT || self.failures >= MOST_FAILURES {
            return 0;
        }
        let total: Duration = self.recent.iter().sum();
        let mean_seconds = total.as_secs_f64() / self.recent.len() as f64;
        // A mean of zero gives infinity, which the cast turns into the largest number.
        let ahead = AHEAD.as_secs_f64() / mean_seconds * slots as f64;
        (ahead as usize).min(MOST_AHEAD)
    }

    /// Whether `slots` slots end more than a hundred jobs a second.
    pub(crate) fn is_rapid(&self, slots: usize) -> bool {
        self.jobs_ahead(slots) == MOST_AHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(millis: &[u64]) -> Pace {
        let mut pace = Pace::default();
        millis.iter().for_each(|&millis| pace.job_ended(Duration::from_millis(millis)));
        pace
    }

    #[test]
    fn nothing_is_leased_ahead_before_the_first_job_has_ended() {
        assert_eq!(pace(&[]).jobs_ahead(8), 0);
    }

    #[test]
    fn two_seconds_of_short_jobs_are_leased_ahead_for_each_slot() {
        assert_eq!(pace(&[500, 500]).jobs_ahead(1), 4);
        assert_eq!(pace(&[400, 600]).jobs_ahead(2), 8);
    }

    #[test]
    fn leasing_ahead_is_bounded_however_short_the_jobs() {
        assert_eq!(pace(&[1]).jobs_ahead(2), MOST_AHEAD);
        assert_eq!(pace(&[0]).jobs_ahead(1), MOST_AHEAD);
    }

    #[test]
    fn nothing_is_leased_ahead_where_jobs_only_fail() {
        let mut pace = Pace::default();
        pace.job_failed();
        assert_eq!(pace.jobs_ahead(2), 0, "how long jobs take is not known yet");
        pace.job_ended(Duration::from_millis(2));
        for ahead in [MOST_AHEAD, MOST_AHEAD, 0, 0] {
            pace.job_failed();
            assert_eq!(pace.jobs_ahead(2), ahead);
        }
        pace.job_ended(Duration::from_millis(2));
        assert_eq!(pace.jobs_ahead(2), MOST_AHEAD);
    }

    #[test]
    fn one_long_job_ends_leasing_ahead_until_it_is_forgotten() {
        let mut pace = pace(&[2, 3_600_000]);
        for _ in 1..REMEMBERED {
            pace.job_ended(Duration::from_millis(2));
            assert_eq!(pace.jobs_ahead(2), 0);
        }
        pace.job_ended(Duration::from_millis(2));
        assert_eq!(pace.jobs_ahead(2), MOST_AHEAD);
    }
}
