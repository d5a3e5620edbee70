//! An agent whose coordinator keeps its files elsewhere.

use super::coordinator::Uploads;
use super::*;

/// Reports so many epochs, each with a checkpoint in its folder whose names and contents it was given, one a line; then it is
/// done. Asked to stop it leaves one more.
const TRAINER: &str = r#"#!/bin/sh
checkpoints="$4"
keep() { printf '%s' "$2" > "$checkpoints/$1.safetensors"; }
state() { printf '{"hash": "%s", "epoch": %d, "step": %d, "size_bytes": 10}' "$1" "$2" "$3"; }
trap 'is_stopped=1' TERM
echo '{"type": "ready"}'
while read -r request; do
    is_stopped=
    epoch=0
    echo "begins" >&2
    while read -r hash contents; do
        epoch=$((epoch + 1))
        keep "$hash" "$contents"
        checkpoint=$(state "$hash" $epoch 0)
        printf '{"type": "report", "epoch": %d, "metrics": {"top1": 1}, "checkpoint": %s}\n' $epoch "$checkpoint"
    done < "$0.states"
    echo "has trained" >&2
    if [ -e "$0.waits" ]; then
        while [ -z "$is_stopped" ]; do sleep 0.01; done
        keep LAST last
        printf '{"type": "stopped", "checkpoint": %s}\n' "$(state LAST $epoch 3)"
    else
        printf '{"type": "done", "record": {}}\n'
    fi
done
"#;

fn hash(contents: &str) -> String {
    blake3::hash(contents.as_bytes()).to_hex().to_string()
}

/// A coordinator with files of its own, and a trainer that leaves these states, epoch by epoch.
fn scene_with(states: &[&str]) -> Scene {
    let scene = Scene::new();
    scene.coordinator.change(|facts| facts.files = Some(Default::default()));
    write_script(&scene.path("trainer"), &TRAINER.replace("LAST", &hash("last")));
    let lines: String = states.iter().map(|state| format!("{} {state}\n", hash(state))).collect();
    std::fs::write(scene.path("trainer.states"), lines).unwrap();
    scene
}

impl Scene {
    /// With one slot for the trainer's jobs.
    fn start_training(&mut self, leases: impl IntoIterator<Item = Lease>, more: &[&str]) {
        let leases: Vec<_> = leases.into_iter().map(|lease| Lease { cpus: 2, ..lease }).collect();
        self.coordinator.change(|facts| facts.queue.extend(leases));
        let trainer = self.path("trainer");
        self.start(&[&["--trainer", trainer.to_str().unwrap()], more].concat());
    }

    fn wait_for_ends(&self, count: usize) {
        self.coordinator.wait_until("the jobs have ended", |facts| facts.ends.len() == count);
    }

    /// Whether each checkpoint was there when it was reported.
    fn assert_sound(&self) {
        assert_eq!(self.coordinator.facts().missing, Vec::<String>::new());
    }

    fn reported_checkpoints(&self, job: i64) -> Vec<String> {
        reports_of_job(self, job)
            .into_iter()
            .filter_map(|(_, _, checkpoint)| Some(checkpoint?.hash))
            .collect()
    }
}

#[test]
fn a_program_goes_on_on_another_node_from_what_one_has_left() {
    let mut first = Scene::new();
    first.coordinator.change(|facts| facts.files = Some(Default::default()));
    first.run_all(vec![stage(STAGE, (1, 30), None)], &[]);
    first.assert_sound();
    let checkpoint = reports_of_job(&first, 1).pop().unwrap().2.unwrap();
    assert_eq!(first.coordinator.facts().files.as_ref().unwrap()[&checkpoint.hash], b"1 to 30\n");

    let mut second = Scene::new();
    second.coordinator = first.coordinator.clone();
    let gone = Checkpoint { hash: hash("gone"), ..checkpoint.clone() };
    let work = [stage(STAGE, (31, 50), Some(checkpoint.clone())), stage(STAGE, (31, 60), Some(gone))];
    second.coordinator.change(|facts| {
        facts.queue.extend(work.into_iter().zip(2..).map(|(work, job)| lease(job, work)));
    });
    second.start(&["--until-drained"]);
    assert!(second.wait().success());
    second.assert_sound();
    let left = |job| {
        let hash = second.reported_checkpoints(job).pop().unwrap();
        String::from_utf8(second.coordinator.facts().files.as_ref().unwrap()[&hash].clone()).unwrap()
    };
    assert_eq!((left(2).as_str(), left(3).as_str()), ("1 to 30\n31 to 50\n", "1 to 60\n"));
    assert_eq!(
        second.coordinator.facts().downloads,
        [checkpoint.hash],
        "what is gone costs time, not the job"
    );
    // What is here of another project of the same folder is not touched.
    assert_eq!(std::fs::read_dir(second.path("state/artifacts")).unwrap().count(), 0);
}

#[test]
fn a_copy_that_is_here_is_used_and_one_that_is_damaged_is_fetched_again() {
    let mut scene = Scene::new();
    // Two jobs at a time read it.
    let contents = "1 to 30\n";
    let name = hash(contents);
    let file = (name.clone(), contents.as_bytes().to_vec());
    scene.coordinator.change(|facts| facts.files = Some([file].into()));
    let checkpoint = Checkpoint { hash: name.clone(), epoch: 30, step: 0, size_bytes: 8 };
    let copy = scene.path(&format!("state/cache/{name}.safetensors"));
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    std::fs::write(&copy, "1 to").unwrap();
    let work = (0..2).map(|_| stage(STAGE, (31, 50), Some(checkpoint.clone()))).collect();
    scene.run_all(work, &[]);
    assert_eq!(scene.coordinator.facts().downloads, [name]);
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), contents);
}

#[test]
fn neither_reports_nor_the_slot_wait_for_a_checkpoint_but_the_end_does() {
    let mut scene = scene_with(&["one", "two"]);
    scene.coordinator.change(|facts| facts.uploads_are = Uploads::Held);
    scene.start_training((1..=2).map(|job| lease(job, training(1))), &[]);
    scene.coordinator.wait_until("both jobs have trained", |facts| facts.reports.len() == 4);
    let facts = scene.coordinator.facts();
    assert!(facts.ends.is_empty() && facts.reports.iter().all(|report| report.checkpoint.is_none()));
    drop(facts);
    scene.coordinator.change(|facts| facts.uploads_are = Uploads::Taken);
    scene.wait_for_ends(2);
    for job in 1..=2 {
        assert!(matches!(scene.end_of(job), AttemptEnd::Complete { .. }), "{:?}", scene.end_of(job));
        assert_eq!(scene.reported_checkpoints(job).last(), Some(&hash("two")));
    }
    scene.assert_sound();
}

#[test]
fn a_checkpoint_that_a_newer_one_overtakes_is_passed_over_unless_a_sweep_keeps_it() {
    let states = ["1", "2", "3", "4", "5"];
    let all = states.map(hash);
    for keeps_checkpoints in [false, true] {
        let mut scene = scene_with(&states);
        scene.coordinator.change(|facts| facts.uploads_are = Uploads::Held);
        scene.start_training([Lease { keeps_checkpoints, ..lease(1, training(1)) }], &[]);
        scene.coordinator.wait_until("the job has trained", |facts| facts.reports.len() == 5);
        scene.coordinator.wait_until("the log says so", |facts| {
            facts.logs.get(&token(1)).is_some_and(|log| log.contains("has trained"))
        });
        scene.coordinator.change(|facts| facts.uploads_are = Uploads::Taken);
        scene.wait_for_ends(1);
        let sent = scene.coordinator.facts().uploads.clone();
        if keeps_checkpoints {
            assert_eq!(sent, all);
        } else {
            // One was on its way, whichever it was, unless the last one overtook it before that.
            assert!(sent.len() <= 2 && sent.last() == all.last(), "{sent:?} of {all:?}");
        }
        assert_eq!(scene.reported_checkpoints(1), sent);
        scene.assert_sound();
    }
}

#[test]
fn a_job_whose_last_state_the_coordinator_refuses_has_failed_through_the_nodes_fault() {
    let mut scene = scene_with(&["one"]);
    scene.coordinator.change(|facts| facts.uploads_are = Uploads::Refused);
    scene.start_training([lease(1, training(1))], &[]);
    scene.wait_for_ends(1);
    let (reason, message, _) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::NodeFault);
    assert!(message.contains("can't send the checkpoint") && message.contains("it is damaged"), "{message}");
    assert_eq!(scene.reported_checkpoints(1), Vec::<String>::new());
}

#[test]
fn a_job_is_given_back_when_its_state_has_arrived() {
    let mut scene = scene_with(&["one"]);
    std::fs::write(scene.path("trainer.waits"), "").unwrap();
    scene.start_training([lease(1, training(1))], &["--grace", "86400"]);
    scene.coordinator.wait_until("the first state is there", |facts| facts.reports.len() == 2);
    scene.coordinator.change(|facts| facts.uploads_are = Uploads::Held);
    scene.signal(Signal::TERM);
    let last = scene.path(&format!("state/cache/{}.safetensors", hash("last")));
    eventually("the trainer has stopped", || last.exists());
    assert!(scene.coordinator.facts().ends.is_empty());
    scene.coordinator.change(|facts| facts.uploads_are = Uploads::Taken);
    assert!(scene.wait().success());
    assert_eq!(scene.end_of(1), AttemptEnd::Release);
    assert_eq!(scene.reported_checkpoints(1), [hash("one"), hash("last")]);
    scene.assert_sound();
}

#[test]
fn a_state_that_does_not_arrive_within_the_grace_is_lost_and_the_job_is_not() {
    let mut scene = scene_with(&["one"]);
    std::fs::write(scene.path("trainer.waits"), "").unwrap();
    scene.start_training([lease(1, training(1))], &["--grace", "1"]);
    scene.coordinator.wait_until("the first state is there", |facts| facts.reports.len() == 2);
    scene.coordinator.change(|facts| facts.uploads_are = Uploads::Held);
    scene.signal(Signal::TERM);
    assert!(scene.wait().success());
    assert_eq!(scene.end_of(1), AttemptEnd::Release);
    assert_eq!(scene.reported_checkpoints(1), [hash("one")]);
    scene.coordinator.change(|facts| facts.uploads_are = Uploads::Taken);
}

#[test]
fn a_job_that_waits_for_its_files_is_given_back_when_the_agent_stops() {
    let mut scene = scene_with(&["one"]);
    let checkpoint = Checkpoint { hash: hash("one"), epoch: 1, step: 0, size_bytes: 3 };
    scene.coordinator.change(|facts| {
        facts.files = Some([(hash("one"), b"one".to_vec())].into());
        facts.are_downloads_held = true;
    });
    let Work::Resnet(request) = training(1) else { panic!("no training") };
    let resuming = Work::Resnet(TrainRequest { resume: Some(checkpoint), ..request });
    scene.start_training([lease(1, resuming)], &["--grace", "86400"]);
    scene.coordinator.wait_until("it is asked for", |facts| !facts.downloads.is_empty());
    scene.signal(Signal::TERM);
    assert!(scene.wait().success());
    assert_eq!(scene.end_of(1), AttemptEnd::Release);
}

#[test]
fn what_a_trial_prints_arrives_while_it_runs_and_whole_before_its_end() {
    let mut scene = Scene::new();
    scene.coordinator.change(|facts| facts.files = Some(Default::default()));
    let gate = scene.path("gate");
    let script =
        format!("echo begun; until [ -e {} ]; do sleep 0.02; done; printf 'the end'; exit 3", gate.display());
    scene.coordinator.change(|facts| facts.queue.push_back(lease(1, shell(&script))));
    scene.start(&[]);
    let log_is = |expected: &'static str| {
        move |facts: &coordinator::Facts| facts.logs.get(&token(1)).is_some_and(|log| log == expected)
    };
    scene.coordinator.wait_until("the first line is there", log_is("begun\n"));
    std::fs::write(gate, "").unwrap();
    scene.wait_for_ends(1);
    assert!(log_is("begun\nthe end")(&scene.coordinator.facts()));
    assert_eq!(scene.failure_of(1).2, "begun\nthe end");
}
