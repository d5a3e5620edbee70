//! What has happened since the coordinator started: counts that only grow, for whoever watches it.
//!
//! They are no part of the table, which knows what is; a request that arrives twice counts twice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::wire::count;
use crate::protocol::http::{LeaseToken, Outcome, Refused, Report};

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Activity {
    expired: AtomicU64,
    reports: AtomicU64,
    epochs: AtomicU64,
}

/// [`Activity`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Leases whose deadline passed.
    pub expired_leases: u64,
    /// Reports stored.
    pub reports: u64,
    /// Of these, how many were the metrics of an epoch.
    pub epochs: u64,
}

/// A report on its way to the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) token: LeaseToken,
    pub(super) has_metrics: bool,
}

impl From<&Report> for Sent {
    fn from(report: &Report) -> Sent {
        Sent { token: report.token, has_metrics: !report.metrics.is_empty() }
    }
}

impl Sent {
    /// The reports that came with an outcome.
    pub(super) fn list(outcome: &Outcome) -> impl Iterator<Item = Sent> + '_ {
        let sent = |has_metrics| Sent { token: outcome.token, has_metrics };
        outcome.reports.iter().map(move |report| sent(!report.metrics.is_empty()))
    }
}

impl Activity {
    pub(super) fn note_expired(&self, leases: u64) {
        self.expired.fetch_add(leases, Ordering::Relaxed);
    }

    /// Notes the reports that were stored: those of leases that were not refused.
    pub(super) fn note_reports(&self, sent: &[Sent], refused: &[Refused]) {
        let refused: BTreeSet<LeaseToken> = refused.iter().map(|refused| refused.token).collect();
        let stored = sent.iter().filter(|report| !refused.contains(&report.token));
        let (reports, epochs) = stored.fold((0, 0), |(reports, epochs), report| {
            (reports + 1, epochs + usize::from(report.has_metrics))
        });
        self.reports.fetch_add(count(reports), Ordering::Relaxed);
        self.epochs.fetch_add(count(epochs), Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            expired_leases: self.expired.load(Ordering::Relaxed),
            reports: self.reports.load(Ordering::Relaxed),
            epochs: self.epochs.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{Attempt, JobId, Nonce};

    #[test]
    fn what_was_refused_is_not_counted_and_a_checkpoint_alone_is_no_epoch() {
        let activity = Activity::default();
        let token = |job| LeaseToken { job: JobId(job), attempt: Attempt(1), nonce: Nonce::default() };
        let sent = |job, has_metrics| Sent { token: token(job), has_metrics };
        let refused = [Refused { token: token(2), message: String::new() }];
        activity.note_reports(&[sent(1, true), sent(1, false), sent(2, true)], &refused);
        activity.note_expired(3);
        assert_eq!(activity.counts(), Counts { expired_leases: 3, reports: 2, epochs: 1 });
    }
}
