//! Nodes on which different jobs keep failing for one reason get hardly any more of them, so that one bad host can't burn the
//! whole queue. Pure but for the lock; what must outlast the coordinator is handed out as [`Turn`]s.
//!
//! A node is only bad beside a good one that would do the same jobs: where none does better the jobs are to blame, and the
//! queue goes its way. That is asked anew at each lease. And a suspicion is never final: a node in quarantine gets a job from
//! time to time, and one that goes well ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::http::{AttemptEnd, LeaseToken, Refused};
use crate::store::IllHost;
use crate::vocabulary::{Attempt, FailureReason, JobId, SweepId, Timestamp, WorkerId};

/// So many different jobs are no coincidence.
const MOST_IN_A_ROW: usize = 5;
/// No more of a row's jobs are remembered.
const LONGEST_ROW: usize = 100;
/// How often a node in quarantine gets a job: a bad one costs a dozen an hour, and one that was mended is back before anybody
/// has wondered why it isn't.
const PROBE_PERIOD: Duration = Duration::from_secs(300);

/// What is known of the nodes' luck with jobs.
#[derive(Debug, Default)]
pub(super) struct Nodes(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    workers: BTreeMap<WorkerId, Presence>,
    /// Who works on a job; also the last one where nobody told of the end.
    leases: BTreeMap<JobId, Held>,
    hosts: BTreeMap<String, Host>,
}

#[derive(Debug)]
struct Presence {
    host: String,
    seen_at: Timestamp,
    /// The only sweep whose jobs it takes.
    sweep: Option<SweepId>,
}

#[derive(Debug)]
struct Held {
    attempt: Attempt,
    worker: WorkerId,
    since: Timestamp,
}

#[derive(Debug, Default)]
struct Host {
    /// A job went well since the host was last ill.
    has_succeeded: bool,
    row: Option<Row>,
}

/// Jobs that failed in a row for the same reason.
#[derive(Debug)]
struct Row {
    reason: FailureReason,
    jobs: BTreeSet<JobId>,
    /// The longest time from a lease to its failure.
    longest: Duration,
    /// In quarantine it gets a job then.
    next_probe_at: Timestamp,
}

/// What the end of an attempt says about its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    Good,
    Bad(FailureReason),
    /// It was given back.
    Neither,
}

/// What a host's health has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    Ill(IllHost),
    Well { host: String },
}

/// What a worker that asks for jobs may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    AsManyAsAsked,
    /// One, which shows whether the node is well again. It is taken: others of the node get none for a while.
    Probe,
    /// None for so long, unless something changes.
    NoneFor(Duration),
}

/// A worker that is there, as the table has it.
pub(super) struct Present<'a> {
    pub(super) worker: WorkerId,
    pub(super) host: &'a str,
    pub(super) seen_at: Timestamp,
}

impl Nodes {
    /// A worker is there.
    pub(super) fn worker_is_on(&self, worker: WorkerId, host: &str, now: Timestamp) {
        self.lock().note_presence(&Present { worker, host, seen_at: now });
    }

    pub(super) fn knows(&self, worker: WorkerId) -> bool {
        self.lock().workers.contains_key(&worker)
    }

    /// These workers are there and no others: whoever fell silent is forgotten with what it held.
    pub(super) fn only_these_are_there<'a>(&self, present: impl Iterator<Item = Present<'a>>) {
        let mut memory = self.lock();
        let mut there = BTreeSet::new();
        for present in present {
            there.insert(present.worker);
            memory.note_presence(&present);
        }
        memory.forget_workers(|worker| !there.contains(worker));
    }

    pub(super) fn worker_was_seen(&self, worker: WorkerId, now: Timestamp) {
        if let Some(presence) = self.lock().workers.get_mut(&worker) {
            presence.seen_at = now;
        }
    }

    pub(super) fn worker_left(&self, worker: WorkerId) {
        self.lock().forget_workers(|left| *left == worker);
    }

    pub(super) fn leased(&self, token: LeaseToken, worker: WorkerId, now: Timestamp) {
        self.lock().leases.insert(token.job, Held { attempt: token.attempt, worker, since: now });
    }

    /// These leases are not their workers' any more, and nothing is said of why.
    pub(super) fn lost(&self, tokens: impl Iterator<Item = LeaseToken>) {
        let mut memory = self.lock();
        for token in tokens {
            memory.take_lease(token);
        }
    }

    /// Attempts have ended so, but for those that were refused.
    pub(super) fn ended(
        &self,
        ends: &[(LeaseToken, Luck)],
        refused: &[Refused],
        now: Timestamp,
    ) -> Vec<Turn> {
        let refused: BTreeSet<LeaseToken> = refused.iter().map(|refused| refused.token).collect();
        let mut memory = self.lock();
        let counted = ends.iter().filter(|(token, _)| !refused.contains(token));
        counted.filter_map(|(token, luck)| memory.note_end(*token, *luck, now)).collect()
    }

    /// These were ill when the coordinator before ended. Each may show at once that it is well.
    pub(super) fn were_ill(&self, hosts: Vec<IllHost>, now: Timestamp) {
        let mut memory = self.lock();
        for IllHost { host, reason, jobs, longest } in hosts {
            let row = Row { reason, jobs: jobs.into_iter().collect(), longest, next_probe_at: now };
            memory.hosts.insert(host, Host { has_succeeded: false, row: Some(row) });
        }
    }

    /// What a worker may have that asks for jobs now, of one sweep where it names one. `silence`: who was silent for longer is
    /// not at work.
    pub(super) fn permit(
        &self,
        worker: WorkerId,
        sweep: Option<SweepId>,
        now: Timestamp,
        silence: Duration,
    ) -> Permit {
        let mut memory = self.lock();
        let Some(presence) = memory.workers.get_mut(&worker) else { return Permit::AsManyAsAsked };
        (presence.seen_at, presence.sweep) = (now, sweep);
        if memory.find_better(worker, now, silence).is_none() {
            return Permit::AsManyAsAsked;
        }
        match memory.row_of(worker) {
            Some(row) if row.next_probe_at > now => Permit::NoneFor(row.next_probe_at.since(now)),
            Some(row) => {
                row.next_probe_at = now.after(PROBE_PERIOD);
                Permit::Probe
            }
            None => Permit::AsManyAsAsked,
        }
    }

    /// There was no job for a node that might have had one; it may ask again.
    pub(super) fn probe_was_in_vain(&self, worker: WorkerId, now: Timestamp) {
        if let Some(row) = self.lock().row_of(worker) {
            row.next_probe_at = now;
        }
    }

    /// Why a worker gets hardly any jobs, where it doesn't.
    pub(super) fn quarantine(&self, worker: WorkerId, now: Timestamp, silence: Duration) -> Option<String> {
        let memory = self.lock();
        let (host, row, better) = memory.find_better(worker, now, silence)?;
        Some(format!(
            "{} different jobs in a row failed on {host} ({}), and {better} does better; {host} gets one every {} minutes until \
             one goes well: mend it, then `sweep worker release {host}`",
            row.jobs.len(),
            row.reason,
            PROBE_PERIOD.as_secs() / 60
        ))
    }

    /// The only sweep whose jobs a worker takes, where it takes one's only.
    pub(super) fn only_sweep(&self, worker: WorkerId) -> Option<SweepId> {
        self.lock().workers.get(&worker)?.sweep
    }

    /// Gives a node another chance; says whether it was under suspicion.
    pub(super) fn release(&self, host: &str) -> bool {
        self.lock().hosts.remove(host).is_some_and(|host| host.is_ill())
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Each change is one call: whoever panicked left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn note_presence(&mut self, present: &Present<'_>) {
        let new = || Presence { host: present.host.to_owned(), seen_at: present.seen_at, sweep: None };
        let presence = self.workers.entry(present.worker).or_insert_with(new);
        presence.seen_at = presence.seen_at.max(present.seen_at);
    }

    fn forget_workers(&mut self, is_gone: impl Fn(&WorkerId) -> bool) {
        self.workers.retain(|worker, _| !is_gone(worker));
        self.leases.retain(|_, held| !is_gone(&held.worker));
        let there: BTreeSet<&String> = self.workers.values().map(|presence| &presence.host).collect();
        // An agent that is started again makes no node well.
        self.hosts.retain(|name, host| host.is_ill() || there.contains(name));
    }

    fn take_lease(&mut self, token: LeaseToken) -> Option<Held> {
        // What is told twice counts once.
        self.leases.get(&token.job).filter(|held| held.attempt == token.attempt)?;
        self.leases.remove(&token.job)
    }

    fn note_end(&mut self, token: LeaseToken, luck: Luck, now: Timestamp) -> Option<Turn> {
        let held = self.take_lease(token)?;
        let name = &self.workers.get(&held.worker)?.host;
        let host = self.hosts.entry(name.clone()).or_default();
        let was_ill = host.is_ill();
        match luck {
            Luck::Good => *host = Host { has_succeeded: true, row: None },
            Luck::Bad(reason) if is_telling(reason) => {
                host.note_failure(token.job, reason, now.since(held.since), now);
            }
            Luck::Bad(_) | Luck::Neither => {}
        }
        match (was_ill, host.row.as_ref().filter(|row| row.is_illness())) {
            (false, Some(row)) => Some(Turn::Ill(IllHost {
                host: name.clone(),
                reason: row.reason,
                jobs: row.jobs.iter().copied().collect(),
                longest: row.longest,
            })),
            (true, None) => Some(Turn::Well { host: name.clone() }),
            (false, None) | (true, Some(_)) => None,
        }
    }

    fn row_of(&mut self, worker: WorkerId) -> Option<&mut Row> {
        let host = &self.workers.get(&worker)?.host;
        self.hosts.get_mut(host)?.row.as_mut()
    }

    /// Where the worker's node is ill: it, what happened there, and another that does better with jobs that the worker takes.
    fn find_better(&self, worker: WorkerId, now: Timestamp, silence: Duration) -> Option<(&str, &Row, &str)> {
        let asking = self.workers.get(&worker)?;
        let row = self.hosts.get(&asking.host).filter(|host| host.is_ill())?.row.as_ref()?;
        let is_at_work = |other: &Presence| now.since(other.seen_at) <= silence;
        let takes_the_same = |other: &Presence| other.sweep.is_none() || other.sweep == asking.sweep;
        let others = self.workers.values().filter(|other| other.host != asking.host);
        let mut others = others.filter(|other| is_at_work(other) && takes_the_same(other));
        let better = others.find(|other| self.does_better(&other.host, row, now))?;
        Some((&asking.host, row, &better.host))
    }

    /// Whether jobs go well on a host, or one has at least been running for longer than it took others to fail: where jobs take
    /// hours, waiting for the first that ends would cost the whole queue.
    fn does_better(&self, name: &str, than: &Row, now: Timestamp) -> bool {
        let host = self.hosts.get(name);
        let row = host.and_then(|host| host.row.as_ref());
        if row.is_some_and(|row| row.is_illness() || row.reason == than.reason) {
            return false;
        }
        let is_there =
            |held: &Held| self.workers.get(&held.worker).is_some_and(|presence| presence.host == name);
        let lasts = |held: &Held| now.since(held.since) > than.longest;
        host.is_some_and(|host| host.has_succeeded)
            || self.leases.values().any(|held| is_there(held) && lasts(held))
    }
}

impl Host {
    fn is_ill(&self) -> bool {
        self.row.as_ref().is_some_and(Row::is_illness)
    }

    fn note_failure(&mut self, job: JobId, reason: FailureReason, took: Duration, now: Timestamp) {
        let is_ill = self.is_ill();
        let new = Row { reason, jobs: BTreeSet::new(), longest: Duration::ZERO, next_probe_at: now };
        let row = self.row.get_or_insert(new);
        if row.reason != reason {
            // Only a success ends an illness.
            if is_ill {
                return;
            }
            *row = Row { reason, jobs: BTreeSet::new(), longest: Duration::ZERO, next_probe_at: now };
        }
        if row.jobs.len() < LONGEST_ROW {
            row.jobs.insert(job);
        }
        row.longest = row.longest.max(took);
        if row.is_illness() && !is_ill {
            row.next_probe_at = now.after(PROBE_PERIOD);
            self.has_succeeded = false;
        }
    }
}

impl Row {
    fn is_illness(&self) -> bool {
        self.jobs.len() >= MOST_IN_A_ROW
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
mod tests;
