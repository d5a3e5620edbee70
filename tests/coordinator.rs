//! Sweeps that are steered while they run, on the local table and through a coordinator, with the real programs.

mod harness;

use harness::{Project, wait_until};

/// Trials that never end by themselves, and don't when they are asked to.
const ENDLESS: &str = r#"
name: endless
command: [sh, -c, 'trap "" TERM; echo {{x}} >> started; while :; do sleep 0.02; done']
parameters:
  x: [1, 2, 3]
"#;

/// Three trials that note that they ran.
const QUICK: &str = r#"
name: quick
command: [sh, -c, 'echo {{x}} >> order']
parameters:
  x: [1, 2, 3]
"#;

#[test]
fn the_help_of_what_steers_a_sweep_says_what_it_does() {
    let project = Project::new();
    for command in ["cancel", "retry", "pause", "resume", "bump"] {
        let help = project.sweep(&[command, "--help"]).exits_with(0);
        insta::assert_snapshot!(format!("help_{command}"), help.stdout());
    }
}

#[test]
fn cancelling_ends_a_running_trial_within_a_heartbeat() {
    let project = Project::new();
    project.write("endless.yaml", ENDLESS);
    let mut run = project.start(&["run", "endless.yaml", "--cpu-slots", "2", "--lease", "1"]);
    wait_until("two trials", || project.read("started").lines().count() == 2);
    let cancelled = project.sweep(&["cancel", "1", "1"]).exits_with(0);
    assert_eq!(cancelled.stderr(), "cancelled 1 trial (1 was running)\n");
    wait_until("the slot's next trial", || project.read("started").lines().count() == 3);
    assert_eq!(project.processes("sh").len(), 2, "the cancelled trial is gone");
    let cancelled = project.sweep(&["cancel", "1"]).exits_with(0);
    assert_eq!(cancelled.stderr(), "cancelled 2 trials (2 were running)\n");
    // Its trials did not succeed, so neither did it.
    assert_eq!(run.exit_code(), Some(1), "{}", run.log());
    assert_eq!(project.processes("sh"), Vec::<i32>::new());
    assert_eq!(project.status()["sweeps"][0]["trials"]["cancelled"], 3);
}

#[test]
fn a_sweep_is_steered_alike_on_the_local_table_and_through_a_coordinator() {
    let local = Project::new();
    local.write("endless.yaml", ENDLESS);
    local.sweep(&["submit", "endless.yaml"]).exits_with(0);
    let said_locally = steer(&local);
    let remote = Project::new();
    remote.write("endless.yaml", ENDLESS);
    // It has no slot for any other sweep.
    let _coordinator = remote.start(&["run", "endless.yaml", "--cpu-slots", "1"]);
    wait_until("the first trial", || !remote.read("started").is_empty());
    assert_eq!(steer(&remote), said_locally);
    insta::assert_snapshot!("steering", said_locally);
}

/// What the commands say to a second sweep.
fn steer(project: &Project) -> String {
    project.write("quick.yaml", QUICK);
    assert_eq!(project.sweep(&["submit", "quick.yaml"]).exits_with(0).stdout(), "2\n");
    let mut said = String::new();
    for (code, command) in [
        (0, "pause 2"),
        (0, "pause 2"),
        (0, "resume 2"),
        (0, "bump 2 --priority 5"),
        (0, "bump 2 --by -2"),
        (0, "bump 2"),
        (2, "bump 2 --priority 1001"),
        (2, "bump 2 --priority 1 --by 1"),
        (0, "cancel 2 3"),
        (2, "cancel 2 3"),
        (2, "cancel 2 7"),
        (2, "cancel 2 zero"),
        (2, "retry 2 7"),
        (0, "retry 2 3"),
        (0, "cancel 2"),
        (2, "cancel 2"),
        (2, "pause 2"),
        (2, "resume 2"),
        (2, "bump 2"),
        (2, "cancel 99"),
        (2, "retry 99"),
        (2, "pause 99"),
        (2, "resume 99"),
        (2, "bump 99"),
    ] {
        let finished = project.sweep(&command.split(' ').collect::<Vec<_>>()).exits_with(code);
        assert_eq!(finished.stdout(), "");
        said += &format!("$ sweep {command}\n{}", finished.stderr());
    }
    said
}

#[test]
fn nothing_starts_while_a_sweep_is_paused_and_the_bumped_one_starts_first() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    for x in ["x=1", "x=2", "x=3"] {
        project.sweep(&["submit", "quick.yaml", x]).exits_with(0);
    }
    project.sweep(&["pause", "1"]).exits_with(0);
    project.sweep(&["bump", "3"]).exits_with(0);
    assert_eq!(project.status()["sweeps"][0]["state"], "paused");
    let mut worker = project.start(&["worker", "--until-drained", "--cpu-slots", "1"]);
    project.wait_for_status("all others to be done", |status| {
        status["sweeps"][1]["state"] == "succeeded" && status["sweeps"][2]["state"] == "succeeded"
    });
    assert_eq!(project.read("order"), "3\n2\n");
    project.sweep(&["resume", "1"]).exits_with(0);
    assert_eq!(worker.exit_code(), Some(0));
    assert_eq!(project.read("order"), "3\n2\n1\n");
}

#[test]
fn the_trials_that_another_sweep_needs_go_on() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["submit", "quick.yaml"]).exits_with(0);
    project.sweep(&["submit", "quick.yaml", "x=1,2,7"]).exits_with(0);
    let cancelled = project.sweep(&["cancel", "1"]).exits_with(0);
    assert_eq!(cancelled.stderr(), "cancelled 1 trial; 2 trials go on, since sweep 2 needs their jobs\n");
    project.sweep(&["worker", "--until-drained", "--cpu-slots", "1"]).exits_with(0);
    assert_eq!(project.read("order"), "1\n2\n7\n");
}
