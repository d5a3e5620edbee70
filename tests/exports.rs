//! Exports without Slurm: their tasks are run here, one by one, and brought in while their files are only half there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Project, stable};

/// A tree of three depths; each stage adds a line to what the one before has saved, and reports two epochs.
const STAGED: &str = r#"
name: staged
retries: 0
stages:
  - {until: 2, parameters: [a]}
  - {until: 4, parameters: [a, b]}
  - {until: 6}
command: [sh, -c, 'set -e; test -z "$SWEEP_LOAD" || cat "$SWEEP_LOAD" > "$SWEEP_SAVE"; echo "{{a}}{{b}}{{c}}" >> "$SWEEP_SAVE";
  for epoch in $SWEEP_FIRST_EPOCH $SWEEP_LAST_EPOCH; do echo "{\"epoch\": $epoch, \"loss\": $epoch.$(cat "$SWEEP_SAVE" | wc -l)}" >> "$SWEEP_REPORT"; done']
metric: {name: loss, goal: minimize}
parameters: {a: [1], b: [1, 2], c: [1, 2]}
"#;

/// Does a task of an export as its script would.
fn do_task(project: &Project, export: &Path, task: &str) {
    let worker = Path::new(env!("CARGO_BIN_EXE_sweep")).with_file_name("sweep-worker");
    assert!(worker.is_file(), "build the workspace first: `cargo build --workspace --bins`");
    let status = Command::new(worker)
        .args(["--state-dir".as_ref(), project.path(".sweep").as_os_str()])
        .args(["--datasets".as_ref(), project.path("datasets").as_os_str()])
        .args(["--export".as_ref(), export.as_os_str()])
        .args(["--task", task, "--cpu-slots", "1"])
        .env("SWEEP_LOG", "warn")
        .status()
        .unwrap();
    assert!(status.success(), "{task}");
}

fn export_of(project: &Project) -> PathBuf {
    let newest = fs::read_dir(project.path(".sweep/exports")).unwrap().map(|entry| entry.unwrap().path());
    newest.max().unwrap()
}

/// Jobs that are done.
fn ingest(project: &Project, export: &Path) -> u64 {
    let document = project.sweep(&["ingest", export.to_str().unwrap(), "--json"]).json();
    assert_eq!(document["refused"].as_array().unwrap().len(), 0, "{document}");
    document["done"].as_u64().unwrap()
}

#[test]
fn whatever_is_there_of_a_spool_is_brought_in_any_number_of_times_and_the_table_ends_as_after_a_run() {
    let project = Project::new();
    project.write("staged.yaml", STAGED);
    let made = project.sweep(&["slurm", "staged.yaml", "--static"]).exits_with(0);
    assert!(made.stderr().contains("7 jobs in 7 tasks and 3 arrays"), "{}", made.stderr());
    let export = export_of(&project);
    assert_eq!(ingest(&project, &export), 0);
    // A task whose jobs wait for others leaves them out.
    do_task(&project, &export, "2-3");
    for (done, task) in ["0-0", "1-0", "1-1", "2-0", "2-1", "2-2", "2-3"].iter().enumerate() {
        do_task(&project, &export, task);
        // This task's file is the last that it has begun.
        let number = if *task == "2-3" { 2 } else { 1 };
        let spool = export.join(format!("spool/{task}-{number}.frames"));
        let whole = fs::read(&spool).unwrap();
        for part in 0..4 {
            fs::write(&spool, &whole[..whole.len() * part / 4]).unwrap();
            assert_eq!(ingest(&project, &export), done as u64, "{task}: {part} quarters");
        }
        fs::write(&spool, &whole).unwrap();
        assert_eq!(ingest(&project, &export), done as u64 + 1, "{task}");
    }
    assert_eq!(ingest(&project, &export), 7);
    project.sweep(&["doctor"]).exits_with(0);
    let alone = project.beside();
    alone.write("staged.yaml", STAGED);
    alone.sweep(&["run", "staged.yaml", "--quiet"]).exits_with(0);
    assert_eq!(stable(&project.results("1")), stable(&alone.results("1")));
}

#[test]
fn what_an_export_has_not_done_is_taken_back_and_its_late_word_refused() {
    let project = Project::new();
    project.write("staged.yaml", STAGED);
    project.sweep(&["slurm", "staged.yaml", "--static"]).exits_with(0);
    let first = export_of(&project);
    do_task(&project, &first, "0-0");
    do_task(&project, &first, "1-0");
    let held = project.sweep(&["slurm", "1", "--static"]).exits_with(2);
    assert!(held.stderr().contains("held by export"), "{}", held.stderr());
    let again = project.sweep(&["slurm", "1", "--static", "--missing"]).exits_with(0);
    assert!(again.stderr().contains("7 jobs, 2 done"), "{}", again.stderr());
    assert!(again.stderr().contains("5 jobs in 5 tasks and 2 arrays"), "{}", again.stderr());
    let elsewhere = project.beside();
    elsewhere.write("staged.yaml", STAGED);
    elsewhere.sweep(&["submit", "staged.yaml"]).exits_with(0);
    let foreign = elsewhere.sweep(&["ingest", first.to_str().unwrap()]).exits_with(2);
    assert!(foreign.stderr().contains("another project's job table"), "{}", foreign.stderr());
    // A folder is lost before anything was brought in: what that export holds is given back all the same.
    fs::remove_dir_all(project.path(".sweep/exports")).unwrap();
    let last = project.sweep(&["slurm", "1", "--static", "--missing"]).exits_with(0);
    assert!(last.stderr().contains("5 jobs in 5 tasks"), "{}", last.stderr());
    let export = export_of(&project);
    for task in ["0-0", "0-1", "0-2", "1-0", "1-1"] {
        do_task(&project, &export, task);
    }
    assert_eq!(ingest(&project, &export), 5);
    let states = project.results("1");
    let trials = states["results"].as_array().unwrap();
    assert!(trials.iter().all(|trial| trial["state"] == "succeeded"), "{states}");
    project.sweep(&["doctor"]).exits_with(0);
}
