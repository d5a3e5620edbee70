use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sweep::protocol::http::{CommandWork, HeartbeatResponse, Limits, OutcomesRequest, Work, WriteResponse};
use sweep::protocol::trial::Checkpoint;
use sweep::vocabulary::{Attempt, FailureReason, JobId, Metrics, Nonce, Parameters, TrialNumber};

use super::super::outbox::Write;
use super::*;

const SHORT_JOB: Duration = Duration::from_millis(5);
const LONG_JOB: Duration = Duration::from_secs(60);

fn agent(slots: usize) -> Agent {
    Agent::new(Settings {
        slot_kind: SlotKind::Cpu,
        slots,
        until: Until::default(),
        grace: Duration::from_secs(10),
        heartbeat: Duration::from_secs(8),
    })
}

fn token(job: i64) -> LeaseToken {
    LeaseToken { job: JobId(job), attempt: Attempt(1), nonce: Nonce::default() }
}

fn lease(job: i64, cpus: u32) -> Lease {
    let work = Work::Command(CommandWork {
        command: vec!["true".to_owned()],
        working_directory: "/".to_owned(),
        code: None,
        parameters: Parameters::new(),
        seed: 0,
        trial: TrialNumber(job),
        stage: None,
    });
    Lease { token: token(job), cpus, gpus: None, limits: Limits::default(), keeps_checkpoints: false, work }
}

fn leased(leases: &[Lease]) -> Event {
    Event::Leased(LeaseResponse { leases: leases.to_vec(), is_drained: false })
}

fn drained() -> Event {
    Event::Leased(LeaseResponse { leases: Vec::new(), is_drained: true })
}

fn ended(job: i64, end: TrialEnd, wall: Duration) -> Event {
    Event::Ended { token: token(job), end, wall }
}

fn killed() -> TrialEnd {
    TrialEnd::Failed {
        reason: FailureReason::Signal(15),
        message: "killed".to_owned(),
        log_tail: String::new(),
    }
}

fn unfit() -> TrialEnd {
    let message = "the disk is full".to_owned();
    TrialEnd::Failed { reason: FailureReason::NodeFault, message, log_tail: String::new() }
}

fn written() -> Event {
    Event::Written(WriteResponse::default())
}

fn refused(job: i64) -> Refused {
    Refused { token: token(job), message: "not yours".to_owned() }
}

fn report(token: LeaseToken) -> Report {
    Report { token, epoch: 1, metrics: Metrics::new(), checkpoint: None }
}

fn checkpoint(epoch: u32) -> Checkpoint {
    Checkpoint { hash: "a".repeat(64), epoch, step: 5, size_bytes: 1 }
}

fn started_jobs(actions: &[Action]) -> Vec<i64> {
    let job = |action: &Action| match action {
        Action::Start { lease, .. } => Some(lease.token.job.0),
        _ => None,
    };
    actions.iter().filter_map(job).collect()
}

fn sent_ends(actions: &[Action]) -> Vec<(i64, AttemptEnd)> {
    let ends = |action: &Action| match action {
        Action::Write(Write::Outcomes(OutcomesRequest { outcomes })) => Some(outcomes.clone()),
        _ => None,
    };
    let outcomes = actions.iter().filter_map(ends).flatten();
    outcomes.map(|outcome| (outcome.token.job.0, outcome.end)).collect()
}

fn asked(actions: &[Action]) -> Option<usize> {
    actions.iter().find_map(|action| match action {
        Action::Ask { most } => Some(*most),
        _ => None,
    })
}

#[test]
fn an_agent_asks_for_as_many_jobs_as_it_has_slots() {
    assert_eq!(asked(&agent(3).step(Event::Started)), Some(3));
}

#[test]
fn a_busy_agent_asks_for_nothing_when_its_jobs_are_long() {
    let mut agent = agent(2);
    agent.step(Event::Started);
    assert_eq!(asked(&agent.step(leased(&[lease(1, 1), lease(2, 1)]))), None);
    let actions = agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB));
    assert_eq!(asked(&actions), Some(1));
}

#[test]
fn short_jobs_are_leased_ahead_and_start_without_a_round_trip() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    let actions = agent.step(ended(1, TrialEnd::ExitedCleanly, SHORT_JOB));
    assert_eq!(asked(&actions), Some(MOST_LEASES));
    assert_eq!(started_jobs(&agent.step(leased(&[lease(2, 1), lease(3, 1)]))), [2]);
    assert_eq!(started_jobs(&agent.step(ended(2, TrialEnd::ExitedCleanly, SHORT_JOB))), [3]);
}

#[test]
fn jobs_leased_ahead_are_given_back_once_jobs_become_long() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(ended(1, TrialEnd::ExitedCleanly, SHORT_JOB));
    agent.step(written());
    agent.step(leased(&[lease(2, 1), lease(3, 1), lease(4, 1), lease(5, 1)]));
    let actions = agent.step(ended(2, TrialEnd::ExitedCleanly, LONG_JOB));
    assert_eq!(started_jobs(&actions), [3]);
    let ends: BTreeMap<i64, AttemptEnd> = sent_ends(&actions).into_iter().collect();
    assert!(matches!(ends[&2], AttemptEnd::Complete { .. }));
    assert_eq!(ends[&5], AttemptEnd::Release);
    assert!(!ends.contains_key(&4), "the next job stays");
}

#[test]
fn a_large_job_waits_for_its_slots_and_is_not_overtaken() {
    let mut agent = agent(4);
    agent.step(Event::Started);
    assert_eq!(started_jobs(&agent.step(leased(&[lease(1, 2), lease(2, 4)]))), [1]);
    assert_eq!(started_jobs(&agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB))), [2]);
}

#[test]
fn an_agent_asks_for_fewer_jobs_when_each_uses_more_cpus() {
    let mut agent = agent(4);
    agent.step(Event::Started);
    let actions = agent.step(leased(&[lease(1, 4), lease(2, 4), lease(3, 4), lease(4, 4)]));
    assert_eq!(started_jobs(&actions), [1]);
    assert_eq!(sent_ends(&actions), [(4, AttemptEnd::Release), (3, AttemptEnd::Release)]);
    agent.step(written());
    agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB));
    assert_eq!(asked(&agent.step(ended(2, TrialEnd::ExitedCleanly, LONG_JOB))), Some(1));
}

#[test]
fn a_lease_that_is_handed_in_twice_runs_once() {
    let mut agent = agent(2);
    agent.step(Event::Started);
    assert_eq!(started_jobs(&agent.step(leased(&[lease(1, 1), lease(1, 1)]))), [1]);
}

#[test]
fn outcomes_accumulate_while_a_request_is_under_way() {
    let mut agent = agent(3);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1), lease(2, 1), lease(3, 1)]));
    assert_eq!(sent_ends(&agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB))).len(), 1);
    assert_eq!(sent_ends(&agent.step(ended(2, TrialEnd::ExitedCleanly, LONG_JOB))).len(), 0);
    assert_eq!(sent_ends(&agent.step(ended(3, TrialEnd::ExitedCleanly, LONG_JOB))).len(), 0);
    let jobs: Vec<i64> = sent_ends(&agent.step(written())).into_iter().map(|(job, _)| job).collect();
    assert_eq!(jobs, [2, 3]);
}

/// One slot that ends jobs all the time, and holds so many more.
fn rapid_agent(waiting: i64) -> Agent {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(ended(1, TrialEnd::ExitedCleanly, SHORT_JOB));
    agent.step(written());
    let leases: Vec<Lease> = (2..=waiting + 2).map(|job| lease(job, 1)).collect();
    assert_eq!(started_jobs(&agent.step(leased(&leases))), [2]);
    agent
}

#[test]
fn ends_of_rapid_jobs_wait_a_moment_for_others_while_the_next_jobs_are_here() {
    let mut agent = rapid_agent(5);
    let actions = agent.step(ended(2, TrialEnd::ExitedCleanly, SHORT_JOB));
    assert_eq!(sent_ends(&actions), []);
    assert!(actions.contains(&Action::Wait(Timer::Gathering, GATHERING)), "{actions:?}");
    let actions = agent.step(ended(3, TrialEnd::ExitedCleanly, SHORT_JOB));
    assert!(!actions.iter().any(|action| matches!(action, Action::Wait(Timer::Gathering, _))), "{actions:?}");
    // Meanwhile their leases are kept alive.
    let beat = agent.step(Event::Due(Timer::Heartbeat)).into_iter().find_map(|action| match action {
        Action::Beat(held) => Some(held),
        _ => None,
    });
    let held = beat.unwrap();
    assert!(held.contains(&token(2)) && held.contains(&token(3)), "{held:?}");
    let jobs = |actions: &[Action]| sent_ends(actions).into_iter().map(|(job, _)| job).collect::<Vec<_>>();
    assert_eq!(jobs(&agent.step(Event::Due(Timer::Gathering))), [2, 3]);
    agent.step(written());
    // The last jobs have nobody behind them, and a slot may wait for what comes of their ends.
    agent.step(ended(4, TrialEnd::ExitedCleanly, SHORT_JOB));
    agent.step(ended(5, TrialEnd::ExitedCleanly, SHORT_JOB));
    assert_eq!(jobs(&agent.step(ended(6, TrialEnd::ExitedCleanly, SHORT_JOB))), [4, 5, 6]);
}

#[test]
fn many_ends_do_not_wait_and_no_end_waits_once_the_agent_stops() {
    let jobs = i64::try_from(ENOUGH).unwrap() + 1;
    let mut agent = rapid_agent(jobs + 10);
    for job in 2..jobs {
        assert_eq!(sent_ends(&agent.step(ended(job, TrialEnd::ExitedCleanly, SHORT_JOB))), []);
    }
    assert_eq!(sent_ends(&agent.step(ended(jobs, TrialEnd::ExitedCleanly, SHORT_JOB))).len(), ENOUGH);
    agent.step(written());
    assert_eq!(sent_ends(&agent.step(ended(jobs + 1, TrialEnd::ExitedCleanly, SHORT_JOB))), []);
    assert!(sent_ends(&agent.step(Event::StopAsked)).iter().any(|(job, _)| *job == jobs + 1));
}

#[test]
fn jobs_leased_ahead_are_given_back_while_a_long_job_runs_and_not_asked_for_again() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(ended(1, TrialEnd::ExitedCleanly, SHORT_JOB));
    agent.step(written());
    let actions = agent.step(leased(&[lease(2, 1), lease(3, 1), lease(4, 1), lease(5, 1)]));
    assert!(actions.contains(&Action::Wait(Timer::Surplus, PATIENCE)), "{actions:?}");
    // A start in the meantime shows that the jobs behind it will have their turn.
    assert_eq!(started_jobs(&agent.step(ended(2, TrialEnd::ExitedCleanly, SHORT_JOB))), [3]);
    agent.step(Event::Due(Timer::Gathering));
    agent.step(written());
    let actions = agent.step(Event::Due(Timer::Surplus));
    assert_eq!(sent_ends(&actions), []);
    assert!(actions.contains(&Action::Wait(Timer::Surplus, PATIENCE)), "{actions:?}");
    let actions = agent.step(Event::Due(Timer::Surplus));
    assert_eq!(sent_ends(&actions), [(5, AttemptEnd::Release)], "the next job stays");
    assert_eq!(asked(&actions), None);
    assert_eq!(asked(&agent.step(written())), None);
}

#[test]
fn a_heartbeat_names_waiting_running_and_untold_leases() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(ended(1, TrialEnd::ExitedCleanly, SHORT_JOB));
    agent.step(leased(&[lease(2, 1), lease(3, 1)]));
    let actions = agent.step(Event::Due(Timer::Heartbeat));
    assert!(actions.contains(&Action::Beat(vec![token(3), token(2), token(1)])), "{actions:?}");
}

#[test]
fn a_refused_trial_is_killed_once_and_its_end_is_silent() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    let actions = agent.step(Event::Beat(HeartbeatResponse { stop: vec![refused(1)] }));
    assert!(actions.contains(&Action::Stop { token: token(1), how: Stop::Kill }));
    let again = agent.step(Event::Beat(HeartbeatResponse { stop: vec![refused(1)] }));
    assert!(!again.contains(&Action::Stop { token: token(1), how: Stop::Kill }));
    let late = report(token(1));
    assert_eq!(agent.step(Event::Reported(late)), []);
    let actions = agent.step(ended(1, killed(), LONG_JOB));
    assert_eq!(actions, [Action::Ask { most: 1 }]);
}

#[test]
fn a_job_refused_while_it_waits_never_starts() {
    let mut agent = agent(2);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1), lease(2, 2)]));
    agent.step(Event::Beat(HeartbeatResponse { stop: vec![refused(2)] }));
    assert_eq!(started_jobs(&agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB))), [0; 0]);
}

#[test]
fn an_outcome_that_is_refused_before_it_was_sent_is_not_sent() {
    let mut agent = agent(2);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1), lease(2, 1)]));
    agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB));
    agent.step(ended(2, TrialEnd::ExitedCleanly, LONG_JOB));
    agent.step(Event::Beat(HeartbeatResponse { stop: vec![refused(2)] }));
    assert_eq!(sent_ends(&agent.step(written())), []);
}

#[test]
fn an_agent_that_waits_for_the_drain_leaves_only_when_nothing_is_held() {
    let mut agent = agent(2);
    agent.settings.until.is_drained = true;
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    assert!(!agent.step(drained()).contains(&Action::Leave));
    agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB));
    agent.step(written());
    assert_eq!(asked(&agent.step(Event::Due(Timer::AskAgain))), Some(2));
    let actions = agent.step(drained());
    assert!(actions.contains(&Action::Announce(Parting::Drained)) && actions.contains(&Action::Leave));
    assert_eq!(agent.step(Event::Left), [Action::Exit(Exit::Clean)]);
}

#[test]
fn an_idle_agent_pauses_before_it_asks_again() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    assert_eq!(agent.step(drained()), [Action::Wait(Timer::AskAgain, IDLE_PAUSE)]);
    assert_eq!(asked(&agent.step(Event::Due(Timer::AskAgain))), Some(1));
}

#[test]
fn the_first_signal_ends_trials_gently_and_releases_what_did_not_finish() {
    let mut agent = agent(3);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1), lease(2, 1), lease(3, 1)]));
    let actions = agent.step(Event::StopAsked);
    for job in 1..=3 {
        assert!(actions.contains(&Action::Stop { token: token(job), how: Stop::Terminate }));
    }
    assert!(actions.contains(&Action::Wait(Timer::Grace, Duration::from_secs(10))));
    let record = TrialRecord { device: "cpu".to_owned(), ..TrialRecord::default() };
    let trained = agent.step(ended(1, TrialEnd::Trained(record.clone()), LONG_JOB));
    assert_eq!(sent_ends(&trained), [(1, AttemptEnd::Complete { record })]);
    agent.step(ended(2, TrialEnd::ExitedCleanly, LONG_JOB));
    agent.step(ended(3, killed(), LONG_JOB));
    let rest = agent.step(written());
    assert_eq!(sent_ends(&rest), [(2, AttemptEnd::Release), (3, AttemptEnd::Release)]);
    assert!(agent.step(written()).contains(&Action::Leave));
}

#[test]
fn a_trial_that_stopped_is_released_together_with_its_state_whoever_asked() {
    for is_asked in [true, false] {
        let mut agent = agent(2);
        agent.step(Event::Started);
        agent.step(leased(&[lease(1, 1), lease(2, 1)]));
        if is_asked {
            agent.step(Event::StopAsked);
        }
        let actions = agent.step(ended(1, TrialEnd::Stopped(Some(checkpoint(0))), LONG_JOB));
        let state = EpochMetrics { epoch: 0, metrics: Metrics::new(), checkpoint: Some(checkpoint(0)) };
        let outcome = Outcome { token: token(1), reports: vec![state], end: AttemptEnd::Release };
        let write = Write::Outcomes(OutcomesRequest { outcomes: vec![outcome] });
        assert!(actions.contains(&Action::Write(write)), "{actions:?}");
        assert_eq!(asked(&actions).is_some(), !is_asked, "the slot is free for another job");
        // Where no state could be written the job is released all the same.
        agent.step(ended(2, TrialEnd::Stopped(None), LONG_JOB));
        assert_eq!(sent_ends(&agent.step(written())), [(2, AttemptEnd::Release)]);
    }
}

#[test]
fn the_state_of_a_trial_that_was_lost_is_not_sent() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(Event::Beat(HeartbeatResponse { stop: vec![refused(1)] }));
    let actions = agent.step(ended(1, TrialEnd::Stopped(Some(checkpoint(1))), LONG_JOB));
    assert_eq!(actions, [Action::Ask { most: 1 }]);
}

#[test]
fn trials_that_outlive_the_grace_are_killed() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(Event::StopAsked);
    let actions = agent.step(Event::Due(Timer::Grace));
    assert!(actions.contains(&Action::Stop { token: token(1), how: Stop::Kill }));
}

#[test]
fn a_schedulers_warning_stops_gently_however_often_it_comes_and_a_signal_after_it_too() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    let actions = agent.step(Event::Warned);
    assert!(actions.contains(&Action::Stop { token: token(1), how: Stop::Terminate }));
    assert!(actions.contains(&Action::Announce(Parting::Warned)), "{actions:?}");
    for event in [Event::Warned, Event::StopAsked, Event::Warned] {
        assert_eq!(agent.step(event), []);
    }
    assert!(agent.step(Event::StopAsked).contains(&Action::Stop { token: token(1), how: Stop::Kill }));
}

/// An agent that works for 200 looks, each as long as a long job.
fn agent_with_a_limit(slots: usize) -> Agent {
    let (grace, heartbeat) = (Duration::from_secs(10), Duration::from_secs(8));
    let until = Until { time: Some(LONG_JOB * 200 + grace), ..Until::default() };
    Agent::new(Settings { slot_kind: SlotKind::Cpu, slots, until, grace, heartbeat })
}

#[test]
fn near_its_end_an_agent_begins_nothing_that_would_come_to_nothing_and_leaves_early() {
    let mut agent = agent_with_a_limit(2);
    let actions = agent.step(Event::Started);
    assert!(actions.contains(&Action::Wait(Timer::Look, LONG_JOB)), "{actions:?}");
    agent.step(leased(&[lease(1, 1), lease(2, 1)]));
    // Programs take two looks.
    let actions = agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB * 2));
    assert_eq!(asked(&actions), Some(1));
    agent.step(written());
    for _ in 0..198 {
        let actions = agent.step(Event::Due(Timer::Look));
        assert_eq!(actions, [Action::Wait(Timer::Look, LONG_JOB)]);
    }
    agent.step(Event::Due(Timer::Look));
    // What was asked for before comes too late.
    let actions = agent.step(leased(&[lease(3, 1)]));
    assert_eq!((sent_ends(&actions), asked(&actions)), (vec![(3, AttemptEnd::Release)], None));
    agent.step(written());
    // The one that runs may still get done.
    let actions = agent.step(ended(2, TrialEnd::ExitedCleanly, LONG_JOB));
    assert!(matches!(sent_ends(&actions)[..], [(2, AttemptEnd::Complete { .. })]), "{actions:?}");
    assert!(actions.contains(&Action::Announce(Parting::TooLate)), "{actions:?}");
    assert!(agent.step(written()).contains(&Action::Leave));
}

#[test]
fn the_second_signal_kills_at_once_and_does_not_wait_for_the_coordinator() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(Event::StopAsked);
    let actions = agent.step(Event::StopAsked);
    assert!(actions.contains(&Action::Stop { token: token(1), how: Stop::Kill }));
    assert!(actions.contains(&Action::Wait(Timer::Farewell, HASTY_FAREWELL)));
    assert_eq!(sent_ends(&agent.step(ended(1, killed(), LONG_JOB))), [(1, AttemptEnd::Release)]);
    assert_eq!(agent.step(Event::Due(Timer::Farewell)), [Action::Exit(Exit::Unreleased)]);
}

#[test]
fn after_its_number_of_jobs_an_agent_leaves_and_takes_no_more() {
    let mut agent = agent(2);
    agent.settings.until.jobs = Some(3);
    assert_eq!(asked(&agent.step(Event::Started)), Some(2));
    let actions = agent.step(leased(&[lease(1, 1), lease(2, 1)]));
    assert_eq!((started_jobs(&actions), asked(&actions)), (vec![1, 2], None));
    let actions = agent.step(ended(1, TrialEnd::ExitedCleanly, SHORT_JOB));
    assert_eq!(asked(&actions), Some(1), "however many short jobs are worth leasing ahead");
    agent.step(written());
    assert_eq!(started_jobs(&agent.step(leased(&[lease(3, 1)]))), [3]);
    let actions = agent.step(ended(2, killed(), SHORT_JOB));
    assert!(asked(&actions).is_none() && !actions.contains(&Action::Leave), "one still runs: {actions:?}");
    agent.step(written());
    agent.step(ended(3, TrialEnd::ExitedCleanly, SHORT_JOB));
    assert!(agent.step(written()).contains(&Action::Leave));
}

#[test]
fn an_agent_that_was_idle_for_its_time_leaves_and_one_that_works_does_not() {
    let mut agent = agent(1);
    agent.settings.until.idle = Some(Duration::from_secs(100));
    let look = Action::Wait(Timer::Idle, Duration::from_secs(10));
    assert!(agent.step(Event::Started).contains(&look));
    for _ in 0..9 {
        assert!(agent.step(Event::Due(Timer::Idle)).contains(&look));
    }
    // A job begins it anew, also one that came and went between two looks, and one that runs.
    agent.step(leased(&[lease(1, 1)]));
    agent.step(ended(1, TrialEnd::ExitedCleanly, SHORT_JOB));
    agent.step(written());
    assert!(agent.step(Event::Due(Timer::Idle)).contains(&look));
    agent.step(leased(&[lease(2, 1)]));
    for _ in 0..20 {
        assert!(agent.step(Event::Due(Timer::Idle)).contains(&look));
    }
    agent.step(ended(2, TrialEnd::ExitedCleanly, LONG_JOB));
    agent.step(written());
    for _ in 0..9 {
        assert!(agent.step(Event::Due(Timer::Idle)).contains(&look));
    }
    let actions = agent.step(Event::Due(Timer::Idle));
    assert!(actions.contains(&Action::AbandonAsking) && actions.contains(&Action::Leave), "{actions:?}");
}

#[test]
fn an_agent_whose_time_is_nearly_over_stops_as_at_a_signal() {
    let mut agent = agent(1);
    agent.settings.until.time = Some(Duration::from_secs(3600));
    let limit = Action::Wait(Timer::Limit, Duration::from_secs(3590));
    assert!(agent.step(Event::Started).contains(&limit));
    agent.step(leased(&[lease(1, 1)]));
    let actions = agent.step(Event::Due(Timer::Limit));
    assert!(actions.contains(&Action::Stop { token: token(1), how: Stop::Terminate }));
    assert!(actions.contains(&Action::Wait(Timer::Grace, Duration::from_secs(10))));
    assert_eq!(asked(&actions), None);
    // The scheduler's signal comes later and is the first; only a second one is in a hurry.
    assert_eq!(agent.step(Event::StopAsked), []);
    let actions = agent.step(Event::StopAsked);
    assert!(actions.contains(&Action::Stop { token: token(1), how: Stop::Kill }));
    assert_eq!(sent_ends(&agent.step(ended(1, killed(), LONG_JOB))), [(1, AttemptEnd::Release)]);
}

#[test]
fn a_time_limit_that_comes_after_a_signal_changes_nothing() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(Event::StopAsked);
    assert_eq!(agent.step(Event::Due(Timer::Limit)), []);
}

/// An agent with two slots of which three jobs in a row have failed through the node's fault, and its last actions.
fn agent_of_a_sick_node() -> (Agent, Vec<Action>) {
    let mut agent = agent(2);
    agent.step(Event::Started);
    // Short ones, so that others are leased ahead.
    agent.step(leased(&[lease(1, 1)]));
    agent.step(ended(1, TrialEnd::ExitedCleanly, SHORT_JOB));
    agent.step(written());
    agent.step(leased(&[lease(2, 1), lease(3, 1), lease(4, 1), lease(5, 1), lease(6, 1)]));
    for job in 2..=3 {
        let actions = agent.step(ended(job, unfit(), SHORT_JOB));
        assert!(!actions.iter().any(|action| matches!(action, Action::ComplainOf { .. })), "{actions:?}");
        agent.step(written());
    }
    let actions = agent.step(ended(4, unfit(), SHORT_JOB));
    (agent, actions)
}

#[test]
fn an_agent_whose_node_is_at_fault_takes_no_jobs_and_gives_back_those_that_wait() {
    let (mut agent, actions) = agent_of_a_sick_node();
    let pause = Duration::from_secs(5);
    let complaint = Action::ComplainOf { problem: "the disk is full".to_owned(), pause };
    assert!(
        actions.contains(&complaint) && actions.contains(&Action::Wait(Timer::Pause, pause)),
        "{actions:?}"
    );
    let ends: BTreeMap<i64, AttemptEnd> = sent_ends(&actions).into_iter().collect();
    assert!(matches!(&ends[&4], AttemptEnd::Fail { reason: FailureReason::NodeFault, .. }));
    assert_eq!((ends.get(&6), ends.get(&5)), (Some(&AttemptEnd::Release), None), "job 5 runs, job 6 waited");
    agent.step(written());
    // What is granted to a request from before is given back as well.
    let actions = agent.step(leased(&[lease(7, 1)]));
    assert_eq!((started_jobs(&actions), sent_ends(&actions)), (vec![], vec![(7, AttemptEnd::Release)]));
    agent.step(written());
    agent.step(ended(5, killed(), SHORT_JOB));
    assert_eq!(asked(&agent.step(written())), None);
}

#[test]
fn after_the_pause_the_node_is_examined_and_one_job_shows_that_it_is_well() {
    let (mut agent, _) = agent_of_a_sick_node();
    agent.step(written());
    agent.step(leased(&[]));
    agent.step(ended(5, killed(), SHORT_JOB));
    agent.step(written());
    assert!(agent.step(Event::Due(Timer::Pause)).contains(&Action::Examine));
    let actions = agent.step(Event::Examined(Err("still full".to_owned())));
    let pause = Duration::from_secs(10);
    assert!(actions.contains(&Action::ComplainOf { problem: "still full".to_owned(), pause }), "{actions:?}");
    assert_eq!(asked(&agent.step(Event::Due(Timer::AskAgain))), None);
    agent.step(Event::Due(Timer::Pause));
    assert_eq!(asked(&agent.step(Event::Examined(Ok(())))), Some(1), "two slots are free");
    assert_eq!(started_jobs(&agent.step(leased(&[lease(8, 1)]))), [8]);
    let actions = agent.step(ended(8, TrialEnd::ExitedCleanly, LONG_JOB));
    assert!(actions.contains(&Action::Recover), "{actions:?}");
    assert_eq!(asked(&actions), Some(2));
}

/// The same after an examination that found nothing; job 5, from before the pause, runs on in one of the slots.
fn agent_on_probation() -> Agent {
    let (mut agent, _) = agent_of_a_sick_node();
    agent.step(written());
    agent.step(leased(&[]));
    agent.step(Event::Due(Timer::AskAgain));
    agent.step(Event::Due(Timer::Pause));
    assert_eq!(
        asked(&agent.step(Event::Examined(Ok(())))),
        Some(1),
        "job 5 keeps no other one from being tried"
    );
    agent
}

#[test]
fn a_job_from_before_the_pause_does_not_keep_a_node_idle_nor_vouch_for_it() {
    let mut agent = agent_on_probation();
    agent.step(Event::Reported(report(token(5))));
    assert!(!agent.step(written()).contains(&Action::Recover), "its report is of a job from before");
    let actions = agent.step(leased(&[lease(8, 1)]));
    assert_eq!((started_jobs(&actions), asked(&actions)), (vec![8], None), "one at a time");
    let actions = agent.step(ended(5, TrialEnd::ExitedCleanly, LONG_JOB));
    assert!(!actions.contains(&Action::Recover) && asked(&actions).is_none(), "{actions:?}");
}

#[test]
fn the_first_report_that_arrives_ends_the_probation() {
    let mut agent = agent_on_probation();
    agent.step(leased(&[lease(8, 1)]));
    agent.step(ended(5, killed(), LONG_JOB));
    agent.step(written());
    assert!(!agent.step(Event::Reported(report(token(8)))).contains(&Action::Recover), "it is not there yet");
    let actions = agent.step(written());
    assert!(actions.contains(&Action::Recover), "{actions:?}");
    assert_eq!(asked(&actions), Some(1), "the free slot is used again, hours before job 8 ends");
}

#[test]
fn a_report_that_is_refused_ends_no_probation() {
    let mut agent = agent_on_probation();
    agent.step(leased(&[lease(8, 1)]));
    agent.step(Event::Reported(report(token(8))));
    let actions = agent.step(Event::Written(WriteResponse { refused: vec![refused(8)] }));
    assert!(!actions.contains(&Action::Recover), "{actions:?}");
}

#[test]
fn what_is_granted_to_a_request_from_before_the_pause_is_no_more_than_a_probation_allows() {
    let (mut agent, _) = agent_of_a_sick_node();
    agent.step(written());
    agent.step(ended(5, killed(), SHORT_JOB));
    agent.step(written());
    agent.step(Event::Due(Timer::Pause));
    agent.step(Event::Examined(Ok(())));
    let actions = agent.step(leased(&[lease(7, 1), lease(8, 1), lease(9, 1)]));
    assert_eq!(started_jobs(&actions), [7]);
    assert_eq!(sent_ends(&actions), [(8, AttemptEnd::Release), (9, AttemptEnd::Release)]);
}

#[test]
fn an_agent_that_stops_is_not_examined_any_more() {
    let (mut agent, _) = agent_of_a_sick_node();
    agent.step(Event::StopAsked);
    assert!(!agent.step(Event::Due(Timer::Pause)).contains(&Action::Examine));
}

#[test]
fn the_slot_of_a_trial_that_has_ended_is_free_while_its_last_state_is_on_its_way() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    let actions = agent.step(Event::Vacated { token: token(1) });
    assert_eq!((asked(&actions), sent_ends(&actions)), (Some(1), vec![]));
    assert_eq!(started_jobs(&agent.step(leased(&[lease(2, 1)]))), [2]);
    let beat = agent.step(Event::Due(Timer::Heartbeat));
    assert!(beat.contains(&Action::Beat(vec![token(1), token(2)])), "{beat:?}");
    agent.step(Event::Reported(Report { checkpoint: Some(checkpoint(9)), ..report(token(1)) }));
    agent.step(written());
    let actions = agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB));
    assert!(matches!(sent_ends(&actions)[..], [(1, AttemptEnd::Complete { .. })]), "{actions:?}");
    assert_eq!(asked(&actions), None, "its slot is not given back twice");
}

#[test]
fn a_program_that_was_done_before_the_agent_stops_is_done_once_its_state_has_arrived() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    agent.step(Event::Vacated { token: token(1) });
    let actions = agent.step(Event::StopAsked);
    assert!(actions.contains(&Action::Stop { token: token(1), how: Stop::Terminate }), "{actions:?}");
    assert!(!actions.contains(&Action::Leave), "something is still on its way: {actions:?}");
    let actions = agent.step(ended(1, TrialEnd::ExitedCleanly, LONG_JOB));
    assert!(matches!(sent_ends(&actions)[..], [(1, AttemptEnd::Complete { .. })]), "{actions:?}");
}

#[test]
fn what_a_trial_prints_is_sent_before_its_end_and_what_a_lost_one_prints_is_not() {
    let mut agent = agent(2);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1), lease(2, 1)]));
    agent.step(Event::Beat(HeartbeatResponse { stop: vec![refused(2)] }));
    let printed = |job| Event::Printed { token: token(job), text: "words".to_owned() };
    assert!(!agent.step(printed(2)).iter().any(|action| matches!(action, Action::Write(_))));
    let actions = agent.step(printed(1));
    assert!(matches!(actions[..], [Action::Write(Write::Logs(_))]), "{actions:?}");
    assert_eq!(sent_ends(&agent.step(ended(1, killed(), LONG_JOB))), []);
    assert_eq!(sent_ends(&agent.step(written())).len(), 1);
}

#[test]
fn a_lost_parent_kills_at_once() {
    let mut agent = agent(1);
    agent.step(Event::Started);
    agent.step(leased(&[lease(1, 1)]));
    let actions = agent.step(Event::ParentGone);
    assert!(actions.contains(&Action::Stop { token: token(1), how: Stop::Kill }));
    assert_eq!(asked(&agent.step(ended(1, killed(), LONG_JOB))), None);
}

/// Whatever may happen to an agent next; numbers choose among what is possible.
#[derive(Debug, Clone)]
enum Happening {
    Granted(Vec<u32>),
    Delivered { refuse: Option<usize> },
    Reported(usize),
    Printed(usize),
    Vacated(usize),
    Ended { which: usize, how: u8 },
    Beat { refuse: Option<usize> },
    Due(usize),
    Examined { is_well: bool },
    Stop,
    ParentGone,
}

fn happening() -> impl Strategy<Value = Happening> {
    let which = || 0..16_usize;
    prop_oneof![
        8 => prop::collection::vec(0..6_u32, 0..12).prop_map(Happening::Granted),
        8 => prop::option::weighted(0.2, which()).prop_map(|refuse| Happening::Delivered { refuse }),
        4 => which().prop_map(Happening::Reported),
        2 => which().prop_map(Happening::Printed),
        3 => which().prop_map(Happening::Vacated),
        12 => (which(), 0..7_u8).prop_map(|(which, how)| Happening::Ended { which, how }),
        3 => prop::option::weighted(0.5, which()).prop_map(|refuse| Happening::Beat { refuse }),
        4 => which().prop_map(Happening::Due),
        2 => any::<bool>().prop_map(|is_well| Happening::Examined { is_well }),
        1 => Just(Happening::Stop),
        1 => Just(Happening::ParentGone),
    ]
}

/// Everything outside the agent: a coordinator that grants and refuses, trials that run, waits that end.
struct World {
    agent: Agent,
    slots: usize,
    granted: Vec<LeaseToken>,
    running: BTreeMap<LeaseToken, Vec<SlotId>>,
    asked: Option<usize>,
    write: Option<Write>,
    waits: Vec<Timer>,
    outcomes: BTreeMap<LeaseToken, usize>,
    refused: BTreeSet<LeaseToken>,
    exit: Option<Exit>,
    starts: u64,
    is_examined: bool,
}

impl World {
    fn new(slots: usize, until: Until) -> World {
        let mut agent = agent(slots);
        agent.settings.until = until;
        let mut world = World {
            agent,
            slots,
            granted: Vec::new(),
            running: BTreeMap::new(),
            asked: None,
            write: None,
            waits: Vec::new(),
            outcomes: BTreeMap::new(),
            refused: BTreeSet::new(),
            exit: None,
            starts: 0,
            is_examined: false,
        };
        world.tell(Event::Started);
        world
    }

    fn tell(&mut self, event: Event) {
        if self.exit.is_some() {
            return;
        }
        for action in self.agent.step(event) {
            self.perform(action);
        }
        let term = self.agent.health.term();
        let held = self.agent.running.values().filter(|running| running.term == term).count();
        let most = self.agent.health.most_jobs();
        assert!(held + self.agent.pending.len() <= most, "{held} jobs where {most} are allowed");
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Ask { most } => {
                assert!(most > 0 && self.asked.replace(most).is_none(), "two requests for jobs at a time");
            }
            Action::AbandonAsking => assert!(self.asked.take().is_some(), "nothing to abandon"),
            Action::Start { lease, slots } => {
                assert!(slots.iter().all(|slot| slot.0 < self.slots));
                self.starts += 1;
                self.running.insert(lease.token, slots);
                let taken: Vec<SlotId> = self.running.values().flatten().copied().collect();
                let distinct: BTreeSet<SlotId> = taken.iter().copied().collect();
                assert_eq!(taken.len(), distinct.len(), "one slot runs two jobs");
            }
            Action::Stop { token, .. } => assert!(self.running.contains_key(&token)),
            Action::Write(write) => {
                if let Write::Outcomes(request) = &write {
                    for outcome in &request.outcomes {
                        *self.outcomes.entry(outcome.token).or_default() += 1;
                        assert!(!self.running.contains_key(&outcome.token), "an outcome before the end");
                    }
                }
                assert!(self.write.replace(write).is_none(), "two writes at a time");
            }
            Action::Beat(held) => {
                let distinct: BTreeSet<LeaseToken> = held.iter().copied().collect();
                assert_eq!(held.len(), distinct.len(), "a lease is held twice");
            }
            Action::Wait(timer, _) => self.waits.push(timer),
            Action::Examine => assert!(!std::mem::replace(&mut self.is_examined, true), "examined twice"),
            Action::ComplainOf { .. } | Action::Recover => {}
            Action::Leave => assert!(self.running.is_empty() && self.write.is_none(), "left while holding"),
            Action::Announce(_) => {}
            Action::Exit(exit) => self.exit = Some(exit),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Granted(cpus) => self.grant(&cpus),
            Happening::Delivered { refuse } => {
                if self.write.take().is_some() {
                    let refused = self.refuse(refuse);
                    self.tell(Event::Written(WriteResponse { refused }));
                }
            }
            Happening::Reported(which) => {
                if let Some(token) = self.pick_running(which) {
                    self.tell(Event::Reported(report(token)));
                }
            }
            Happening::Printed(which) => {
                if let Some(token) = self.pick_running(which) {
                    self.tell(Event::Printed { token, text: "words".to_owned() });
                }
            }
            Happening::Vacated(which) => {
                if let Some(token) = self.pick_running(which) {
                    // The process is gone, the job is not: its slots are anybody's.
                    self.running.insert(token, Vec::new());
                    self.tell(Event::Vacated { token });
                }
            }
            Happening::Ended { which, how } => {
                if let Some(token) = self.pick_running(which) {
                    self.end(token, how);
                }
            }
            Happening::Beat { refuse } => {
                let stop = self.refuse(refuse);
                self.tell(Event::Beat(HeartbeatResponse { stop }));
            }
            Happening::Due(which) => {
                // The farewell's end would cut the story short; it is told by tests of its own.
                let due = which % self.waits.len().max(1);
                if self.waits.get(due).is_some_and(|&timer| timer != Timer::Farewell) {
                    let timer = self.waits.swap_remove(due);
                    self.tell(Event::Due(timer));
                }
            }
            Happening::Examined { is_well } => {
                if std::mem::take(&mut self.is_examined) {
                    let found = if is_well { Ok(()) } else { Err("no room".to_owned()) };
                    self.tell(Event::Examined(found));
                }
            }
            Happening::Stop => self.tell(Event::StopAsked),
            Happening::ParentGone => self.tell(Event::ParentGone),
        }
    }

    fn grant(&mut self, cpus: &[u32]) {
        let Some(most) = self.asked.take() else { return };
        let mut leases = Vec::new();
        for &cpus in cpus.iter().take(most) {
            let job = self.granted.len() as i64 + 1;
            self.granted.push(token(job));
            leases.push(lease(job, cpus));
        }
        self.tell(leased(&leases));
    }

    fn refuse(&mut self, which: Option<usize>) -> Vec<Refused> {
        let Some(&token) = which.and_then(|which| self.granted.get(which)) else {
            return Vec::new();
        };
        self.refused.insert(token);
        vec![refused(token.job.0)]
    }

    fn pick_running(&self, which: usize) -> Option<LeaseToken> {
        self.running.keys().copied().nth(which % self.running.len().max(1))
    }

    fn end(&mut self, token: LeaseToken, how: u8) {
        self.running.remove(&token);
        let (end, wall) = match how {
            0 => (TrialEnd::ExitedCleanly, SHORT_JOB),
            1 => (TrialEnd::ExitedCleanly, LONG_JOB),
            2 => (TrialEnd::Trained(TrialRecord::default()), SHORT_JOB),
            3 => (TrialEnd::Stopped(Some(checkpoint(0))), LONG_JOB),
            4 | 5 => (unfit(), SHORT_JOB),
            _ => (killed(), SHORT_JOB),
        };
        self.tell(Event::Ended { token, end, wall });
    }

    /// Stops the agent and lets everything run its course.
    fn wind_up(&mut self) {
        self.tell(Event::StopAsked);
        while let Some(token) = self.pick_running(0) {
            self.end(token, 4);
        }
        while self.write.take().is_some() {
            self.tell(written());
        }
        self.tell(Event::Left);
    }
}

proptest! {
    #[test]
    fn every_lease_ends_in_one_outcome_or_was_refused(
        slots in 1..5_usize,
        jobs in prop::option::of(1..20_u64),
        story in prop::collection::vec(happening(), 0..150),
    ) {
        let [idle, time] = [Some(LONG_JOB); 2];
        let mut world = World::new(slots, Until { is_drained: false, jobs, idle, time });
        for happening in story {
            world.happen(happening);
        }
        world.wind_up();
        prop_assert_eq!(world.exit, Some(Exit::Clean));
        prop_assert!(jobs.is_none_or(|jobs| world.starts <= jobs), "{} jobs ran", world.starts);
        for token in &world.granted {
            let outcomes = world.outcomes.get(token).copied().unwrap_or(0);
            prop_assert!(outcomes <= 1, "job {} ended {outcomes} times", token.job);
            prop_assert!(outcomes == 1 || world.refused.contains(token), "job {} never ended", token.job);
        }
    }
}
