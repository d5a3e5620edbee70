//! What has yet to reach the coordinator, in an order that loses nothing. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::mem;

use sweep::protocol::http::{EpochMetrics, LeaseToken, Outcome, OutcomesRequest, Report, ReportsRequest};

/// Reports in one request: so that its commit is quick.
const MOST_REPORTS: usize = 1024;
/// Outcomes in one request; the same.
const MOST_OUTCOMES: usize = 128;
/// Bytes of reports in one request, and bytes of outcomes. Both together stay well under what the coordinator takes,
/// 16 MiB, also when the last of each is as long as one can be.
const MOST_BYTES: usize = 4 << 20;

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
    reports: VecDeque<Weighed<Report>>,
    outcomes: VecDeque<Weighed<Outcome>>,
    under_way: Option<BTreeSet<LeaseToken>>,
}

/// Something with its length on the wire.
#[derive(Debug)]
struct Weighed<T> {
    item: T,
    bytes: usize,
}

impl<T> Weighed<T> {
    /// `text` is the item as JSON; one that can't be written so fails when it is sent, whatever it weighs.
    fn new(item: T, text: serde_json::Result<Vec<u8>>) -> Weighed<T> {
        Weighed { item, bytes: text.map_or(0, |text| text.len()) }
    }
}

impl Outbox {
    pub(crate) fn report(&mut self, report: Report) {
        let text = serde_json::to_vec(&report);
        self.reports.push_back(Weighed::new(report, text));
    }

    pub(crate) fn finish(&mut self, outcome: Outcome) {
        let text = serde_json::to_vec(&outcome);
        self.outcomes.push_back(Weighed::new(outcome, text));
    }

    /// Nothing waits and nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.outcomes.is_empty() && self.under_way.is_none()
    }

    /// How many ends and reports wait.
    pub(crate) fn waiting(&self) -> usize {
        self.outcomes.len() + self.reports.len()
    }

    /// Ended attempts whose outcome the coordinator doesn't know yet.
    pub(crate) fn ended_tokens(&self) -> impl Iterator<Item = LeaseToken> {
        let waiting = self.outcomes.iter().map(|outcome| outcome.item.token);
        waiting.chain(self.under_way.iter().flatten().copied())
    }

    /// The next request, which is under way from now on; `None` while another is, or where nothing waits.
    pub(crate) fn next(&mut self) -> Option<Write> {
        if self.under_way.is_some() {
            return None;
        }
        // A mountain of reports goes first, by itself; a handful travels with the outcomes that follow them.
        let is_mountain = count_fitting(&self.reports, MOST_REPORTS) < self.reports.len();
        let write = if self.outcomes.is_empty() || is_mountain {
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
        self.reports.retain(|report| report.item.token != token);
        self.outcomes.retain(|outcome| outcome.item.token != token);
    }

    fn next_reports(&mut self) -> Option<ReportsRequest> {
        let count = count_fitting(&self.reports, MOST_REPORTS);
        let next = self.reports.drain(..count).map(|report| report.item);
        (count > 0).then(|| ReportsRequest { reports: next.collect() })
    }

    fn next_outcomes(&mut self) -> OutcomesRequest {
        let count = count_fitting(&self.outcomes, MOST_OUTCOMES);
        let mut outcomes: Vec<Outcome> = self.outcomes.drain(..count).map(|outcome| outcome.item).collect();
        // What the end itself brings, the state in which the trial stopped, comes after all that was reported before.
        let last: Vec<Vec<EpochMetrics>> =
            outcomes.iter_mut().map(|outcome| mem::take(&mut outcome.reports)).collect();
        for report in mem::take(&mut self.reports) {
            match outcomes.iter_mut().find(|outcome| outcome.token == report.item.token) {
                Some(outcome) => {
                    let Report { epoch, metrics, checkpoint, .. } = report.item;
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

/// How many of the first, one at least if there are any, fit into one request.
fn count_fitting<T>(waiting: &VecDeque<Weighed<T>>, most: usize) -> usize {
    let bytes = waiting.iter().scan(0, |bytes, next| {
        *bytes += next.bytes;
        Some(*bytes)
    });
    let fitting = bytes.take(most).take_while(|&bytes| bytes <= MOST_BYTES).count();
    fitting.max(1).min(waiting.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sweep::protocol::http::AttemptEnd;
    use sweep::protocol::trial::Checkpoint;
    use sweep::vocabulary::{Attempt, FailureReason, JobId, Metrics};

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

    /// How long the request is on the wire.
    fn size(write: &Write) -> usize {
        match write {
            Write::Reports(request) => serde_json::to_vec(request).unwrap().len(),
            Write::Outcomes(request) => serde_json::to_vec(request).unwrap().len(),
        }
    }

    #[test]
    fn no_request_is_longer_than_the_coordinator_takes_however_long_reports_and_ends_are() {
        let mut outbox = Outbox::default();
        let metrics = Metrics::from([("m".repeat(60 << 10), 0.1)]);
        for epoch in 1..=300 {
            outbox.report(Report { metrics: metrics.clone(), ..report(1, epoch) });
        }
        for job in 1..=100 {
            let (message, log_tail) = ("m".repeat(200 << 10), "\0".repeat(4 << 10));
            let end = AttemptEnd::Fail { reason: FailureReason::Nan, message, log_tail };
            outbox.finish(Outcome { end, ..outcome(job) });
        }
        let (mut reports, mut ends) = (0, Vec::new());
        while let Some(write) = outbox.next() {
            assert!(size(&write) < 9 << 20, "{} bytes", size(&write));
            match write {
                Write::Reports(request) => reports += request.reports.len(),
                Write::Outcomes(request) => {
                    for outcome in request.outcomes {
                        reports += outcome.reports.len();
                        ends.push(outcome.token.job.0);
                    }
                }
            }
            outbox.delivered();
        }
        assert_eq!(reports, 300);
        assert!(ends.into_iter().eq(1..=100));
        assert!(outbox.is_empty());
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
