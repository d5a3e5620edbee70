//! Programs run what was there when their spec was submitted, whatever is edited since, with the real programs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs;

use harness::{Project, Running, wait_until};
use serde_json::{Value, json};

const FIT: &str = r#"
name: fit
command: [sh, train.sh, "{{x}}"]
metric: {name: loss, goal: minimize}
parameters:
  x: [1, 2]
"#;

/// Reports its parameter, with this digit before it.
fn script(digit: &str) -> String {
    format!("echo \"{{\\\"loss\\\": {digit}$1}}\" >> \"$SWEEP_REPORT\"\n")
}

fn fit() -> Project {
    let project = Project::new();
    project.write("fit.yaml", FIT);
    project.write("train.sh", &script(""));
    project
}

/// What a sweep's trials have reported, by number.
fn losses(project: &Project, sweep: &str) -> Vec<Value> {
    let mut results = project.results(sweep)["results"].as_array().unwrap().clone();
    results.sort_by_key(|result| result["trial"].as_i64());
    results.iter().map(|result| result["metrics"]["loss"].clone()).collect()
}

fn work(project: &Project) {
    project.sweep(&["worker", "--until-drained", "--cpu-slots", "1"]).exits_with(0);
}

#[test]
fn editing_a_script_changes_no_trial_that_is_queued_and_makes_new_ones() {
    let project = fit();
    assert_eq!(project.sweep(&["submit", "fit.yaml"]).exits_with(0).stdout(), "1\n");
    project.write("train.sh", &script("4"));
    work(&project);
    assert_eq!(losses(&project, "1"), [json!(1.0), json!(2.0)]);
    let again = project.sweep(&["submit", "fit.yaml"]).exits_with(0);
    assert_eq!(again.stdout(), "2\n");
    assert!(!again.stderr().contains("the code has changed"), "the old one has ended: {}", again.stderr());
    work(&project);
    assert_eq!(losses(&project, "2"), [json!(41.0), json!(42.0)]);
    // What the first sweep ran is there for ever.
    let audited = project.sweep(&["audit", "1", "--trials", "2", "--cpu-slots", "1"]).exits_with(0);
    assert!(audited.stderr().contains("all the same"), "{}", audited.stderr());
    project.write("train.sh", &script(""));
    let first = project.sweep(&["submit", "fit.yaml"]).exits_with(0);
    assert_eq!((first.stdout().as_str(), first.stderr().contains("was there already")), ("1\n", true));
    assert_eq!(project.results("1")["code"]["hash"].as_str().unwrap().len(), 64);
    assert_eq!(fs::read_dir(project.path(".sweep/attempts")).unwrap().count(), 0, "no copy is left over");
    project.sweep(&["doctor"]).exits_with(0);
}

#[test]
fn an_edit_in_the_middle_of_a_sweep_is_said_and_both_versions_run() {
    let project = fit();
    project.sweep(&["submit", "fit.yaml"]).exits_with(0);
    project.write("train.sh", &script("4"));
    let ran = project.sweep(&["run", "fit.yaml", "--cpu-slots", "1"]).exits_with(0);
    assert!(
        ran.stderr()
            .contains("the code has changed (`train.sh`) since sweep 1, of which 2 trials have not ended"),
        "{}",
        ran.stderr()
    );
    assert_eq!(losses(&project, "2"), [json!(41.0), json!(42.0)]);
    project.write("train.sh", &script("5"));
    let document = project.sweep(&["submit", "fit.yaml", "--json"]).json();
    assert_eq!(document["earlier"], json!({"sweep": 1, "unfinished": 2, "changed": ["train.sh"]}));
    work(&project);
    assert_eq!(losses(&project, "1"), [json!(1.0), json!(2.0)]);
    assert_eq!(losses(&project, "3"), [json!(51.0), json!(52.0)]);
}

#[test]
fn a_folder_is_kept_with_what_scripts_read_from_it() {
    let project = Project::new();
    fs::create_dir_all(project.path("data")).unwrap();
    fs::create_dir_all(project.path("sweeps")).unwrap();
    fs::create_dir_all(project.path(".git")).unwrap();
    // Ignored, and so not kept; the rest of the name is what shells and pages stumble over.
    let lib = "lib <b>&'\"$(x)\n.sh";
    project.write(".gitignore", "data\n/sweep-*\n");
    project.write("data/offset", "7\n");
    project.write("sweeps/fit.yaml", &FIT.replace("name: fit\n", "name: fit\ncode: ..\n"));
    project.write(
        "train.sh",
        "for lib in lib*; do . \"./$lib\"; done; cp data/offset seen; touch \"$SWEEP_PROJECT/data/$1\"",
    );
    project.write(lib, &script(""));
    project.sweep(&["submit", "sweeps/fit.yaml"]).exits_with(0);
    project.write(lib, &script("4"));
    project.write("data/offset", "8\n");
    project.write("lib.later", "exit 1");
    work(&project);
    assert_eq!(losses(&project, "1"), [json!(1.0), json!(2.0)]);
    assert!(project.path("data/1").exists() && project.path("data/2").exists());
    assert!(!project.path("seen").exists(), "what a trial writes beside its code is its own");
    let log = project.sweep(&["logs", "1", "1"]).exits_with(0).stdout();
    let left = log.split('`').nth(1).unwrap_or_else(|| panic!("no word of what is left: {log}"));
    assert_eq!(fs::read_to_string(format!("{left}/seen")).unwrap(), "8\n", "data are as they are");
    assert_eq!(fs::read_dir(left).unwrap().count(), 1);
    // Without an edit the same trials are reused, also under another name.
    fs::remove_file(project.path("lib.later")).unwrap();
    project.write(lib, &script(""));
    let renamed = project.sweep(&["submit", "sweeps/fit.yaml", "name=other"]).exits_with(0);
    assert!(renamed.stderr().contains("2 trials, 2 reused"), "{}", renamed.stderr());
}

#[test]
fn live_code_is_what_is_there_and_what_a_named_script_reads_is_live_too() {
    let project = fit();
    project.sweep(&["submit", "fit.yaml", "code=live"]).exits_with(0);
    project.write("train.sh", &script("4"));
    work(&project);
    assert_eq!(losses(&project, "1"), [json!(41.0), json!(42.0)]);
    project.write("lib.sh", &script("5"));
    project.write("train.sh", ". \"$(dirname \"$0\")/lib.sh\"");
    project.sweep(&["submit", "fit.yaml"]).exits_with(0);
    project.write("lib.sh", &script("6"));
    project.write("train.sh", "exit 1");
    work(&project);
    assert_eq!(losses(&project, "2"), [json!(61.0), json!(62.0)]);
}

#[test]
fn damaged_code_is_found_and_mended_by_submitting_again() {
    let project = fit();
    project.sweep(&["submit", "fit.yaml"]).exits_with(0);
    let kept = fs::read_dir(project.path(".sweep/artifacts/code")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&kept).unwrap();
    bytes[512] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let examined = project.sweep(&["doctor"]).exits_with(1);
    assert!(examined.stdout().contains("the code of sweep 1 is damaged"), "{}", examined.stdout());
    let worker = project.start(&["worker", "--cpu-slots", "1"]);
    wait_until("the worker's word of it", || project.read(".sweep/logs/worker.log").contains("node_fault"));
    assert_eq!(losses(&project, "1"), [Value::Null, Value::Null], "it is never run");
    let again = project.sweep(&["submit", "fit.yaml"]).exits_with(0);
    assert!(again.stderr().contains("was there already"), "{}", again.stderr());
    project.wait_for_status("the trials", |status| status["sweeps"][0]["trials"]["succeeded"] == 2);
    drop(worker);
    assert_eq!(losses(&project, "1"), [json!(1.0), json!(2.0)]);
    project.sweep(&["doctor"]).exits_with(0);
    fs::remove_file(&kept).unwrap();
    let examined = project.sweep(&["doctor"]).exits_with(1);
    assert!(examined.stdout().contains("the code of sweep 1 is gone"), "{}", examined.stdout());
    let audited = project.sweep(&["audit", "1", "--cpu-slots", "1"]).exits_with(1);
    assert!(audited.stderr().contains("`sweep doctor` says more"), "{}", audited.stderr());
}

#[test]
fn code_that_can_not_be_kept_stores_nothing() {
    let project = fit();
    let large = fs::File::create(project.path("large.bin")).unwrap();
    large.set_len(65 << 20).unwrap();
    for (code, words) in
        [(".", "the largest are `"), ("nowhere", "there is no such folder"), ("/usr", "lies neither in")]
    {
        let refused = project.sweep(&["submit", "fit.yaml", &format!("code={code}")]).exits_with(2);
        assert!(refused.stderr().contains(words), "{code}: {}", refused.stderr());
    }
    assert!(!project.has_state());
}

/// A service, and the address that it prints.
fn serve(project: &Project) -> (Running, String) {
    let service = project.start(&["serve"]);
    wait_until("the service's address", || service.log().contains("coordinating"));
    let url = service.log().lines().next().expect("the line that was waited for").to_owned();
    (service, url)
}

#[test]
fn who_submits_from_elsewhere_sends_the_code() {
    let project = Project::new();
    let (_service, url) = serve(&project);
    let elsewhere = project.elsewhere(&url);
    elsewhere.write("fit.yaml", &FIT.replace("name: fit\n", "name: fit\ncode: .\n"));
    elsewhere.write("train.sh", &script(""));
    elsewhere.sweep(&["submit", "fit.yaml"]).exits_with(0);
    elsewhere.write("train.sh", &script("4"));
    project.sweep(&["worker", "--until-drained", "--cpu-slots", "1"]).exits_with(0);
    assert_eq!(losses(&elsewhere, "1"), [json!(1.0), json!(2.0)]);
    let audited = elsewhere.sweep(&["audit", "1", "--cpu-slots", "1"]).exits_with(0);
    assert!(audited.stderr().contains("all the same"), "{}", audited.stderr());
    let changed = elsewhere.sweep(&["submit", "fit.yaml"]).exits_with(0);
    assert_eq!(changed.stdout(), "2\n");
    // Nor does a worker that has none of the coordinator's folders need more than its address.
    elsewhere.sweep(&["worker", "--until-drained", "--cpu-slots", "1"]).exits_with(0);
    assert_eq!(losses(&elsewhere, "2"), [json!(41.0), json!(42.0)]);
    assert_eq!(fs::read_dir(elsewhere.path(".sweep/cache/code")).unwrap().count(), 1);
}
