//! The real programs: what people look at while work goes on, before it begins and when it is over.

mod harness;

use harness::{Project, serve, wait_until};

/// Trials that wait for a file, of which one fails.
const GATED: &str = r#"
name: gated
command: [sh, -c, 'while ! test -e gate; do sleep 0.02; done; test {{x}} -ne 2 || { echo broken; exit 3; }; echo "{\"loss\": {{x}}}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
retries: 0
parameters:
  x: [1, 2, 3]
"#;

/// One that is about to be given the gate.
fn gated() -> Project {
    let project = Project::new();
    project.write("gated.yaml", GATED);
    project
}

#[test]
fn a_trial_says_why_it_waits_and_status_what_is_wrong() {
    let project = gated();
    project.sweep(&["submit", "gated.yaml"]).exits_with(0);
    let status = project.sweep(&["status"]).exits_with(0);
    insta::assert_snapshot!("status_of_nobody", status.stdout());
    let explained = project.sweep(&["explain", "gated", "x=2"]).exits_with(0);
    insta::assert_snapshot!("explained", explained.stdout());
    project.sweep(&["pause", "last"]).exits_with(0);
    insta::assert_json_snapshot!("explained_paused", project.sweep(&["explain", "1", "3", "--json"]).json());
    project.sweep(&["resume", "last"]).exits_with(0);

    let mut run = project.start(&["run", "gated.yaml", "--cpu-slots", "1"]);
    project.wait_for_status("a trial to run", |status| status["sweeps"][0]["trials"]["running"] != 0);
    let running = project.sweep(&["explain", "last", "1"]).exits_with(0);
    assert!(
        running.stdout().starts_with("trial 1 of sweep 1 is running\n  attempt 1 runs on "),
        "{}",
        running.stdout()
    );
    project.write("gate", "");
    assert_eq!(run.exit_code(), Some(1));
    let failed = project.sweep(&["explain", "last", "state=failed"]).exits_with(0);
    assert!(failed.stdout().contains("it failed (exit:3)"), "{}", failed.stdout());
    assert!(failed.stdout().contains("`sweep retry 1 2` tries again"), "{}", failed.stdout());
    let status = project.sweep(&["status", "last"]).exits_with(0);
    assert!(
        status.stdout().contains("! sweep 1 `gated`: 1 trial failed (exit:3), the first is 2: "),
        "{}",
        status.stdout()
    );
    let several = project.sweep(&["explain", "last", "all"]).exits_with(2);
    assert!(several.stderr().contains("one trial is explained at a time"), "{}", several.stderr());
}

#[test]
fn watching_shows_lines_where_there_is_no_terminal_and_ends_with_the_work() {
    let project = gated();
    let mut run = project.start(&["run", "gated.yaml", "--quiet"]);
    project.wait_for_status("the sweep", |status| status["sweeps"][0]["trials"]["running"] != 0);
    let mut watch = project.start(&["status", "--watch"]);
    wait_until("a line", || watch.log().contains("0/3 trials"));
    project.write("gate", "");
    assert_eq!(watch.exit_code(), Some(0));
    run.exit_code();
    let log = project.read("status---watch.log");
    assert!(log.contains("trial 2 failed") || log.contains("1 trial failed (exit:3)"), "{log}");
    let quiet = project.read("run-gated.yaml---quiet.log");
    assert!(!quiet.contains("/3 trials"), "{quiet}");
}

#[test]
fn a_plan_stores_nothing() {
    let project = gated();
    let plan = project.sweep(&["submit", "gated.yaml", "--plan", "seeds=2"]).exits_with(0);
    insta::assert_snapshot!("plan", plan.stdout());
    assert!(!project.has_state(), "nothing is made");
    project.write("gate", "");
    project.sweep(&["run", "gated.yaml", "--quiet"]).exits_with(1);
    let document = project.sweep(&["submit", "gated.yaml", "--plan", "--json", "seeds=2"]).json();
    assert_eq!((&document["trials"], &document["trials_reused"]), (&6.into(), &2.into()));
    assert_eq!((&document["forecast"]["jobs_known"], &document["forecast"]["seeds"]), (&2.into(), &2.into()));
    assert_eq!(project.status()["sweeps"].as_array().unwrap().len(), 1);
}

#[test]
fn sweeps_that_are_there_are_completed() {
    let project = gated();
    let completed = |words: &[&str]| {
        let index = (words.len() - 1).to_string();
        let mut command = project.command(&[]);
        command.arg("--").args(words);
        command.env("SWEEP_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n");
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(completed(&["sweep", "expl"]).contains(&"explain".to_owned()));
    assert!(!completed(&["sweep", "results", ""]).contains(&"gated".to_owned()));
    assert!(!project.has_state(), "looking makes nothing");
    std::fs::create_dir(project.path(".sweep")).unwrap();
    assert!(!completed(&["sweep", "explain", "1", ""]).contains(&"last".to_owned()));
    assert_eq!(std::fs::read_dir(project.path(".sweep")).unwrap().count(), 0, "looking makes nothing");
    std::fs::remove_dir(project.path(".sweep")).unwrap();
    project.sweep(&["submit", "gated.yaml"]).exits_with(0);
    for command in ["results", "explain", "cancel", "pause", "report", "slurm"] {
        let found = completed(&["sweep", command, ""]);
        for expected in ["1", "gated", "last"] {
            assert!(found.contains(&expected.to_owned()), "{command}: {found:?}");
        }
    }
    assert_eq!(completed(&["sweep", "results", "ga"]), ["gated"]);
    // Trials and what they are, of the sweep that stands before, here and through a coordinator.
    for is_served in [false, true] {
        let _coordinator = is_served.then(|| serve(&project, &[]));
        for command in [&["explain"][..], &["logs"], &["retry"], &["cancel"], &["export", "checkpoint"]] {
            let found = completed(&[&["sweep"], command, &["gated", ""]].concat());
            for expected in ["1", "last", "state=", "x="] {
                assert!(found.contains(&expected.to_owned()), "{command:?}: {found:?}");
            }
        }
        assert_eq!(completed(&["sweep", "retry", "1", "state=f"]), ["state=failed"]);
        assert_eq!(completed(&["sweep", "retry", "gated", "state", "=", "f"]), ["failed"]);
        assert_eq!(completed(&["sweep", "results", "gated", "--pivot", ""]), ["x"]);
        assert_eq!(completed(&["sweep", "results", "gated", "--where", "x"]), ["x="]);
    }
    // Metrics, once something was reported.
    assert_eq!(completed(&["sweep", "results", "gated", "--metric", ""]), [""; 0]);
    project.write("gate", "");
    project.sweep(&["run", "gated.yaml", "--quiet"]).exits_with(1);
    assert_eq!(completed(&["sweep", "results", "gated", "--metric", "l"]), ["loss"]);
    assert_eq!(completed(&["sweep", "results", "gated", "--sort", ""]), ["x", "loss"]);
    for shell in ["bash", "zsh", "fish"] {
        let script = project.sweep(&["completions", shell]).exits_with(0);
        assert!(script.stdout().contains("SWEEP_COMPLETE"), "{shell}: {}", script.stdout());
    }
    project.sweep(&["completions", "tcsh"]).exits_with(2);
}

#[test]
fn colours_come_and_go_as_they_are_asked_for() {
    let project = gated();
    project.sweep(&["submit", "gated.yaml"]).exits_with(0);
    let coloured = |arguments: &[&str]| project.sweep(arguments).exits_with(0).stdout().contains("\x1b[");
    assert!(!coloured(&["status"]), "no terminal, and NO_COLOR");
    assert!(coloured(&["status", "--color", "always"]));
    assert!(!coloured(&["--color", "never", "status"]));
    let wrong = project.sweep(&["explain", "last", "9", "--color", "always"]).exits_with(2);
    assert!(wrong.stderr().contains("\x1b[1;31merror:"), "{}", wrong.stderr());
}

#[test]
fn a_report_is_one_file_in_which_nothing_is_markup_that_should_be_text() {
    let project = Project::new();
    let spec = GATED
        .replace("gated", "'<b>x</b></title>'")
        .replace("while ! test -e gate; do sleep 0.02; done; ", "");
    project.write("hostile.yaml", &spec);
    project.sweep(&["run", "hostile.yaml", "--quiet"]).exits_with(1);
    project.sweep(&["report", "last", "-o", "report.html"]).exits_with(0);
    let page = project.read("report.html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.len() < 3_000_000, "{} bytes", page.len());
    assert!(page.contains("<title>&lt;b&gt;x&lt;/b&gt;&lt;/title&gt; · sweep</title>"));
    assert!(!page.contains("<b>x</b>"));
    for loading in ["<link rel=\"stylesheet\"", "<script src", "<img", "@import"] {
        let own = page.replace(include_str!("../templates/vendor/plotly-cartesian-4.1.1.min.js"), "");
        assert!(!own.contains(loading), "{loading}");
    }
    assert_eq!(project.sweep(&["report", "last"]).exits_with(0).stdout().len(), page.len());
    project.sweep(&["report", "last", "--metric", "gone"]).exits_with(2);
    let nowhere = project.sweep(&["report", "last", "-o", "no/such/folder.html"]).exits_with(1);
    assert!(nowhere.stderr().contains("can't be written"), "{}", nowhere.stderr());
}
