//! The real programs on command trials: no libtorch, no GPU, no dataset.

mod harness;

use harness::{Project, Running, signal, stable, wait_until};

/// Six trials that report once.
const QUICK: &str = r#"
name: quick
command: [sh, -c, 'echo "{\"loss\": {{x}}.5}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
seeds: 2
parameters:
  x: [3, 1, 2]
"#;

/// Trials that note their start in a file and wait for another to appear: none ends before the test says so.
const GATED: &str = r#"
name: gated
command: [sh, -c, 'echo {{x}} >> started; while ! test -e gate && ! test -e gate-{{x}}; do sleep 0.02; done; echo "{\"loss\": {{x}}}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters:
  x: [1, 2, 3, 4]
"#;

#[test]
fn run_ends_with_a_table_and_its_repetition_shows_the_same() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    let first = project.sweep(&["run", "quick.yaml"]).exits_with(0);
    insta::assert_snapshot!("table", first.stdout());
    let again = project.sweep(&["run", "quick.yaml"]).exits_with(0);
    assert_eq!(again.stdout(), first.stdout());
    assert!(again.stderr().contains("was there already"), "{}", again.stderr());
    assert_eq!(project.processes("sweep-worker"), Vec::<i32>::new());
}

#[test]
fn logs_are_json_objects_where_that_is_asked_for() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    let mut run = project.command(&["run", "quick.yaml", "--quiet", "--log-format", "json"]);
    let run = run.env("SWEEP_LOG", "debug").output().unwrap();
    assert!(run.status.success());
    let own = String::from_utf8(run.stderr).unwrap();
    for log in [own, project.read(".sweep/logs/worker.log")] {
        assert!(!log.is_empty());
        for line in log.lines() {
            let entry: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
        }
    }
    let odd = project.sweep(&["status", "--log-format", "xml"]).exits_with(2);
    assert!(odd.stderr().contains("[possible values: text, json]"), "{}", odd.stderr());
}

#[test]
fn documents_of_submit_status_and_results_keep_their_form() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    insta::assert_json_snapshot!(
        "submit",
        project.sweep(&["submit", "quick.yaml", "x=1,2", "--json"]).json()
    );
    insta::assert_json_snapshot!("status", project.status());
    project.sweep(&["worker", "--until-drained"]).exits_with(0);
    insta::assert_json_snapshot!("results", project.results("1"));
    insta::assert_json_snapshot!("expand", project.sweep(&["expand", "quick.yaml", "x=1", "--json"]).json());
}

#[test]
fn a_spec_may_be_based_on_another_one() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project
        .write("more.yaml", "base: quick.yaml\nseeds: 1\nparameters: {x: [1, 2], y: 7}\nexclude: [{x: 2}]\n");
    let expanded = project.sweep(&["expand", "more.yaml", "--json"]).json();
    assert_eq!((&expanded["name"], &expanded["trials"]), (&"more".into(), &1.into()));
    assert_eq!(expanded["expansion"][0]["parameters"], serde_json::json!({"x": 1, "y": 7}));
    project.sweep(&["submit", "more.yaml"]).exits_with(0);
    project.write("quick.yaml", "command: [echo, \"{{z}}\"]\n");
    let refused = project.sweep(&["submit", "more.yaml"]).exits_with(2);
    assert!(refused.stderr().contains("quick.yaml:1:17"), "{}", refused.stderr());
    project.write("more.yaml", "base: gone.yaml\nparameters: {x: 1}\n");
    let refused = project.sweep(&["submit", "more.yaml"]).exits_with(2);
    assert!(refused.stderr().contains("more.yaml:1:7"), "{}", refused.stderr());
}

#[test]
fn a_table_that_was_put_elsewhere_is_found_by_later_commands() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    let refused = project.sweep(&["--db", "missing/jobs.db", "submit", "quick.yaml"]).exits_with(2);
    assert!(
        refused.stderr().contains("no folder for the job table `missing/jobs.db`"),
        "{}",
        refused.stderr()
    );
    project.sweep(&["submit", "quick.yaml", "--db", "jobs.db"]).exits_with(0);
    assert!(project.path("jobs.db").exists() && !project.path(".sweep/sweep.db").exists());
    project.sweep(&["worker", "--until-drained"]).exits_with(0);
    assert_eq!(project.status()["sweeps"][0]["trials"]["succeeded"], 6);
    let refused = project.sweep(&["status", "--db", "other.db"]).exits_with(2);
    assert!(refused.stderr().contains("jobs.db`; to move it"), "{}", refused.stderr());
}

#[test]
fn an_audit_leaves_a_table_that_lies_elsewhere_as_it_is() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["run", "quick.yaml", "--db", "jobs.db"]).exits_with(0);
    let audit = project.sweep(&["audit", "1", "--trials", "2", "--json", "--db", "jobs.db"]).json();
    assert_eq!(audit["same"], true, "{audit}");
    assert_eq!(project.status()["sweeps"].as_array().unwrap().len(), 1);
}

#[test]
fn an_audit_tidies_up_behind_those_that_were_killed() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["run", "quick.yaml"]).exits_with(0);
    let lock_of = |name: &str| {
        std::fs::create_dir_all(project.path(&format!(".sweep/{name}/.sweep"))).unwrap();
        std::fs::File::create(project.path(&format!(".sweep/{name}/.sweep/lock"))).unwrap()
    };
    let (_killed, at_work) = (lock_of("audit-killed"), lock_of("audit-at-work"));
    at_work.lock().unwrap();
    project.sweep(&["audit", "1", "--trials", "1"]).exits_with(0);
    assert!(!project.path(".sweep/audit-killed").exists());
    assert!(project.path(".sweep/audit-at-work").exists());
}

#[test]
fn a_copy_that_can_not_be_written_is_told_from_a_table_that_can_not() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["submit", "quick.yaml"]).exits_with(0);
    // Enough for what SQLite keeps beside the table, and too little for a copy of it.
    let limited = "trap '' XFSZ; ulimit -f 96; exec \"$0\" backup copy.db";
    let mut backup = std::process::Command::new("bash");
    let backup = backup.args(["-c", limited, env!("CARGO_BIN_EXE_sweep")]).current_dir(project.folder.path());
    let output = backup.env("XDG_DATA_HOME", project.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: the copy can't be written: "), "{said}");
    assert!(!project.path("copy.db").exists());
}

#[test]
fn a_wrong_spec_stores_nothing_exits_2_and_says_how_to_mend_it() {
    let cases = [
        ("unknown", "parameters: {method: ce, widht: 8}", "did you mean `width`"),
        ("type", "parameters: {method: ce, width: wide}", "width"),
        ("empty", "parameters: {method: ce, width: []}", "width"),
        ("twice", "parameters: {method: ce, width: 8, width: 16}", "width"),
        ("yaml", "parameters: [", "broken.yaml"),
        ("dataset", "parameters: {method: ce, dataset: nowhere}", "sweep data import nowhere"),
        ("zip", "parameters: {method: ce}\nzip: []", "at least one item"),
        ("missing", "parameters: {method: kd, teacher: ema}", "add `ema_ratio`"),
        (
            "weights",
            "parameters: {method: kd, loss_weight: 1, teacher: checkpoint, teachers: [no.safetensors]}",
            "broken.yaml:1:73",
        ),
        ("metric", "metric: {name: top_1}\nparameters: {method: ce}", "did you mean `top1`"),
        (
            "contradiction",
            "parameters: {method: ce, epochs: 2, warmup_epochs: 2}",
            "the warm-up takes 2 epochs",
        ),
        ("effect", "parameters: {method: ce, mask_ratio: 0.5}", "no effect"),
        ("key", "parametres: {method: ce}", "did you mean `parameters`"),
    ];
    for (name, spec, said) in cases {
        let project = Project::new();
        project.write("broken.yaml", spec);
        for command in ["run", "submit"] {
            let refused = project.sweep(&[command, "broken.yaml"]).exits_with(2);
            assert!(refused.stderr().contains(said), "{name}: {}", refused.stderr());
            assert_eq!(refused.stdout(), "", "{name}");
            assert!(!project.has_state(), "{name}: something was stored");
        }
    }
    let project = Project::new();
    for command in ["run", "submit", "expand"] {
        let missing = project.sweep(&[command, "missing.yaml"]).exits_with(2);
        assert!(missing.stderr().contains("there is no spec `missing.yaml`"), "{}", missing.stderr());
    }
    assert!(!project.has_state());
}

#[test]
fn what_is_not_there_exits_2() {
    let project = Project::new();
    let nothing = project.sweep(&["status"]).exits_with(2);
    assert!(nothing.stderr().contains("sweep run SPEC"), "{}", nothing.stderr());
    project.write("quick.yaml", QUICK);
    project.sweep(&["submit", "quick.yaml"]).exits_with(0);
    let missing = project.sweep(&["results", "7"]).exits_with(2);
    assert_eq!(missing.stderr(), "error: there is no sweep 7\n");
}

#[test]
fn a_failed_trial_exits_1_says_why_and_can_be_retried() {
    let project = Project::new();
    let spec =
        "name: moody\ncommand: [sh, -c, 'echo no luck >&2; test -e luck']\nretries: 0\nparameters: {}\n";
    project.write("moody.yaml", spec);
    let failed = project.sweep(&["run", "moody.yaml"]).exits_with(1);
    assert!(failed.stdout().contains("1 failed (exit:1)"), "{}", failed.stdout());
    let document = project.results("1");
    assert_eq!(document["results"][0]["failure"]["log_tail"], "no luck\n");
    project.write("luck", "");
    project.sweep(&["run", "moody.yaml"]).exits_with(1);
    project.sweep(&["retry", "1"]).exits_with(0);
    project.sweep(&["run", "moody.yaml"]).exits_with(0);
}

#[test]
fn a_run_that_is_interrupted_goes_on_without_repeating_finished_trials() {
    let project = Project::new();
    project.write("gated.yaml", GATED);
    let mut run = project.start(&["run", "gated.yaml", "--cpu-slots", "1"]);
    wait_until("the first trial", || project.read("started").contains('1'));
    project.write("gate-1", "");
    wait_until("the second trial's start", || project.read("started").contains('2'));
    signal("INT", run.pid());
    assert_eq!(run.exit_code(), Some(1));
    assert!(run.log().contains("goes on from here"), "{}", run.log());
    assert_eq!(project.processes("sweep-worker"), Vec::<i32>::new());

    assert_eq!(finished_trials(&project), ["1"]);
    project.write("gate", "");
    project.sweep(&["run", "gated.yaml"]).exits_with(0);
    let first_starts = project.read("started").lines().filter(|line| *line == "1").count();
    assert_eq!(first_starts, 1, "a finished trial ran again");
    assert_same_as_undisturbed(&project, &[]);
}

#[test]
fn a_run_whose_every_process_is_killed_goes_on() {
    let project = Project::new();
    project.write("gated.yaml", GATED);
    let mut run = project.start(&["run", "gated.yaml", "--cpu-slots", "2"]);
    wait_until("two trials", || project.read("started").lines().count() == 2);
    let workers = project.processes("sweep-worker");
    signal("KILL", run.pid());
    workers.iter().for_each(|worker| signal("KILL", *worker));
    assert_eq!(run.exit_code(), None);
    wait_until("the trials to end with their agent", || project.processes("sh").is_empty());
    project.write("gate", "");
    project.sweep(&["run", "gated.yaml"]).exits_with(0);
    assert_same_as_undisturbed(&project, &[]);
}

#[test]
fn a_worker_that_is_killed_is_replaced() {
    let project = Project::new();
    project.write("gated.yaml", GATED);
    let mut run = project.start(&["run", "gated.yaml", "--cpu-slots", "1"]);
    wait_until("the first trial", || project.read("started").contains('1'));
    let [worker] = project.processes("sweep-worker")[..] else { panic!("one worker") };
    signal("KILL", worker);
    wait_until("its trial to be tried again", || project.read("started").lines().count() == 2);
    project.write("gate", "");
    assert_eq!(run.exit_code(), Some(0));
    assert_same_as_undisturbed(&project, &[]);
}

#[test]
fn a_stopped_workers_jobs_go_to_another_and_its_late_writes_are_refused() {
    let project = Project::new();
    project.write("gated.yaml", GATED);
    let mut run = project.start(&["run", "gated.yaml", "x=1", "--cpu-slots", "1", "--lease", "1"]);
    wait_until("the first trial", || project.read("started").contains('1'));
    let [stopped] = project.processes("sweep-worker")[..] else { panic!("one worker") };
    signal("STOP", stopped);
    // The coordinator runs, so this one is its client.
    let mut second = project.start(&["worker", "--until-drained", "--cpu-slots", "1"]);
    wait_until("the job's second attempt", || project.read("started").lines().count() == 2);
    project.write("gate", "");
    project.wait_for_status("the second worker to finish all", |status| {
        status["sweeps"][0]["trials"]["succeeded"] == 1
    });
    signal("CONT", stopped);
    assert_eq!(second.exit_code(), Some(0));
    assert_eq!(run.exit_code(), Some(0));
    assert_same_as_undisturbed(&project, &["x=1"]);
}

#[test]
fn while_a_run_goes_on_other_commands_go_through_its_coordinator() {
    let project = Project::new();
    project.write("gated.yaml", GATED);
    project.write("quick.yaml", QUICK);
    let mut run = project.start(&["run", "gated.yaml", "--cpu-slots", "1"]);
    project.wait_for_status("a running trial", |status| status["sweeps"][0]["trials"]["running"] == 1);
    assert_eq!(project.status()["workers"].as_array().unwrap().len(), 1);
    // A second run is a client of the first, with a worker for its own sweep.
    project.sweep(&["run", "quick.yaml"]).exits_with(0);
    assert_eq!(project.status()["sweeps"][0]["trials"]["succeeded"], 0);
    project.write("gate", "");
    assert_eq!(run.exit_code(), Some(0));
    assert_same_as_undisturbed(&project, &[]);
}

#[test]
fn a_run_that_is_done_goes_on_coordinating_for_another() {
    let (project, mut first, mut second) = two_runs();
    project.write("gate-1", "");
    wait_until("the first run's end", || {
        first.log().contains("still coordinating for workers of other commands (1)")
    });
    project.write("gate-2", "");
    assert_eq!(second.exit_code(), Some(0));
    assert_eq!(first.exit_code(), Some(0));
}

#[test]
fn a_run_whose_coordinator_is_killed_takes_over() {
    let (project, mut first, mut second) = two_runs();
    signal("KILL", first.pid());
    assert_eq!(first.exit_code(), None);
    wait_until("its second attempt", || {
        project.read("started").lines().filter(|line| *line == "2").count() == 2
    });
    project.write("gate", "");
    assert_eq!(second.exit_code(), Some(0));
    assert!(second.log().contains("takes over"), "{}", second.log());
    assert_same_as_undisturbed_of(&project, "2", &["x=2"]);
}

#[test]
fn two_short_runs_at_once_both_end_well() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    for round in 0..5 {
        let arguments = |x: i32| ["run".to_owned(), "quick.yaml".to_owned(), format!("x={}", 10 * round + x)];
        let mut runs = [1, 2].map(|x| project.start(&arguments(x).each_ref().map(String::as_str)));
        for run in &mut runs {
            assert_eq!(run.exit_code(), Some(0), "{}", run.log());
        }
    }
}

#[test]
fn a_stopped_run_stays_stopped_when_its_coordinator_goes_too() {
    let project = Project::new();
    let slow_to_stop = GATED.replace("while", "trap : TERM; while");
    project.write("gated.yaml", &slow_to_stop);
    let mut first = project.start(&["run", "gated.yaml", "x=1", "--cpu-slots", "1"]);
    project.wait_for_status("a running trial", |status| status["sweeps"][0]["trials"]["running"] == 1);
    let mut second = project.start(&["run", "gated.yaml", "x=2", "--cpu-slots", "1"]);
    wait_until("the second run's trial", || project.read("started").contains('2'));
    signal("INT", second.pid());
    wait_until("the wish to stop to be heard", || second.log().contains("stopping"));
    signal("KILL", first.pid());
    assert_eq!(first.exit_code(), None);
    assert_eq!(second.exit_code(), Some(1), "{}", second.log());
    assert!(!second.log().contains("takes over"), "{}", second.log());
}

#[test]
fn what_a_worker_can_not_do_exits_2() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["run", "quick.yaml", "--gpus", "foo"]).exits_with(2);
    assert!(!project.has_state());
    project.sweep(&["submit", "quick.yaml"]).exits_with(0);
    project.sweep(&["worker", "--sweep", "99", "--until-drained"]).exits_with(2);
    let unknown = project.sweep(&["worker", "--sweep", "quik", "--until-drained"]).exits_with(2);
    assert!(unknown.stderr().contains("there is no sweep `quik`; did you mean"), "{}", unknown.stderr());
}

#[test]
fn a_worker_works_on_the_sweep_that_is_named() {
    let project = Project::new();
    let spec =
        |name: &str| format!("name: {name}\ncommand: [/bin/true, {name}]\nparameters: {{x: [1, 2]}}\n");
    for name in ["first", "second", "third"] {
        project.write("spec.yaml", &spec(name));
        project.sweep(&["submit", "spec.yaml"]).exits_with(0);
    }
    let done = || {
        let status = project.status();
        let sweeps = status["sweeps"].as_array().unwrap();
        sweeps.iter().map(|sweep| sweep["trials"]["succeeded"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    project.sweep(&["worker", "--sweep", "second", "--until-drained"]).exits_with(0);
    assert_eq!(done(), [0, 2, 0]);
    project.sweep(&["worker", "--sweep", "last", "--until-drained"]).exits_with(0);
    assert_eq!(done(), [0, 2, 2]);
    project.sweep(&["worker", "--sweep", "1", "--until-drained"]).exits_with(0);
    assert_eq!(done(), [2, 2, 2]);
}

#[test]
fn parameters_never_become_shell_text() {
    let project = Project::new();
    let spec = r#"
name: quoting
command: [sh, -c, 'printf %s "$1" > "out-$SWEEP_TRIAL"', sh, '{{value}}']
parameters:
  value: ["$(touch pwned)", "a b", "it's \"quoted\"", "new\nline", "<&>"]
"#;
    project.write("quoting.yaml", spec);
    project.sweep(&["run", "quoting.yaml"]).exits_with(0);
    let written: Vec<_> = (1..=5).map(|trial| project.read(&format!("out-{trial}"))).collect();
    assert_eq!(written, ["$(touch pwned)", "a b", "it's \"quoted\"", "new\nline", "<&>"]);
    assert!(!project.path("pwned").exists());
}

/// Two runs of one project, a trial of each under way; the first coordinates.
fn two_runs() -> (Project, Running, Running) {
    let project = Project::new();
    project.write("gated.yaml", GATED);
    let first = project.start(&["run", "gated.yaml", "x=1", "--cpu-slots", "1"]);
    project.wait_for_status("a running trial", |status| status["sweeps"][0]["trials"]["running"] == 1);
    let second = project.start(&["run", "gated.yaml", "x=2", "--cpu-slots", "1"]);
    wait_until("the second run's trial", || project.read("started").contains('2'));
    (project, first, second)
}

/// The trials that have a result, by the value of `x`.
fn finished_trials(project: &Project) -> Vec<String> {
    let results = project.results("1");
    let trials = results["results"].as_array().into_iter().flatten();
    let succeeded = trials.filter(|result| result["state"] == "succeeded");
    succeeded.map(|result| result["parameters"]["x"].to_string()).collect()
}

fn assert_same_as_undisturbed(project: &Project, overrides: &[&str]) {
    assert_same_as_undisturbed_of(project, "1", overrides);
}

fn assert_same_as_undisturbed_of(project: &Project, sweep: &str, overrides: &[&str]) {
    let alone = project.beside();
    alone.write("gated.yaml", GATED);
    alone.write("gate", "");
    alone.sweep(&[&["run", "gated.yaml"], overrides].concat()).exits_with(0);
    assert_eq!(stable(&project.results(sweep)), stable(&alone.results("1")));
    assert_eq!(project.processes("sweep-worker"), Vec::<i32>::new());
}
