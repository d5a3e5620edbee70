//! A node: the real agent's mind, and a shell whose processes and requests are simulated.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sweep::protocol::http::{
    HeartbeatRequest, Lease, LeaseRequest, LeaseToken, LeaveRequest, PROTOCOL, RegisterRequest, Report, Work,
};
use sweep::protocol::trial::{Checkpoint, TrialRecord};
use sweep::vocabulary::{FailureReason, Metrics, WorkerId};

use super::super::super::event::{Action, Event, Exit, Stop, Timer, TrialEnd};
use super::super::super::outbox::Write;
use super::super::super::slots::SlotKind;
use super::super::super::state::{Agent, Settings, Until};
use super::chance::Chance;
use super::table::{Call, Reply};
use super::training::{Files, Keeps, Training};

/// How long trials have to end by themselves.
const GRACE: Duration = Duration::from_secs(10);
/// The node that shares no files with the coordinator.
const APART: usize = 2;
/// The client's first pause after a failed call, and its longest.
const FIRST_PAUSE_MILLIS: u64 = 250;
const LONGEST_PAUSE_MILLIS: u64 = 15_000;

/// Something that the world shall bring about.
#[derive(Debug)]
pub(super) enum Order {
    /// Hand over a call; `place` names it.
    Send { place: u64, call: Call },
    /// Tell the node of it after so many milliseconds.
    Later { millis: u64, what: News },
    /// The agent has ended, and these trial processes of its were there to the end.
    Ended { left_behind: usize },
}

/// What a node is told.
#[derive(Debug, Clone)]
pub(super) enum News {
    Boot,
    Due(Timer),
    Answered {
        place: u64,
        reply: Reply,
    },
    /// No answer came, or the coordinator could not be reached.
    Unanswered {
        place: u64,
    },
    SendAgain {
        place: u64,
    },
    /// A trial process has trained an epoch, or got to the point where it stops.
    Trained {
        token: LeaseToken,
        run: u64,
    },
    Stopped {
        token: LeaseToken,
        run: u64,
        how: Stop,
    },
    /// A checkpoint has arrived at the coordinator, or never will.
    Sent {
        token: LeaseToken,
        run: u64,
    },
    /// There is no more time for what is on its way.
    GivenUp {
        token: LeaseToken,
        run: u64,
    },
    /// A trial process is killed by somebody else.
    TrialKilled,
    Examined,
    StopAsked,
}

/// What a node acts with.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) chance: &'a mut Chance,
    pub(super) files: &'a mut Files,
    pub(super) orders: Vec<Order>,
}

#[derive(Debug)]
struct Process {
    run: u64,
    training: Training,
    is_stopping: bool,
}

/// A trial's checkpoints on their way to a coordinator that doesn't see the node's files, the first of them at this moment.
#[derive(Debug)]
struct Sending {
    run: u64,
    queue: VecDeque<Checkpoint>,
    is_last_lost: bool,
    /// How the trial has ended, once it has.
    end: Option<TrialEnd>,
}

/// A node and what runs on it. Everything but its name goes when it dies.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: usize,
    /// Which life this is: news from an earlier one is nobody's.
    pub(super) life: u64,
    /// Its disk is full: no trial can go on there.
    pub(super) is_sick: bool,
    /// It shares no files with the coordinator.
    is_apart: bool,
    copies: Files,
    sending: BTreeMap<LeaseToken, Sending>,
    problem: Option<String>,
    agent: Option<Agent>,
    worker: Option<WorkerId>,
    processes: BTreeMap<LeaseToken, Process>,
    calls: BTreeMap<u64, (Call, u32)>,
    asking: Option<u64>,
    /// How many jobs it had asked for when it heard that nobody knows it.
    unknown: u32,
    next: u64,
}

impl Node {
    pub(super) fn new(name: usize) -> Node {
        Node {
            name,
            life: 0,
            is_sick: false,
            is_apart: name == APART,
            copies: Files::new(),
            sending: BTreeMap::new(),
            problem: None,
            agent: None,
            worker: None,
            processes: BTreeMap::new(),
            calls: BTreeMap::new(),
            asking: None,
            unknown: 0,
            next: 0,
        }
    }

    /// Nothing is left of it.
    pub(super) fn die(&mut self) {
        let (name, life, next, is_sick) = (self.name, self.life + 1, self.next, self.is_sick);
        *self = Node { life, next, is_sick, ..Node::new(name) };
    }

    pub(super) fn is_alive(&self) -> bool {
        self.agent.is_some() || !self.calls.is_empty()
    }

    pub(super) fn take(&mut self, news: News, scene: &mut Scene<'_>) {
        match news {
            News::Boot => {
                self.send(Call::Register(self.introduce()), scene);
            }
            News::Due(timer) => self.step(Event::Due(timer), scene),
            News::Answered { place, reply } => self.take_answer(place, reply, scene),
            News::Unanswered { place } => self.take_silence(place, scene),
            News::SendAgain { place } => {
                if let Some((call, _)) = self.calls.get(&place) {
                    scene.orders.push(Order::Send { place, call: call.clone() });
                }
            }
            News::Trained { token, run } => self.take_epoch(token, run, scene),
            News::Stopped { token, run, how } => self.take_stop(token, run, how, scene),
            News::Sent { token, run } => self.take_arrival(token, run, scene),
            News::GivenUp { token, run } => {
                if self.sending.get(&token).is_some_and(|sending| sending.run == run) {
                    self.conclude(token, TrialEnd::Stopped(None), scene);
                }
            }
            News::TrialKilled => {
                let running: Vec<_> = self.processes.keys().copied().collect();
                if let Some(token) = scene.chance.one_of(&running) {
                    self.end(*token, failed(FailureReason::Signal(9)), scene);
                }
            }
            News::Examined => {
                let outcome = if self.is_sick { Err("its disk is full".to_owned()) } else { Ok(()) };
                self.step(Event::Examined(outcome), scene);
            }
            News::StopAsked => self.step(Event::StopAsked, scene),
        }
    }

    fn introduce(&self) -> RegisterRequest {
        RegisterRequest {
            host: format!("node{}", self.name),
            boot_id: format!("boot {}", self.name),
            pid: 1,
            started_ticks: self.life,
            slots: 2,
            version: "0".to_owned(),
            protocol: PROTOCOL,
            slurm: None,
        }
    }

    fn ask(&mut self, most: u32, scene: &mut Scene<'_>) {
        let worker = self.worker.expect("an agent acts when it is registered");
        let request = LeaseRequest { worker, sweep: None, most, wait_millis: 0 };
        self.asking = Some(self.send(Call::Lease(request), scene));
    }

    fn send(&mut self, call: Call, scene: &mut Scene<'_>) -> u64 {
        self.next += 1;
        self.calls.insert(self.next, (call.clone(), 0));
        scene.orders.push(Order::Send { place: self.next, call });
        self.next
    }

    fn take_answer(&mut self, place: u64, reply: Reply, scene: &mut Scene<'_>) {
        // An answer to a call that was given up, or the second one to a call that came twice.
        let Some((call, _)) = self.calls.remove(&place) else { return };
        let most = if let Call::Lease(request) = call { request.most } else { 0 };
        let event = match reply {
            // Under a new name it asks for the same again, and what it holds it learns from its heartbeats.
            Reply::Registered(registered) if self.agent.is_some() => {
                self.worker = Some(registered.worker);
                let most = std::mem::take(&mut self.unknown);
                return self.ask(most, scene);
            }
            Reply::NoSuchWorker => {
                self.unknown = most;
                self.asking = Some(self.send(Call::Register(self.introduce()), scene));
                return;
            }
            Reply::Registered(registered) => {
                self.worker = Some(registered.worker);
                let settings = Settings {
                    slot_kind: SlotKind::Cpu,
                    slots: 2,
                    until: Until { is_drained: true, ..Until::default() },
                    grace: GRACE,
                    heartbeat: Duration::from_millis(registered.heartbeat_millis),
                };
                self.agent = Some(Agent::new(settings));
                Event::Started
            }
            Reply::Leased(response) => Event::Leased(response),
            Reply::Beat(response) => Event::Beat(response),
            Reply::Written(response) => Event::Written(response),
            Reply::Left => Event::Left,
        };
        self.step(event, scene);
    }

    /// What the client does: a heartbeat is not repeated, everything else is, ever more slowly.
    fn take_silence(&mut self, place: u64, scene: &mut Scene<'_>) {
        let Some((call, failed)) = self.calls.get_mut(&place) else { return };
        if matches!(call, Call::Beat(_)) {
            self.calls.remove(&place);
            return self.step(Event::BeatMissed, scene);
        }
        *failed += 1;
        let pause = (FIRST_PAUSE_MILLIS << (*failed).min(10)).min(LONGEST_PAUSE_MILLIS);
        let millis = scene.chance.between(pause / 2, pause);
        scene.orders.push(Order::Later { millis, what: News::SendAgain { place } });
    }

    fn take_epoch(&mut self, token: LeaseToken, run: u64, scene: &mut Scene<'_>) {
        let Some(process) = self.processes.get_mut(&token).filter(|process| process.run == run) else {
            return;
        };
        if process.is_stopping {
            return;
        }
        if self.is_sick {
            return self.end(token, failed(FailureReason::NodeFault), scene);
        }
        let training = &mut process.training;
        let result = if training.is_done() { None } else { training.train() };
        let saves = match training.keeps {
            Keeps::EveryEpoch => true,
            Keeps::LastEpoch => training.is_done(),
            Keeps::Nothing => false,
        };
        let files = if self.is_apart { &mut self.copies } else { &mut *scene.files };
        let mut checkpoint = (saves && result.is_some()).then(|| training.save(files));
        let is_done = training.is_done();
        let is_trainer = training.keeps == Keeps::EveryEpoch;
        if self.is_apart
            && let Some(checkpoint) = checkpoint.take()
        {
            self.ship(token, checkpoint, scene);
        }
        if let Some((epoch, value)) = result {
            let metrics = Metrics::from([("top1".to_owned(), value)]);
            self.step(Event::Reported(Report { token, epoch, metrics, checkpoint }), scene);
        }
        if is_done {
            let end = match is_trainer {
                true => TrialEnd::Trained(TrialRecord::default()),
                false => TrialEnd::ExitedCleanly,
            };
            self.end(token, end, scene);
        } else {
            self.train_on(token, run, scene);
        }
    }

    fn train_on(&self, token: LeaseToken, run: u64, scene: &mut Scene<'_>) {
        let millis = scene.chance.between(100, 9_000);
        scene.orders.push(Order::Later { millis, what: News::Trained { token, run } });
    }

    fn take_stop(&mut self, token: LeaseToken, run: u64, how: Stop, scene: &mut Scene<'_>) {
        let Some(process) = self.processes.get(&token).filter(|process| process.run == run) else { return };
        let end = match how {
            Stop::Kill => failed(FailureReason::Signal(9)),
            Stop::Terminate if process.training.stops_with_state() => {
                let files = if self.is_apart { &mut self.copies } else { &mut *scene.files };
                TrialEnd::Stopped(Some(process.training.save(files)))
            }
            Stop::Terminate if process.training.keeps == Keeps::EveryEpoch => TrialEnd::Stopped(None),
            Stop::Terminate => failed(FailureReason::Signal(15)),
        };
        self.end(token, end, scene);
    }

    fn end(&mut self, token: LeaseToken, end: TrialEnd, scene: &mut Scene<'_>) {
        self.processes.remove(&token);
        let end = match end {
            TrialEnd::Stopped(Some(checkpoint)) if self.is_apart => {
                self.ship(token, checkpoint, scene);
                TrialEnd::Stopped(None)
            }
            end => end,
        };
        match self.sending.get_mut(&token).filter(|sending| !sending.queue.is_empty()) {
            Some(sending) => {
                sending.end = Some(end);
                self.step(Event::Vacated { token }, scene);
            }
            None => self.conclude(token, end, scene),
        }
    }

    /// The job's end, once nothing of it is on its way.
    fn conclude(&mut self, token: LeaseToken, end: TrialEnd, scene: &mut Scene<'_>) {
        let is_lost = self.sending.remove(&token).is_some_and(|sending| sending.is_last_lost);
        let end = match end {
            TrialEnd::Trained(_) | TrialEnd::ExitedCleanly if is_lost => failed(FailureReason::NodeFault),
            end => end,
        };
        self.step(Event::Ended { token, end, wall: Duration::from_secs(1) }, scene);
    }

    /// Sends a checkpoint after those that are on their way; of those that wait only the newest counts.
    fn ship(&mut self, token: LeaseToken, checkpoint: Checkpoint, scene: &mut Scene<'_>) {
        let Some(sending) = self.sending.get_mut(&token) else { return };
        sending.queue.truncate(1);
        sending.queue.push_back(checkpoint);
        if sending.queue.len() == 1 {
            Node::send_next(token, sending.run, scene);
        }
    }

    fn send_next(token: LeaseToken, run: u64, scene: &mut Scene<'_>) {
        let millis = scene.chance.between(50, 20_000);
        scene.orders.push(Order::Later { millis, what: News::Sent { token, run } });
    }

    fn take_arrival(&mut self, token: LeaseToken, run: u64, scene: &mut Scene<'_>) {
        let Some(sending) = self.sending.get_mut(&token).filter(|sending| sending.run == run) else { return };
        let Some(checkpoint) = sending.queue.pop_front() else { return };
        sending.is_last_lost = scene.chance.happens(20);
        let is_over = sending.queue.is_empty();
        if !is_over {
            Node::send_next(token, run, scene);
        }
        let end = sending.end.take_if(|_| is_over);
        if !sending.is_last_lost {
            let state = *self.copies.get(&checkpoint.hash).expect("it was written here");
            scene.files.insert(checkpoint.hash.clone(), state);
            let (epoch, metrics) = (checkpoint.epoch, Metrics::new());
            let report = Report { token, epoch, metrics, checkpoint: Some(checkpoint) };
            self.step(Event::Reported(report), scene);
        }
        if let Some(end) = end {
            self.conclude(token, end, scene);
        }
    }

    /// Copies what a job reads, as far as it is there.
    fn fetch(&mut self, lease: &Lease, scene: &Scene<'_>) {
        let inputs = match &lease.work {
            Work::Resnet(request) => request.checkpoints(),
            Work::Command(work) => work.checkpoints(),
        };
        for hash in inputs {
            if let Some(state) = scene.files.get(&hash.to_string()) {
                self.copies.insert(hash.to_string(), *state);
            }
        }
    }

    fn step(&mut self, event: Event, scene: &mut Scene<'_>) {
        let Some(agent) = &mut self.agent else { return };
        for action in agent.step(event) {
            if let Some(exit) = self.perform(action, scene) {
                // What it could not give back in time dies with it.
                let left_behind = if exit == Exit::Clean { self.processes.len() } else { 0 };
                scene.orders.push(Order::Ended { left_behind });
                return;
            }
        }
    }

    fn perform(&mut self, action: Action, scene: &mut Scene<'_>) -> Option<Exit> {
        let worker = self.worker.expect("an agent acts when it is registered");
        let problem = self.problem.clone();
        match action {
            Action::Ask { most } => {
                self.ask(u32::try_from(most).unwrap_or(u32::MAX), scene);
            }
            Action::AbandonAsking => {
                if let Some(place) = self.asking.take() {
                    self.calls.remove(&place);
                }
            }
            Action::Start { lease, .. } => self.start(*lease, scene),
            Action::Stop { token, how } => {
                if let Some(process) = self.processes.get_mut(&token) {
                    process.is_stopping = true;
                    let what = News::Stopped { token, run: process.run, how };
                    scene.orders.push(Order::Later { millis: scene.chance.between(1, 3_000), what });
                } else if let (Some(sending), Stop::Kill) = (self.sending.get(&token), how) {
                    let what = News::GivenUp { token, run: sending.run };
                    scene.orders.push(Order::Later { millis: 1, what });
                }
            }
            Action::Write(Write::Reports(request)) => {
                self.send(Call::Report(request), scene);
            }
            Action::Write(Write::Outcomes(request)) => {
                self.send(Call::Finish(request), scene);
            }
            Action::Write(Write::Logs(request)) => panic!("simulated trials print nothing: {request:?}"),
            Action::Beat(leases) => {
                self.send(Call::Beat(HeartbeatRequest { worker, leases, node: None, problem }), scene);
            }
            Action::Examine => {
                scene
                    .orders
                    .push(Order::Later { millis: scene.chance.between(1, 500), what: News::Examined });
            }
            Action::ComplainOf { problem, .. } => self.problem = Some(problem),
            Action::Recover => self.problem = None,
            Action::Wait(timer, time) => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                scene.orders.push(Order::Later { millis, what: News::Due(timer) });
            }
            Action::Announce(_) => {}
            Action::Leave => {
                self.send(Call::Leave(LeaveRequest { worker }), scene);
            }
            Action::Exit(exit) => return Some(exit),
        }
        None
    }

    fn start(&mut self, lease: Lease, scene: &mut Scene<'_>) {
        self.next += 1;
        let (token, run) = (lease.token, self.next);
        let training = if self.is_apart {
            self.fetch(&lease, scene);
            let sending = Sending { run, queue: VecDeque::new(), is_last_lost: false, end: None };
            self.sending.insert(token, sending);
            Training::begin(&lease.work, &self.copies)
        } else {
            Training::begin(&lease.work, scene.files)
        };
        let before = self.processes.insert(token, Process { run, training, is_stopping: false });
        assert!(before.is_none(), "{token:?} was started twice on node {}", self.name);
        self.train_on(token, run, scene);
    }
}

fn failed(reason: FailureReason) -> TrialEnd {
    TrialEnd::Failed { reason, message: "simulated".to_owned(), log_tail: String::new() }
}
