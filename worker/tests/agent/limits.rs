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

/// Runs one job after the other, each with twice as much time as the one before, until one `got_far` enough before that was
/// over: how long that takes depends on what else the machine does. Gives that job's number.
fn run_until(
    scene: &mut Scene,
    arguments: &[&str],
    lease_of: impl Fn(i64, u64) -> Lease,
    got_far: impl Fn(&Scene, i64) -> bool,
) -> i64 {
    const LONGEST: u64 = 30_000;
    scene.start(arguments);
    let mut millis = 500;
    for job in 1.. {
        scene.coordinator.change(|facts| facts.queue.push_back(lease_of(job, millis)));
        scene.coordinator.wait_until("the job has ended", |facts| facts.ends.len() as i64 == job);
        if got_far(scene, job) {
            return job;
        }
        assert!(millis < LONGEST, "job {job} did not get far in {millis} ms: {:?}", scene.end_of(job));
        millis *= 2;
    }
    unreachable!("there are numbers enough")
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_its_whole_group() {
    let mut scene = Scene::new();
    // Neither it nor its child ends when asked to.
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! > {}; echo $$ > {}; echo at work; while :; do sleep 1; done",
        scene.path("child").display(),
        scene.path("pid").display()
    );
    let lease = |job, millis| limited(job, shell(&script), time(millis));
    let job = run_until(&mut scene, &["--grace", "0"], lease, |scene, job| {
        let (reason, message, log_tail) = scene.failure_of(job);
        assert_eq!(reason, FailureReason::Timeout);
        assert!(message.starts_with("the trial took longer than its `time` of "), "{message}");
        log_tail == "at work\n"
    });
    assert!(scene.log_of(job).starts_with("at work\nsweep: the trial was ended: it took longer"));
    let pids = [scene.pid_in("child"), scene.pid_in("pid")];
    eventually("both are gone", || pids.iter().all(|&pid| is_gone(pid)));
}

#[test]
fn a_program_that_ends_well_when_its_time_is_over_has_failed_all_the_same() {
    let mut scene = Scene::new();
    let script = "trap 'echo well; exit 0' TERM; while :; do sleep 0.1; done";
    let lease = |job, millis| limited(job, shell(script), time(millis));
    run_until(&mut scene, &["--grace", "86400"], lease, |scene, job| {
        let (reason, _, log_tail) = scene.failure_of(job);
        assert_eq!(reason, FailureReason::Timeout);
        log_tail.ends_with("well\n")
    });
}

#[test]
fn output_and_reports_are_progress_and_silence_is_a_stall() {
    let mut scene = Scene::new();
    // Longer in all than it may be silent, and never silent for nearly as long.
    let lease = |job, millis: u64| {
        let script = format!(
            r#"for i in 1 2 3 4 5 6 7 8 9 10; do
                   echo "line $i"; echo '{{"top1": 1}}' >> "$SWEEP_REPORT"; sleep {}
               done; exec sleep 600"#,
            millis as f64 / 6000.0
        );
        limited(job, shell(&script), Limits { stall_millis: Some(millis), ..Limits::default() })
    };
    let job = run_until(&mut scene, &[], lease, |scene, job| {
        let (reason, message, log_tail) = scene.failure_of(job);
        assert_eq!(reason, FailureReason::Stalled);
        assert!(message.contains("printed nothing for its `stall_timeout` of "), "{message}");
        log_tail.ends_with("line 10\n")
    });
    let facts = scene.coordinator.facts();
    assert_eq!(facts.reports.iter().filter(|report| report.token == token(job)).count(), 10);
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
fn memory_that_a_program_shares_with_its_children_counts_once() {
    let mut scene = Scene::new();
    // 64 MiB, and three children that have no copy of their own; then longer than a look at the memory is away.
    let script =
        "x=$(head -c 67108864 /dev/zero | tr '\\0' a); for i in 1 2 3; do (sleep 600; :) & done; sleep 3";
    let limits = Limits { memory_bytes: Some(224 << 20), ..Limits::default() };
    run(&mut scene, limited(1, shell(script), limits), &[]);
    assert!(matches!(scene.end_of(1), AttemptEnd::Complete { .. }), "{:?}", scene.end_of(1));
}

#[test]
fn a_trainer_whose_time_is_over_hands_its_state_back_and_fails_and_stays_warm() {
    let mut scene = Scene::new();
    let trainer = scene.path("trainer");
    let says_who_it_is = r#"cat "$0.pid" >> "$0.pids"; rm "$0.pid""#;
    write_script(&trainer, &STOPPABLE_TRAINER.replace(r#"rm "$0.pid""#, says_who_it_is));
    let lease = |job, millis| Lease { cpus: 2, ..limited(job, training(1), time(millis)) };
    let states = [(1, true, Some(checkpoint(0))), (1, false, Some(checkpoint(7)))];
    let is_whole = |scene: &Scene, job| {
        assert_eq!(scene.failure_of(job).0, FailureReason::Timeout);
        reports_of_job(scene, job) == states
    };
    run_until(
        &mut scene,
        &["--trainer", trainer.to_str().unwrap(), "--grace", "86400"],
        lease,
        |scene, job| job > 1 && is_whole(scene, job - 1) && is_whole(scene, job),
    );
    let pids = std::fs::read_to_string(scene.path("trainer.pids")).unwrap();
    let pids: Vec<&str> = pids.lines().collect();
    assert!(matches!(pids[..], [.., before, last] if before == last), "{pids:?}");
}
