//! What an agent says of its node, and how it goes easy on a queue where the node is at fault.

use super::*;

#[test]
fn a_heartbeat_says_what_the_node_is_doing() {
    let mut scene = Scene::new();
    scene.start(&[]);
    scene.coordinator.wait_until("a heartbeat tells of the node", |facts| {
        let nodes = facts.heartbeats.iter().filter_map(|heartbeat| heartbeat.node.as_ref());
        nodes.into_iter().any(|node| node.load.is_some() && node.memory_total_bytes > node.memory_used_bytes)
    });
}

#[test]
fn a_node_that_cant_keep_anything_is_refused_before_its_first_job() {
    let scene = Scene::new();
    let mut command = scene.command(&[]);
    std::fs::create_dir_all(scene.path("state")).unwrap();
    // Nobody can write there, whoever they are.
    std::os::unix::fs::symlink("/proc", scene.path("state/artifacts")).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("this node can't run jobs: can't write into") && words.contains("artifacts"),
        "{words}"
    );
    assert!(scene.coordinator.facts().registered.is_none());
}

#[test]
fn a_node_that_falls_ill_takes_no_jobs_until_it_is_mended() {
    let mut scene = Scene::new();
    scene.start(&[]);
    scene.coordinator.wait_until("the agent is there", |facts| facts.lease_requests > 0);
    let artifacts = scene.path("state/artifacts");
    std::fs::remove_dir(&artifacts).unwrap();
    let failing = (1..=50).map(|job| lease(job, shell("exit 1")));
    scene.coordinator.change(|facts| facts.queue.extend(failing));
    scene.coordinator.wait_until("the agent complains", |facts| {
        let problems = facts.heartbeats.iter().filter_map(|heartbeat| heartbeat.problem.as_ref());
        problems
            .into_iter()
            .any(|problem| problem.contains("can't write into") && problem.contains("artifacts"))
    });
    let (reason, message, _) = scene.failure_of(1);
    assert_eq!(reason, FailureReason::NodeFault);
    assert!(message.contains("(the trial: `sh` ended with exit code 1)"), "{message}");
    let is_failed = |end: &AttemptEnd| matches!(end, AttemptEnd::Fail { .. });
    let failures = scene.coordinator.facts().ends.iter().filter(|(_, end)| is_failed(end)).count();
    // Three, and what ran in the other slot.
    assert!((3..=4).contains(&failures), "{failures} jobs failed");
    std::fs::create_dir(&artifacts).unwrap();
    let working = (51..=64).map(|job| lease(job, program(&["true"])));
    scene.coordinator.change(|facts| facts.queue = working.collect());
    scene.coordinator.wait_until("the rest is done", |facts| {
        let completed = facts.ends.iter().filter(|(_, end)| matches!(end, AttemptEnd::Complete { .. }));
        completed.count() == 14
    });
    scene.coordinator.wait_until("it complains no more", |facts| {
        facts.heartbeats.last().is_some_and(|heartbeat| heartbeat.problem.is_none())
    });
}
