//! A coordinator with a clock that is moved by hand. Its waits are real: what is tested is that they end.

mod artifacts;
mod selection;

use std::time::Duration;

use super::*;
use crate::protocol::http::{AttemptEnd, Lease, LeaseToken, Outcome, SweepState, TrialState};
use crate::protocol::trial::TrialRecord;
use crate::store::tests::check_invariants;

const LEASE: Duration = Duration::from_secs(60);

/// Longer than any test takes: who waits this long waits for ever.
const LONG: u64 = 30_000;

struct Fixture {
    coordinator: Coordinator,
    clock: Clock,
    worker: WorkerId,
    folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("sweep.db")).await.unwrap();
        let clock = Clock::manual(Timestamp(1_000_000));
        let settings = Settings {
            lease: LEASE,
            datasets: folder.path().join("datasets"),
            artifacts: folder.path().join("artifacts"),
        };
        let coordinator = Coordinator::new(store, clock.clone(), settings);
        let worker = coordinator.register(register_request()).await.unwrap().worker;
        Fixture { coordinator, clock, worker, folder }
    }

    fn spec(&self, spec: &str) -> SubmitRequest {
        SubmitRequest {
            spec: spec.to_owned(),
            source_name: "s.yaml".to_owned(),
            bases: vec![],
            overrides: vec![],
            working_directory: self.folder.path().display().to_string(),
            sharing: Default::default(),
            is_rehearsal: false,
            only: None,
            selected: Default::default(),
        }
    }

    async fn submit(&self, spec: &str) -> SweepId {
        self.coordinator.submit(&self.spec(spec)).await.unwrap().sweep
    }

    fn ask(&self, wait_millis: u64) -> LeaseRequest {
        LeaseRequest { worker: self.worker, sweep: None, most: 8, wait_millis }
    }

    async fn lease(&self) -> Vec<Lease> {
        self.coordinator.lease(&self.ask(0)).await.unwrap().leases
    }

    async fn finish(&self, token: LeaseToken, end: AttemptEnd) {
        let outcome = Outcome { token, reports: vec![], end };
        let answer = self.coordinator.finish(OutcomesRequest { outcomes: vec![outcome] }).await.unwrap();
        assert_eq!(answer.refused, []);
    }
}

fn register_request() -> RegisterRequest {
    RegisterRequest {
        host: "here".to_owned(),
        boot_id: "another".to_owned(),
        pid: 1,
        started_ticks: 1,
        slots: 2,
        version: "0".to_owned(),
    }
}

fn complete() -> AttemptEnd {
    AttemptEnd::Complete { record: TrialRecord::default() }
}

const COMMAND: &str = "command: [/bin/true]\nparameters: {x: [1, 2]}\n";

#[tokio::test]
async fn a_worker_that_waits_is_woken_by_a_submission() {
    let fixture = Fixture::new().await;
    fixture.submit("name: first\ncommand: [/bin/false]\nparameters: {}\n").await;
    let held = fixture.lease().await;
    assert_eq!(held.len(), 1);
    let waiting = tokio::spawn({
        let (coordinator, request) = (fixture.coordinator.clone(), fixture.ask(LONG));
        async move { coordinator.lease(&request).await.unwrap() }
    });
    fixture.submit(COMMAND).await;
    assert_eq!(waiting.await.unwrap().leases.len(), 2);
}

#[tokio::test]
async fn the_last_completion_tells_a_waiting_worker_that_the_queue_is_drained() {
    let fixture = Fixture::new().await;
    fixture.submit("command: [/bin/true]\nparameters: {}\n").await;
    let held = fixture.lease().await;
    let waiting = tokio::spawn({
        let (coordinator, request) = (fixture.coordinator.clone(), fixture.ask(LONG));
        async move { coordinator.lease(&request).await.unwrap() }
    });
    fixture.finish(held[0].token, complete()).await;
    assert!(waiting.await.unwrap().is_drained);
}

#[tokio::test]
async fn nothing_is_drained_while_a_job_is_leased() {
    let fixture = Fixture::new().await;
    fixture.submit(COMMAND).await;
    fixture.lease().await;
    let answer = fixture.coordinator.lease(&fixture.ask(0)).await.unwrap();
    assert_eq!((answer.leases.len(), answer.is_drained), (0, false));
}

#[tokio::test]
async fn an_expired_lease_is_ended_and_leased_again() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit(COMMAND).await;
    let first = fixture.lease().await;
    fixture.clock.advance(LEASE);
    fixture.coordinator.expire_overdue().await.unwrap();
    let again = fixture.lease().await;
    assert_eq!(again.len(), 2);
    assert_eq!(again[0].token.attempt.0, first[0].token.attempt.0 + 1);
    let late = Outcome { token: first[0].token, reports: vec![], end: complete() };
    let answer = fixture.coordinator.finish(OutcomesRequest { outcomes: vec![late] }).await.unwrap();
    assert_eq!(answer.refused[0].token, first[0].token);
    let results = fixture.coordinator.results(sweep).await.unwrap();
    assert!(results.trials.iter().all(|trial| trial.state == TrialState::Running));
    check_invariants(&fixture.coordinator.store).await;
}

#[tokio::test]
async fn a_wrong_spec_stores_nothing() {
    let fixture = Fixture::new().await;
    for spec in [
        "parameters: {lr: []}",
        "parameters: {}\ntrainer: resnet\n",
        "command: [x]\nparameters: {a: 1, a: 2}",
    ] {
        assert!(fixture.coordinator.submit(&fixture.spec(spec)).await.is_err(), "{spec}");
    }
    assert_eq!(fixture.coordinator.status().await.unwrap().sweeps, []);
}

#[tokio::test]
async fn an_argument_that_no_program_can_be_given_is_refused_before_anything_is_stored() {
    let fixture = Fixture::new().await;
    let spec = "command: [echo, '--name={{name}}']\nparameters: {name: [fine, \"a\\0b\"]}\n";
    let error = fixture.coordinator.submit(&fixture.spec(spec)).await.unwrap_err();
    let expected = "trial 2: the argument `--name=a\\0b` has a NUL character, which no argument of a program can have; \
                    remove it";
    assert_eq!(error.to_string(), expected);
    assert_eq!(fixture.coordinator.status().await.unwrap().sweeps, []);
    // Where it is no argument it does no harm: parameters are handed over as JSON.
    fixture.submit("command: [echo]\nparameters: {name: \"a\\0b\"}\n").await;
}

#[tokio::test]
async fn a_changed_script_makes_a_new_sweep_and_an_unchanged_one_does_not() {
    let fixture = Fixture::new().await;
    let script = fixture.folder.path().join("train.sh");
    for spec in [
        "command: [sh, train.sh]\nparameters: {}\n",
        "command: [sh, '{{script}}']\nparameters: {script: train.sh}\n",
        "command: [sh, --script=train.sh]\nparameters: {}\n",
    ] {
        std::fs::write(&script, "exit 0").unwrap();
        let first = fixture.submit(spec).await;
        assert_eq!(fixture.submit(spec).await, first);
        std::fs::write(&script, "exit 1").unwrap();
        assert_ne!(fixture.submit(spec).await, first, "{spec}");
    }
}

#[tokio::test]
async fn a_finished_sweep_shows_as_succeeded() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit(COMMAND).await;
    for lease in fixture.lease().await {
        fixture.finish(lease.token, complete()).await;
    }
    let status = fixture.coordinator.status().await.unwrap();
    assert_eq!((status.sweeps[0].id, status.sweeps[0].state), (sweep, SweepState::Succeeded));
    assert_eq!(status.sweeps[0].trials.succeeded, 2);
    check_invariants(&fixture.coordinator.store).await;
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.coordinator.results(SweepId(7)).await.unwrap_err().to_string(), "there is no sweep 7");
    let stranger = LeaseRequest { worker: WorkerId(99), ..fixture.ask(0) };
    fixture.submit(COMMAND).await;
    assert!(matches!(
        fixture.coordinator.lease(&stranger).await,
        Err(CoordinatorError::NoSuchWorker(WorkerId(99)))
    ));
}

#[test]
fn a_coordinator_that_was_away_listens_for_a_whole_lease_before_it_expires_any() {
    let seconds = |n: i64| Timestamp(n * 1000);
    let mut presence = Presence::since(seconds(0));
    let listened: Vec<u64> =
        [10, 20, 30, 600, 610].map(|n| presence.at(seconds(n), LEASE).as_secs()).into_iter().collect();
    assert_eq!(listened, [10, 20, 30, 0, 10]);
}
