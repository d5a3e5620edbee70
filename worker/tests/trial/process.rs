//! The real binary, through its pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::json;
use sweep::protocol::trial::{TrialEvent, TrialRequest};
use sweep::vocabulary::FailureReason;

use crate::dataset;
use crate::warm::request;

/// A running `sweep-trainer`; killed when dropped.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    events: Box<dyn Iterator<Item = TrialEvent>>,
}

impl Process {
    fn start(datasets: &Path) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sweep-trainer"))
            .arg("--datasets")
            .arg(datasets)
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
