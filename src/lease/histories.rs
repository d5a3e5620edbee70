//! Long random histories of a small world of jobs, workers and a clock that jumps.
//!
//! [`World`] is what `step` makes of them; the store's tests send the same histories through SQLite and compare. [`Ledger`] is a
//! bookkeeper that doesn't know `step`: it is told what was asked and answered, and says what must hold.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Begun, Effect, Event, Failures, Job, JobState, Needs, READY, step};
use crate::vocabulary::{Attempt, FailureReason, Timestamp, WorkerId};

pub(crate) const LASTS: Duration = Duration::from_secs(60);
pub(crate) const RETRIES: u32 = 1;
/// How many jobs a worker runs at a time.
pub(crate) const SLOTS: u32 = 2;

/// A lease as it was granted: place of the job, attempt, and who got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) job: usize,
    pub(crate) attempt: Attempt,
    pub(crate) worker: WorkerId,
}

/// Something that somebody does. `token` picks one of all leases ever granted, so that late and doubled calls are common.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Lease {
        worker: WorkerId,
        most: usize,
    },
    Heartbeat {
        token: usize,
    },
    Complete {
        token: usize,
    },
    Fail {
        token: usize,
        reason: FailureReason,
    },
    Release {
        token: usize,
    },
    Expire,
    /// The worker is known to be dead.
    WorkerLost {
        worker: WorkerId,
    },
    Cancel,
    Retry,
    Pause,
    Resume,
    /// Time passes; backwards, where somebody sets the clock.
    Clock {
        millis: i64,
    },
}

/// What comes of an act, as far as whoever acts can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted(Vec<Token>),
    Accepted,
    Refused,
    /// How many jobs it changed.
    Changed(usize),
    Nothing,
}

/// Jobs of one sweep by place; a parent comes before its children.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) jobs: Vec<Job>,
    pub(crate) parents: Vec<Option<usize>>,
    pub(crate) now: Timestamp,
    /// Every lease ever granted.
    pub(crate) tokens: Vec<Token>,
    /// When each job was leased last.
    leased_at: Vec<Timestamp>,
    is_paused: bool,
}

impl World {
    pub(crate) fn new(parents: &[Option<usize>]) -> World {
        let state = |parent: &Option<usize>| match parent {
            Some(_) => JobState::Blocked,
            None => JobState::Queued { not_before: READY },
        };
        let job = |parent| Job {
            state: state(parent),
            last_ended: None,
            failures: Failures::default(),
            retries: RETRIES,
        };
        World {
            jobs: parents.iter().map(job).collect(),
            parents: parents.to_vec(),
            now: START,
            tokens: Vec::new(),
            leased_at: vec![START; parents.len()],
            is_paused: false,
        }
    }

    /// The lease that an act names; none before the first was granted.
    pub(crate) fn token(&self, pick: usize) -> Option<Token> {
        // From the newest backwards: most calls are about leases that somebody still holds.
        let back = pick.checked_rem(self.tokens.len())?;
        self.tokens.iter().rev().nth(back).copied()
    }

    pub(crate) fn apply(&mut self, act: &Act) -> Answer {
        match act {
            Act::Lease { worker, most } => self.lease(*worker, *most),
            Act::Heartbeat { token } => {
                self.call(*token, |attempt| Event::Heartbeat { attempt, lasts: LASTS })
            }
            Act::Complete { token } => self.call(*token, |attempt| Event::Complete { attempt }),
            Act::Fail { token, reason } => {
                self.call(*token, |attempt| Event::Fail { attempt, reason: *reason })
            }
            Act::Release { token } => self.call(*token, |attempt| Event::Release { attempt }),
            Act::Expire => {
                let begun = self.begun();
                self.each(|place, _, _| Some(Event::Expire { begun: begun[place] }))
            }
            Act::WorkerLost { worker } => {
                let begun = self.begun();
                self.each(|place, job, _| match job.state {
                    JobState::Leased { attempt, worker: holder, .. } if holder == *worker => {
                        Some(Event::WorkerDied { attempt, begun: begun[place] })
                    }
                    _ => None,
                })
            }
            Act::Cancel => self.each(|_, job, _| job.state.is_live().then_some(Event::Cancel)),
            Act::Retry => self.each(|_, _, needs| Some(Event::Retry { needs })),
            Act::Pause | Act::Resume => {
                self.is_paused = matches!(act, Act::Pause);
                Answer::Nothing
            }
            Act::Clock { millis } => {
                self.now = Timestamp((self.now.0 + millis).max(START.0));
                Answer::Nothing
            }
        }
    }

    fn lease(&mut self, worker: WorkerId, most: usize) -> Answer {
        let mut granted = Vec::new();
        for place in 0..self.jobs.len() {
            if self.is_paused || granted.len() == most {
                break;
            }
            if self.event(place, &Event::Lease { worker, lasts: LASTS }).is_some()
                && let JobState::Leased { attempt, .. } = self.jobs[place].state
            {
                granted.push(Token { job: place, attempt, worker });
            }
        }
        self.tokens.extend(&granted);
        Answer::Granted(granted)
    }

    /// Leases just these jobs, in this order: what somebody else has chosen, who forgets that a job has waited as soon as
    /// it is found due. (It matters where the clock is set back afterwards.)
    pub(crate) fn apply_grants(&mut self, chosen: &[Token]) -> Answer {
        for job in &mut self.jobs {
            if matches!(job.state, JobState::Queued { not_before } if not_before <= self.now) {
                job.state = JobState::Queued { not_before: READY };
            }
        }
        let mut granted = Vec::new();
        for token in chosen {
            let event = Event::Lease { worker: token.worker, lasts: LASTS };
            if !self.is_paused
                && self.event(token.job, &event).is_some()
                && let JobState::Leased { attempt, .. } = self.jobs[token.job].state
            {
                granted.push(Token { attempt, ..*token });
            }
        }
        self.tokens.extend(&granted);
        Answer::Granted(granted)
    }

    /// How many jobs could be leased now.
    pub(crate) fn leasable(&self) -> usize {
        let is_due =
            |job: &&Job| matches!(job.state, JobState::Queued { not_before } if not_before <= self.now);
        if self.is_paused { 0 } else { self.jobs.iter().filter(is_due).count() }
    }

    fn call(&mut self, pick: usize, event: impl Fn(Attempt) -> Event) -> Answer {
        let Some(token) = self.token(pick) else { return Answer::Nothing };
        match self.event(token.job, &event(token.attempt)) {
            Some(_) => Answer::Accepted,
            None => Answer::Refused,
        }
    }

    /// Whether each job's worker may have begun it: of what it holds, only as many as it runs at a time, the oldest.
    fn begun(&self) -> Vec<Begun> {
        let holder = |place: usize| match self.jobs[place].state {
            JobState::Leased { worker, .. } => Some(worker),
            _ => None,
        };
        let age = |place: usize| (self.leased_at[place], place);
        let before = |place: usize| {
            let others = (0..self.jobs.len()).filter(|&other| holder(other) == holder(place));
            others.filter(|&other| age(other) < age(place)).count()
        };
        let places = 0..self.jobs.len();
        places.map(|place| if before(place) < SLOTS as usize { Begun::Maybe } else { Begun::Never }).collect()
    }

    /// Something that happens to each job that it fits, parents first.
    fn each(&mut self, event: impl Fn(usize, &Job, Needs) -> Option<Event>) -> Answer {
        let mut changed = 0;
        for place in 0..self.jobs.len() {
            let needs = if self.is_ready(place) { Needs::Met } else { Needs::Open };
            let event = event(place, &self.jobs[place], needs);
            changed += usize::from(event.is_some_and(|event| self.event(place, &event).is_some()));
        }
        Answer::Changed(changed)
    }

    fn is_ready(&self, place: usize) -> bool {
        self.parents[place].is_none_or(|parent| self.jobs[parent].state == JobState::Succeeded)
    }

    /// `step` and what follows from it; `None` where it is refused.
    fn event(&mut self, place: usize, event: &Event) -> Option<()> {
        let (next, effects) = step(&self.jobs[place], event, self.now).ok()?;
        self.jobs[place] = next;
        for effect in effects {
            let event = match effect {
                Effect::OpenAttempt { .. } => {
                    self.leased_at[place] = self.now;
                    continue;
                }
                Effect::CloseAttempt(_) => continue,
                Effect::UnblockDependents => Event::NeedsMet,
                Effect::FailDependents => Event::NeedFailed,
            };
            for child in 0..self.jobs.len() {
                if self.parents[child] == Some(place) {
                    // One that was cancelled meanwhile stays so.
                    let _ = self.event(child, &event);
                }
            }
        }
        Some(())
    }
}

/// The clock begins here, so that it can be set back.
pub(crate) const START: Timestamp = Timestamp(1_000_000_000);

/// What has been asked and answered, job by job.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    jobs: BTreeMap<usize, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    grants: i64,
    /// The only lease that may still be accepted with something new.
    current: Option<Attempt>,
    /// How the last attempt ended, in the words in which its worker said so.
    said: Option<(Attempt, String)>,
    is_done: bool,
}

impl Ledger {
    /// Notes an act and its answer; `state_of` says what each job is now.
    ///
    /// # Panics
    /// Where the answer can't be right.
    pub(crate) fn note(&mut self, world: &World, token: Option<Token>, act: &Act, answer: &Answer) {
        match (act, answer) {
            (Act::Lease { .. }, Answer::Granted(granted)) => {
                for token in granted {
                    if let Some(parent) = world.parents[token.job] {
                        assert!(
                            self.entry(parent).is_done,
                            "job {} started before its parent was done",
                            token.job
                        );
                    }
                    let entry = self.entry(token.job);
                    assert_eq!(entry.current, None, "job {} has two leases", token.job);
                    assert!(!entry.is_done, "job {} was done already", token.job);
                    entry.grants += 1;
                    assert_eq!(
                        token.attempt,
                        Attempt(entry.grants),
                        "attempts of job {} are miscounted",
                        token.job
                    );
                    entry.current = Some(token.attempt);
                }
            }
            (Act::Heartbeat { .. }, Answer::Accepted) => {
                let token = token.expect("a call has a lease");
                assert_eq!(self.entry(token.job).current, Some(token.attempt), "a lost lease was extended");
            }
            (Act::Complete { .. } | Act::Fail { .. } | Act::Release { .. }, Answer::Accepted) => {
                let token = token.expect("a call has a lease");
                let entry = self.entry(token.job);
                let words = words_of(act);
                if entry.current == Some(token.attempt) {
                    entry.current = None;
                    entry.is_done = matches!(act, Act::Complete { .. });
                    entry.said = Some((token.attempt, words));
                } else {
                    // The same call once more; nothing else may be accepted under a lease that is over.
                    assert_eq!(entry.said, Some((token.attempt, words)), "job {}", token.job);
                }
            }
            (
                Act::Complete { .. } | Act::Fail { .. } | Act::Release { .. } | Act::Heartbeat { .. },
                Answer::Refused,
            ) => {
                let token = token.expect("a call has a lease");
                assert_ne!(
                    self.entry(token.job).current,
                    Some(token.attempt),
                    "the holder of a lease was refused"
                );
            }
            // What ends leases without their holders: whoever is not leased now has lost it.
            (Act::Expire | Act::WorkerLost { .. } | Act::Cancel, _) => {
                for (place, job) in world.jobs.iter().enumerate() {
                    let entry = self.entry(place);
                    if entry.current.is_some() && !matches!(job.state, JobState::Leased { .. }) {
                        entry.current = None;
                        entry.said = None;
                    }
                }
            }
            _ => {}
        }
        self.check(world);
    }

    fn entry(&mut self, job: usize) -> &mut Entry {
        self.jobs.entry(job).or_default()
    }

    fn check(&mut self, world: &World) {
        for (place, job) in world.jobs.iter().enumerate() {
            let entry = self.entry(place);
            let leased = match job.state {
                JobState::Leased { attempt, .. } => Some(attempt),
                _ => None,
            };
            assert_eq!(leased, entry.current, "job {place} is leased otherwise than its worker believes");
            assert_eq!(
                job.state == JobState::Succeeded,
                entry.is_done,
                "job {place} went back, or was done by nobody"
            );
            let attempts = job.last_ended.map_or(0, |ended| ended.attempt.0) + i64::from(leased.is_some());
            assert_eq!(attempts, entry.grants, "attempts of job {place} are miscounted");
        }
    }
}

fn words_of(act: &Act) -> String {
    match act {
        Act::Fail { reason, .. } => format!("failed: {reason}"),
        Act::Complete { .. } => "completed".to_owned(),
        other => format!("{other:?}").split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

/// Parents of a few jobs.
pub(crate) fn any_forest() -> impl Strategy<Value = Vec<Option<usize>>> {
    prop::collection::vec(prop::option::weighted(0.7, any::<prop::sample::Index>()), 1..8).prop_map(|picks| {
        let parent = |(place, pick): (usize, Option<prop::sample::Index>)| {
            pick.filter(|_| place > 0).map(|pick| pick.index(place))
        };
        picks.into_iter().enumerate().map(parent).collect()
    })
}

pub(crate) fn any_act() -> impl Strategy<Value = Act> {
    let worker = || (1_i64..4).prop_map(WorkerId);
    // Mostly the newest leases.
    let token = || prop_oneof![3 => 0_usize..3, 1 => 0_usize..40];
    let reason = prop_oneof![
        Just(FailureReason::Exit(1)),
        Just(FailureReason::Exit(2)),
        Just(FailureReason::Nan),
        Just(FailureReason::NodeLost),
        Just(FailureReason::NodeFault),
        Just(FailureReason::GpuOom),
        Just(FailureReason::Preempted)
    ];
    prop_oneof![
        8 => (worker(), 1_usize..4).prop_map(|(worker, most)| Act::Lease { worker, most }),
        3 => token().prop_map(|token| Act::Heartbeat { token }),
        8 => token().prop_map(|token| Act::Complete { token }),
        3 => (token(), reason).prop_map(|(token, reason)| Act::Fail { token, reason }),
        2 => token().prop_map(|token| Act::Release { token }),
        2 => Just(Act::Expire),
        1 => worker().prop_map(|worker| Act::WorkerLost { worker }),
        1 => Just(Act::Cancel),
        2 => Just(Act::Retry),
        1 => Just(Act::Pause),
        2 => Just(Act::Resume),
        3 => (0_i64..90_000).prop_map(|millis| Act::Clock { millis }),
        1 => (-200_000_i64..0).prop_map(|millis| Act::Clock { millis }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn no_history_loses_a_job_or_gives_it_to_two(
        forest in any_forest(), history in prop::collection::vec(any_act(), 1..60)
    ) {
        let (mut world, mut ledger) = (World::new(&forest), Ledger::default());
        for act in &history {
            let token = match act {
                Act::Heartbeat { token } | Act::Complete { token } | Act::Fail { token, .. } | Act::Release { token } => {
                    world.token(*token)
                }
                _ => None,
            };
            let answer = world.apply(act);
            ledger.note(&world, token, act, &answer);
        }
        drain(&mut world, &mut ledger);
    }
}

/// Nothing is lost: with a worker that works and a user who retries, every job is done in the end.
fn drain(world: &mut World, ledger: &mut Ledger) {
    let mut act = |world: &mut World, act: Act| {
        let token = match act {
            Act::Complete { token } => world.token(token),
            _ => None,
        };
        let answer = world.apply(&act);
        ledger.note(world, token, &act, &answer);
        answer
    };
    // Whoever held something is gone by then, and whatever waits is due: clocks were set back by less.
    act(world, Act::Clock { millis: 1_000_000_000 });
    act(world, Act::Expire);
    act(world, Act::Resume);
    act(world, Act::Retry);
    for _ in 0..world.jobs.len() {
        act(world, Act::Clock { millis: 100_000 });
        let Answer::Granted(granted) = act(world, Act::Lease { worker: WorkerId(1), most: usize::MAX })
        else {
            panic!("no answer to a request for jobs");
        };
        for token in 0..granted.len() {
            act(world, Act::Complete { token });
        }
    }
    assert!(world.jobs.iter().all(|job| job.state == JobState::Succeeded), "{:?}", world.jobs);
}
