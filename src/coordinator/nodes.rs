//! Nodes on which different jobs keep failing for one reason while none succeeds get no more of them, so that one bad host can't
//! burn the whole queue. Pure but for the lock; in memory, so that a restart gives everybody another chance.
//!
//! A node is only bad beside a good one: where another node that is at work fails in the same way, or there is none, the jobs are
//! to blame, and the queue goes its way. That is asked anew at each lease, so a suspicion that others confirm ends by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::http::{AttemptEnd, LeaseToken, Refused};
use crate::vocabulary::{Attempt, FailureReason, JobId, Timestamp, WorkerId};

/// So many different jobs are no coincidence.
const MOST_IN_A_ROW: usize = 5;
/// No more of a row's jobs are remembered.
const LONGEST_ROW: usize = 100;

/// What is known of the nodes' luck with jobs.
#[derive(Debug, Default)]
pub(super) struct Nodes(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    workers: BTreeMap<WorkerId, Presence>,
    /// Who works on a job, and under which attempt; also the last one where nobody told of the end.
    leases: BTreeMap<JobId, (Attempt, WorkerId)>,
    /// By host.
    rows: BTreeMap<String, Row>,
}

#[derive(Debug)]
struct Presence {
    host: String,
    seen_at: Timestamp,
}

/// What the end of an attempt says about its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    Good,
    Bad(FailureReason),
    /// It was given back.
    Neither,
}

/// Jobs that failed in a row for the same reason.
#[derive(Debug)]
struct Row {
    reason: FailureReason,
    jobs: BTreeSet<JobId>,
}

impl Nodes {
    /// A worker is there.
    pub(super) fn worker_is_on(&self, worker: WorkerId, host: &str, now: Timestamp) {
        self.lock().workers.insert(worker, Presence { host: host.to_owned(), seen_at: now });
    }

    pub(super) fn knows(&self, worker: WorkerId) -> bool {
        self.lock().workers.contains_key(&worker)
    }

    pub(super) fn worker_was_seen(&self, worker: WorkerId, now: Timestamp) {
        if let Some(presence) = self.lock().workers.get_mut(&worker) {
            presence.seen_at = now;
        }
    }

    pub(super) fn worker_left(&self, worker: WorkerId) {
        self.lock().workers.remove(&worker);
    }

    pub(super) fn leased(&self, token: LeaseToken, worker: WorkerId) {
        self.lock().leases.insert(token.job, (token.attempt, worker));
    }

    /// Attempts have ended so, but for those that were refused.
    pub(super) fn ended(&self, ends: &[(LeaseToken, Luck)], refused: &[Refused]) {
        let refused: BTreeSet<LeaseToken> = refused.iter().map(|refused| refused.token).collect();
        let mut memory = self.lock();
        for (token, luck) in ends.iter().filter(|(token, _)| !refused.contains(token)) {
            memory.note_end(*token, *luck);
        }
    }

    /// Why a worker gets no jobs, where it doesn't. `silence`: who was silent for longer is not at work.
    pub(super) fn quarantine(&self, worker: WorkerId, now: Timestamp, silence: Duration) -> Option<String> {
        let memory = self.lock();
        let host = &memory.workers.get(&worker)?.host;
        let row = memory.rows.get(host).filter(|row| row.jobs.len() >= MOST_IN_A_ROW)?;
        let is_at_work = |presence: &Presence| now.since(presence.seen_at) <= silence;
        let others = memory.workers.values().filter(|other| other.host != *host && is_at_work(other));
        let does_better = |host: &str| memory.rows.get(host).is_none_or(|other| other.reason != row.reason);
        others.into_iter().any(|other| does_better(&other.host)).then(|| {
            format!(
                "{} different jobs in a row failed on {host} ({}), and do not on other nodes; mend it, then `sweep worker \
                 release {host}`",
                row.jobs.len(),
                row.reason
            )
        })
    }

    /// Gives a node another chance; says whether it was under suspicion.
    pub(super) fn release(&self, host: &str) -> bool {
        self.lock().rows.remove(host).is_some_and(|row| row.jobs.len() >= MOST_IN_A_ROW)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Each change is one call: whoever panicked left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn note_end(&mut self, token: LeaseToken, luck: Luck) {
        let Some(&(attempt, worker)) = self.leases.get(&token.job) else { return };
        // What is told twice counts once.
        if attempt != token.attempt {
            return;
        }
        self.leases.remove(&token.job);
        let Some(host) = self.workers.get(&worker).map(|presence| presence.host.clone()) else { return };
        match luck {
            Luck::Good => {
                self.rows.remove(&host);
            }
            Luck::Bad(reason) if is_telling(reason) => {
                let row = self.rows.entry(host).or_insert_with(|| Row { reason, jobs: BTreeSet::new() });
                if row.reason != reason {
                    *row = Row { reason, jobs: BTreeSet::new() };
                }
                if row.jobs.len() < LONGEST_ROW {
                    row.jobs.insert(token.job);
                }
            }
            Luck::Bad(_) | Luck::Neither => {}
        }
    }
}

impl From<&AttemptEnd> for Luck {
    fn from(end: &AttemptEnd) -> Luck {
        match end {
            AttemptEnd::Complete { .. } => Luck::Good,
            AttemptEnd::Fail { reason, .. } => Luck::Bad(*reason),
            AttemptEnd::Release => Luck::Neither,
        }
    }
}

/// Whether a failure may be the node's fault. A loss that is no number is the same number everywhere.
fn is_telling(reason: FailureReason) -> bool {
    match reason {
        FailureReason::Nan | FailureReason::Preempted | FailureReason::Upstream => false,
        FailureReason::NodeLost
        | FailureReason::NodeFault
        | FailureReason::GpuOom
        | FailureReason::HostOom
        | FailureReason::Timeout
        | FailureReason::Stalled
        | FailureReason::BadConfig
        | FailureReason::Exit(_)
        | FailureReason::Signal(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(60);
    const NOW: Timestamp = Timestamp(1_000_000);
    const ANNE: WorkerId = WorkerId(1);
    const BOB: WorkerId = WorkerId(2);
    const FAILED: Luck = Luck::Bad(FailureReason::Exit(1));

    /// Two nodes with a worker each.
    fn nodes() -> Nodes {
        let nodes = Nodes::default();
        nodes.worker_is_on(ANNE, "anne", NOW);
        nodes.worker_is_on(BOB, "bob", NOW);
        nodes
    }

    fn end(nodes: &Nodes, worker: WorkerId, job: i64, luck: Luck) {
        let token = LeaseToken { job: JobId(job), attempt: Attempt(1) };
        nodes.leased(token, worker);
        nodes.ended(&[(token, luck)], &[]);
    }

    fn fail(nodes: &Nodes, worker: WorkerId, jobs: std::ops::RangeInclusive<i64>) {
        jobs.for_each(|job| end(nodes, worker, job, FAILED));
    }

    fn is_quarantined(nodes: &Nodes, worker: WorkerId) -> bool {
        nodes.quarantine(worker, NOW, SILENCE).is_some()
    }

    #[test]
    fn a_node_where_different_jobs_fail_alike_gets_no_more_until_it_is_released() {
        let nodes = nodes();
        fail(&nodes, ANNE, 1..=4);
        fail(&nodes, ANNE, 1..=4);
        assert!(!is_quarantined(&nodes, ANNE), "four different ones");
        fail(&nodes, ANNE, 5..=5);
        let why = nodes.quarantine(ANNE, NOW, SILENCE).unwrap();
        let expected = "5 different jobs in a row failed on anne (exit:1), and do not on other nodes; mend it, then `sweep \
                        worker release anne`";
        assert_eq!(why, expected);
        assert!(!is_quarantined(&nodes, BOB));
        // Another agent on the same node is not better off.
        nodes.worker_is_on(WorkerId(3), "anne", NOW);
        assert!(is_quarantined(&nodes, WorkerId(3)));
        assert!(nodes.release("anne") && !nodes.release("anne") && !nodes.release("nobody"));
        assert!(!is_quarantined(&nodes, ANNE));
    }

    #[test]
    fn a_success_or_another_reason_begins_the_row_anew() {
        for interruption in [Luck::Good, Luck::Bad(FailureReason::Exit(2))] {
            let nodes = nodes();
            fail(&nodes, ANNE, 1..=4);
            end(&nodes, ANNE, 5, interruption);
            fail(&nodes, ANNE, 6..=9);
            assert!(!is_quarantined(&nodes, ANNE), "{interruption:?}");
            fail(&nodes, ANNE, 10..=10);
            assert!(is_quarantined(&nodes, ANNE));
        }
    }

    #[test]
    fn where_every_node_fails_alike_or_there_is_no_other_the_jobs_are_to_blame() {
        let nodes = nodes();
        fail(&nodes, ANNE, 1..=9);
        fail(&nodes, BOB, 10..=10);
        assert!(!is_quarantined(&nodes, ANNE) && !is_quarantined(&nodes, BOB));
        // Bob does better after all.
        end(&nodes, BOB, 11, Luck::Good);
        assert!(is_quarantined(&nodes, ANNE));
        let later = NOW.after(SILENCE * 2);
        nodes.worker_was_seen(ANNE, later);
        assert_eq!(nodes.quarantine(ANNE, later, SILENCE), None, "bob was not heard of for long");
        nodes.worker_left(BOB);
        assert!(!is_quarantined(&nodes, ANNE));
    }

    #[test]
    fn what_was_refused_told_before_or_leased_by_nobody_known_counts_for_nothing() {
        let nodes = nodes();
        fail(&nodes, ANNE, 1..=4);
        let token = LeaseToken { job: JobId(5), attempt: Attempt(2) };
        let ends = [(token, FAILED)];
        nodes.ended(&ends, &[]);
        nodes.leased(token, ANNE);
        nodes.ended(&ends, &[Refused { token, message: String::new() }]);
        let earlier = LeaseToken { attempt: Attempt(1), ..token };
        nodes.ended(&[(earlier, FAILED)], &[]);
        end(&nodes, ANNE, 6, Luck::Neither);
        nodes.leased(token, ANNE);
        assert!(!is_quarantined(&nodes, ANNE));
        nodes.ended(&ends, &[]);
        assert!(is_quarantined(&nodes, ANNE));
    }

    #[test]
    fn numbers_that_diverge_are_no_nodes_fault() {
        let nodes = nodes();
        (1..=50).for_each(|job| end(&nodes, ANNE, job, Luck::Bad(FailureReason::Nan)));
        assert!(!is_quarantined(&nodes, ANNE));
    }
}
