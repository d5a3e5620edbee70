//! Exports without Slurm: their tasks are run here, one by one, and brought in while their files are only half there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Project, serve, stable};
use serde_json::Value;

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
        .args(["--datasets".as_ref(), project.datasets().as_os_str()])
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
            assert!(export.join(format!("artifacts/{task}")).exists(), "more may come");
        }
        fs::write(&spool, &whole).unwrap();
        assert_eq!(ingest(&project, &export), done as u64 + 1, "{task}");
    }
    assert!(!export.join("artifacts").exists(), "checkpoints are in the project's folder now");
    assert!(export.join("export.json").is_file() && export.join("spool/0-0-1.frames").is_file());
    assert_eq!(ingest(&project, &export), 7, "and nothing depends on them");
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
    assert!(!first.join("artifacts").exists() && first.join("closed").exists());
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

#[test]
fn an_export_of_a_table_that_was_put_back_to_an_earlier_state_is_not_taken_for_one_of_its_own() {
    let project = Project::new();
    project.write("staged.yaml", STAGED);
    project.write("other.yaml", "command: [sh, -c, 'exit {{x}}']\nparameters: {x: [1, 2]}\n");
    project.write("first.yaml", "command: [true]\nparameters: {}\n");
    project.sweep(&["submit", "first.yaml"]).exits_with(0);
    let earlier = project.path("earlier.db");
    project.sweep(&["backup", earlier.to_str().unwrap()]).exits_with(0);
    project.sweep(&["slurm", "staged.yaml", "--static"]).exits_with(0);
    let of_no_more = export_of(&project);
    do_task(&project, &of_no_more, "0-0");
    for left in ["sweep.db", "sweep.db-wal", "sweep.db-shm"] {
        let _none = fs::remove_file(project.path(".sweep").join(left));
    }
    fs::copy(&earlier, project.path(".sweep/sweep.db")).unwrap();
    // Its sweep's number and those of its jobs are others' now.
    project.sweep(&["submit", "other.yaml"]).exits_with(0);
    let refuse = |folder: &Path| {
        let refused = project.sweep(&["ingest", folder.to_str().unwrap()]).exits_with(2).stderr();
        assert!(refused.contains("of an export that the job table does not know"), "{refused}");
    };
    refuse(&of_no_more);
    project.sweep(&["slurm", "2", "--static"]).exits_with(0);
    assert!(
        of_no_more.join("spool/0-0-1.frames").exists(),
        "the new one has another number, and what was left stays"
    );
    refuse(&of_no_more);
    let folders = fs::read_dir(project.path(".sweep/exports")).unwrap().flatten().map(|entry| entry.path());
    let new = folders.into_iter().find(|folder| *folder != of_no_more).unwrap();
    assert_eq!(ingest(&project, &new), 0);
    // In its place it is not the new one, either.
    fs::remove_dir_all(&new).unwrap();
    fs::rename(&of_no_more, &new).unwrap();
    refuse(&new);
    let again = project.sweep(&["slurm", "2", "--static", "--missing"]).exits_with(0).stderr();
    assert!(again.contains("2 jobs in 2 tasks"), "{again}");
    project.sweep(&["doctor"]).exits_with(0);
}

#[test]
fn what_a_sweep_keeps_of_its_checkpoints_it_keeps_of_an_exports_too() {
    let project = Project::new();
    project.import_sample();
    let alone = project.beside();
    for (sweep, keep) in [("1", "all"), ("2", "best")] {
        let spec = format!(
            "name: keep-{keep}\nkeep: {keep}\nparameters: {{dataset: cifar10-sample, width: 1, epochs: 2, eval_every: 1, lr_steps: [], \
             lr: 0.0{sweep}}}\n"
        );
        for project in [&project, &alone] {
            project.write("keeping.yaml", &spec);
        }
        alone.sweep(&["run", "keeping.yaml", "--quiet", "--cpu-slots", "1"]).exits_with(0);
        project.sweep(&["slurm", "keeping.yaml", "--static", "--no-preflight"]).exits_with(0);
        let export = export_of(&project);
        do_task(&project, &export, "0-0");
        assert_eq!(ingest(&project, &export), 1);
        let results = stable(&project.results(sweep));
        assert_eq!(results, stable(&alone.results(sweep)), "{keep}: the same numbers and the same files");
        let kept = results[0]["checkpoints"].as_array().unwrap();
        assert!(if keep == "all" { kept.len() == 2 } else { (1..=2).contains(&kept.len()) }, "{kept:?}");
        for kept in kept {
            let file = format!(".sweep/artifacts/{}.safetensors", kept["hash"].as_str().unwrap());
            assert!(project.path(&file).is_file(), "{keep}: {kept}");
        }
        assert!(!export.join("artifacts").exists());
    }
    project.sweep(&["doctor"]).exits_with(0);
}

/// What stands for Slurm's programs: files say what it does.
struct Stub<'a>(&'a Project);

impl Stub<'_> {
    fn program(&self, name: &str, text: &str) {
        let file = self.0.path(&format!("bin/{name}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\ncd {}\n{text}\n", self.0.folder.path().display())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Slurm with a limit of two jobs, of this size at most, which says what 22.05 says.
    fn install(&self, max_array_size: u32) {
        self.program("scontrol", &format!("echo 'MaxArraySize            = {max_array_size}'"));
        self.program("squeue", "cat queue 2>/dev/null || true");
        self.program("scancel", r#"echo "$@" >> cancelled"#);
        self.program("sacct", "exit 1");
        self.program(
            "sbatch",
            r#"cat > /dev/null; taken=$(cat taken 2>/dev/null | wc -l)
if [ "$taken" -ge 2 ]; then
    echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)" >&2
    exit 1
fi
echo >> taken; echo $((100 + taken))"#,
        );
    }
}

/// A project whose commands find the stub.
fn project_with_stub() -> Project {
    let project = Project::new();
    let path = format!("{}:/usr/bin:/bin", project.path("bin").display());
    project.with_variable("PATH", &path)
}

#[test]
fn a_limit_of_jobs_is_named_with_what_counts_towards_it_and_nothing_is_left() {
    let project = project_with_stub();
    Stub(&project).install(2);
    project.write("staged.yaml", STAGED);
    let refused = project.sweep(&["slurm", "staged.yaml", "--static", "--submit"]).exits_with(1).stderr();
    for words in [
        "array 3 of 4, 2 tasks, was not taken, and so none is submitted",
        "QOSMaxSubmitJobPerUserLimit",
        "help: each task of an array counts as a job",
        "--jobs-per-task",
        "Slurm's jobs 100 101, which were submitted already, are cancelled again",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert_eq!(project.read("cancelled"), "100 101\n");
    let status = project.status();
    assert_eq!(status["exports"], Value::Array(vec![]), "{status}");
    assert_eq!(status["sweeps"][0]["trials"]["queued"], 4, "they are everybody's again");
    assert_eq!(fs::read_dir(project.path(".sweep/exports")).unwrap().count(), 0);
    // With a coordinator it is the same limit, and an array of workers.
    let refused = project.sweep(&["slurm", "1", "--submit"]).exits_with(1).stderr();
    assert!(refused.contains("QOSMaxSubmitJobPerUserLimit") && refused.contains("`--workers`"), "{refused}");

    // Taken, and kept waiting by another limit.
    fs::remove_file(project.path("taken")).unwrap();
    project.sweep(&["slurm", "1", "--submit", "--workers", "2"]).exits_with(0);
    let waits = |place: u32, reason: &str| format!("100|100|{place}|PENDING|{reason}|sweep 0123\n");
    project.write("queue", &(waits(0, "QOSMaxJobsPerUserLimit") + &waits(1, "QOSMaxJobsPerUserLimit")));
    let shown = project.sweep(&["status"]).exits_with(0).stdout();
    assert!(shown.contains("QOSMaxJobsPerUserLimit") && !shown.contains("does not come"), "{shown}");
    assert_eq!(project.status()["slurm"]["jobs"][0]["pending_reasons"]["QOSMaxJobsPerUserLimit"], 2);
    project
        .write("queue", &(waits(0, "QOSMaxJobsPerUserLimit") + &waits(1, "QOSMaxWallDurationPerJobLimit")));
    let shown = project.sweep(&["status"]).exits_with(0).stdout();
    assert!(
        shown.contains("Slurm's job 100 waits for what does not come (QOSMaxWallDurationPerJobLimit)"),
        "{shown}"
    );
}

#[test]
fn status_looks_into_exports_and_says_what_is_to_be_done_now() {
    let project = project_with_stub();
    Stub(&project).install(1001);
    project.write("staged.yaml", STAGED);
    project.sweep(&["slurm", "staged.yaml", "--static"]).exits_with(0);
    let export = export_of(&project);
    let named = format!(".sweep/exports/{}", export.file_name().unwrap().to_str().unwrap());
    let seen = |project: &Project| {
        let export = &project.status()["exports"][0];
        (export["open_jobs"].clone(), export["uningested_jobs"].clone(), export["next"].clone())
    };
    let expected = |open: u64, uningested: Option<u64>, next: Option<&str>| {
        (Value::from(open), Value::from(uningested), Value::from(next))
    };
    // Nobody knows whether its tasks have begun. They are no jobs that wait for workers.
    assert_eq!(seen(&project), expected(7, Some(0), None));
    let shown = project.sweep(&["status"]).exits_with(0).stdout();
    assert!(shown.contains("nothing is wrong"), "{shown}");
    do_task(&project, &export, "0-0");
    do_task(&project, &export, "1-0");
    let (ingest_it, missing) = (format!("sweep ingest {named}"), "sweep slurm 1 --static --missing");
    assert_eq!(seen(&project), expected(7, Some(2), Some(&ingest_it)));
    let shown = project.sweep(&["status"]).exits_with(0).stdout();
    assert!(shown.contains(&format!("`{ingest_it}` brings in 2 results")), "{shown}");

    // A coordinator is asked what it misses; the folder is looked into here, where it is here.
    let (_serve, url) = serve(&project, &[]);
    assert_eq!(seen(&project), expected(7, Some(2), Some(&ingest_it)));
    let elsewhere = project.elsewhere(&url);
    assert_eq!(seen(&elsewhere), expected(7, None, None));
    let shown = elsewhere.sweep(&["status"]).exits_with(0).stdout();
    assert!(shown.contains("its folder is in the project of its coordinator"), "{shown}");
    assert_eq!(ingest(&project, &export), 2);
    assert_eq!(seen(&project), expected(5, Some(0), None));

    // Slurm says whether anybody still works on it.
    fs::write(export.join("slurm-jobs"), "100\n101\n").unwrap();
    project.write("queue", "107|101|2|RUNNING|None|sweep 0123\n");
    assert_eq!(seen(&project), expected(5, Some(0), None));
    project.write("queue", "108|102|2|RUNNING|None|somebody else's\n");
    assert_eq!(seen(&project), expected(5, Some(0), Some(missing)));
    let shown = project.sweep(&["status", "1"]).exits_with(0).stdout();
    assert!(shown.contains("Slurm has none of its tasks any more"), "{shown}");
    fs::remove_dir_all(&export).unwrap();
    assert_eq!(seen(&project), expected(5, None, Some(missing)));
    project.sweep(&["slurm", "1", "--static", "--missing"]).exits_with(0);
    let left = project.status();
    assert_eq!(left["exports"].as_array().unwrap().len(), 1, "the new one: {left}");
    assert_eq!(left["exports"][0]["open_jobs"], 5, "{left}");
}
