//! What has yet to reach the coordinator, in an order that loses nothing. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::mem;

use sweep::protocol::http::{EpochMetrics, LeaseToken, Outcome, OutcomesRequest, Report, ReportsRequest};

/// Reports in one request: some hundred bytes each, so that it stays well under a MiB.
const MOST_REPORTS: usize = 1024;
/// Outcomes in one request: each may carry a log tail of 4 KiB.
const MOST_OUTCOMES: usize = 128;

/// One request that writes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    Reports(ReportsRequest),
    Outcomes(OutcomesRequest),
}

/// Reports and outcomes that wait. One request is under way at a time and the rest accumulates meanwhile: so a
/// report can't be overtaken by its attempt's outcome, after which it would be refused, and many short jobs share
/// one commit. What trial processes may report is bounded, and so is this.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    reports: VecDeque<Report>,
    outcomes: VecDeque<Outcome>,
    under_way: Option<BTreeSet<LeaseToken>>,
}

impl Outbox {
    pub(crate) fn report(&mut self, report: Report) {
        self.reports.push_back(report);
    }

    pub(crate) fn finish(&mut self, outcome: Outcome) {
        self.outcomes.push_back(outcome);
    }

    /// Nothing waits and nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.outcomes.is_empty() && self.under_way.is_none()
    }

    /// Ended attempts whose outcome the coordinator doesn't know yet.
    pub(crate) fn ended_tokens(&self) -> impl Iterator<Item = LeaseToken> {
        let waiting = self.outcomes.iter().map(|outcome| outcome.token);
        waiting.chain(self.under_way.iter().flatten().copied())
    }

    /// The next request, which is under way from now on; `None` while another is, or where nothing waits.
    pub(crate) fn next(&mut self) -> Option<Write> {
        if self.under_way.is_some() {
            return None;
        }
        // A mountain of reports goes first, by itself; a handful travels with the outcomes that follow them.
        let write = if self.outcomes.is_empty() || self.reports.len() > MOST_REPORTS {
            Write::Reports(self.next_reports()?)
        } else {
            Write::Outcomes(self.next_outcomes())
        };
        self.under_way = Some(match &write {
            Write::Reports(_) => BTreeSet::new(),
            Write::Outcomes(request) => request.outcomes.iter().map(|outcome| outcome.token).collect(),
        });
        Some(write)
    }

    /// The request under way has been answered.
    pub(crate) fn delivered(&mut self) {
        self.under_way = None;
    }

    /// Forgets what waits under a lease that is no longer the agent's.
    pub(crate) fn forget(&mut self, token: LeaseToken) {
        self.reports.retain(|report| report.token != token);
        self.outcomes.retain(|outcome| outcome.token != token);
    }

    fn next_reports(&mut self) -> Option<ReportsRequest> {
        let count = self.reports.len().min(MOST_REPORTS);
        (count > 0).then(|| ReportsRequest { reports: self.reports.drain(..count).collect() })
    }

    fn next_outcomes(&mut self) -> OutcomesRequest {
        let count = self.outcomes.len().min(MOST_OUTCOMES);
        let mut outcomes: Vec<Outcome> = self.outcomes.drain(..count).collect();
        // What the end itself brings, the state in which the trial stopped, comes after all that was reported before.
        let last: Vec<Vec<EpochMetrics>> =
            outcomes.iter_mut().map(|outcome| mem::take(&mut outcome.reports)).collect();
        for report in mem::take(&mut self.reports) {
            match outcomes.iter_mut().find(|outcome| outcome.token == report.token) {
                Some(outcome) => {
                    let Report { epoch, metrics, checkpoint, .. } = report;
                    outcome.reports.push(EpochMetrics { epoch, metrics, checkpoint });
                }
                None => self.reports.push_back(report),
            }
        }
        for (outcome, last) in outcomes.iter_mut().zip(last) {
            outcome.reports.extend(last);
        }
        OutcomesRequest { outcomes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sweep::protocol::http::AttemptEnd;
    use sweep::protocol::trial::Checkpoint;
    use sweep::vocabulary::{Attempt, JobId, Metrics};

    fn token(job: i64) -> LeaseToken {
        LeaseToken { job: JobId(job), attempt: Attempt(1) }
    }

    fn report(job: i64, epoch: u32) -> Report {
        Report { token: token(job), epoch, metrics: Metrics::new(), checkpoint: None }
    }

    fn outcome(job: i64) -> Outcome {
        Outcome { token: token(job), reports: Vec::new(), end: AttemptEnd::Release }
    }

    #[test]
    fn reports_travel_with_the_outcome_that_follows_them() {
        let mut outbox = Outbox::default();
        outbox.report(report(1, 1));
        outbox.report(report(2, 1));
        outbox.report(report(1, 2));
        outbox.finish(outcome(1));
        let Some(Write::Outcomes(request)) = outbox.next() else { panic!("no outcomes") };
        let epochs: Vec<u32> = request.outcomes[0].reports.iter().map(|report| report.epoch).collect();
        assert_eq!(epochs, [1, 2]);
        outbox.delivered();
        let others = Write::Reports(ReportsRequest { reports: vec![report(2, 1)] });
        assert_eq!(outbox.next(), Some(others));
    }

    #[test]
    fn nothing_is_sent_while_a_request_is_under_way() {
        let mut outbox = Outbox::default();
        outbox.finish(outcome(1));
        assert!(outbox.next().is_some());
        outbox.finish(outcome(2));
        assert_eq!(outbox.next(), None);
        assert!(outbox.ended_tokens().eq([token(2), token(1)]));
        outbox.delivered();
        assert!(outbox.next().is_some());
        outbox.delivered();
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_mountain_of_reports_goes_before_the_outcome_in_bounded_requests() {
        let mut outbox = Outbox::default();
        for epoch in 1..=3000 {
            outbox.report(report(1, epoch));
        }
        outbox.finish(outcome(1));
        let mut sizes = Vec::new();
        while let Some(write) = outbox.next() {
            sizes.push(match write {
                Write::Reports(request) => request.reports.len(),
                Write::Outcomes(request) => request.outcomes[0].reports.len(),
            });
            outbox.delivered();
        }
        assert_eq!(sizes, [1024, 1024, 952]);
    }

    #[test]
    fn the_state_in_which_a_trial_stopped_travels_with_its_end_behind_all_earlier_reports() {
        let mut outbox = Outbox::default();
        let checkpoint = |epoch| Some(Checkpoint { hash: "a".repeat(64), epoch, step: 3, size_bytes: 1 });
        let last = EpochMetrics { epoch: 1, metrics: Metrics::new(), checkpoint: checkpoint(1) };
        outbox.report(Report { checkpoint: checkpoint(0), ..report(1, 1) });
        outbox.finish(Outcome { reports: vec![last.clone()], ..outcome(1) });
        let Some(Write::Outcomes(request)) = outbox.next() else { panic!("no outcomes") };
        let first = EpochMetrics { epoch: 1, metrics: Metrics::new(), checkpoint: checkpoint(0) };
        assert_eq!(request.outcomes[0].reports, [first, last]);
    }

    #[test]
    fn a_forgotten_lease_leaves_nothing_behind() {
        let mut outbox = Outbox::default();
        outbox.report(report(1, 1));
        outbox.finish(outcome(1));
        outbox.forget(token(1));
        assert!(outbox.is_empty());
        assert_eq!(outbox.next(), None);
    }
}
