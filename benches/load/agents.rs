//! Simulated agents: they lease, report, complete and heartbeat as real ones do, and sleep where those would train.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sweep::client::{Client, ClientError};
use sweep::protocol::http::{
    AttemptEnd, HeartbeatRequest, Lease, LeaseRequest, LeaseToken, LeaveRequest, NodeLoad, Outcome,
    OutcomesRequest, PROTOCOL, RegisterRequest, Report, ReportsRequest, Work,
};
use sweep::vocabulary::{JobId, Metrics, WorkerId};
use tokio::task::JoinSet;

use crate::{LONGEST_JOB, SHORTEST_JOB};

/// As real agents let the coordinator wait.
const LEASE_WAIT: Duration = Duration::from_secs(20);

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Lease,
    Heartbeat,
    Report,
    Complete,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Lease, Kind::Heartbeat, Kind::Report, Kind::Complete];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Lease => "lease",
            Kind::Heartbeat => "heartbeat",
            Kind::Report => "report",
            Kind::Complete => "complete",
        })
    }
}

/// What came of all requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Sums>>);

#[derive(Debug, Default)]
struct Sums {
    waits: BTreeMap<Kind, Vec<Duration>>,
    failures: Vec<String>,
    lost: usize,
    completed: BTreeMap<JobId, u32>,
}

impl Tally {
    pub(crate) fn waits(&self) -> BTreeMap<Kind, Vec<Duration>> {
        self.0.lock().unwrap().waits.clone()
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.0.lock().unwrap().failures.clone()
    }

    pub(crate) fn lost(&self) -> usize {
        self.0.lock().unwrap().lost
    }

    pub(crate) fn completed(&self) -> BTreeMap<JobId, u32> {
        self.0.lock().unwrap().completed.clone()
    }

    fn note_lost(&self, leases: usize) {
        self.0.lock().unwrap().lost += leases;
    }

    /// Makes a request, once, and notes how long it took.
    async fn time<T>(&self, kind: Kind, request: impl Future<Output = Result<T, ClientError>>) -> Option<T> {
        let begun = Instant::now();
        let answer = request.await;
        let took = begun.elapsed();
        let mut sums = self.0.lock().unwrap();
        sums.waits.entry(kind).or_default().push(took);
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                sums.failures.push(format!("{kind}: {error} ({error:?})"));
                None
            }
        }
    }
}

/// An agent that has registered.
#[derive(Clone)]
pub(crate) struct Agent {
    client: Client,
    worker: WorkerId,
    heartbeat: Duration,
    held: Arc<Mutex<BTreeSet<LeaseToken>>>,
    tally: Tally,
}

impl Agent {
    /// With connections of its own.
    pub(crate) async fn arrive(url: &str, token: &str, number: usize, tally: Tally) -> Agent {
        let client = Client::new(url, token).unwrap();
        let request = RegisterRequest {
            host: format!("node{number}"),
            boot_id: "elsewhere".to_owned(),
            pid: 1,
            started_ticks: u64::try_from(number).unwrap(),
            slots: 2,
            version: "load".to_owned(),
            protocol: PROTOCOL,
            slurm: None,
        };
        let registered = client.register(&request).await.unwrap();
        let heartbeat = Duration::from_millis(registered.heartbeat_millis);
        Agent { client, worker: registered.worker, heartbeat, held: Arc::default(), tally }
    }

    /// Runs jobs one after the other in each slot until it is time; those under way are completed.
    pub(crate) async fn work(self, slots: usize, until: Instant) {
        let beating = tokio::spawn(self.clone().beat());
        let mut working = JoinSet::new();
        for _slot in 0..slots {
            let agent = self.clone();
            working.spawn(async move {
                while Instant::now() < until {
                    for lease in agent.lease().await {
                        agent.run(&lease).await;
                    }
                }
            });
        }
        while let Some(ended) = working.join_next().await {
            ended.unwrap();
        }
        beating.abort();
        self.client.leave(&LeaveRequest { worker: self.worker }).await.unwrap();
    }

    async fn beat(self) {
        let mut tick = tokio::time::interval(self.heartbeat);
        loop {
            tick.tick().await;
            let leases = self.held.lock().unwrap().iter().copied().collect();
            let node = Some(NodeLoad { load: Some(1.5), ..NodeLoad::default() });
            let request = HeartbeatRequest { worker: self.worker, leases, node, problem: None };
            let Some(answer) = self.tally.time(Kind::Heartbeat, self.client.heartbeat(&request)).await else {
                continue;
            };
            // One that was completed meanwhile is none that was lost.
            let held = self.held.lock().unwrap();
            self.tally.note_lost(answer.stop.iter().filter(|stop| held.contains(&stop.token)).count());
        }
    }

    async fn lease(&self) -> Vec<Lease> {
        let wait_millis = LEASE_WAIT.as_millis() as u64;
        let request = LeaseRequest { worker: self.worker, sweep: None, most: 1, wait_millis };
        let leases = self.tally.time(Kind::Lease, self.client.lease(&request)).await;
        let leases = leases.map(|answer| answer.leases).unwrap_or_default();
        // Nobody else ever had the job, unless a lease of it was lost.
        self.tally.note_lost(leases.iter().filter(|lease| lease.token.attempt.0 != 1).count());
        self.held.lock().unwrap().extend(leases.iter().map(|lease| lease.token));
        leases
    }

    async fn run(&self, lease: &Lease) {
        let (token, Work::Command(work)) = (lease.token, &lease.work) else { panic!("a program") };
        let reports = 1 + scatter(token.job, 1) % 4;
        let spread = (LONGEST_JOB - SHORTEST_JOB).as_millis() as u64;
        let lasts = SHORTEST_JOB + Duration::from_millis(scatter(token.job, 2) % spread);
        for epoch in 1..=reports {
            tokio::time::sleep(lasts / u32::try_from(reports).unwrap()).await;
            let loss = if epoch == reports { work.trial.0 as f64 } else { -1.0 };
            let metrics = Metrics::from([("loss".to_owned(), loss), ("seconds".to_owned(), 0.1)]);
            let report = Report { token, epoch: u32::try_from(epoch).unwrap(), metrics, checkpoint: None };
            let request = ReportsRequest { reports: vec![report] };
            let answer = self.tally.time(Kind::Report, self.client.report(&request)).await;
            self.tally.note_lost(answer.map_or(0, |answer| answer.refused.len()));
        }
        self.held.lock().unwrap().remove(&token);
        let end = AttemptEnd::Complete { record: Default::default() };
        let outcome = Outcome { token, reports: vec![], end };
        let request = OutcomesRequest { outcomes: vec![outcome] };
        match self.tally.time(Kind::Complete, self.client.finish(&request)).await {
            Some(answer) if answer.refused.is_empty() => {
                *self.tally.0.lock().unwrap().completed.entry(token.job).or_default() += 1;
            }
            Some(_) => self.tally.note_lost(1),
            None => {}
        }
    }
}

/// A number that follows from the job's and looks like chance: SplitMix64's finishing steps.
fn scatter(job: JobId, purpose: u64) -> u64 {
    let mut bits =
        job.0.cast_unsigned().wrapping_mul(4).wrapping_add(purpose).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
