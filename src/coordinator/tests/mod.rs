//! A coordinator with a clock that is moved by hand. Its waits are real: what is tested is that they end.

mod artifacts;
mod insight;
mod logs;
mod selection;
mod slurm;

use std::time::Duration;

use super::*;
use crate::protocol::http::{
    self, AttemptEnd, Lease, LeaseToken, NodeLoad, Outcome, PROTOCOL, SweepState, TrialState,
};
use crate::protocol::trial::TrialRecord;
use crate::store::tests::check_invariants;
use crate::vocabulary::Timestamp;

const LEASE: Duration = Duration::from_secs(60);

/// Longer than any test takes: who waits this long waits for ever.
const LONG: u64 = 30_000;

pub(super) struct Fixture {
    pub(super) coordinator: Coordinator,
    clock: Clock,
    worker: WorkerId,
    folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("sweep.db")).await.unwrap();
        let clock = Clock::manual(Timestamp(1_000_000));
        let settings = Settings {
            lease: LEASE,
            datasets: folder.path().join("datasets"),
            artifacts: folder.path().join("artifacts"),
            state: folder.path().to_owned(),
            logs: folder.path().join("logs"),
        };
        let coordinator = Coordinator::new(store, clock.clone(), settings);
        let worker = coordinator.register(RegisterRequest::of_test()).await.unwrap().worker;
        Fixture { coordinator, clock, worker, folder }
    }

    /// Ends the coordinator and starts another one on the same table.
    async fn start_anew(&mut self) {
        let settings = self.coordinator.settings.clone();
        self.coordinator.clone().close().await;
        let store = Store::open(&self.database()).await.unwrap();
        self.coordinator = Coordinator::new(store, self.clock.clone(), settings);
        self.coordinator.take_over().await.unwrap();
    }

    pub(super) fn database(&self) -> PathBuf {
        self.folder.path().join("sweep.db")
    }

    fn spec(&self, spec: &str) -> SubmitRequest {
        SubmitRequest {
            spec: spec.to_owned(),
            source_name: "s.yaml".to_owned(),
            working_directory: self.folder.path().display().to_string(),
            ..SubmitRequest::default()
        }
    }

    pub(super) async fn submit(&self, spec: &str) -> SweepId {
        self.coordinator.submit(&self.spec(spec)).await.unwrap().sweep
    }

    fn ask(&self, wait_millis: u64) -> LeaseRequest {
        LeaseRequest { worker: self.worker, sweep: None, most: 8, wait_millis }
    }

    pub(super) async fn lease(&self) -> Vec<Lease> {
        self.coordinator.lease(&self.ask(0)).await.unwrap().leases
    }

    pub(super) async fn finish(&self, token: LeaseToken, end: AttemptEnd) {
        let outcome = Outcome { token, reports: vec![], end };
        let answer = self.coordinator.finish(OutcomesRequest { outcomes: vec![outcome] }).await.unwrap();
        assert_eq!(answer.refused, []);
    }
}

pub(super) fn complete() -> AttemptEnd {
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
async fn a_script_that_was_changed_on_the_host_from_which_it_is_submitted_is_another() {
    let fixture = Fixture::new().await;
    let with = |checksum: &str| SubmitRequest {
        working_directory: "/not/to/be/seen/from/here".to_owned(),
        code: Some(http::Code {
            files: [("run.py".to_owned(), checksum.to_owned())].into(),
            ..Default::default()
        }),
        ..fixture.spec("command: [python3, run.py]")
    };
    let first = fixture.coordinator.submit(&with("a")).await.unwrap();
    assert!(fixture.coordinator.submit(&with("a")).await.unwrap().is_existing);
    let changed = fixture.coordinator.submit(&with("b")).await.unwrap();
    assert_eq!((changed.is_existing, changed.jobs_new), (false, 1));
    assert_ne!(changed.sweep, first.sweep);
}

#[tokio::test]
async fn a_program_that_is_submitted_again_with_other_cpus_takes_these_from_then_on() {
    let fixture = Fixture::new().await;
    let spec = "command: [/bin/true]\nparameters: {x: [1, 2]}\nresources: {cpus: 2}\n";
    let sweep = fixture.submit(spec).await;
    let ask = LeaseRequest { most: 1, ..fixture.ask(0) };
    assert_eq!(fixture.coordinator.lease(&ask).await.unwrap().leases[0].cpus, 2);
    assert_eq!(fixture.submit(&spec.replace("cpus: 2", "cpus: 4")).await, sweep);
    assert_eq!(fixture.coordinator.lease(&ask).await.unwrap().leases[0].cpus, 4);
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
async fn what_a_node_is_doing_shows_until_its_worker_leaves() {
    let fixture = Fixture::new().await;
    let beat = |node| HeartbeatRequest { worker: fixture.worker, leases: vec![], node, problem: None };
    let shown = async || fixture.coordinator.status().await.unwrap().workers.remove(0).node;
    assert_eq!(shown().await, None);
    let load = NodeLoad { load: Some(1.5), ..NodeLoad::default() };
    fixture.coordinator.heartbeat(&beat(Some(load.clone()))).await.unwrap();
    assert_eq!(shown().await, Some(load.clone()));
    // A heartbeat without says nothing new.
    fixture.coordinator.heartbeat(&beat(None)).await.unwrap();
    assert_eq!(shown().await, Some(load));
    fixture.coordinator.leave(fixture.worker).await.unwrap();
    assert_eq!(fixture.coordinator.status().await.unwrap().workers, []);
    assert_eq!(fixture.coordinator.loads.of(fixture.worker).node, None);
}

fn fail() -> AttemptEnd {
    AttemptEnd::Fail {
        reason: crate::vocabulary::FailureReason::Exit(1),
        message: "no such module".to_owned(),
        log_tail: String::new(),
    }
}

#[tokio::test]
async fn a_node_on_which_jobs_keep_failing_gets_hardly_any_while_another_one_does_better() {
    let fixture = Fixture::new().await;
    fixture.submit("command: [/bin/true]\nretries: 0\nparameters: {x: {range: [1, 30]}}\n").await;
    let other = RegisterRequest { host: "there".to_owned(), ..RegisterRequest::of_test() };
    let other = fixture.coordinator.register(other).await.unwrap().worker;
    let ask = LeaseRequest { worker: other, most: 1, ..fixture.ask(0) };
    let well = fixture.coordinator.lease(&ask).await.unwrap().leases;
    fixture.finish(well[0].token, complete()).await;
    for lease in fixture.lease().await.into_iter().take(5) {
        fixture.finish(lease.token, fail()).await;
    }
    assert_eq!(fixture.lease().await, [], "it is in quarantine");
    let problem_of = async |worker| {
        let workers = fixture.coordinator.status().await.unwrap().workers;
        workers.into_iter().find(|status| status.id == worker).unwrap().problem
    };
    assert!(problem_of(fixture.worker).await.unwrap().contains("`sweep worker release here`"));
    assert_eq!(problem_of(other).await, None);
    // It waits in vain and is not asked for in a busy loop, and the other one works.
    assert_eq!(fixture.coordinator.lease(&ask).await.unwrap().leases.len(), 1);

    // After some minutes it gets one job, which goes well.
    fixture.clock.advance(Duration::from_secs(300));
    assert_eq!(fixture.coordinator.lease(&ask).await.unwrap().leases.len(), 1, "the other one is at work");
    let probe = fixture.lease().await;
    assert_eq!((probe.len(), fixture.lease().await.len()), (1, 0));
    fixture.finish(probe[0].token, complete()).await;
    assert_eq!(problem_of(fixture.worker).await, None);
    assert_eq!(fixture.lease().await.len(), 8);
    assert!(!fixture.coordinator.release_node("here").await.unwrap());
    check_invariants(&fixture.coordinator.store).await;
}

#[tokio::test]
async fn a_quarantine_outlasts_the_coordinator() {
    let mut fixture = Fixture::new().await;
    fixture.submit("command: [/bin/true]\nretries: 0\nparameters: {x: {range: [1, 30]}}\n").await;
    let other = RegisterRequest { host: "there".to_owned(), ..RegisterRequest::of_test() };
    let other = fixture.coordinator.register(other).await.unwrap().worker;
    for lease in fixture.lease().await.into_iter().take(5) {
        fixture.finish(lease.token, fail()).await;
    }
    let ask = LeaseRequest { worker: other, most: 1, ..fixture.ask(0) };
    let held = fixture.coordinator.lease(&ask).await.unwrap().leases;
    fixture.start_anew().await;
    // What the other one was given before goes well, and so it is better.
    fixture.finish(held[0].token, complete()).await;
    assert_eq!((fixture.lease().await.len(), fixture.lease().await.len()), (1, 0));
    assert!(fixture.coordinator.release_node("here").await.unwrap());
    fixture.start_anew().await;
    assert_eq!(fixture.lease().await.len(), 8);
    assert!(!fixture.coordinator.release_node("here").await.unwrap());
}

#[tokio::test]
async fn a_broken_sweep_is_not_held_up_by_a_worker_of_another_sweep() {
    let fixture = Fixture::new().await;
    let broken =
        fixture.submit("command: [/bin/false]\nretries: 0\nparameters: {x: {range: [1, 9]}}\n").await;
    let sound = fixture.submit("command: [/bin/true]\nparameters: {x: {range: [1, 9]}}\n").await;
    let other = RegisterRequest { host: "there".to_owned(), ..RegisterRequest::of_test() };
    let other = fixture.coordinator.register(other).await.unwrap().worker;
    let ask = LeaseRequest { worker: other, sweep: Some(sound), ..fixture.ask(0) };
    for lease in fixture.coordinator.lease(&ask).await.unwrap().leases {
        fixture.finish(lease.token, complete()).await;
    }
    let ask = LeaseRequest { sweep: Some(broken), ..fixture.ask(0) };
    for expected in [8, 1] {
        let leases = fixture.coordinator.lease(&ask).await.unwrap().leases;
        assert_eq!(leases.len(), expected);
        for lease in leases {
            fixture.finish(lease.token, fail()).await;
        }
    }
    assert!(fixture.coordinator.lease(&ask).await.unwrap().is_drained);
}

#[tokio::test]
async fn a_worker_that_fell_silent_is_forgotten() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker;
    assert!(fixture.coordinator.nodes.knows(worker));
    fixture.clock.advance(LEASE * SILENT_LEASES);
    fixture.coordinator.expire_overdue().await.unwrap();
    assert_eq!(fixture.coordinator.status().await.unwrap().workers, []);
    assert!(!fixture.coordinator.nodes.knows(worker));
    // It comes back under its name.
    let beat = HeartbeatRequest { worker, leases: vec![], node: None, problem: None };
    fixture.coordinator.heartbeat(&beat).await.unwrap();
    fixture.submit(COMMAND).await;
    assert_eq!(fixture.lease().await.len(), 2);
    assert!(fixture.coordinator.nodes.knows(worker));
}

#[tokio::test]
async fn a_worker_of_another_protocol_is_told_so_and_not_noted() {
    let fixture = Fixture::new().await;
    let before = fixture.coordinator.status().await.unwrap().workers.len();
    let mut older = serde_json::to_value(RegisterRequest::of_test()).unwrap();
    older.as_object_mut().unwrap().remove("protocol");
    let refused = fixture.coordinator.register(serde_json::from_value(older).unwrap()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the worker on `here` (sweep-worker 0) speaks protocol 0, this coordinator (sweep {}) protocol {PROTOCOL}",
            env!("CARGO_PKG_VERSION")
        )
    );
    assert_eq!(fixture.coordinator.status().await.unwrap().workers.len(), before);
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

#[tokio::test]
async fn a_coordinator_that_is_about_to_end_keeps_nobody_waiting() {
    let fixture = Fixture::new().await;
    fixture.submit("command: [/bin/true]\nparameters: {}\n").await;
    fixture.lease().await;
    let waiting = tokio::spawn({
        let (coordinator, request) = (fixture.coordinator.clone(), fixture.ask(LONG));
        async move { coordinator.lease(&request).await.unwrap() }
    });
    fixture.coordinator.stop_waiting();
    let nothing = LeaseResponse { leases: vec![], is_drained: false };
    assert_eq!(waiting.await.unwrap(), nothing);
    assert_eq!(fixture.coordinator.lease(&fixture.ask(LONG)).await.unwrap(), nothing);
}
