//! Makes the faults of a plan, each at its moment, and keeps their history.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::faults::{Fault, Kind, WORKERS};
use crate::harness::wait_until;
use crate::proxy::Armed;

/// A run with faults.
pub(crate) struct Run {
    pub(crate) cluster: Cluster,
    seed: u64,
    faults: Vec<Fault>,
    began_at: Instant,
    /// What lasts, and until when.
    lasting: Vec<(Instant, Lasting)>,
    history: String,
    /// Faults that were made, by kind; those of requests once they met one.
    made: BTreeMap<Kind, usize>,
    is_told_live: bool,
}

/// A fault that ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasting {
    StoppedAgent(usize),
    StoppedCoordinator,
    CutNetwork(usize),
}

impl Run {
    pub(crate) fn new(cluster: Cluster, faults: Vec<Fault>, seed: u64, is_told_live: bool) -> Run {
        let (history, lasting, made) = (String::new(), Vec::new(), BTreeMap::new());
        Run { cluster, seed, faults, began_at: Instant::now(), lasting, history, made, is_told_live }
    }

    /// Works through the whole plan and then until everything has ended.
    pub(crate) fn go_on_to_the_end(&mut self) {
        for (number, fault) in self.faults.clone().into_iter().enumerate() {
            self.look();
            while self.cluster.progress() < fault.after {
                self.look();
                if self.cluster.workers.iter().all(|worker| worker.is_done) {
                    self.note(&format!("{} faults come too late", self.faults.len() - number));
                    return self.end();
                }
            }
            self.make(number, fault);
        }
        self.end();
    }

    /// Lets what lasts come to its end and the agents find nothing left to do.
    fn end(&mut self) {
        while !self.lasting.is_empty() || !self.cluster.workers.iter().all(|worker| worker.is_done) {
            self.cluster.progress();
            self.look();
        }
        self.look();
    }

    /// Does what is due, and looks after the processes.
    fn look(&mut self) {
        self.end_what_is_due();
        for worker in 0..WORKERS {
            for number in self.cluster.workers[worker].proxy.take_met() {
                *self.made.entry(self.faults[number].kind).or_default() += 1;
                self.note(&format!("#{number} met its request"));
            }
        }
        self.cluster.look_after();
        pause();
    }

    fn end_what_is_due(&mut self) {
        let now = Instant::now();
        let due: Vec<Lasting> =
            self.lasting.iter().filter(|(end, _)| *end <= now).map(|(_, lasting)| *lasting).collect();
        self.lasting.retain(|(end, _)| *end > now);
        for lasting in due {
            match lasting {
                Lasting::StoppedAgent(worker) => self.cluster.workers[worker].agent.signal(Signal::CONT),
                Lasting::StoppedCoordinator => self.cluster.coordinator.signal(Signal::CONT),
                Lasting::CutNetwork(worker) => self.node(worker).mend(),
            }
            self.note(&format!("{lasting:?} is over"));
        }
    }

    fn make(&mut self, number: usize, fault: Fault) {
        self.note(&format!("#{number} {fault}"));
        let is_made = match fault.kind {
            Kind::KillAgent => self.end_agent(fault.worker, Signal::KILL),
            Kind::EndAgent => self.end_agent(fault.worker, Signal::TERM),
            Kind::KillTrial => self.kill_trial(fault.worker),
            Kind::KillCoordinator => self.end_coordinator(Signal::KILL),
            Kind::EndCoordinator => self.end_coordinator(Signal::TERM),
            Kind::StopAgent => self.stop_agent(fault),
            Kind::StopCoordinator => {
                self.cluster.coordinator.signal(Signal::STOP);
                self.last(fault, Lasting::StoppedCoordinator)
            }
            Kind::CutNetwork => {
                self.node(fault.worker).cut();
                self.last(fault, Lasting::CutNetwork(fault.worker))
            }
            Kind::Request(mischief) => {
                let Fault { route, lasts, worker, .. } = fault;
                self.cluster.workers[worker].proxy.arm(Armed { number, route, mischief, lasts });
                false
            }
        };
        if is_made {
            *self.made.entry(fault.kind).or_default() += 1;
        }
    }

    /// From the fault's moment on; one that lasts already lasts anew.
    fn last(&mut self, fault: Fault, lasting: Lasting) -> bool {
        self.lasting.retain(|(_, other)| *other != lasting);
        self.lasting.push((Instant::now() + fault.lasts, lasting));
        true
    }

    fn end_agent(&mut self, worker: usize, signal: Signal) -> bool {
        let Some(worker) = self.working(worker) else { return false };
        self.lasting.retain(|(_, lasting)| *lasting != Lasting::StoppedAgent(worker));
        let agent = &self.cluster.workers[worker].agent;
        agent.signal(Signal::CONT);
        agent.signal(signal);
        let mut status = None;
        wait_until("an agent's end", || {
            self.end_what_is_due();
            status = self.cluster.workers[worker].agent.ended();
            status.is_some()
        });
        // 1 where the coordinator could not be told: then the leases expire. None where it had not begun to work.
        let status = status.unwrap();
        let is_in_order = matches!(status.code(), Some(0 | 1)) || status.signal() == Some(signal.as_raw());
        assert!(is_in_order, "agent {worker}: {status}");
        self.cluster.start_agent_again(worker);
        true
    }

    fn kill_trial(&mut self, worker: usize) -> bool {
        let mut victim = None;
        wait_until("a trial's process", || {
            self.look();
            let workers = (0..WORKERS).map(|n| &self.cluster.workers[(worker + n) % WORKERS]);
            victim = workers.flat_map(|worker| worker.agent.children()).next();
            victim.is_some() || self.cluster.is_drained()
        });
        let Some(victim) = victim else { return false };
        rustix::process::kill_process(victim, Signal::KILL).is_ok()
    }

    fn end_coordinator(&mut self, signal: Signal) -> bool {
        self.lasting.retain(|(_, lasting)| *lasting != Lasting::StoppedCoordinator);
        let coordinator = &self.cluster.coordinator;
        coordinator.signal(Signal::CONT);
        coordinator.signal(signal);
        let mut status = None;
        wait_until("the coordinator's end", || {
            self.end_what_is_due();
            status = self.cluster.coordinator.ended();
            status.is_some()
        });
        let status = status.unwrap();
        assert!(signal == Signal::KILL || status.success(), "the coordinator ended with {status}");
        self.cluster.start_coordinator_again();
        true
    }

    fn stop_agent(&mut self, fault: Fault) -> bool {
        let Some(worker) = self.working(fault.worker) else { return false };
        self.cluster.workers[worker].agent.signal(Signal::STOP);
        self.last(fault, Lasting::StoppedAgent(worker))
    }

    /// The first agent from this one on that is still at work.
    fn working(&self, worker: usize) -> Option<usize> {
        (0..WORKERS).map(|n| (worker + n) % WORKERS).find(|&worker| !self.cluster.workers[worker].is_done)
    }

    fn node(&self, worker: usize) -> &crate::network::Node {
        self.cluster.workers[worker].node.as_ref().expect("networks are only cut where there are some")
    }

    fn note(&mut self, what: &str) {
        let line = format!("{:7.2} s  {what}", self.began_at.elapsed().as_secs_f64());
        if self.is_told_live {
            eprintln!("{line}");
        }
        writeln!(self.history, "{line}").unwrap();
    }

    /// Faults that were made, in all.
    pub(crate) fn count(&self) -> usize {
        self.made.values().sum()
    }

    /// Kinds of faults of which at least one was made.
    pub(crate) fn kinds(&self) -> BTreeSet<Kind> {
        self.made.keys().copied().collect()
    }

    /// What was done, by kind, and how long it took.
    pub(crate) fn summary(&self) -> String {
        let kinds: Vec<String> = self.made.iter().map(|(kind, n)| format!("{} {n}", kind.name())).collect();
        format!(
            "{} faults in {:.1} s: {}",
            self.count(),
            self.began_at.elapsed().as_secs_f64(),
            kinds.join(", ")
        )
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (logs, summary) = (self.cluster.logs(), self.summary());
            let folder = self.cluster.project.keep();
            eprintln!(
                "{logs}--- faults\n{}seed {}: {summary}\nkept: {}",
                self.history,
                self.seed,
                folder.display()
            );
        }
    }
}

fn pause() {
    #[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
    std::thread::sleep(std::time::Duration::from_millis(10));
}
