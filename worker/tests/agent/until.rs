//! When an agent ends by itself.

use super::*;

#[test]
fn an_agent_ends_after_its_number_of_jobs_and_leaves_the_others() {
    let mut scene = Scene::new();
    scene.coordinator.change(|facts| facts.queue.extend((1..=50).map(|job| lease(job, program(&["true"])))));
    scene.start(&["--max-jobs", "5"]);
    assert!(scene.wait().success());
    let facts = scene.coordinator.facts();
    let completed = facts.ends.iter().filter(|(_, end)| matches!(end, AttemptEnd::Complete { .. }));
    assert_eq!(completed.count(), 5);
    assert_eq!(facts.ends.len() + facts.queue.len(), 50, "what was not run was given back or never taken");
    assert!(facts.has_left);
}

#[test]
fn an_idle_agent_ends_after_its_time() {
    let mut scene = Scene::new();
    scene.coordinator.change(|facts| facts.queue.push_back(lease(1, program(&["true"]))));
    scene.start(&["--idle-timeout", "1s"]);
    assert!(scene.wait().success());
    assert!(matches!(scene.end_of(1), AttemptEnd::Complete { .. }));
    assert!(scene.coordinator.facts().has_left);
}

#[test]
fn an_agent_whose_time_is_over_gives_its_jobs_back_together_with_their_state() {
    // Long enough for the trainer to be at work when it is asked; how long that is depends on the machine.
    let is_long_enough = (1..7).any(|doublings| {
        let mut scene = Scene::new();
        let trainer = scene.path("trainer");
        let says_who_it_is = r#"cp "$0.pid" "$0.was"; rm "$0.pid""#;
        write_script(&trainer, &STOPPABLE_TRAINER.replace(r#"rm "$0.pid""#, says_who_it_is));
        scene.coordinator.change(|facts| facts.queue.push_back(lease(1, training(1))));
        let limit = format!("{}s", 600 + (1 << doublings));
        scene.start(&["--trainer", trainer.to_str().unwrap(), "--grace", "600", "--time-limit", &limit]);
        assert!(scene.wait().success());
        assert!(scene.coordinator.facts().has_left);
        if !scene.path("trainer.was").exists() {
            return false;
        }
        assert_eq!(scene.end_of(1), AttemptEnd::Release);
        assert_eq!(reports_of(&scene), [(1, true, Some(checkpoint(0))), (1, false, Some(checkpoint(7)))]);
        assert!(is_gone(scene.pid_in("trainer.was")));
        true
    });
    assert!(is_long_enough, "the trainer was never at work in time");
}

#[test]
fn a_time_limit_within_the_grace_is_refused_at_once() {
    let scene = Scene::new();
    let output = scene.command(&["--time-limit", "10s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("leaves no time to work") && words.contains("--grace"), "{words}");
    assert!(scene.coordinator.facts().registered.is_none());
}
