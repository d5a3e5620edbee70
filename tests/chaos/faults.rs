//! Which faults a seed brings: kind, victim and moment. Pure. The moment is one of progress, never of time.

use std::fmt;
use std::time::Duration;

/// How long a lease lasts during a test; agents and coordinators are stopped for longer.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// How many agents there are.
pub(crate) const WORKERS: usize = 4;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `kill -9` of an agent, which is started again as another.
    KillAgent,
    /// `kill -9` of a trial's process.
    KillTrial,
    /// `kill -9` of the coordinator, which is started again.
    KillCoordinator,
    /// SIGSTOP of an agent for longer than a lease.
    StopAgent,
    /// SIGSTOP of the coordinator for longer than a lease.
    StopCoordinator,
    /// No packet passes between an agent and the coordinator for longer than a lease.
    CutNetwork,
    /// SIGTERM of an agent, which gives back what it has; another is started.
    EndAgent,
    /// SIGTERM of the coordinator, which is started again.
    EndCoordinator,
    /// Something is done to the next request of a kind on its way.
    Request(Mischief),
}

/// What is done to a request between an agent and the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mischief {
    /// It does not arrive, and the connection breaks.
    LoseRequest,
    /// It does; the answer does not.
    LoseAnswer,
    /// The connection breaks within the answer.
    BreakAnswer,
    /// It arrives twice at about the same time, and one answer comes back.
    Double,
    /// It is under way for long.
    DelayRequest,
    /// Its answer is.
    DelayAnswer,
    /// The connection breaks at once, and the request arrives long after that, when it was repeated already.
    DeliverLate,
    /// Somebody on the way answers that the coordinator is not there.
    Refuse,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    Register,
    Lease,
    Heartbeat,
    Report,
    Outcome,
    /// Goodbyes, and whatever agents may come to ask beside.
    Other,
}

/// One fault, to be made when so much of the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Epochs reported so far, over all trials.
    pub(crate) after: u64,
    pub(crate) kind: Kind,
    /// The agent that it hits, from 0; where that one is down already, the next.
    pub(crate) worker: usize,
    /// Of a fault of a request: which.
    pub(crate) route: Route,
    /// Of a delay: how long it is; of a stop: how much longer than a lease.
    pub(crate) lasts: Duration,
}

/// Every kind, and how often it comes among a hundred.
const KINDS: [(Kind, u64); 16] = [
    (Kind::KillAgent, 12),
    (Kind::KillTrial, 14),
    (Kind::KillCoordinator, 10),
    (Kind::StopAgent, 7),
    (Kind::StopCoordinator, 4),
    (Kind::CutNetwork, 8),
    (Kind::EndAgent, 4),
    (Kind::EndCoordinator, 3),
    (Kind::Request(Mischief::LoseRequest), 4),
    (Kind::Request(Mischief::LoseAnswer), 7),
    (Kind::Request(Mischief::BreakAnswer), 3),
    (Kind::Request(Mischief::Double), 7),
    (Kind::Request(Mischief::DelayRequest), 5),
    (Kind::Request(Mischief::DelayAnswer), 5),
    (Kind::Request(Mischief::DeliverLate), 5),
    (Kind::Request(Mischief::Refuse), 2),
];

/// Requests of these kinds come by themselves all the time; agents register only when they are started.
const ROUTES: [Route; 7] = [
    Route::Lease,
    Route::Lease,
    Route::Heartbeat,
    Route::Report,
    Route::Outcome,
    Route::Outcome,
    Route::Outcome,
];

/// All kinds but these.
pub(crate) fn kinds(left_out: &[Kind]) -> impl Iterator<Item = Kind> {
    KINDS.into_iter().map(|(kind, _)| kind).filter(|kind| !left_out.contains(kind))
}

/// The faults of a seed, in the order of their moments: `count` of them over the first nine tenths of `epochs`, each kind
/// that is not left out among them where there are enough.
pub(crate) fn plan(seed: u64, count: usize, epochs: u64, left_out: &[Kind]) -> Vec<Fault> {
    let kinds: Vec<(Kind, u64)> = KINDS.into_iter().filter(|(kind, _)| !left_out.contains(kind)).collect();
    let mut faults: Vec<Fault> = (0..count)
        .map(|n| {
            let kind = kinds.get(n).map_or_else(|| pick(&kinds, draw(seed, "kind", n)), |(kind, _)| *kind);
            fault(seed, n, kind, epochs)
        })
        .collect();
    faults.sort_by_key(|fault| fault.after);
    faults
}

fn fault(seed: u64, n: usize, kind: Kind, epochs: u64) -> Fault {
    let route = ROUTES[below(draw(seed, "route", n), ROUTES.len() as u64) as usize];
    let is_long = draw(seed, "length", n).is_multiple_of(3);
    let lasts = match kind {
        // A heartbeat's distance, or more than a lease.
        Kind::Request(_) if !is_long => LEASE / 8,
        _ => LEASE * 5 / 4 + LEASE * (draw(seed, "more", n) % 4) as u32 / 8,
    };
    Fault {
        after: 1 + below(draw(seed, "moment", n), epochs * 9 / 10),
        kind,
        worker: below(draw(seed, "worker", n), WORKERS as u64) as usize,
        route,
        lasts,
    }
}

fn pick(kinds: &[(Kind, u64)], drawn: u64) -> Kind {
    let mut left = below(drawn, kinds.iter().map(|(_, weight)| weight).sum());
    for (kind, weight) in kinds {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *kind,
        }
    }
    unreachable!("the weights' sum is larger than what was drawn below it")
}

/// A number that depends on nothing but its arguments.
fn draw(seed: u64, purpose: &str, n: usize) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&n.to_le_bytes()).update(purpose.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn below(drawn: u64, end: u64) -> u64 {
    drawn % end.max(1)
}

impl Kind {
    /// Its name in a summary.
    pub(crate) fn name(self) -> String {
        match self {
            Kind::Request(mischief) => format!("{mischief:?}"),
            kind => format!("{kind:?}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, seconds) = (self.kind.name(), self.lasts.as_secs_f64());
        match self.kind {
            Kind::KillCoordinator | Kind::EndCoordinator => write!(f, "{name}"),
            Kind::StopCoordinator => write!(f, "{name} for {seconds} s"),
            Kind::KillAgent | Kind::KillTrial | Kind::EndAgent => write!(f, "{name} {}", self.worker),
            Kind::StopAgent | Kind::CutNetwork => write!(f, "{name} {} for {seconds} s", self.worker),
            Kind::Request(_) => write!(f, "{name} {} {:?} ({seconds} s)", self.worker, self.route),
        }
    }
}

#[test]
fn a_seed_brings_the_same_faults_each_time_and_all_kinds_of_them() {
    for seed in 0..50 {
        let faults = plan(seed, 30, 200, &[]);
        assert_eq!(faults, plan(seed, 30, 200, &[]));
        assert_ne!(faults, plan(seed + 1, 30, 200, &[]));
        assert!(faults.iter().all(|fault| (1..=180).contains(&fault.after) && fault.worker < WORKERS));
        assert!(KINDS.iter().all(|(kind, _)| faults.iter().any(|fault| fault.kind == *kind)));
        let without = plan(seed, 30, 200, &[Kind::CutNetwork]);
        assert_eq!(without.iter().filter(|fault| fault.kind == Kind::CutNetwork).count(), 0);
        assert_eq!(without.len(), 30);
    }
}
