//! What the agent does, as a function of what happens: [`Agent::step`] takes an event and gives actions.
//!
//! Pure: no process, socket or clock, so that whole lives of an agent are tested in microseconds. Every lease that
//! is handed in ends in exactly one outcome, unless the coordinator says that it is no longer the agent's.
//! Start reading at [`Agent::step`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sweep::protocol::http::{
    AttemptEnd, EpochMetrics, Lease, LeaseResponse, LeaseToken, Outcome, Refused, Report,
};
use sweep::protocol::trial::TrialRecord;
use sweep::vocabulary::Metrics;

use super::event::{Action, Event, Exit, Parting, Stop, Timer, TrialEnd};
use super::health::{Health, Term};
use super::outbox::Outbox;
use super::pace::Pace;
use super::reach::Reach;
use super::slots::{Need, SlotId, SlotKind, Slots};

#[cfg(test)]
mod tests;

/// Pause after an answer without jobs. Short, since the coordinator has waited already; there at all, so that one
/// that answers at once is not asked in a busy loop.
const IDLE_PAUSE: Duration = Duration::from_millis(200);
/// Most jobs in one request, so that its answer stays small.
const MOST_LEASES: usize = 256;
/// How long ends wait for others where many jobs end a second and the next ones are here: each request costs the coordinator
/// a transaction and a sync of its disk, and so short a time changes nothing for who looks on or goes on from there.
const GATHERING: Duration = Duration::from_millis(50);
/// So many do not wait longer.
const ENOUGH: usize = 64;
/// How long jobs that were leased ahead wait for the first of them to start.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often an agent that may be idle for some time looks whether it is, within that time.
const IDLE_LOOKS: u32 = 10;
/// How long an agent whose trials have all ended tries to give its leases back and to say goodbye.
const FAREWELL: Duration = Duration::from_secs(5);
/// The same after a second signal: whoever sends it is in a hurry.
const HASTY_FAREWELL: Duration = Duration::from_secs(1);

/// When to stop working, beside when asked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Until {
    /// When there are no jobs any more.
    pub(crate) is_drained: bool,
    /// When so many jobs were run.
    pub(crate) jobs: Option<u64>,
    /// When nothing ran for so long.
    pub(crate) idle: Option<Duration>,
    /// When so much time has passed; everything is given back by then.
    pub(crate) time: Option<Duration>,
}

/// What an agent is told once.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) slot_kind: SlotKind,
    pub(crate) slots: usize,
    pub(crate) until: Until,
    /// How long trials have between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    pub(crate) heartbeat: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// No new jobs; trials were asked to end.
    Stopping,
    /// Trials were killed.
    Killing,
    /// Nothing is held any more.
    Leaving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Idle,
    UnderWay,
    Paused,
}

#[derive(Debug)]
struct Running {
    /// None once its process has ended.
    slots: Vec<SlotId>,
    /// What the agent was doing when its process ended, where something of the job is still on its way.
    ended_in: Option<Phase>,
    /// When it was started, as far as the node's health is concerned.
    term: Term,
    /// Refused by the coordinator and killed: its end is nobody's business.
    is_dropped: bool,
}

/// The agent's mind.
#[derive(Debug)]
pub(crate) struct Agent {
    settings: Settings,
    phase: Phase,
    asking: Asking,
    slots: Slots,
    pace: Pace,
    reach: Reach,
    health: Health,
    /// Leased and not started, oldest first.
    pending: VecDeque<Lease>,
    /// How many jobs were started so far.
    starts: u64,
    /// How many of those before [`Timer::Surplus`] was set, while it runs.
    starts_at_watch: Option<u64>,
    /// How many of those before [`Timer::Idle`] was set.
    starts_at_idle: u64,
    /// How many times in a row [`Timer::Idle`] found nothing at work.
    idle_looks: u32,
    /// How often a signal has asked the agent to stop.
    signals: u32,
    running: BTreeMap<LeaseToken, Running>,
    outbox: Outbox,
    /// While [`Timer::Gathering`] runs.
    is_gathering: bool,
}

impl Agent {
    pub(crate) fn new(settings: Settings) -> Agent {
        Agent {
            phase: Phase::Working,
            asking: Asking::Idle,
            slots: Slots::new(settings.slot_kind, settings.slots),
            pace: Pace::default(),
            reach: Reach::new(settings.until.time.map(|time| time.saturating_sub(settings.grace))),
            health: Health::default(),
            pending: VecDeque::new(),
            starts: 0,
            starts_at_watch: None,
            starts_at_idle: 0,
            idle_looks: 0,
            signals: 0,
            running: BTreeMap::new(),
            outbox: Outbox::default(),
            is_gathering: false,
            settings,
        }
    }

    /// Takes in what happened and decides what to do about it, in this order.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Started => self.set_off(&mut actions),
            Event::Leased(response) => self.take_leases(response, &mut actions),
            Event::Reported(report) => self.take_report(report),
            Event::Printed { token, text } => {
                if self.is_at_work(token) {
                    self.outbox.print(token, text);
                }
            }
            Event::Vacated { token } => self.take_vacancy(token),
            Event::Ended { token, end, wall } => self.take_end(token, end, wall, &mut actions),
            Event::Written(response) => {
                let reported = self.outbox.delivered();
                self.drop_all(&response.refused, &mut actions);
                self.take_delivery(&reported, &mut actions);
            }
            Event::Beat(response) => {
                self.drop_all(&response.stop, &mut actions);
                actions.push(Action::Wait(Timer::Heartbeat, self.settings.heartbeat));
            }
            // Sooner than usual: the leases last only a few heartbeats.
            Event::BeatMissed => actions.push(Action::Wait(Timer::Heartbeat, self.settings.heartbeat / 4)),
            Event::Examined(found) => self.take_examination(found, &mut actions),
            Event::Due(timer) => self.take_time(timer, &mut actions),
            Event::StopAsked => self.take_signal(&mut actions),
            Event::Warned if self.phase == Phase::Working => self.stop(Parting::Warned, &mut actions),
            Event::Warned => {}
            Event::ParentGone => self.kill(HASTY_FAREWELL, &mut actions),
            Event::Left => actions.push(Action::Exit(Exit::Clean)),
        }
        self.start_pending(&mut actions);
        self.give_back_surplus();
        self.watch_surplus(&mut actions);
        self.stop_if_enough(&mut actions);
        self.stop_if_over(&mut actions);
        self.ask(&mut actions);
        self.deliver(&mut actions);
        self.leave_if_done(&mut actions);
        actions
    }

    fn set_off(&mut self, actions: &mut Vec<Action>) {
        // At once, so that what the node is doing shows before the first job does.
        actions.push(Action::Beat(Vec::new()));
        let Until { idle, time, .. } = self.settings.until;
        actions.extend(idle.map(|idle| Action::Wait(Timer::Idle, idle / IDLE_LOOKS)));
        actions.extend(time.map(|time| Action::Wait(Timer::Limit, time.saturating_sub(self.settings.grace))));
        actions.extend(self.reach.next_look().map(|time| Action::Wait(Timer::Look, time)));
    }

    fn take_leases(&mut self, response: LeaseResponse, actions: &mut Vec<Action>) {
        self.asking = Asking::Idle;
        if response.leases.is_empty() && self.phase == Phase::Working {
            if self.settings.until.is_drained && response.is_drained && self.holds_nothing() {
                actions.push(Action::Announce(Parting::Drained));
                return self.leave(actions);
            }
            self.asking = Asking::Paused;
            actions.push(Action::Wait(Timer::AskAgain, IDLE_PAUSE));
        }
        for lease in response.leases {
            // A lease is handed out once; twice it would run twice.
            if self.running.contains_key(&lease.token) || self.held_tokens().contains(&lease.token) {
                continue;
            }
            self.reach.leased(&lease.work);
            // What is granted to a request from before a pause may be more than the node is trusted with by now.
            if self.phase == Phase::Working && self.most_more_jobs() > 0 && !self.reach.is_over() {
                self.pace.job_leased(need_of(&lease));
                self.pending.push_back(lease);
            } else {
                self.release(lease.token);
            }
        }
    }

    fn take_report(&mut self, report: Report) {
        if self.is_at_work(report.token) {
            self.outbox.report(report);
        }
    }

    /// Whether the job is the agent's and its end has yet to come.
    fn is_at_work(&self, token: LeaseToken) -> bool {
        self.running.get(&token).is_some_and(|running| !running.is_dropped)
    }

    fn take_vacancy(&mut self, token: LeaseToken) {
        if let Some(running) = self.running.get_mut(&token) {
            self.slots.give_back(&std::mem::take(&mut running.slots));
            running.ended_in = Some(self.phase);
        }
    }

    /// The coordinator has these jobs' reports.
    fn take_delivery(&mut self, reported: &BTreeSet<LeaseToken>, actions: &mut Vec<Action>) {
        for token in reported {
            let running = self.running.get(token).filter(|running| !running.is_dropped);
            if running.is_some_and(|running| self.health.job_reported(running.term)) {
                actions.push(Action::Recover);
            }
        }
    }

    fn take_end(&mut self, token: LeaseToken, end: TrialEnd, wall: Duration, actions: &mut Vec<Action>) {
        let Some(running) = self.running.remove(&token) else {
            return;
        };
        self.slots.give_back(&running.slots);
        if running.is_dropped {
            return;
        }
        match end {
            TrialEnd::Failed { .. } => self.pace.job_failed(),
            TrialEnd::Trained(_) | TrialEnd::Stopped(_) | TrialEnd::ExitedCleanly => {
                self.pace.job_ended(wall)
            }
        }
        if self.phase == Phase::Working {
            if end == TrialEnd::ExitedCleanly {
                self.reach.program_ended(wall);
            }
            self.judge_node(token, running.term, &end, actions);
        }
        // One that was done before the agent began to stop is done.
        let phase = running.ended_in.unwrap_or(self.phase);
        let mut reports = Vec::new();
        let end = match end {
            TrialEnd::Trained(record) => AttemptEnd::Complete { record },
            // Whoever asked: where it wasn't the agent, somebody preempted this one trial. Its state travels with the end,
            // so that no release is stored without it.
            TrialEnd::Stopped(checkpoint) => {
                reports.extend(checkpoint.map(|checkpoint| EpochMetrics {
                    epoch: checkpoint.epoch,
                    metrics: Metrics::new(),
                    checkpoint: Some(checkpoint),
                }));
                AttemptEnd::Release
            }
            // A program that was asked to end says nothing by exit code 0: many end so on SIGTERM, half done.
            TrialEnd::ExitedCleanly | TrialEnd::Failed { .. } if phase != Phase::Working => {
                AttemptEnd::Release
            }
            TrialEnd::ExitedCleanly => AttemptEnd::Complete {
                record: TrialRecord { wall_seconds: wall.as_secs_f64(), ..TrialRecord::default() },
            },
            TrialEnd::Failed { reason, message, log_tail } => AttemptEnd::Fail { reason, message, log_tail },
        };
        self.outbox.finish(Outcome { token, reports, end });
    }

    /// What the end of a job says about the node.
    fn judge_node(&mut self, token: LeaseToken, started: Term, end: &TrialEnd, actions: &mut Vec<Action>) {
        match end {
            TrialEnd::Trained(_) | TrialEnd::ExitedCleanly => {
                if self.health.job_went_well(started) {
                    actions.push(Action::Recover);
                }
            }
            TrialEnd::Failed { reason, message, .. } => {
                if let Some(pause) = self.health.job_failed(token.job, *reason, started) {
                    self.pause(message.clone(), pause, actions);
                }
            }
            TrialEnd::Stopped(_) => {}
        }
    }

    fn take_examination(&mut self, found: Result<(), String>, actions: &mut Vec<Action>) {
        if let Some(pause) = self.health.examined(found.is_ok()) {
            self.pause(found.err().unwrap_or_default(), pause, actions);
        }
    }

    /// Takes no jobs for a while, and gives back those that wait: other nodes may be better.
    fn pause(&mut self, problem: String, pause: Duration, actions: &mut Vec<Action>) {
        while let Some(lease) = self.pending.pop_front() {
            self.release(lease.token);
        }
        actions.push(Action::ComplainOf { problem, pause });
        actions.push(Action::Wait(Timer::Pause, pause));
    }

    fn take_time(&mut self, timer: Timer, actions: &mut Vec<Action>) {
        match timer {
            Timer::AskAgain if self.asking == Asking::Paused => self.asking = Asking::Idle,
            Timer::AskAgain => {}
            // None has started: what runs now is long, which its end would tell too late.
            Timer::Surplus => {
                if self.starts_at_watch.take() == Some(self.starts) && self.pending.len() > 1 {
                    self.pace.job_ended(PATIENCE);
                }
            }
            Timer::Gathering => {
                self.is_gathering = false;
                actions.extend(self.outbox.next().map(Action::Write));
            }
            Timer::Heartbeat => actions.push(Action::Beat(self.held_tokens())),
            Timer::Look => {
                self.reach.looked();
                if self.phase == Phase::Working {
                    actions.extend(self.reach.next_look().map(|time| Action::Wait(Timer::Look, time)));
                }
            }
            Timer::Pause if self.phase == Phase::Working => actions.push(Action::Examine),
            Timer::Pause => {}
            Timer::Idle => self.take_idle_look(actions),
            // The grace begins, as if the signal that this comes before had come.
            Timer::Limit if self.phase == Phase::Working => self.stop(Parting::Limit, actions),
            Timer::Limit => {}
            Timer::Grace if self.phase == Phase::Stopping => self.kill(FAREWELL, actions),
            Timer::Grace => {}
            Timer::Farewell if self.phase == Phase::Leaving => actions.push(Action::Exit(Exit::Clean)),
            Timer::Farewell => actions.push(Action::Exit(Exit::Unreleased)),
        }
    }

    fn take_signal(&mut self, actions: &mut Vec<Action>) {
        self.signals += 1;
        match self.phase {
            Phase::Working => self.stop(Parting::Asked, actions),
            // An agent that stops by itself is told the first time: its trials keep their grace.
            Phase::Stopping if self.signals == 1 => {}
            Phase::Stopping => self.kill(HASTY_FAREWELL, actions),
            Phase::Killing | Phase::Leaving => actions.push(Action::Wait(Timer::Farewell, HASTY_FAREWELL)),
        }
    }

    /// Takes no more jobs, and asks trials to end.
    fn stop(&mut self, why: Parting, actions: &mut Vec<Action>) {
        actions.push(Action::Announce(why));
        self.phase = Phase::Stopping;
        self.stop_leasing(actions);
        self.stop_trials(Stop::Terminate, actions);
        actions.push(Action::Wait(Timer::Grace, self.settings.grace));
    }

    fn take_idle_look(&mut self, actions: &mut Vec<Action>) {
        let is_idle = self.running.is_empty() && self.starts == self.starts_at_idle;
        self.idle_looks = if is_idle { self.idle_looks + 1 } else { 0 };
        self.starts_at_idle = self.starts;
        let Some(idle) = self.settings.until.idle.filter(|_| self.phase == Phase::Working) else { return };
        if self.idle_looks >= IDLE_LOOKS {
            self.stop(Parting::Idle, actions);
        } else {
            actions.push(Action::Wait(Timer::Idle, idle / IDLE_LOOKS));
        }
    }

    /// Stops once as many jobs as were asked for have run.
    fn stop_if_enough(&mut self, actions: &mut Vec<Action>) {
        let is_enough = self.settings.until.jobs.is_some_and(|jobs| self.starts >= jobs);
        if is_enough && self.phase == Phase::Working && self.running.is_empty() {
            self.stop(Parting::Enough, actions);
        }
    }

    /// Begins no more jobs once none would come to anything before the limit, and leaves when those that run have ended: the
    /// node is worth more to somebody else.
    fn stop_if_over(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Working || !self.reach.is_over() {
            return;
        }
        while let Some(lease) = self.pending.pop_front() {
            self.release(lease.token);
        }
        if self.running.is_empty() {
            self.stop(Parting::TooLate, actions);
        }
    }

    /// Kills every trial; the outcomes then have `farewell` to reach the coordinator.
    fn kill(&mut self, farewell: Duration, actions: &mut Vec<Action>) {
        if self.phase != Phase::Leaving {
            self.phase = Phase::Killing;
        }
        self.stop_leasing(actions);
        self.stop_trials(Stop::Kill, actions);
        actions.push(Action::Wait(Timer::Farewell, farewell));
    }

    fn stop_leasing(&mut self, actions: &mut Vec<Action>) {
        // Leases that are granted to a request given up are released by the coordinator when the agent leaves.
        if self.asking == Asking::UnderWay {
            actions.push(Action::AbandonAsking);
        }
        self.asking = Asking::Idle;
        while let Some(lease) = self.pending.pop_front() {
            self.release(lease.token);
        }
    }

    fn stop_trials(&mut self, how: Stop, actions: &mut Vec<Action>) {
        actions.extend(self.running.keys().map(|&token| Action::Stop { token, how }));
    }

    /// Drops jobs that are no longer the agent's: whatever it says about them is refused from now on.
    fn drop_all(&mut self, refused: &[Refused], actions: &mut Vec<Action>) {
        for &Refused { token, .. } in refused {
            self.pending.retain(|lease| lease.token != token);
            self.outbox.forget(token);
            if let Some(running) = self.running.get_mut(&token).filter(|running| !running.is_dropped) {
                running.is_dropped = true;
                actions.push(Action::Stop { token, how: Stop::Kill });
            }
        }
    }

    /// Strictly in order: a large job that waits for slots is not overtaken by small ones for ever.
    fn start_pending(&mut self, actions: &mut Vec<Action>) {
        while self.jobs_left() > 0
            && let Some(slots) = self.pending.front().and_then(|lease| self.slots.take(need_of(lease)))
        {
            let Some(lease) = self.pending.pop_front() else { return };
            self.starts += 1;
            let term = self.health.term();
            let running = Running { slots: slots.clone(), ended_in: None, term, is_dropped: false };
            self.running.insert(lease.token, running);
            actions.push(Action::Start { lease: Box::new(lease), slots });
        }
    }

    /// Gives back what waits here without a reason, because jobs became longer or use more CPUs than was expected:
    /// other agents may have slots for it. The first one stays, it is next.
    fn give_back_surplus(&mut self) {
        let kept = self.pace.jobs_ahead(self.slots.total()).max(1);
        while self.pending.len() > kept {
            if let Some(lease) = self.pending.pop_back() {
                self.release(lease.token);
            }
        }
    }

    /// Learns in time that the jobs that run are longer than those before.
    fn watch_surplus(&mut self, actions: &mut Vec<Action>) {
        if self.pending.len() > 1 && self.starts_at_watch.is_none() {
            self.starts_at_watch = Some(self.starts);
            actions.push(Action::Wait(Timer::Surplus, PATIENCE));
        }
    }

    /// Hands over what waits, at once or after others have had the time to come along.
    fn deliver(&mut self, actions: &mut Vec<Action>) {
        if !self.may_gather() {
            actions.extend(self.outbox.next().map(Action::Write));
        } else if !self.is_gathering && self.outbox.waiting() > 0 {
            self.is_gathering = true;
            actions.push(Action::Wait(Timer::Gathering, GATHERING));
        }
    }

    fn may_gather(&self) -> bool {
        self.phase == Phase::Working
            && !self.pending.is_empty()
            && self.pace.is_rapid(self.slots.total())
            && self.outbox.waiting() < ENOUGH
    }

    fn ask(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Working || self.asking != Asking::Idle || self.reach.is_over() {
            return;
        }
        let most = self.wanted_jobs();
        if most > 0 {
            self.asking = Asking::UnderWay;
            actions.push(Action::Ask { most });
        }
    }

    /// How many jobs to ask for: what the free slots take, and what is worth holding beyond.
    fn wanted_jobs(&self) -> usize {
        let startable = if self.pending.is_empty() {
            self.slots.free() / self.slots.needed(self.pace.expected_need())
        } else {
            0 // Slots are free and a job waits: it needs more of them, and comes first.
        };
        let ahead = self.pace.jobs_ahead(self.slots.total());
        // Refilled when half empty, so that short jobs are not asked for one by one.
        let refill = if self.pending.len() * 2 <= ahead { ahead - self.pending.len() } else { 0 };
        let left = usize::try_from(self.jobs_left()).unwrap_or(usize::MAX).saturating_sub(self.pending.len());
        (startable + refill).min(MOST_LEASES).min(left).min(self.most_more_jobs())
    }

    /// How many jobs more the node is trusted with. Those from before a pause don't count: they may run for hours.
    fn most_more_jobs(&self) -> usize {
        let term = self.health.term();
        let running = self.running.values().filter(|running| running.term == term).count();
        self.health.most_jobs().saturating_sub(self.pending.len() + running)
    }

    /// How many jobs may still be started.
    fn jobs_left(&self) -> u64 {
        self.settings.until.jobs.map_or(u64::MAX, |jobs| jobs.saturating_sub(self.starts))
    }

    fn leave_if_done(&mut self, actions: &mut Vec<Action>) {
        let is_stopping = matches!(self.phase, Phase::Stopping | Phase::Killing);
        if is_stopping && self.holds_nothing() {
            self.leave(actions);
        }
    }

    fn leave(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Leaving;
        actions.push(Action::Leave);
        actions.push(Action::Wait(Timer::Farewell, FAREWELL));
    }

    fn release(&mut self, token: LeaseToken) {
        self.outbox.finish(Outcome { token, reports: Vec::new(), end: AttemptEnd::Release });
    }

    fn holds_nothing(&self) -> bool {
        self.pending.is_empty() && self.running.is_empty() && self.outbox.is_empty()
    }

    /// Every lease that must not expire: waiting, running, or ended without the coordinator knowing.
    fn held_tokens(&self) -> Vec<LeaseToken> {
        let pending = self.pending.iter().map(|lease| lease.token);
        let running = self.running.iter().filter(|(_, running)| !running.is_dropped).map(|(&token, _)| token);
        pending.chain(running).chain(self.outbox.ended_tokens()).collect()
    }
}

fn need_of(lease: &Lease) -> Need {
    Need { cpus: lease.cpus, gpus: lease.gpus }
}
