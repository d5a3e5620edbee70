use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::lease::{Failures, READY};

const LASTS: Duration = Duration::from_secs(60);
const ANNE: WorkerId = WorkerId(1);
const BOB: WorkerId = WorkerId(2);
const EXPIRE: Event = Event::Expire { begun: Begun::Maybe };

fn queued() -> Job {
    Job {
        state: JobState::Queued { not_before: Timestamp(0) },
        last_ended: None,
        failures: Failures::default(),
        retries: 1,
    }
}

fn after(job: &Job, event: Event, now: i64) -> Job {
    step(job, &event, Timestamp(now)).unwrap().0
}

fn leased(now: i64) -> Job {
    after(&queued(), Event::Lease { worker: ANNE, lasts: LASTS }, now)
}

#[test]
fn stale_completion_is_refused_and_changes_nothing() {
    let expired = after(&leased(0), EXPIRE, 60_000);
    let again = after(&expired, Event::Lease { worker: BOB, lasts: LASTS }, 60_000);
    let refusal = step(&again, &Event::Complete { attempt: Attempt(1) }, Timestamp(60_001)).unwrap_err();
    assert_eq!(refusal.to_string(), "attempt 1 is no longer leased: the job is leased under attempt 2");
}

#[test]
fn a_lease_does_not_expire_before_its_deadline() {
    assert_eq!(step(&leased(0), &EXPIRE, Timestamp(59_999)), Err(Refusal::TooEarly));
    assert_eq!(after(&leased(0), EXPIRE, 60_000).state.name(), "queued");
}

#[test]
fn a_heartbeat_moves_the_deadline_and_never_back() {
    let beat = Event::Heartbeat { attempt: Attempt(1), lasts: LASTS };
    let extended = after(&leased(0), beat.clone(), 30_000);
    assert!(matches!(extended.state, JobState::Leased { deadline: Timestamp(90_000), .. }));
    assert_eq!(after(&extended, beat, 10_000), extended);
}

#[test]
fn a_late_heartbeat_counts_until_somebody_else_has_the_job() {
    let beat = Event::Heartbeat { attempt: Attempt(1), lasts: LASTS };
    assert!(step(&leased(0), &beat, Timestamp(70_000)).is_ok());
    let expired = after(&leased(0), EXPIRE, 70_000);
    assert!(matches!(step(&expired, &beat, Timestamp(70_001)), Err(Refusal::Stale { .. })));
}

#[test]
fn the_same_end_told_twice_gets_the_same_answer() {
    for event in [
        Event::Complete { attempt: Attempt(1) },
        Event::Fail { attempt: Attempt(1), reason: FailureReason::Exit(1) },
        Event::Release { attempt: Attempt(1) },
    ] {
        let once = after(&leased(0), event.clone(), 5);
        assert_eq!(step(&once, &event, Timestamp(9)), Ok((once.clone(), vec![])), "{event:?}");
    }
}

#[test]
fn an_end_after_another_end_is_refused() {
    let released = after(&leased(0), Event::Release { attempt: Attempt(1) }, 5);
    assert!(matches!(
        step(&released, &Event::Complete { attempt: Attempt(1) }, Timestamp(6)),
        Err(Refusal::Stale { .. })
    ));
}

#[test]
fn a_job_fails_for_good_when_its_budget_is_spent() {
    let fail = |attempt| Event::Fail { attempt: Attempt(attempt), reason: FailureReason::Exit(1) };
    let once = after(&leased(0), fail(1), 5);
    let JobState::Queued { not_before } = once.state else { panic!("not queued") };
    assert!(not_before >= Timestamp(1_005), "{not_before:?}");
    let again = after(&once, Event::Lease { worker: BOB, lasts: LASTS }, not_before.0);
    let (twice, effects) = step(&again, &fail(2), Timestamp(2_000)).unwrap();
    assert_eq!(twice.state, JobState::Failed { reason: FailureReason::Exit(1) });
    assert!(effects.contains(&Effect::FailDependents));
}

#[test]
fn a_job_that_waits_before_its_next_try_is_not_leased() {
    let fail = Event::Fail { attempt: Attempt(1), reason: FailureReason::Exit(1) };
    let waiting = after(&leased(0), fail, 0);
    let lease = Event::Lease { worker: BOB, lasts: LASTS };
    assert_eq!(step(&waiting, &lease, Timestamp(999)), Err(Refusal::TooEarly));
    assert!(step(&waiting, &lease, Timestamp(1_500)).is_ok());
}

#[test]
fn giving_a_job_back_costs_nothing_however_often() {
    let mut job = queued();
    for attempt in 1..100 {
        job = after(&job, Event::Lease { worker: ANNE, lasts: LASTS }, attempt);
        job = after(&job, Event::Release { attempt: Attempt(attempt) }, attempt);
    }
    assert_eq!(job.state, JobState::Queued { not_before: READY });
}

#[test]
fn a_job_that_waited_at_a_worker_is_not_suspected_when_that_is_lost() {
    let mut job = queued();
    for attempt in 1..=20 {
        job = after(&job, Event::Lease { worker: ANNE, lasts: LASTS }, attempt);
        let attempt = Attempt(attempt);
        job = match attempt.0 % 2 {
            0 => after(&job, Event::Expire { begun: Begun::Never }, 60_000 + attempt.0),
            _ => after(&job, Event::WorkerDied { attempt, begun: Begun::Never }, attempt.0),
        };
        assert_eq!(job.state, JobState::Queued { not_before: READY });
        assert_eq!(job.last_ended, Some(EndedAttempt { attempt, outcome: Outcome::Expired }));
    }
}

#[test]
fn a_retry_starts_with_a_full_budget() {
    let fail = Event::Fail { attempt: Attempt(1), reason: FailureReason::BadConfig };
    let failed = after(&leased(0), fail, 1);
    let reopened = after(&failed, Event::Retry { needs: Needs::Met }, 2);
    assert_eq!(reopened.failures, Failures::default());
    assert_eq!(reopened.next_attempt(), Attempt(2));
}

#[test]
fn a_blocked_job_fails_with_what_it_needs() {
    let blocked = Job { state: JobState::Blocked, ..queued() };
    let (failed, effects) = step(&blocked, &Event::NeedFailed, Timestamp(1)).unwrap();
    assert_eq!(failed.state, JobState::Failed { reason: FailureReason::Upstream });
    assert_eq!(effects, [Effect::FailDependents]);
}

#[test]
fn only_a_job_that_nobody_has_begun_can_be_made_to_wait_again() {
    let blocked = after(&queued(), Event::NeedOpened, 1);
    assert_eq!(blocked.state, JobState::Blocked);
    assert_eq!(after(&blocked, Event::NeedOpened, 2), blocked);
    assert!(matches!(step(&leased(0), &Event::NeedOpened, Timestamp(1)), Err(Refusal::WrongState { .. })));
}

fn any_event() -> impl Strategy<Value = Event> {
    let attempt = (1i64..6).prop_map(Attempt);
    let reason = prop_oneof![
        Just(FailureReason::Exit(1)),
        Just(FailureReason::Nan),
        Just(FailureReason::NodeLost),
        Just(FailureReason::Preempted)
    ];
    let begun = prop_oneof![Just(Begun::Maybe), Just(Begun::Never)];
    prop_oneof![
        1 => Just(Event::NeedsMet),
        1 => Just(Event::NeedOpened),
        1 => Just(Event::NeedFailed),
        6 => (1i64..3).prop_map(|worker| Event::Lease { worker: WorkerId(worker), lasts: LASTS }),
        3 => attempt.clone().prop_map(|attempt| Event::Heartbeat { attempt, lasts: LASTS }),
        3 => attempt.clone().prop_map(|attempt| Event::Complete { attempt }),
        3 => (attempt.clone(), reason).prop_map(|(attempt, reason)| Event::Fail { attempt, reason }),
        3 => attempt.clone().prop_map(|attempt| Event::Release { attempt }),
        3 => begun.clone().prop_map(|begun| Event::Expire { begun }),
        1 => (attempt, begun).prop_map(|(attempt, begun)| Event::WorkerDied { attempt, begun }),
        1 => Just(Event::Cancel),
        2 => prop_oneof![Just(Needs::Met), Just(Needs::Open)].prop_map(|needs| Event::Retry { needs }),
    ]
}

proptest! {
    /// A bookkeeper that knows only "who was told that they have the lease" must agree with every long history.
    #[test]
    fn whoever_is_told_that_they_hold_the_lease_is_the_only_one(
        history in prop::collection::vec((any_event(), 0i64..50_000), 1..200)
    ) {
        let mut job = queued();
        let mut now = 0;
        let mut holder: Option<Attempt> = None;
        let mut closed = BTreeSet::new();
        for (event, pause) in history {
            now += pause;
            let before = job.clone();
            let Ok((next, effects)) = step(&job, &event, Timestamp(now)) else { continue };
            for effect in &effects {
                match effect {
                    Effect::OpenAttempt { attempt, .. } => {
                        prop_assert_eq!(holder, None);
                        prop_assert!(closed.last().is_none_or(|last| last < attempt));
                        holder = Some(*attempt);
                    }
                    Effect::CloseAttempt(ended) => {
                        prop_assert_eq!(holder.take(), Some(ended.attempt));
                        prop_assert!(closed.insert(ended.attempt), "an attempt ended twice");
                    }
                    Effect::UnblockDependents => prop_assert_eq!(next.state, JobState::Succeeded),
                    Effect::FailDependents => prop_assert_eq!(next.state.name(), "failed"),
                }
            }
            let leased_under = match next.state {
                JobState::Leased { attempt, .. } => Some(attempt),
                _ => None,
            };
            prop_assert_eq!(leased_under, holder);
            prop_assert!(before.state != JobState::Succeeded || next.state == JobState::Succeeded);
            job = next;
        }
    }
}
