//! Trying code paths by themselves, and before a long sweep.

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
    let script = format!("#!/bin/sh\nsed -u 's/\"mask_mode\":\"a\"/\"mask_mode\":\"broken\"/' | {}\n", whole.display());
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
    insta::assert_snapshot!(tried.stdout(), @"");
    assert!(tried.stderr().starts_with("`masks`: 2 code paths of 4 trials"), "{}", tried.stderr());
    assert!(!project.has_state());
    assert!(!project.path("data").exists(), "no dataset is left");
}

#[test]
fn a_mode_that_does_not_work_is_named_with_its_trial() {
    let project = Project::new();
    project.write("masks.yaml", MASKS);
    let trainer = trainer_without_mode_a(&project);
    let tried = project.sweep(&["run", "masks.yaml", "--smoke", "--trainer", trainer.to_str().unwrap()]).exits_with(1);
    let (table, said) = (tried.stdout(), tried.stderr());
    assert!(table.contains(" a           failed (bad_config)") && table.contains(" s           ok"), "{table}");
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
