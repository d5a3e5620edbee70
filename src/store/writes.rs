//! What a transaction has come to beside the jobs' own rows, until it is written ([`super::flush`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::kept::KeptWrites;
use super::unit::{Remains, Trials};
use super::{LeaseFor, NewReport};
use crate::lease::{EndedAttempt, JobState};
use crate::vocabulary::{Attempt, JobId, SweepId, Timestamp, WorkerId};

/// What is to be written beside the jobs themselves.
#[derive(Default)]
pub(super) struct Writes {
    pub(super) opened: Vec<OpenedAttempt>,
    pub(super) closed: Vec<ClosedAttempt>,
    pub(super) reports: Vec<ReportedMetric>,
    pub(super) superseded: BTreeSet<JobId>,
    /// Jobs that have another checkpoint than the table says, or none any more.
    pub(super) checkpoints: BTreeSet<JobId>,
    pub(super) kept: KeptWrites,
    pub(super) counts: BTreeMap<SweepId, Counts>,
    pub(super) seen: BTreeMap<WorkerId, Timestamp>,
}

/// Job, attempt, worker, moment, epochs that it does not run itself.
#[derive(Serialize)]
pub(super) struct OpenedAttempt(i64, i64, i64, i64, u32);

/// Job, attempt, moment, outcome, message, log tail, record.
#[derive(Serialize)]
pub(super) struct ClosedAttempt(i64, i64, i64, String, Option<String>, Option<String>, Option<String>);

/// Job, epoch, metric, attempt; and the value, which is bound as it is: SQLite's reading of a decimal number is not always
/// that of the double from which it was written.
#[derive(Serialize)]
pub(super) struct ReportedMetric(i64, u32, String, i64, #[serde(skip)] pub(super) f64);

/// Trials by state, or how many more there are in each: queued, running, succeeded, failed, cancelled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts(pub(super) [i64; 5]);

impl Counts {
    /// Adds trials whose last job is in the state of this name.
    fn add(&mut self, state: &str, trials: i64) {
        // A trial's state is its last job's, where blocked shows as queued.
        let place = match state {
            "leased" => 1,
            "succeeded" => 2,
            "failed" => 3,
            "cancelled" => 4,
            _ => 0,
        };
        self.0[place] += trials;
    }
}

impl Writes {
    pub(super) fn open_attempt(
        &mut self,
        job: JobId,
        attempt: Attempt,
        worker: WorkerId,
        now: Timestamp,
        resumed_epoch: u32,
    ) {
        self.opened.push(OpenedAttempt(job.0, attempt.0, worker.0, now.0, resumed_epoch));
    }

    pub(super) fn close_attempt(
        &mut self,
        job: JobId,
        ended: EndedAttempt,
        remains: &Remains,
        now: Timestamp,
    ) {
        let Remains { message, log_tail, record } = remains;
        let [message, log_tail, record] =
            [message, log_tail, record].map(|text| text.as_deref().map(without_nul));
        let EndedAttempt { attempt, outcome } = ended;
        let outcome = outcome.to_string();
        self.closed.push(ClosedAttempt(job.0, attempt.0, now.0, outcome, message, log_tail, record));
    }

    pub(super) fn report(&mut self, lease: LeaseFor, report: &NewReport) {
        for (metric, value) in &report.metrics {
            let (job, attempt) = (lease.job.0, lease.attempt.0);
            self.reports.push(ReportedMetric(job, report.epoch, without_nul(metric), attempt, *value));
        }
    }

    /// Notes a job that completed after an attempt before had reported too.
    pub(super) fn supersede_reports(&mut self, job: JobId) {
        self.superseded.insert(job);
    }

    pub(super) fn checkpoint(&mut self, job: JobId) {
        self.checkpoints.insert(job);
    }

    pub(super) fn has_checkpoint_of(&self, job: JobId) -> bool {
        self.checkpoints.contains(&job)
    }

    /// Keeps the counts of every sweep with a trial that ends in a job.
    pub(super) fn count(&mut self, trials: &Trials, own: SweepId, from: &JobState, to: &JobState) {
        let all = std::iter::once((own, trials.own)).chain(trials.others.iter().copied());
        for (sweep, trials) in all.filter(|(_, trials)| *trials > 0) {
            let counts = self.counts.entry(sweep).or_default();
            counts.add(from.name(), -trials);
            counts.add(to.name(), trials);
        }
    }

    /// Adds new trials whose last job is in the state of this name.
    pub(super) fn count_new(&mut self, sweep: SweepId, state: &str, trials: i64) {
        self.counts.entry(sweep).or_default().add(state, trials);
    }

    pub(super) fn seen(&mut self, worker: WorkerId, now: Timestamp) {
        self.seen.insert(worker, now);
    }
}

/// A program's text as a row can carry it: SQLite ends a text from JSON at the first NUL character.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
