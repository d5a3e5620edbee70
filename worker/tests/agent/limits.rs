//! What an attempt may use, and what becomes of one that uses more.

use super::*;

fn limited(job: i64, work: Work, limits: Limits) -> Lease {
    Lease { limits, ..lease(job, work) }
}

fn time(millis: u64) -> Limits {
    Limits { time_millis: Some(millis), ..Limits::default() }
}

fn run(scene: &mut Scene, lease: Lease, arguments: &[&str]) {
    scene.coordinator.change(|facts| facts.queue.push_back(lease));
    scene.start(arguments);
    scene.coordinator.wait_until("the job has ended", |facts| facts.ends.len() == 1);
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_its_whole_group() {
    let mut scene = Scene::new();
    // Neither it nor its child ends when asked to.
    let script = format!(
        "trap '' TERM; echo at work; sleep 600 & echo $! > {}; echo $$ > {}; while :; do sleep 1; done",
        scene.path("child").display(),
        scene.path("pid").display()
    );
    run(&mut scene, limited(1, shell(&script), time(1500)), &["--grace", "0"]);
    let (reason, message, log_tail) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::Timeout);
    assert_eq!(message, "the trial took longer than its `time` of 1.5 s; raise it under `resources`");
    assert_eq!(log_tail, "at work\n");
    assert!(scene.log_of(1).starts_with("at work\nsweep: the trial was ended: it took longer"));
    let pids = [scene.pid_in("child"), scene.pid_in("pid")];
    eventually("both are gone", || pids.iter().all(|&pid| is_gone(pid)));
}

#[test]
fn a_program_that_ends_well_when_its_time_is_over_has_failed_all_the_same() {
    let mut scene = Scene::new();
    let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    run(&mut scene, limited(1, shell(script), time(1500)), &["--grace", "86400"]);
    assert_eq!(scene.failure_of(1).0, FailureReason::Timeout);
}

#[test]
fn output_and_reports_are_progress_and_silence_is_a_stall() {
    let mut scene = Scene::new();
    let script = r#"for i in 1 2 3 4 5 6 7 8 9 10; do
                        echo "line $i"; echo '{"top1": 1}' >> "$SWEEP_REPORT"; sleep 0.3
                    done; exec sleep 600"#;
    let limits = Limits { stall_millis: Some(2000), ..Limits::default() };
    run(&mut scene, limited(1, shell(script), limits), &[]);
    let (reason, message, log_tail) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::Stalled);
    assert!(message.contains("`stall_timeout` of 2 s"), "{message}");
    assert!(log_tail.ends_with("line 10\n"), "{log_tail}");
    assert_eq!(scene.coordinator.facts().reports.len(), 10);
}

#[test]
fn a_program_that_uses_too_much_memory_is_killed() {
    let mut scene = Scene::new();
    // It holds 100 MB in a variable, and would end well if it were asked.
    let script = "trap 'exit 0' TERM; echo growing; x=$(head -c 100000000 /dev/zero | tr '\\0' a); sleep 600";
    let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    run(&mut scene, limited(1, shell(script), limits), &["--grace", "86400"]);
    let (reason, message, log_tail) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::HostOom);
    assert!(message.contains("more than its `memory` of 64 MiB"), "{message}");
    assert_eq!(log_tail, "growing\n");
}

#[test]
fn what_stays_within_its_limits_is_left_alone() {
    let mut scene = Scene::new();
    let limits =
        Limits { time_millis: Some(600_000), stall_millis: Some(600_000), memory_bytes: Some(1 << 40) };
    run(&mut scene, limited(1, shell("sleep 1.2"), limits), &[]);
    assert!(matches!(scene.end_of(1), AttemptEnd::Complete { .. }));
}

#[test]
fn a_trainer_whose_time_is_over_hands_its_state_back_and_fails_and_stays_warm() {
    let mut scene = Scene::new();
    let trainer = scene.path("trainer");
    write_script(&trainer, STOPPABLE_TRAINER);
    let leases = [1, 2].map(|job| Lease { cpus: 2, ..limited(job, training(1), time(1500)) });
    scene.coordinator.change(|facts| facts.queue.extend(leases));
    scene.start(&["--trainer", trainer.to_str().unwrap(), "--grace", "86400"]);
    let first = scene.pid_in("trainer.pid");
    scene.coordinator.wait_until("the first has ended", |facts| facts.ends.len() == 1);
    assert_eq!(scene.pid_in("trainer.pid"), first);
    scene.coordinator.wait_until("both have ended", |facts| facts.ends.len() == 2);
    for job in 1..=2 {
        assert_eq!(scene.failure_of(job).0, FailureReason::Timeout);
    }
    let states = [(1, true, Some(checkpoint(0))), (1, false, Some(checkpoint(7)))];
    assert_eq!(reports_of(&scene), [states.clone(), states].concat());
}
