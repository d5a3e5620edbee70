//! A coordinator, agents and what lies between them, as somebody runs them who starts again whatever ends.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sweep::client::Client;
use sweep::protocol::http::{StatusResponse, SweepState};
use tokio::runtime::Runtime;

use crate::faults::{LEASE, WORKERS};
use crate::harness::{Project, wait_until};
use crate::network::{Node, Place};
use crate::process::{Mark, Owned};
use crate::proxy::Proxy;
use crate::work::Work;

/// A coordinator that doesn't answer in this time is stopped or gone.
const PATIENCE: Duration = Duration::from_millis(500);

/// Longer than the slowest request of an agent and all its pauses in between: then something hangs.
const LONGEST_SILENCE: Duration = Duration::from_secs(240);

/// The coordinator, its agents and their wires. Nothing of it is left when this is dropped.
pub(crate) struct Cluster {
    pub(crate) project: Project,
    pub(crate) runtime: Runtime,
    pub(crate) workers: Vec<Worker>,
    pub(crate) coordinator: Owned,
    address: SocketAddr,
    mark: Mark,
    slots: usize,
    /// Epochs reported to coordinators before this one, and to it.
    epochs: (u64, u64),
    last_progress: Instant,
}

/// An agent on a node.
pub(crate) struct Worker {
    pub(crate) agent: Owned,
    pub(crate) proxy: Proxy,
    pub(crate) node: Option<Node>,
    log: PathBuf,
    /// It found nothing left to do and ended.
    pub(crate) is_done: bool,
}

impl Cluster {
    /// Submits the work to a new coordinator, and starts agents for it.
    pub(crate) fn start(project: Project, place: Place, work: &Work) -> Cluster {
        let mark = Mark::new(project.folder.path());
        let runtime = Runtime::new().unwrap();
        let (coordinator, address) = start_coordinator(&project, &mark);
        let mut cluster = Cluster {
            project,
            runtime,
            workers: Vec::new(),
            coordinator,
            address,
            mark,
            slots: work.slots,
            epochs: (0, 0),
            last_progress: Instant::now(),
        };
        let submitted = cluster.project.sweep(&["submit", work.spec]).exits_with(0);
        assert_eq!(submitted.stdout(), "1\n");
        for number in 1..=WORKERS {
            let log = cluster.project.path(&format!("agent-{number}.log"));
            let node = (place == Place::OwnNetwork).then(|| Node::open(number, &cluster.mark, &log));
            let listen = node.as_ref().map_or(SocketAddr::from(([127, 0, 0, 1], 0)), Node::listen);
            let proxy = Proxy::start(cluster.runtime.handle(), listen, address);
            let agent = cluster.start_agent(&proxy, node.as_ref(), &log);
            cluster.workers.push(Worker { agent, proxy, node, log, is_done: false });
        }
        cluster
    }

    fn start_agent(&self, proxy: &Proxy, node: Option<&Node>, log: &Path) -> Owned {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_sweep")).with_file_name("sweep-worker");
        let mut command = node.map_or_else(|| Command::new(&program), |node| node.command(&program));
        let state = self.project.path(".sweep");
        command
            .args(["--coordinator", &format!("http://{}", proxy.address), "--until-drained"])
            .args(["--cpu-slots", &self.slots.to_string(), "--grace", "2"])
            .arg("--state-dir")
            .arg(&state)
            .arg("--datasets")
            .arg(self.project.path("data").join("sweep/datasets"))
            .env("SWEEP_TOKEN", self.token())
            .current_dir(self.project.folder.path());
        self.mark.put_on(&mut command);
        Owned::start(&command, log)
    }

    fn token(&self) -> String {
        self.project.read(".sweep/token").trim().to_owned()
    }

    /// Another agent in the place of one that has ended.
    pub(crate) fn start_agent_again(&mut self, worker: usize) {
        let Worker { proxy, node, log, .. } = &self.workers[worker];
        let agent = self.start_agent(proxy, node.as_ref(), log);
        self.workers[worker].agent = agent;
    }

    /// Another coordinator in the place of one that has ended: it listens where that one did.
    pub(crate) fn start_coordinator_again(&mut self) {
        let (coordinator, address) = start_coordinator(&self.project, &self.mark);
        assert_eq!(address, self.address, "it listens somewhere else");
        self.coordinator = coordinator;
        self.epochs = (self.epochs.0 + self.epochs.1, 0);
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address), &self.token()).unwrap()
    }

    /// What the coordinator says, if it does.
    pub(crate) fn status(&self) -> Option<StatusResponse> {
        let client = self.client();
        let answer = async { tokio::time::timeout(PATIENCE, client.status()).await };
        self.runtime.block_on(answer).ok()?.ok()
    }

    /// Whether all trials have ended, as far as the coordinator says so.
    pub(crate) fn is_drained(&self) -> bool {
        let is_over =
            |state| matches!(state, SweepState::Succeeded | SweepState::Failed | SweepState::Cancelled);
        self.status().is_some_and(|status| status.sweeps.iter().all(|sweep| is_over(sweep.state)))
    }

    /// How many epochs were reported so far, repetitions included.
    pub(crate) fn progress(&mut self) -> u64 {
        if let Some(reported) = self.reported_epochs()
            && reported > self.epochs.1
        {
            self.epochs.1 = reported;
            self.last_progress = Instant::now();
        }
        let silence = self.last_progress.elapsed();
        assert!(silence < LONGEST_SILENCE, "no epoch was reported for {} s", silence.as_secs());
        self.epochs.0 + self.epochs.1
    }

    fn reported_epochs(&self) -> Option<u64> {
        let url = format!("http://{}/metrics", self.address);
        let request = reqwest::Client::new().get(url).bearer_auth(self.token()).timeout(PATIENCE);
        let text = self.runtime.block_on(async { request.send().await?.text().await }).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("sweep_epochs_total "))?;
        line.trim().parse().ok()
    }

    /// Starts again whoever ended without having been asked to; an agent may do so only because nothing is left to do.
    pub(crate) fn look_after(&mut self) {
        if let Some(status) = self.coordinator.ended() {
            panic!("the coordinator ended by itself: {status}");
        }
        for number in 0..WORKERS {
            let worker = &mut self.workers[number];
            if worker.is_done {
                continue;
            }
            if let Some(status) = worker.agent.ended() {
                assert!(status.success(), "agent {number} ended by itself: {status}");
                wait_until("an agent that ended to have been right", || self.is_drained());
                self.workers[number].is_done = true;
            }
        }
    }

    /// Ends the coordinator in order and waits for everything that was started to be gone.
    pub(crate) fn stop(&mut self) {
        self.coordinator.signal(Signal::TERM);
        let mut status = None;
        wait_until("the coordinator's end", || {
            status = self.coordinator.ended();
            status.is_some()
        });
        assert!(status.unwrap().success(), "the coordinator ended with {status:?}");
        self.workers.clear();
        wait_until("all processes to be gone", || self.mark.find().is_empty());
    }

    /// The ends of all logs.
    pub(crate) fn logs(&self) -> String {
        const LINES: usize = 40;
        let files = fs::read_dir(self.project.folder.path()).unwrap().flatten().map(|file| file.path());
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
        files.sort();
        let tail = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {}\n{}\n", path.display(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
        };
        files.iter().map(tail).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.workers.clear();
        self.mark.kill_all();
    }
}

fn start_coordinator(project: &Project, mark: &Mark) -> (Owned, SocketAddr) {
    let mut command = project.command(&["serve", "--lease", &LEASE.as_secs().to_string()]);
    mark.put_on(&mut command);
    let log = project.path("serve.log");
    let addresses = || -> Vec<String> {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.lines().filter_map(|line| line.strip_prefix("http://")).map(str::to_owned).collect()
    };
    let before = addresses().len();
    let mut coordinator = Owned::start(&command, &log);
    wait_until("the coordinator's address", || {
        assert_eq!(coordinator.ended(), None, "the coordinator did not start");
        addresses().len() > before
    });
    let address = addresses().pop().unwrap().parse().unwrap();
    (coordinator, address)
}
