//! Time, the network and the faults: what happens next is the earliest of all that is to happen.

use std::collections::{BTreeMap, BTreeSet};

use sweep::vocabulary::{SweepId, Timestamp, TrialNumber};

use super::chance::Chance;
use super::node::{News, Node, Order, Scene};
use super::table::{Call, Changes, Reply, Scrutiny, Table, Template, Wish};
use super::training::Files;

const NODES: usize = 3;
/// Faults come in this time; afterwards everything heals, and the sweeps have to end.
const FAULTS_UNTIL: u64 = 10 * 60_000;
/// By then everything has ended many times over.
const GIVE_UP_AT: u64 = 12 * 3_600_000;
/// How long an agent's request for jobs waits at the coordinator.
const LEASE_WAIT: u64 = 20_000;
/// How often such a request looks whether something has changed; and whether something is due.
const PARKED_LOOK: u64 = 500;
const DUE_LOOK: u64 = 5_000;
/// A client gives up a call after this time.
const CALL_LIMIT: u64 = 30_000;

pub(super) type Results = BTreeMap<(SweepId, TrialNumber), f64>;

/// Which faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    Foul,
}

#[derive(Debug)]
enum What {
    Tell { node: usize, life: u64, news: News },
    Arrive(Message),
    Look,
    Fault,
    CoordinatorUp,
    Recovers { node: usize },
    Heal,
}

#[derive(Debug, Clone)]
struct Message {
    node: usize,
    life: u64,
    place: u64,
    call: Call,
    sent_at: u64,
    /// What had changed when the request was looked at last.
    changes_seen: Option<Changes>,
    is_answer_lost: bool,
}

pub(super) struct World<'t> {
    seed: u64,
    chance: Chance,
    weather: Weather,
    now: u64,
    /// By how much the coordinator's clock is wrong.
    clock_error: i64,
    agenda: BTreeMap<(u64, u64), What>,
    scheduled: u64,
    nodes: Vec<Node>,
    frozen_until: [u64; NODES],
    cut_off_until: [u64; NODES],
    table: Table<'t>,
    files: Files,
    sweeps: Vec<SweepId>,
    trace: Vec<String>,
}

impl<'t> World<'t> {
    pub(super) async fn new(
        template: &'t Template,
        folder: tempfile::TempDir,
        seed: u64,
        weather: Weather,
        scrutiny: Scrutiny,
    ) -> World<'t> {
        let mut world = World {
            seed,
            chance: Chance::new(seed),
            weather,
            now: 0,
            clock_error: 1_000_000_000,
            agenda: BTreeMap::new(),
            scheduled: 0,
            nodes: (0..NODES).map(Node::new).collect(),
            frozen_until: [0; NODES],
            cut_off_until: [0; NODES],
            table: Table::new(template, folder, scrutiny).await,
            files: Files::new(),
            sweeps: template.sweeps.clone(),
            trace: Vec::new(),
        };
        world.table.set_clock(world.clock());
        for node in 0..NODES {
            let delay = world.chance.between(0, 5_000);
            world.tell(node, delay, News::Boot);
        }
        world.schedule(0, What::Look);
        if weather == Weather::Foul {
            world.schedule(1_000, What::Fault);
            world.schedule(FAULTS_UNTIL, What::Heal);
        }
        world
    }

    /// Lives until every trial has its result.
    pub(super) async fn run(mut self) -> (Results, Vec<String>) {
        loop {
            if self.has_come_to_rest() {
                match self.table.results().await {
                    Some(results) => {
                        self.table.check_now().await;
                        return (results, self.trace);
                    }
                    // What is left was cancelled, has failed for good, or waits for a user.
                    None => self.heal().await,
                }
            }
            let Some(((at, _), what)) = self.agenda.pop_first() else {
                self.fail("nothing happens any more");
            };
            if at > GIVE_UP_AT {
                let left = self.table.describe().await;
                self.fail(&format!("the sweeps don't end: {left}"));
            }
            self.now = self.now.max(at);
            self.table.set_clock(self.clock());
            self.happen(what).await;
        }
    }

    /// Every agent has gone home, none is about to start, and the coordinator is there.
    fn has_come_to_rest(&self) -> bool {
        let is_boot = |what: &What| matches!(what, What::Tell { news: News::Boot, .. });
        self.table.is_up() && !self.nodes.iter().any(Node::is_alive) && !self.agenda.values().any(is_boot)
    }

    fn fail(&self, what: &str) -> ! {
        panic!("seed {}: {what} at {} ms\n{}", self.seed, self.now, self.trace.join("\n"))
    }

    fn clock(&self) -> Timestamp {
        Timestamp(i64::try_from(self.now).unwrap_or(i64::MAX) + self.clock_error)
    }

    fn schedule(&mut self, delay: u64, what: What) {
        self.scheduled += 1;
        self.agenda.insert((self.now + delay, self.scheduled), what);
    }

    fn tell(&mut self, node: usize, delay: u64, news: News) {
        let life = self.nodes[node].life;
        self.schedule(delay, What::Tell { node, life, news });
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.push(format!("{:>9} {}", self.now, what()));
    }

    async fn happen(&mut self, what: What) {
        match what {
            What::Tell { node, life, news } => self.tell_now(node, life, news),
            What::Arrive(message) => self.arrive(message).await,
            What::Look => {
                self.table.look().await;
                self.table.tidy(&mut self.files).await;
                self.schedule(3_000, What::Look);
            }
            What::CoordinatorUp => {
                if !self.table.is_up() {
                    self.note(|| "the coordinator is back".to_owned());
                    self.table.start(self.clock()).await;
                }
            }
            What::Recovers { node } => self.nodes[node].is_sick = false,
            What::Fault => self.break_something().await,
            What::Heal => self.heal().await,
        }
    }

    fn tell_now(&mut self, node: usize, life: u64, news: News) {
        if life != self.nodes[node].life {
            return;
        }
        if self.frozen_until[node] > self.now {
            let delay = self.frozen_until[node] - self.now;
            return self.schedule(delay, What::Tell { node, life, news });
        }
        let mut scene = Scene { chance: &mut self.chance, files: &mut self.files, orders: Vec::new() };
        self.nodes[node].take(news, &mut scene);
        for order in scene.orders {
            match order {
                Order::Send { place, call } => self.send(node, place, call),
                Order::Later { millis, what } => self.tell(node, millis, what),
                Order::Ended { left_behind } => {
                    self.note(|| format!("the agent of node {node} has ended"));
                    assert_eq!(left_behind, 0, "seed {}: trial processes outlived their agent", self.seed);
                    self.nodes[node].die();
                }
            }
        }
    }

    fn send(&mut self, node: usize, place: u64, call: Call) {
        let life = self.nodes[node].life;
        let is_foul = self.weather == Weather::Foul && self.now < FAULTS_UNTIL;
        let message = Message {
            node,
            life,
            place,
            call,
            sent_at: self.now,
            changes_seen: None,
            is_answer_lost: is_foul && self.chance.happens(40),
        };
        let delay = self.chance.between(1, 200);
        if is_foul && (self.cut_off_until[node] > self.now || self.chance.happens(40)) {
            return self.tell(node, CALL_LIMIT, News::Unanswered { place });
        }
        if is_foul && self.chance.happens(40) {
            let late = self.chance.between(1, 90_000);
            self.schedule(late, What::Arrive(Message { is_answer_lost: true, ..message.clone() }));
        }
        if message.is_answer_lost {
            self.tell(node, CALL_LIMIT, News::Unanswered { place });
        }
        self.schedule(delay, What::Arrive(message));
    }

    /// The coordinator answers; where it is down, or goes down about this, it doesn't.
    async fn arrive(&mut self, message: Message) {
        let Message { node, life, place, call, sent_at, changes_seen, is_answer_lost } = &message;
        let (node, life, place) = (*node, *life, *place);
        // A connection ends with its process: what waits for jobs is not granted any.
        let is_cut = life != self.nodes[node].life;
        if matches!(call, Call::Lease(_)) && changes_seen.is_some() && is_cut {
            return;
        }
        let is_parked = changes_seen.is_some_and(|seen| {
            seen == self.table.changes() && (self.now - sent_at) % DUE_LOOK >= PARKED_LOOK
        });
        if is_parked && self.now < sent_at + LEASE_WAIT {
            return self.schedule(PARKED_LOOK, What::Arrive(message));
        }
        let is_foul = self.weather == Weather::Foul && self.now < FAULTS_UNTIL;
        if is_foul && self.chance.happens(8) {
            // Before the write, or after it and before the answer.
            if self.chance.happens(500) {
                self.table.serve(call, self.now).await;
            }
            self.note(|| "the coordinator crashes about a call".to_owned());
            self.crash();
        }
        let Some(reply) = self.table.serve(call, self.now).await else {
            if !is_answer_lost {
                self.schedule(1, What::Tell { node, life, news: News::Unanswered { place } });
            }
            return;
        };
        if let Reply::Leased(response) = &reply
            && response.leases.is_empty()
            && !response.is_drained
            && self.now < sent_at + LEASE_WAIT
        {
            let changes_seen = Some(self.table.changes());
            return self.schedule(PARKED_LOOK, What::Arrive(Message { changes_seen, ..message }));
        }
        if !is_answer_lost {
            let delay = self.chance.between(1, 200);
            self.schedule(delay, What::Tell { node, life, news: News::Answered { place, reply } });
        }
    }

    fn crash(&mut self) {
        self.table.crash();
        // Whoever starts it again may do so on a host whose clock is another, or was set.
        if self.chance.happens(300) {
            let step = i64::try_from(self.chance.between(0, 400_000_000)).unwrap_or(0) - 200_000_000;
            self.clock_error = (self.clock_error + step).max(1);
            self.note(|| format!("the clock is set by {step} ms"));
        }
        let delay = self.chance.between(100, 120_000);
        self.schedule(delay, What::CoordinatorUp);
    }

    async fn break_something(&mut self) {
        if self.now >= FAULTS_UNTIL {
            return;
        }
        let node = usize::try_from(self.chance.between(0, NODES as u64 - 1)).unwrap_or(0);
        match self.chance.between(0, 11) {
            0 | 1 => {
                self.note(|| format!("node {node} dies"));
                self.nodes[node].die();
                self.frozen_until[node] = 0;
                let delay = self.chance.between(1_000, 120_000);
                self.tell(node, delay, News::Boot);
            }
            2 => {
                let millis = self.chance.between(1_000, 200_000);
                self.note(|| format!("node {node} freezes for {millis} ms"));
                self.frozen_until[node] = self.now + millis;
            }
            3 => {
                let millis = self.chance.between(1_000, 200_000);
                self.note(|| format!("node {node} is cut off for {millis} ms"));
                self.cut_off_until[node] = self.now + millis;
            }
            4 => self.tell(node, 0, News::StopAsked),
            5 => self.tell(node, 0, News::TrialKilled),
            6 if self.table.is_up() => {
                self.note(|| "the coordinator crashes".to_owned());
                self.crash();
            }
            7 => {
                let names: BTreeSet<String> = self.files.keys().cloned().collect();
                let names: Vec<String> = names.into_iter().collect();
                if let Some(name) = self.chance.one_of(&names) {
                    self.files.remove(name);
                    self.note(|| "a checkpoint's file is lost".to_owned());
                }
            }
            8 => self.wish().await,
            9 => {
                let millis = self.chance.between(1_000, 100_000);
                self.note(|| format!("the disk of node {node} is full for {millis} ms"));
                self.nodes[node].is_sick = true;
                self.schedule(millis, What::Recovers { node });
            }
            10 => {
                self.note(|| "the table is copied".to_owned());
                self.table.copy().await;
            }
            11 if self.table.is_up() && self.chance.happens(300) && self.table.go_back() => {
                self.note(|| "the table is put back to its copy".to_owned());
                let delay = self.chance.between(100, 120_000);
                self.schedule(delay, What::CoordinatorUp);
            }
            _ => {}
        }
        let delay = self.chance.between(1_000, 20_000);
        self.schedule(delay, What::Fault);
    }

    async fn wish(&mut self) {
        let wishes = [Wish::Pause, Wish::Resume, Wish::Cancel, Wish::Retry];
        let wish = *self.chance.one_of(&wishes).unwrap_or(&Wish::Resume);
        let sweep = *self.chance.one_of(&self.sweeps).unwrap_or(&SweepId(1));
        let trials = self.table.trials_of(sweep).await;
        let trial = self.chance.one_of(&trials).copied().filter(|_| wish == Wish::Cancel);
        self.note(|| format!("the user wants {wish:?} of sweep {sweep} {trial:?}"));
        self.table.obey(wish, sweep, trial).await;
    }

    /// From now on nothing breaks; the user wants everything done, and somebody starts agents as long as it isn't.
    async fn heal(&mut self) {
        self.note(|| "everything heals".to_owned());
        if !self.table.is_up() {
            self.table.start(self.clock()).await;
        }
        self.weather = Weather::Fair;
        for sweep in self.sweeps.clone() {
            self.table.obey(Wish::Resume, sweep, None).await;
            self.table.obey(Wish::Retry, sweep, None).await;
        }
        self.schedule(600_000, What::Heal);
        for node in 0..NODES {
            if !self.nodes[node].is_alive() {
                self.tell(node, 1, News::Boot);
            }
        }
    }
}
