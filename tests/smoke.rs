//! Trying code paths by themselves, and before a long sweep.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness::Project;

const MASKS: &str = "\
name: masks
parameters: {method: mask, method_start: 1, method_every: 1, loss_weight: [7, 1], mask_ratio: 0.5, mask_mode: [s, a], inv_mode: v1}
";

/// A trainer in which the mode `a` never worked.
fn trainer_without_mode_a(project: &Project) -> PathBuf {
    let whole = Path::new(env!("CARGO_BIN_EXE_sweep")).with_file_name("sweep-trainer");
    let script = format!(
        "#!/bin/sh\nsed -u 's/\"mask_mode\":\"a\"/\"mask_mode\":\"broken\"/' | {} \"$@\"\n",
        whole.display()
    );
    let path = project.path("trainer");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_smoke_tries_every_code_path_without_dataset_and_stores_nothing() {
    let project = Project::new();
    project.write("masks.yaml", MASKS);
    let tried = project.sweep(&["run", "masks.yaml", "--smoke"]).exits_with(0);
    insta::assert_snapshot!(tried.stdout(), @r"
     trial   trials   mask_mode   smoke
    ────────────────────────────────────
     1       2        s           ok
     2       2        a           ok
    ");
    assert!(tried.stderr().starts_with("`masks`: 2 code paths of 4 trials"), "{}", tried.stderr());
    assert!(!project.has_state());
    assert!(!project.path("data").exists(), "no dataset is left");
}

#[test]
fn a_mode_that_does_not_work_is_named_with_its_trial() {
    let project = Project::new();
    project.write("masks.yaml", MASKS);
    let trainer = trainer_without_mode_a(&project);
    let tried = project
        .sweep(&["run", "masks.yaml", "--smoke", "--trainer", trainer.to_str().unwrap()])
        .exits_with(1);
    let (table, said) = (tried.stdout(), tried.stderr());
    assert!(
        table.contains(" a           failed (bad_config)") && table.contains(" s           ok"),
        "{table}"
    );
    assert!(said.contains("error: trial 2 of `masks` (mask_mode=a) fails: "), "{said}");
    assert!(!said.contains("mask_mode=s"), "{said}");
}

#[test]
fn a_program_has_no_smoke() {
    let project = Project::new();
    project.write("fit.yaml", "command: [/bin/true]\nparameters: {x: [1, 2]}\n");
    let refused = project.sweep(&["run", "fit.yaml", "--smoke"]).exits_with(2);
    assert!(refused.stderr().contains("`fit` runs a program"), "{}", refused.stderr());
}

/// 80 images and 20,000 epochs: long, though it is never trained here.
fn long(project: &Project) {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker/assets/cifar10-smoke.tar.xz");
    let images = images.to_str().unwrap();
    project.sweep(&["data", "import", "tiny", "--train", images, "--test", images]).exits_with(0);
    let more = "dataset: tiny, batch_size: 40, epochs: 20000";
    project
        .write("long.yaml", &MASKS.replace("{method", &format!("{{{more}, method")).replace("masks", "long"));
}

#[test]
fn a_long_sweep_is_not_stored_where_a_mode_does_not_work() {
    let project = Project::new();
    long(&project);
    let trainer = trainer_without_mode_a(&project);
    let run = ["run", "long.yaml", "--trainer", trainer.to_str().unwrap()];
    let refused = project.sweep(&run).exits_with(1);
    let said = refused.stderr();
    assert!(said.starts_with("preflight: 2 code paths of 4 trials"), "{said}");
    assert!(
        said.contains("nothing is stored") && said.contains("trial 2 of `long` (mask_mode=a) fails: "),
        "{said}"
    );
    assert!(!project.has_state());
}

#[test]
fn what_is_long_is_tried_before_it_is_stored_and_not_again() {
    let project = Project::new();
    long(&project);
    let submitted = project.sweep(&["submit", "long.yaml"]).exits_with(0);
    assert_eq!(submitted.stdout(), "1\n");
    assert!(submitted.stderr().starts_with("preflight: 2 code paths of 4 trials"), "{}", submitted.stderr());
    assert_eq!(
        project.status()["sweeps"].as_array().unwrap().len(),
        1,
        "the small trials are not among them"
    );
    let left = fs::read_dir(project.path(".sweep")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("smoke-")));
    for quiet in [&["submit", "long.yaml"][..], &["submit", "long.yaml", "seeds=2", "--no-preflight"]] {
        let again = project.sweep(quiet).exits_with(0);
        assert!(!again.stderr().contains("preflight"), "{quiet:?}: {}", again.stderr());
    }
    let short = project.sweep(&["submit", "long.yaml", "epochs=100"]).exits_with(0);
    assert!(!short.stderr().contains("preflight"), "{}", short.stderr());
}

#[test]
fn a_cluster_is_asked_for_nothing_that_was_not_tried() {
    let project = Project::new();
    long(&project);
    let exported = project.sweep(&["slurm", "long.yaml", "--static"]).exits_with(0);
    assert!(exported.stderr().starts_with("preflight: 2 code paths of 4 trials"), "{}", exported.stderr());
    let workers = project.sweep(&["slurm", "long.yaml", "seeds=2"]).exits_with(0);
    assert!(workers.stderr().starts_with("preflight: "), "{}", workers.stderr());
    for untried in
        [&["slurm", "long.yaml", "seeds=2"][..], &["slurm", "long.yaml", "seeds=3", "--no-preflight"]]
    {
        let again = project.sweep(untried).exits_with(0);
        assert!(!again.stderr().contains("preflight"), "{untried:?}: {}", again.stderr());
    }
}

#[test]
fn where_nothing_can_be_tried_that_is_said_and_the_sweep_is_stored() {
    let project = Project::new();
    long(&project);
    // Neither beside it nor on PATH is a worker.
    fs::copy(env!("CARGO_BIN_EXE_sweep"), project.path("sweep")).unwrap();
    let command = project.command(&["submit", "long.yaml"]);
    let mut alone = std::process::Command::new(project.path("sweep"));
    alone
        .args(command.get_args())
        .current_dir(project.folder.path())
        .env("XDG_DATA_HOME", project.path("data"));
    let output = alone.env("PATH", "/nowhere").env_remove("SWEEP_COORDINATOR").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().next(), Some("no preflight: `sweep-worker` is not on this host"), "{said}");
    assert_eq!(project.status()["sweeps"].as_array().unwrap().len(), 1);
}
