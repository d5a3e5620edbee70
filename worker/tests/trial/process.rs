//! The real binary, through its pipes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::json;
use sweep::protocol::trial::{Checkpoint, Processor, TrainRequest, TrialEvent, TrialRequest, Verdict};
use sweep::vocabulary::{FailureReason, Metrics};

use crate::dataset;
use crate::training::without_times;
use crate::warm::request;

/// A running `sweep-trainer`; killed when dropped.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    events: Box<dyn Iterator<Item = TrialEvent>>,
}

impl Process {
    fn start(root: &Path) -> Process {
        Process::start_with(root, &[])
    }

    fn start_with(root: &Path, environment: &[(&str, &str)]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sweep-trainer"))
            .envs(environment.iter().copied())
            .arg("--datasets")
            .arg(root)
            .arg("--checkpoints")
            .arg(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let events = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        Process { input: child.stdin.take(), events: Box::new(events), child }
    }

    fn write(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn train(&mut self, request: &TrainRequest) {
        self.write(&serde_json::to_string(&TrialRequest::Train(request.clone())).unwrap());
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn next(&mut self) -> TrialEvent {
        self.events.next().expect("the process says something before it ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, as it should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_process_answers_each_request_and_ends_with_its_input() {
    let root = tempfile::tempdir().unwrap();
    let checksum = dataset::write(root.path(), "tiny");
    let mut process = Process::start(root.path());
    assert_eq!(process.next(), TrialEvent::Ready);

    process.write("{\"type\": \"sing\"}");
    let TrialEvent::Failed { reason, message } = process.next() else { panic!("not refused") };
    assert_eq!(reason, FailureReason::BadConfig);
    assert!(message.contains("sing"), "{message}");

    process.write(&serde_json::to_string(&TrialRequest::Examine { processor: Processor::Cpu }).unwrap());
    assert_eq!(process.next(), TrialEvent::Examined { verdict: Verdict::Sound });

    let train = TrialRequest::Train(request("tiny", &checksum, json!({})));
    for _ in 0..2 {
        process.write(&serde_json::to_string(&train).unwrap());
        for expected in 1..=2 {
            let TrialEvent::Report { epoch, metrics, .. } = process.next() else { panic!("no report") };
            assert_eq!(epoch, expected);
            assert!(metrics.contains_key("dim_top1"));
        }
        let TrialEvent::Done { record } = process.next() else { panic!("not done") };
        assert_eq!(record.device, "cpu");
    }

    process.input = None;
    assert_eq!(process.events.next(), None);
    assert!(process.child.wait().unwrap().success());
}

/// Reports of a job without times, and how it ended.
fn until_the_end(process: &mut Process, reports: &mut BTreeMap<u32, Metrics>) -> TrialEvent {
    loop {
        match process.next() {
            TrialEvent::Ready => {}
            TrialEvent::Report { epoch, metrics, .. } => {
                reports.insert(epoch, without_times(metrics));
            }
            end => return end,
        }
    }
}

fn long_request(root: &Path) -> TrainRequest {
    let checksum = dataset::write(root, "tiny");
    let changes = json!({"epochs": 8, "eval_every": 3, "teacher": "ema", "ema_ratio": 0.3, "lp": true});
    TrainRequest { last_epoch: 8, ..request("tiny", &checksum, changes) }
}

#[test]
fn a_job_that_is_stopped_again_and_again_ends_with_the_bits_of_an_undisturbed_one() {
    let root = tempfile::tempdir().unwrap();
    let request = long_request(root.path());
    // Two at once: what else a machine does changes no bit.
    let mut undisturbed = [Process::start(root.path()), Process::start(root.path())];
    undisturbed.iter_mut().for_each(|process| process.train(&request));
    let mut expected = BTreeMap::new();
    let [first, second] = undisturbed.each_mut().map(|process| {
        let TrialEvent::Done { record } = until_the_end(process, &mut expected) else { panic!("not done") };
        record.weights_hash
    });
    assert_eq!(first, second);

    let (mut reports, mut resume, mut stops) = (BTreeMap::new(), None, 0);
    let record = loop {
        let mut process = Process::start(root.path());
        assert_eq!(process.next(), TrialEvent::Ready);
        process.train(&TrainRequest { resume: resume.clone(), ..request.clone() });
        // By then it is at some step of the next epoch, or the job is done.
        let event = process.next();
        if let TrialEvent::Done { record } = event {
            break record;
        }
        let TrialEvent::Report { epoch, metrics, .. } = event else { panic!("{event:?}") };
        reports.insert(epoch, without_times(metrics));
        process.signal(if stops % 3 == 0 { Signal::USR1 } else { Signal::TERM });
        match until_the_end(&mut process, &mut reports) {
            TrialEvent::Stopped { checkpoint } => {
                let place = |checkpoint: &Option<Checkpoint>| checkpoint.as_ref().map(|c| (c.epoch, c.step));
                assert!(place(&checkpoint) > place(&resume), "an attempt got nowhere");
                (resume, stops) = (checkpoint, stops + 1);
            }
            TrialEvent::Done { record } => break record,
            other => panic!("{other:?}"),
        }
    };
    assert!(stops >= 3, "{stops}");
    assert_eq!(record.weights_hash, first);
    assert_eq!(reports, expected);
}

/// A change of these hashes means other numbers for everybody: raise `NUMERICS_VERSION` with it.
#[cfg(target_arch = "x86_64")]
#[test]
fn numbers_change_only_with_the_numerics_version() {
    // The instructions that every x86-64 has, so that the bits are the same on each; sums of products in a fixed order.
    let oldest =
        [("ATEN_CPU_CAPABILITY", "default"), ("ONEDNN_MAX_CPU_ISA", "SSE41"), ("MKL_CBWR", "COMPATIBLE")];
    let root = tempfile::tempdir().unwrap();
    let request = long_request(root.path());
    let mut process = Process::start_with(root.path(), &oldest);
    process.train(&request);
    let mut reports = BTreeMap::new();
    let TrialEvent::Done { record } = until_the_end(&mut process, &mut reports) else { panic!("not done") };
    assert_eq!(record.cpu_capability, "DEFAULT");
    assert_eq!(
        (record.numerics_version, record.weights_hash.as_str()),
        (3, "4978b934f3c01a5da350c7a8142c968e5e1d8444c80f5ae4d7f7e0c2f5c6cea8")
    );
}

#[test]
fn a_checkpoint_that_is_gone_costs_time_and_not_the_job() {
    let root = tempfile::tempdir().unwrap();
    let request = long_request(root.path());
    let gone = Checkpoint { hash: "0".repeat(64), epoch: 5, step: 1, size_bytes: 9 };
    let mut process = Process::start(root.path());
    let hashes = [None, Some(gone)].map(|resume| {
        process.train(&TrainRequest { resume, ..request.clone() });
        let mut reports = BTreeMap::new();
        let TrialEvent::Done { record } = until_the_end(&mut process, &mut reports) else {
            panic!("not done")
        };
        assert_eq!(reports.len(), 8);
        record.weights_hash
    });
    assert_eq!(hashes[0], hashes[1]);
    // Where the job before left nothing, its epochs are trained again, but they are not this job's to report.
    process.train(&TrainRequest { first_epoch: 5, ..request });
    let mut reports = BTreeMap::new();
    let TrialEvent::Done { record } = until_the_end(&mut process, &mut reports) else { panic!("not done") };
    assert_eq!(record.weights_hash, hashes[0]);
    reports.retain(|_, metrics| !metrics.is_empty());
    assert_eq!(reports.into_keys().collect::<Vec<_>>(), [5, 6, 7, 8]);
}

#[test]
fn a_process_without_a_job_ends_at_a_signal() {
    let root = tempfile::tempdir().unwrap();
    let mut process = Process::start(root.path());
    assert_eq!(process.next(), TrialEvent::Ready);
    process.signal(Signal::TERM);
    assert_eq!(process.child.wait().unwrap().signal(), Some(15));
}

#[test]
fn a_process_dies_with_its_parent() {
    // The shell in between hands its input on, so that only the death signal can end the trainer. (By itself a shell
    // gives an empty input to what it starts in the background.)
    let script = "exec 3<&0; \"$0\" --datasets /nonexistent <&3 & wait";
    let mut shell = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_sweep-trainer")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Held here, because `wait` would close it.
    let _input = shell.stdin.take();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"type":"ready"}"#);
    shell.kill().unwrap();
    shell.wait().unwrap();
    // The trainer holds the other end of this pipe until it dies.
    assert!(lines.next().is_none());
}

#[test]
fn the_weights_that_a_trial_ended_with_teach_as_a_copy_of_their_file_does() {
    let root = tempfile::tempdir().unwrap();
    let checksum = dataset::write(root.path(), "tiny");
    let mut process = Process::start(root.path());
    assert_eq!(process.next(), TrialEvent::Ready);
    // A teacher may be wider than its student, and have a reference and an average of its own, which don't teach.
    process.train(&request(
        "tiny",
        &checksum,
        json!({"width": 4, "eval_weights": "average", "ema_ratio": 0.1}),
    ));
    let hash = loop {
        match process.next() {
            TrialEvent::Report { epoch: 2, checkpoint, .. } => break checkpoint.unwrap().hash,
            TrialEvent::Report { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(process.next(), TrialEvent::Done { .. }));

    let state = "5".repeat(32);
    let taught_by = |teacher: &str| {
        let mut student = request("tiny", &checksum, json!({}));
        student.parameters = serde_json::from_value(json!({
            "dataset": "tiny", "width": 2, "epochs": 2, "batch_size": 16, "lr_steps": [1], "eval_every": 1,
            "device": "cpu", "method": "kd", "teacher": "checkpoint", "teachers": [teacher], "loss_weight": 0.5,
        }))
        .unwrap();
        student
    };
    let by_trial = taught_by(&format!("state:{state}"));
    process.train(&by_trial);
    let TrialEvent::Failed { reason, message } = process.next() else { panic!("nobody teaches") };
    assert_eq!(reason, FailureReason::BadConfig);
    assert!(message.contains("has left no weights") && message.contains(&state), "{message}");
    process.train(&TrainRequest {
        teachers: [(state.clone(), "../secret".to_owned())].into(),
        ..by_trial.clone()
    });
    let TrialEvent::Failed { message, .. } = process.next() else { panic!("a path was followed") };
    assert!(message.contains("`../secret` is not the hash"), "{message}");

    std::fs::create_dir(root.path().join("weights")).unwrap();
    let file = format!("{hash}.safetensors");
    std::fs::copy(root.path().join(&file), root.path().join("weights").join(&file)).unwrap();
    let by_trial = TrainRequest { teachers: [(state, hash.clone())].into(), ..by_trial };
    let [one, other] = [by_trial, taught_by(&hash)].map(|student| {
        process.train(&student);
        let mut reports = BTreeMap::new();
        let TrialEvent::Done { record } = until_the_end(&mut process, &mut reports) else {
            panic!("not done")
        };
        assert_eq!(record.teachers, [hash.as_str()]);
        (record.weights_hash, reports)
    });
    assert_eq!(one, other);
}
