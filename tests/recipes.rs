//! The recipes that come with the program: that they are found, and every one as `sweep run RECIPE --smoke` runs it: each code path of the trainer that its trials take, once. `make
//! test-recipes` runs those and shows how far it is.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says what it sees"
)]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use harness::Project;
use sweep::report::grouped;

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

#[test]
fn recipes_are_listed_with_what_their_heads_say_and_are_found_by_name() {
    // From the clone in which the program was built.
    let project = Project::new();
    let listed = project.sweep(&["recipes", "--json"]).json();
    let listed = listed["recipes"].as_array().unwrap();
    assert_eq!(listed.len(), recipes().len());
    let study = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/STUDY.md")).unwrap();
    for recipe in listed {
        let text = fs::read_to_string(recipe["path"].as_str().unwrap()).unwrap();
        let name = recipe["recipe"].as_str().unwrap();
        assert!(
            recipe.get("error").is_none() && !recipe["question"].as_str().unwrap().is_empty(),
            "{recipe}"
        );
        let Some(size) = text.lines().find_map(|line| line.strip_prefix("# Size: ")) else {
            assert!(["demo", "width8"].contains(&name), "{name} doesn't say its size");
            continue;
        };
        let said: Vec<u64> =
            size.replace(',', "").split(['(', ' ']).filter_map(|word| word.parse().ok()).collect();
        let keys = ["trials", "stages", "epochs", "epochs_unshared"];
        let found: Vec<u64> = keys.iter().map(|key| recipe[key].as_u64().unwrap()).collect();
        assert_eq!(said, found, "{name}");
        assert!(recipe["variant"].is_string() && recipe["base"].is_string(), "{recipe}");
        if name.starts_with("beyond/") {
            let cost = said.iter().map(|number| grouped(*number)).collect::<Vec<_>>().join(" | ");
            let row = format!("| {name} | {cost} |");
            assert!(study.contains(&row), "docs/STUDY.md has no row `{row}`");
        }
    }
    let expanded = project.sweep(&["expand", "as-run/kd-base", "--json"]).json();
    assert_eq!(expanded["trials"], 20);
    let missing = project.sweep(&["expand", "kd-bass"]).exits_with(2);
    assert!(missing.stderr().contains("nor a recipe of that name"), "{}", missing.stderr());
}

#[test]
fn a_projects_own_specs_come_first_and_a_wrong_one_hides_no_other() {
    let project = Project::new();
    fs::create_dir_all(project.path("sweeps/base")).unwrap();
    project.write("sweeps/mine.yaml", "# Is it mine? Yes.\nbase: base/all.yaml\nparameters: {x: [1, 2]}\n");
    project.write("sweeps/wrong.yaml", "parameters: {lrr: 1}\n");
    project.write("sweeps/base/all.yaml", "command: [/bin/true]\n");
    let listed = project.sweep(&["recipes"]).exits_with(0);
    insta::assert_snapshot!(listed.stdout());
    assert!(
        listed.stderr().contains("warning: wrong: it is no right spec; `sweep expand "),
        "{}",
        listed.stderr()
    );
    project.write("mine", "command: [/bin/true]\nparameters: {x: [1, 2, 3]}\n");
    assert_eq!(
        project.sweep(&["expand", "mine", "--json"]).json()["trials"],
        3,
        "a file comes before a recipe"
    );
    fs::remove_file(project.path("mine")).unwrap();
    assert_eq!(project.sweep(&["expand", "mine", "--json"]).json()["trials"], 2);
}

#[test]
fn where_there_are_no_recipes_it_is_said_where_they_were_looked_for() {
    let project = Project::new();
    fs::create_dir(project.path("bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_sweep"), project.path("bin/sweep")).unwrap();
    let mut command = std::process::Command::new(project.path("bin/sweep"));
    let output = command.arg("recipes").current_dir(project.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for place in ["sweeps", "bin/sweeps", "bin/../share/sweep/sweeps"] {
        assert!(said.contains(&format!("\n   {}\n", project.path(place).display())), "{place}: {said}");
    }
}

#[test]
fn what_is_taken_from_a_folder_above_is_named_once() {
    let project = Project::new();
    fs::create_dir_all(project.path("sweeps")).unwrap();
    fs::create_dir_all(project.path("below")).unwrap();
    project.write("sweeps/mine.yaml", "command: [/bin/true]\n");
    let own = project.sweep(&["run", "mine"]).exits_with(0).stderr();
    assert!(!own.contains("in the project of") && !own.contains("recipe `mine`"), "{own}");
    let below = |arguments: &[&str]| {
        let output = project.command(arguments).current_dir(project.path("below")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let above = project.folder.path().canonicalize().unwrap();
    let state = format!("in the project of {}; ", above.join(".sweep").display());
    let recipe = format!("recipe `mine`: {}", above.join("sweeps/mine.yaml").display());
    let run = below(&["run", "mine"]);
    assert_eq!((run.matches(&state).count(), run.matches(&recipe).count()), (1, 1), "{run}");
    assert_eq!(below(&["status"]).matches(&state).count(), 1);
    fs::create_dir(project.path("below/.sweep")).unwrap();
    let apart = below(&["status"]);
    assert!(!apart.contains("in the project of"), "{apart}");
}
