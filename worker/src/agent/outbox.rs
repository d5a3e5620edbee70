//! What has yet to reach the coordinator, in an order that loses nothing. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;

use sweep::protocol::http::{EpochMetrics, LeaseToken, Outcome, OutcomesRequest, Report, ReportsRequest};
use sweep::protocol::logs::{LogPart, LogsRequest};

/// Reports in one request: so that its commit is quick.
const MOST_REPORTS: usize = 1024;
/// Outcomes in one request; the same.
const MOST_OUTCOMES: usize = 128;
/// Parts of logs in one request; the same.
const MOST_PARTS: usize = 256;
/// Bytes of logs that wait. Of a coordinator that is away for long they are not worth more.
const MOST_LOG_BYTES: usize = 16 << 20;
/// What stands in a log in the place of what did not find room.
const LEFT_OUT: &str = "\nsweep: some of this log is left out here, since the coordinator was away\n";
/// Bytes of reports in one request, and bytes of outcomes. Both together stay well under what the coordinator takes,
/// 16 MiB, also when the last of each is as long as one can be.
const MOST_BYTES: usize = 4 << 20;

/// One request that writes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    Reports(ReportsRequest),
    Outcomes(OutcomesRequest),
    Logs(LogsRequest),
}

/// Reports, outcomes and logs that wait. One request is under way at a time and the rest accumulates meanwhile: so a
/// report can't be overtaken by its attempt's outcome, after which it would be refused, and many short jobs share
/// one commit. What an attempt printed goes before its outcome, and otherwise by turns with what counts. What trial processes
/// may report is bounded, and so is this.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    reports: VecDeque<Weighed<Report>>,
    outcomes: VecDeque<Weighed<Outcome>>,
    logs: VecDeque<Weighed<LogPart>>,
    /// What was printed so far by attempts that have not ended.
    printed: BTreeMap<LeaseToken, Printed>,
    /// The last request was about logs.
    were_logs: bool,
    under_way: Option<UnderWay>,
}

/// How far an attempt's log has come.
#[derive(Debug, Default)]
struct Printed {
    bytes: u64,
    is_cut: bool,
}

/// Whom the request is about that is under way.
#[derive(Debug, Default)]
struct UnderWay {
    ended: BTreeSet<LeaseToken>,
    reported: BTreeSet<LeaseToken>,
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
        self.printed.remove(&outcome.token);
        let text = serde_json::to_vec(&outcome);
        self.outcomes.push_back(Weighed::new(outcome, text));
    }

    /// What does not find room is left out.
    pub(crate) fn print(&mut self, token: LeaseToken, mut text: String) {
        let waiting: usize = self.logs.iter().map(|part| part.bytes).sum();
        let printed = self.printed.entry(token).or_default();
        if waiting + text.len() > MOST_LOG_BYTES {
            printed.is_cut = true;
            return;
        }
        if std::mem::take(&mut printed.is_cut) {
            text.insert_str(0, LEFT_OUT);
        }
        let (offset, length) = (printed.bytes, text.len());
        printed.bytes += length as u64;
        let part = LogPart { token, offset, text };
        let json = serde_json::to_vec(&part);
        self.logs.push_back(Weighed::new(part, json));
    }

    /// Nothing waits and nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        let waiting = [self.reports.len(), self.outcomes.len(), self.logs.len()];
        waiting == [0; 3] && self.under_way.is_none()
    }

    /// How many ends and reports wait.
    pub(crate) fn waiting(&self) -> usize {
        self.outcomes.len() + self.reports.len()
    }

    /// Ended attempts whose outcome the coordinator doesn't know yet.
    pub(crate) fn ended_tokens(&self) -> impl Iterator<Item = LeaseToken> {
        let waiting = self.outcomes.iter().map(|outcome| outcome.item.token);
        waiting.chain(self.under_way.iter().flat_map(|under_way| &under_way.ended).copied())
    }

    /// The next request, which is under way from now on; `None` while another is, or where nothing waits.
    pub(crate) fn next(&mut self) -> Option<Write> {
        if self.under_way.is_some() {
            return None;
        }
        // A mountain of reports goes first, by itself; a handful travels with the outcomes that follow them.
        let is_mountain = count_fitting(&self.reports, MOST_REPORTS) < self.reports.len();
        self.were_logs = self.is_logs_turn();
        let write = if self.were_logs {
            Write::Logs(self.next_logs())
        } else if self.outcomes.is_empty() || is_mountain {
            Write::Reports(self.next_reports()?)
        } else {
            Write::Outcomes(self.next_outcomes())
        };
        self.under_way = Some(match &write {
            Write::Reports(request) => UnderWay {
                reported: request.reports.iter().map(|report| report.token).collect(),
                ..UnderWay::default()
            },
            Write::Outcomes(request) => UnderWay {
                ended: request.outcomes.iter().map(|outcome| outcome.token).collect(),
                ..UnderWay::default()
            },
            Write::Logs(_) => UnderWay::default(),
        });
        Some(write)
    }

    /// The request under way has been answered. Gives the jobs that it told of while they run.
    pub(crate) fn delivered(&mut self) -> BTreeSet<LeaseToken> {
        self.under_way.take().map(|under_way| under_way.reported).unwrap_or_default()
    }

    /// Forgets what waits under a lease that is no longer the agent's.
    pub(crate) fn forget(&mut self, token: LeaseToken) {
        self.reports.retain(|report| report.item.token != token);
        self.outcomes.retain(|outcome| outcome.item.token != token);
        self.logs.retain(|part| part.item.token != token);
        self.printed.remove(&token);
    }

    /// By turns with the rest; and where an attempt's end would overtake what it printed.
    fn is_logs_turn(&self) -> bool {
        if self.logs.is_empty() {
            return false;
        }
        let next = self.outcomes.iter().take(count_fitting(&self.outcomes, MOST_OUTCOMES));
        let ends: BTreeSet<LeaseToken> = next.map(|outcome| outcome.item.token).collect();
        let is_alone = self.reports.is_empty() && self.outcomes.is_empty();
        is_alone || !self.were_logs || self.logs.iter().any(|part| ends.contains(&part.item.token))
    }

    fn next_logs(&mut self) -> LogsRequest {
        let count = count_fitting(&self.logs, MOST_PARTS);
        LogsRequest { parts: self.logs.drain(..count).map(|part| part.item).collect() }
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
    use sweep::vocabulary::{Attempt, FailureReason, JobId, Metrics, Nonce};

    fn token(job: i64) -> LeaseToken {
        LeaseToken { job: JobId(job), attempt: Attempt(1), nonce: Nonce::default() }
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
                Write::Logs(request) => panic!("{request:?}"),
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
            Write::Logs(request) => serde_json::to_vec(request).unwrap().len(),
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
        for _ in 0..12 {
            outbox.print(token(2), "\0".repeat(1 << 20));
        }
        let (mut reports, mut ends, mut printed) = (0, Vec::new(), 0);
        while let Some(write) = outbox.next() {
            assert!(size(&write) < 9 << 20, "{} bytes", size(&write));
            match write {
                Write::Logs(request) => printed += request.parts.len(),
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
        assert_eq!(printed, 3, "of a megabyte that takes six on the wire no more may wait");
        assert!(outbox.is_empty());
    }

    /// Job, offset and text of each part.
    fn parts(write: Option<Write>) -> Vec<(i64, u64, String)> {
        match write {
            Some(Write::Logs(request)) => {
                request.parts.into_iter().map(|part| (part.token.job.0, part.offset, part.text)).collect()
            }
            other => panic!("no logs: {other:?}"),
        }
    }

    #[test]
    fn what_an_attempt_printed_goes_before_its_end_and_by_turns_with_the_rest() {
        let mut outbox = Outbox::default();
        outbox.print(token(1), "one".to_owned());
        outbox.print(token(1), "more".to_owned());
        outbox.report(report(2, 1));
        let first = [(1, 0, "one".to_owned()), (1, 3, "more".to_owned())];
        assert_eq!(parts(outbox.next()), first);
        outbox.delivered();
        outbox.print(token(3), "three".to_owned());
        assert!(matches!(outbox.next(), Some(Write::Reports(_))), "it is not for logs alone");
        outbox.print(token(1), "last words".to_owned());
        outbox.finish(outcome(1));
        outbox.delivered();
        assert_eq!(parts(outbox.next()), [(3, 0, "three".to_owned()), (1, 7, "last words".to_owned())]);
        outbox.print(token(3), "four".to_owned());
        outbox.delivered();
        assert!(matches!(outbox.next(), Some(Write::Outcomes(_))));
        outbox.delivered();
        assert_eq!(parts(outbox.next()), [(3, 5, "four".to_owned())]);
        outbox.delivered();
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_end_waits_for_a_log_that_takes_several_requests() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.print(token(1), "x".repeat(3 << 20));
        }
        outbox.finish(outcome(1));
        for _ in 0..3 {
            assert_eq!(parts(outbox.next()).len(), 1);
            outbox.delivered();
        }
        assert!(matches!(outbox.next(), Some(Write::Outcomes(_))));
    }

    #[test]
    fn logs_that_find_no_room_are_left_out_and_that_is_said() {
        let mut outbox = Outbox::default();
        outbox.report(report(2, 1));
        assert!(outbox.next().is_some(), "the coordinator is away");
        for _ in 0..5 {
            outbox.print(token(1), "x".repeat(5 << 20));
        }
        outbox.delivered();
        let sent: usize = std::iter::from_fn(|| {
            let write = outbox.next()?;
            outbox.delivered();
            Some(parts(Some(write)).iter().map(|part| part.2.len()).sum::<usize>())
        })
        .sum();
        assert_eq!(sent, 15 << 20);
        outbox.print(token(1), "again".to_owned());
        assert_eq!(parts(outbox.next()), [(1, 15 << 20, format!("{LEFT_OUT}again"))]);
    }

    #[test]
    fn a_forgotten_lease_leaves_nothing_behind() {
        let mut outbox = Outbox::default();
        outbox.report(report(1, 1));
        outbox.print(token(1), "x".to_owned());
        outbox.finish(outcome(1));
        outbox.forget(token(1));
        assert!(outbox.is_empty());
        assert_eq!(outbox.next(), None);
    }
}
