//! Every recipe of the study, as `sweep run RECIPE --smoke` runs it: each code path of the trainer that its trials take, once. `make
//! test-recipes` runs it and shows how far it is.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says what it sees"
)]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use harness::Project;

/// Files of `sweeps/` that are no bases of others.
fn recipes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps");
    let mut recipes = Vec::new();
    for folder in ["", "as-run", "beyond"].map(|name| folder.join(name)) {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        recipes.extend(files.filter(|path| path.extension().is_some_and(|found| found == "yaml")));
    }
    recipes.sort();
    recipes
}

#[test]
#[ignore = "minutes; make test-recipes"]
fn every_code_path_of_every_recipe_works() {
    let (project, recipes, mut failures) = (Project::new(), recipes(), Vec::new());
    assert!(recipes.len() > 25, "{recipes:?}");
    for (place, recipe) in recipes.iter().enumerate() {
        let path = recipe.to_str().unwrap();
        let trials = project.sweep(&["expand", path, "--json"]);
        // What selects trials of a sweep that is not there can't be counted.
        let trials = trials.output.status.success().then(|| trials.json()["trials"].clone());
        let smoke = project.sweep(&["run", path, "--smoke", "--quiet", "--json"]);
        let found: serde_json::Value = serde_json::from_slice(&smoke.output.stdout).unwrap_or_default();
        let paths = found["code_paths"].as_array().map_or(0, Vec::len);
        let outcome = if smoke.output.status.success() { "ok" } else { "FAILED" };
        eprintln!("{:2}/{} {} ({paths} code paths): {outcome}", place + 1, recipes.len(), recipe.display());
        if !smoke.output.status.success() || paths == 0 {
            failures.push(format!("{}: {}", recipe.display(), smoke.stderr()));
        }
        if let Some(trials) = trials {
            assert_eq!(found["trials"], trials, "{path}: every trial takes one of the paths");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(!project.has_state(), "nothing is stored");
}
