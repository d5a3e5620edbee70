//! The real `sweep-worker` against a coordinator of the test's: real processes, real signals.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod coordinator;
mod limits;
mod node;
mod remote;
mod until;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use coordinator::{Coordinator, TOKEN, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sweep::protocol::http::{AttemptEnd, CommandStage, CommandWork, Lease, LeaseToken, Limits, Report, Work};
use sweep::protocol::trial::{Checkpoint, TrainRequest};
use sweep::vocabulary::{Attempt, FailureReason, JobId, Nonce, Parameters, TrialNumber};
use tempfile::TempDir;

/// A coordinator, an agent's folders and the agent itself, which is killed at the end.
struct Scene {
    coordinator: Coordinator,
    folder: TempDir,
    agent: Option<Child>,
}

impl Scene {
    fn new() -> Scene {
        Scene { coordinator: Coordinator::start(), folder: tempfile::tempdir().unwrap(), agent: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        std::fs::write(self.path("token"), format!("{TOKEN}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep-worker"));
        command.args(["--coordinator", &self.coordinator.url, "--cpu-slots", "2"]);
        command.arg("--token-file").arg(self.path("token"));
        command.arg("--state-dir").arg(self.path("state")).arg("--datasets").arg(self.path("datasets"));
        // A token in the environment counts only without a file, and is nothing that trials should see.
        command.env("SWEEP_TOKEN", "another").args(arguments).stdin(Stdio::null());
        command
    }

    fn start(&mut self, arguments: &[&str]) {
        self.agent = Some(self.command(arguments).spawn().unwrap());
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.agent_pid(), signal).unwrap();
    }

    fn agent_pid(&self) -> Pid {
        let id = self.agent.as_ref().unwrap().id();
        Pid::from_raw(id.cast_signed()).unwrap()
    }

    fn wait(&mut self) -> ExitStatus {
        // It stays in its place until then, so that one that doesn't end is killed with the scene.
        let agent = self.agent.as_mut().unwrap();
        let mut status = None;
        eventually("the agent has ended", || {
            status = agent.try_wait().unwrap();
            status.is_some()
        });
        self.agent = None;
        status.unwrap()
    }

    /// Queues jobs, numbered from 1, and lets the agent run them all.
    fn run_all(&mut self, work: Vec<Work>, arguments: &[&str]) {
        self.coordinator.change(|facts| {
            facts.queue.extend(work.into_iter().zip(1..).map(|(work, job)| lease(job, work)));
            facts.is_drained = true;
        });
        let mut arguments = arguments.to_vec();
        arguments.push("--until-drained");
        self.start(&arguments);
        assert!(self.wait().success());
        assert!(self.coordinator.facts().has_left);
    }

    fn end_of(&self, job: i64) -> AttemptEnd {
        let facts = self.coordinator.facts();
        let ends: Vec<&AttemptEnd> =
            facts.ends.iter().filter(|(token, _)| *token == self::token(job)).map(|(_, end)| end).collect();
        assert_eq!(ends.len(), 1, "job {job} has ends {ends:?}");
        ends[0].clone()
    }

    fn failure_of(&self, job: i64) -> (FailureReason, String, String) {
        match self.end_of(job) {
            AttemptEnd::Fail { reason, message, log_tail } => (reason, message, log_tail),
            other => panic!("job {job} ended with {other:?}"),
        }
    }

    fn log_of(&self, job: i64) -> String {
        std::fs::read_to_string(self.path(&format!("state/logs/job-{job}-attempt-1.log"))).unwrap()
    }

    /// Waits until the program wrote its process id to this file.
    fn pid_in(&self, name: &str) -> i32 {
        let path = self.path(name);
        let read = || std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'));
        eventually("the program has started", || read().is_some());
        read().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

fn token(job: i64) -> LeaseToken {
    LeaseToken { job: JobId(job), attempt: Attempt(1), nonce: Nonce(7) }
}

fn lease(job: i64, work: Work) -> Lease {
    let limits = Limits::default();
    Lease { token: token(job), cpus: 1, gpus: None, limits, keeps_checkpoints: false, work }
}

fn program(command: &[&str]) -> Work {
    Work::Command(CommandWork {
        command: command.iter().map(|&part| part.to_owned()).collect(),
        working_directory: "/".to_owned(),
        code: None,
        parameters: Parameters::from([("lr".to_owned(), json!(0.1))]),
        seed: 7,
        trial: TrialNumber(3),
        stage: None,
    })
}

fn shell(script: &str) -> Work {
    program(&["sh", "-c", script])
}

fn training(seed: u64) -> Work {
    Work::Resnet(TrainRequest {
        parameters: Parameters::new(),
        seed,
        dataset_checksum: String::new(),
        first_epoch: 1,
        last_epoch: 2,
        teachers: Default::default(),
        resume: None,
    })
}

/// Writes a script that can be started. Another process writes it: a file that is open for writing can't be
/// started, and a child that a test beside this one forks would hold ours open for a moment.
fn write_script(path: &Path, text: &str) {
    let write = r#"printf '%s' "$1" > "$2" && chmod +x "$2""#;
    let status = Command::new("sh").args(["-c", write, "sh", text]).arg(path).status().unwrap();
    assert!(status.success());
}

/// A process that nobody has waited for is gone all the same.
fn is_gone(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

#[test]
fn programs_run_with_their_environment_and_their_reports_arrive() {
    let mut scene = Scene::new();
    let script = r#"printf '{"trial": %s, "seed": %s}\n' "$SWEEP_TRIAL" "$SWEEP_SEED" >> "$SWEEP_REPORT"
                    printf '{"epoch": 5, "top1": 91.5}' >> "$SWEEP_REPORT"
                    echo "params $SWEEP_PARAMS token ${SWEEP_TOKEN-none}"; echo "in $PWD" >&2"#;
    scene.run_all(vec![shell(script)], &[]);
    let AttemptEnd::Complete { record } = scene.end_of(1) else { panic!("not complete") };
    assert!(record.wall_seconds > 0.0);
    assert_eq!(scene.log_of(1), "params {\"lr\":0.1} token none\nin /\n");
    let facts = scene.coordinator.facts();
    let reports: Vec<_> = facts.reports.iter().map(|report| (report.epoch, &report.metrics)).collect();
    assert_eq!(reports.len(), 2);
    assert_eq!((reports[0].0, reports[0].1["trial"], reports[0].1["seed"]), (1, 3.0, 7.0));
    assert_eq!((reports[1].0, reports[1].1["top1"]), (5, 91.5));
    let spool = std::fs::read_dir(scene.path("state/spool")).unwrap();
    assert_eq!(spool.count(), 0, "the spool is left empty");
}

#[test]
fn reports_arrive_while_the_program_runs() {
    let mut scene = Scene::new();
    let script = r#"echo '{"top1": 1}' >> "$SWEEP_REPORT"; exec sleep 600"#;
    scene.coordinator.change(|facts| facts.queue.push_back(lease(1, shell(script))));
    scene.start(&[]);
    scene.coordinator.wait_until("the report is there", |facts| facts.reports.len() == 1);
    assert!(scene.coordinator.facts().ends.is_empty());
}

#[test]
fn the_ways_in_which_a_program_fails_are_told_apart() {
    let mut scene = Scene::new();
    let work = vec![
        shell("echo why; exit 3"),
        shell("kill -9 $$"),
        program(&["/no/such/program"]),
        program(&["/etc/passwd"]),
        program(&[]),
        shell("echo '{\"top1\": \"high\"}' >> \"$SWEEP_REPORT\""),
        Work::Command(CommandWork {
            command: vec!["true".to_owned()],
            working_directory: "/no/such/folder".to_owned(),
            code: None,
            parameters: Parameters::new(),
            seed: 0,
            trial: TrialNumber(1),
            stage: None,
        }),
        program(&["true"]),
    ];
    scene.run_all(work, &[]);
    let (reason, message, log_tail) = scene.failure_of(1);
    assert_eq!((reason, log_tail.as_str()), (FailureReason::Exit(3), "why\n"));
    assert_eq!(message, "`sh` ended with exit code 3");
    assert_eq!(scene.failure_of(2).0, FailureReason::Signal(9));
    for (job, words) in [
        (3, "can't start `/no/such/program`"),
        (4, "can't start `/etc/passwd`"),
        (5, "the command is empty"),
        (6, "`top1` is not a finite number: `{\"top1\": \"high\"}`"),
        (7, "its working directory is no folder"),
    ] {
        let (reason, message, _) = scene.failure_of(job);
        assert_eq!(reason, FailureReason::BadConfig, "job {job}");
        assert!(message.contains(words), "job {job}: {message}");
    }
    assert!(matches!(scene.end_of(8), AttemptEnd::Complete { .. }), "the agent goes on after failures");
    assert!(!scene.path("state/logs/job-8-attempt-1.log").exists(), "no output, no log");
}

fn stage(script: &str, epochs: (u32, u32), load: Option<Checkpoint>) -> Work {
    let Work::Command(work) = shell(script) else { panic!("not a command") };
    let stage = CommandStage { first_epoch: epochs.0, last_epoch: epochs.1, load, must_save: true };
    Work::Command(CommandWork { stage: Some(stage), ..work })
}

/// Adds its epochs to what it loads, and reports the first of them.
const STAGE: &str = r#"touch "$SWEEP_SAVE"; if [ -n "$SWEEP_LOAD" ]; then cat "$SWEEP_LOAD" > "$SWEEP_SAVE"; fi
                       echo "$SWEEP_FIRST_EPOCH to $SWEEP_LAST_EPOCH" >> "$SWEEP_SAVE"
                       echo '{"a": 1}' >> "$SWEEP_REPORT""#;

#[test]
fn a_stage_goes_on_from_what_the_one_before_left() {
    let mut scene = Scene::new();
    let kept = |scene: &Scene, checkpoint: &Checkpoint| {
        std::fs::read_to_string(scene.path(&format!("state/artifacts/{}.safetensors", checkpoint.hash)))
            .unwrap()
    };
    scene.run_all(vec![stage(STAGE, (1, 30), None)], &[]);
    let reports = reports_of(&scene);
    let checkpoint = reports[1].2.clone().unwrap();
    assert_eq!((reports[0].0, reports[1].0, checkpoint.epoch), (1, 30, 30));
    assert_eq!(kept(&scene, &checkpoint), "1 to 30\n");

    let gone = Checkpoint { hash: "0".repeat(64), ..checkpoint.clone() };
    let work = [
        stage(STAGE, (31, 50), Some(checkpoint)),
        stage(STAGE, (31, 60), Some(gone)),
        stage("true", (31, 50), None),
    ];
    scene.coordinator.change(|facts| {
        facts.reports.clear();
        facts.queue.extend(work.into_iter().zip(2..).map(|(work, job)| lease(job, work)));
    });
    scene.start(&["--until-drained"]);
    assert!(scene.wait().success());
    let mut reports = reports_of(&scene);
    reports.sort_by_key(|report| report.0);
    // The program whose checkpoint is lost begins with epoch 1, and what it reports of that is another job's.
    assert_eq!(reports.iter().map(|report| report.0).collect::<Vec<_>>(), [31, 50, 60]);
    let texts = reports.iter().filter_map(|report| Some(kept(&scene, report.2.as_ref()?)));
    assert_eq!(texts.collect::<Vec<_>>(), ["1 to 30\n31 to 50\n", "1 to 60\n"]);
    let (reason, message, _) = scene.failure_of(4);
    assert_eq!(reason, FailureReason::BadConfig);
    assert!(message.contains("wrote no file to `SWEEP_SAVE`"), "{message}");
}

#[test]
fn a_report_that_cant_be_read_ends_its_program_at_once() {
    let mut scene = Scene::new();
    let script = format!(
        r#"echo $$ > {}; echo "still at work"; echo "top1=91" >> "$SWEEP_REPORT"; exec sleep 600"#,
        scene.path("pid").display()
    );
    scene.run_all(vec![shell(&script)], &[]);
    let (reason, message, log_tail) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::BadConfig);
    assert!(message.contains("`top1=91`"), "{message}");
    assert!(log_tail.starts_with("still at work\n"), "{log_tail}");
    assert!(is_gone(scene.pid_in("pid")));
}

#[test]
fn the_first_signal_releases_the_leases_and_the_agent_ends_in_order() {
    for signal in [Signal::TERM, Signal::INT, Signal::USR1] {
        let mut scene = Scene::new();
        let pid_file = scene.path("pid");
        // It ends well when asked to, which must not be taken for having finished.
        let script =
            format!("trap 'exit 0' TERM; echo $$ > {}; while :; do sleep 1; done", pid_file.display());
        scene.coordinator.change(|facts| facts.queue.push_back(lease(1, shell(&script))));
        scene.start(&[]);
        let pid = scene.pid_in("pid");
        scene.signal(signal);
        assert!(scene.wait().success());
        assert_eq!(scene.end_of(1), AttemptEnd::Release);
        assert!(scene.coordinator.facts().has_left);
        assert!(is_gone(pid));
    }
}

#[test]
fn a_program_that_ignores_the_signal_is_killed_after_the_grace() {
    let mut scene = Scene::new();
    let script =
        format!("trap '' TERM; echo $$ > {}; while :; do sleep 1; done", scene.path("pid").display());
    scene.coordinator.change(|facts| facts.queue.push_back(lease(1, shell(&script))));
    scene.start(&["--grace", "0"]);
    let pid = scene.pid_in("pid");
    scene.signal(Signal::TERM);
    assert!(scene.wait().success());
    assert_eq!(scene.end_of(1), AttemptEnd::Release);
    assert!(is_gone(pid));
}

#[test]
fn the_second_signal_does_not_wait_for_the_grace() {
    let mut scene = Scene::new();
    let script =
        format!("trap '' TERM; echo $$ > {}; while :; do sleep 1; done", scene.path("pid").display());
    scene.coordinator.change(|facts| facts.queue.push_back(lease(1, shell(&script))));
    scene.start(&["--grace", "86400"]);
    let pid = scene.pid_in("pid");
    scene.signal(Signal::TERM);
    // Two signals of one kind that are both pending are one.
    scene.signal(Signal::INT);
    assert!(scene.wait().success());
    assert_eq!(scene.end_of(1), AttemptEnd::Release);
    assert!(is_gone(pid));
}

#[test]
fn no_trial_process_outlives_an_agent_that_is_killed() {
    let mut scene = Scene::new();
    let trainer = scene.path("trainer");
    let pids = [scene.path("program.pid"), scene.path("trainer.pid")];
    write_script(&trainer, &format!("#!/bin/sh\necho $$ > {}\nexec sleep 600\n", pids[1].display()));
    let script = format!("echo $$ > {}; exec sleep 600", pids[0].display());
    scene.coordinator.change(|facts| facts.queue.extend([lease(1, shell(&script)), lease(2, training(1))]));
    scene.start(&["--trainer", trainer.to_str().unwrap()]);
    let pids = [scene.pid_in("program.pid"), scene.pid_in("trainer.pid")];
    assert!(pids.iter().all(|&pid| !is_gone(pid)));
    scene.signal(Signal::KILL);
    scene.wait();
    eventually("both are gone", || pids.iter().all(|&pid| is_gone(pid)));
    assert!(scene.coordinator.facts().ends.is_empty());
}

#[test]
fn a_lease_that_was_lost_ends_its_trial_silently_and_frees_the_slot() {
    let mut scene = Scene::new();
    let script = format!("echo $$ > {}; exec sleep 600", scene.path("pid").display());
    scene.coordinator.change(|facts| facts.queue.push_back(lease(1, shell(&script))));
    scene.start(&[]);
    let pid = scene.pid_in("pid");
    scene.coordinator.wait_until("the lease is in a heartbeat", |facts| {
        facts.heartbeats.iter().any(|heartbeat| heartbeat.leases == [token(1)])
    });
    scene.coordinator.change(|facts| facts.lost.push(token(1)));
    eventually("the program is gone", || is_gone(pid));
    // Both slots are free: two jobs that wait for each other can run.
    let meet = |mine: &str, other: &str| {
        let (mine, other) = (scene.path(mine), scene.path(other));
        shell(&format!("touch {}; until [ -e {} ]; do sleep 0.01; done", mine.display(), other.display()))
    };
    let pair = [lease(2, meet("a", "b")), lease(3, meet("b", "a"))];
    scene.coordinator.change(|facts| facts.queue.extend(pair));
    scene.coordinator.wait_until("both are done", |facts| facts.ends.len() == 2);
    let facts = scene.coordinator.facts();
    assert!(facts.ends.iter().all(|(ended, _)| *ended != token(1)), "a lost job has no end");
}

const FAKE_TRAINER: &str = r#"#!/bin/sh
echo "started with $*" >&2
echo '{"type": "ready"}'
while read -r request; do
    case "$request" in
    *'"seed":13'*) echo "out of luck" >&2; exit 4 ;;
    *'"seed":14'*) echo '{"type": "failed", "reason": "nan", "message": "the loss is not finite"}'; continue ;;
    *'"seed":15'*) echo 'Segmentation fault'; continue ;;
    esac
    echo "working" >&2
    echo '{"type": "report", "epoch": 1, "metrics": {"top1": 50.5}}'
    printf '{"type": "done", "record": {"device": "%s", "wall_seconds": 1.5}}\n' "$$"
done
"#;

/// One CPU slot, so that all jobs meet the same trainer.
fn run_trainings(scene: &mut Scene, seeds: &[u64]) {
    let trainer = scene.path("trainer");
    write_script(&trainer, FAKE_TRAINER);
    let leases = seeds.iter().zip(1..).map(|(&seed, job)| Lease { cpus: 2, ..lease(job, training(seed)) });
    scene.coordinator.change(|facts| {
        facts.queue.extend(leases);
        facts.is_drained = true;
    });
    scene.start(&["--until-drained", "--trainer", trainer.to_str().unwrap()]);
    assert!(scene.wait().success());
}

#[test]
fn a_trainer_stays_warm_for_the_next_job() {
    let mut scene = Scene::new();
    run_trainings(&mut scene, &[1, 2]);
    let (AttemptEnd::Complete { record: first }, AttemptEnd::Complete { record: second }) =
        (scene.end_of(1), scene.end_of(2))
    else {
        panic!("not complete");
    };
    assert_eq!(first.device, second.device, "both ran in the same process");
    let (datasets, artifacts) = (scene.path("datasets"), scene.path("state/artifacts"));
    let arguments = format!("--datasets {} --checkpoints {}", datasets.display(), artifacts.display());
    assert_eq!(scene.log_of(1), format!("started with {arguments}\nworking\n"));
    assert!(artifacts.is_dir());
    assert_eq!(scene.log_of(2), "working\n");
    let facts = scene.coordinator.facts();
    let reported: Vec<_> = facts.reports.iter().map(|report| (report.token, report.epoch)).collect();
    assert_eq!(reported, [(token(1), 1), (token(2), 1)]);
}

#[test]
fn a_trainer_that_dies_or_talks_nonsense_fails_its_job_and_the_next_one_gets_a_fresh_process() {
    let mut scene = Scene::new();
    run_trainings(&mut scene, &[1, 13, 2, 15, 3, 14, 4]);
    let device = |job| match scene.end_of(job) {
        AttemptEnd::Complete { record } => record.device,
        other => panic!("job {job} ended with {other:?}"),
    };
    let (reason, message, log_tail) = scene.failure_of(2);
    assert_eq!((reason, log_tail.as_str()), (FailureReason::Exit(4), "out of luck\n"));
    assert_eq!(message, "`sweep-trainer` ended with exit code 4 before the job was done");
    assert_ne!(device(1), device(3), "after a death");
    let (reason, message, _) = scene.failure_of(4);
    assert_eq!(reason, FailureReason::BadConfig);
    assert!(message.contains("`Segmentation fault`"), "{message}");
    assert_ne!(device(3), device(5), "after nonsense");
    let (reason, message, _) = scene.failure_of(6);
    assert_eq!((reason, message.as_str()), (FailureReason::Nan, "the loss is not finite"));
    assert_eq!(device(5), device(7), "a job that failed leaves the process warm");
}

/// Reports an epoch with a checkpoint, and at SIGTERM stops with a later one. It says which process it is once its job
/// is under way.
const STOPPABLE_TRAINER: &str = r#"#!/bin/sh
checkpoint() { printf '{"hash": "%064d", "epoch": 1, "step": %d, "size_bytes": 10}' "$1" "$1"; }
trap 'is_stopped=1' TERM
echo '{"type": "ready"}'
while read -r request; do
    echo "$request" >&2
    is_stopped=
    printf '{"type": "report", "epoch": 1, "metrics": {"top1": 50.5}, "checkpoint": %s}\n' "$(checkpoint 0)"
    echo $$ > "$0.pid"
    while [ -z "$is_stopped" ]; do sleep 0.01; done
    rm "$0.pid"
    printf '{"type": "stopped", "checkpoint": %s}\n' "$(checkpoint 7)"
done
"#;

fn checkpoint(digit: u32) -> Checkpoint {
    Checkpoint { hash: format!("{digit:064}"), epoch: 1, step: digit, size_bytes: 10 }
}

/// What arrived of reports: epochs, whether with metrics, and checkpoints.
fn reports_of(scene: &Scene) -> Vec<(u32, bool, Option<Checkpoint>)> {
    scene.coordinator.facts().reports.iter().map(outline).collect()
}

fn reports_of_job(scene: &Scene, job: i64) -> Vec<(u32, bool, Option<Checkpoint>)> {
    let facts = scene.coordinator.facts();
    facts.reports.iter().filter(|report| report.token == token(job)).map(outline).collect()
}

fn outline(report: &Report) -> (u32, bool, Option<Checkpoint>) {
    (report.epoch, !report.metrics.is_empty(), report.checkpoint.clone())
}

#[test]
fn a_trainer_that_is_asked_to_stop_gives_its_state_back_together_with_the_job() {
    let mut scene = Scene::new();
    let trainer = scene.path("trainer");
    write_script(&trainer, STOPPABLE_TRAINER);
    let Work::Resnet(request) = training(1) else { panic!("no training") };
    let resuming = Work::Resnet(TrainRequest { resume: Some(checkpoint(3)), ..request });
    scene.coordinator.change(|facts| facts.queue.push_back(lease(1, resuming)));
    // A grace that no test waits for: the process lives on after it has stopped, and is not waited for.
    scene.start(&["--trainer", trainer.to_str().unwrap(), "--grace", "86400"]);
    let pid = scene.pid_in("trainer.pid");
    scene.coordinator.wait_until("the report is there", |facts| facts.reports.len() == 1);
    scene.signal(Signal::TERM);
    assert!(scene.wait().success());
    assert_eq!(scene.end_of(1), AttemptEnd::Release);
    assert_eq!(reports_of(&scene), [(1, true, Some(checkpoint(0))), (1, false, Some(checkpoint(7)))]);
    assert!(is_gone(pid));
    assert!(scene.log_of(1).contains(&checkpoint(3).hash), "the trainer is told where to go on");
}

#[test]
fn a_trainer_that_somebody_else_stops_is_preempted_and_stays_for_the_next_job() {
    let mut scene = Scene::new();
    let trainer = scene.path("trainer");
    write_script(&trainer, STOPPABLE_TRAINER);
    let leases = [1, 2].map(|job| Lease { cpus: 2, ..lease(job, training(1)) });
    scene.coordinator.change(|facts| facts.queue.extend(leases));
    scene.start(&["--trainer", trainer.to_str().unwrap()]);
    let mut pids = Vec::new();
    for job in 1..=2 {
        pids.push(scene.pid_in("trainer.pid"));
        kill_process(Pid::from_raw(pids[job - 1]).unwrap(), Signal::TERM).unwrap();
        scene.coordinator.wait_until("the job has ended", |facts| facts.ends.len() == job);
    }
    assert_eq!([scene.end_of(1), scene.end_of(2)], [AttemptEnd::Release, AttemptEnd::Release]);
    assert_eq!(pids[0], pids[1], "the process is still warm");
}

#[test]
fn a_checkpoint_without_a_proper_name_is_nonsense() {
    let mut scene = Scene::new();
    let trainer = scene.path("trainer");
    let report =
        r#"{"type": "stopped", "checkpoint": {"hash": "../x", "epoch": 1, "step": 0, "size_bytes": 1}}"#;
    write_script(&trainer, &format!("#!/bin/sh\nread -r request\necho '{report}'\nexec sleep 600\n"));
    scene.run_all(vec![training(1)], &["--trainer", trainer.to_str().unwrap()]);
    let (reason, message, _) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::BadConfig);
    assert!(message.contains("../x"), "{message}");
}

#[test]
fn a_missing_trainer_is_a_fault_of_the_node_and_says_how_to_build_it() {
    let mut scene = Scene::new();
    scene.run_all(vec![training(1)], &["--trainer", "/no/such/trainer"]);
    let (reason, message, _) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::NodeFault);
    assert!(message.contains("/no/such/trainer") && message.contains("cargo build"), "{message}");
}

#[test]
fn a_trainer_that_cant_be_loaded_is_a_fault_of_the_node() {
    let mut scene = Scene::new();
    let trainer = scene.path("trainer");
    write_script(&trainer, "#!/bin/sh\necho 'libtorch.so: cannot open shared object file' >&2\nexit 127\n");
    scene.run_all(vec![training(1)], &["--trainer", trainer.to_str().unwrap()]);
    let (reason, _, log_tail) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::NodeFault);
    assert!(log_tail.contains("libtorch.so"), "{log_tail}");
}

#[test]
fn a_coordinator_in_trouble_is_asked_again() {
    let mut scene = Scene::new();
    scene.coordinator.change(|facts| facts.faults = 3);
    scene.run_all(vec![program(&["true"]), program(&["true"])], &[]);
    assert_eq!(scene.coordinator.facts().ends.len(), 2);
}

#[test]
fn a_wrong_token_ends_the_agent_with_the_reason() {
    let scene = Scene::new();
    let mut command = scene.command(&[]);
    std::fs::write(scene.path("token"), "wrong").unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("wrong token"));
    assert!(scene.coordinator.facts().registered.is_none());
}

#[test]
fn an_agent_ends_with_its_parent() {
    let mut scene = Scene::new();
    let script = format!("echo $$ > {}; exec sleep 600", scene.path("pid").display());
    scene.coordinator.change(|facts| facts.queue.push_back(lease(1, shell(&script))));
    // The shell between us and the agent is the parent; it ends when its input does.
    let agent = scene.command(&["--exit-with-parent"]);
    let mut parent = Command::new("sh");
    parent.args(["-c", r#""$@" & read -r line"#, "sh"]).arg(agent.get_program()).args(agent.get_args());
    scene.agent = Some(parent.stdin(Stdio::piped()).spawn().unwrap());
    let pid = scene.pid_in("pid");
    drop(scene.agent.as_mut().unwrap().stdin.take());
    scene.coordinator.wait_until("the agent has left", |facts| facts.has_left);
    assert_eq!(scene.end_of(1), AttemptEnd::Release);
    assert!(is_gone(pid));
}

#[test]
fn a_thousand_tiny_programs_need_few_requests() {
    let mut scene = Scene::new();
    scene.run_all(vec![program(&["/bin/true"]); 1000], &[]);
    let facts = scene.coordinator.facts();
    assert_eq!(facts.ends.len(), 1000);
    assert!(facts.ends.iter().all(|(_, end)| matches!(end, AttemptEnd::Complete { .. })));
    assert!(facts.lease_requests < 200, "{} requests for jobs", facts.lease_requests);
    assert_eq!(std::fs::read_dir(scene.path("state/logs")).unwrap().count(), 0);
}
