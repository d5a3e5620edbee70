//! The README's examples are run as they stand there, and its outputs are what the programs print.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use harness::Project;

const README: &str = include_str!("../README.md");

/// The fenced block whose first line is `first`, without that line.
fn block(first: &str) -> String {
    let start = README.find(&format!("```yaml\n{first}\n")).or_else(|| README.find(&format!("\n{first}\n")));
    let start = start.unwrap_or_else(|| panic!("the README has no block that begins with `{first}`"));
    let body = &README[start..].split_once(&format!("{first}\n")).unwrap().1;
    body.split("```").next().unwrap().to_owned()
}

#[test]
fn the_program_example_prints_what_the_readme_shows() {
    let project = Project::new();
    project.write("fit.yaml", &block("# fit.yaml"));
    project.write("fit.py", &block("# fit.py"));
    let run = project.sweep(&["run", "fit.yaml"]).exits_with(0);
    assert_eq!(run.stdout(), block("$ sweep run fit.yaml"));
}

#[test]
fn the_spec_example_is_right_and_has_as_many_trials_as_the_readme_says() {
    let project = Project::new();
    project.write("masks.yaml", &block("# masks.yaml"));
    let expanded = project.sweep(&["expand", "masks.yaml", "--json"]).json();
    assert_eq!(expanded["trials"], 18);
}

#[test]
fn the_stage_tree_is_drawn_as_the_readme_shows_it() {
    let project = Project::new();
    project.write("milestones.yaml", &block("# milestones.yaml"));
    let drawn = project.sweep(&["expand", "milestones.yaml", "--tree"]).exits_with(0);
    assert_eq!(drawn.stdout(), block("$ sweep expand milestones.yaml --tree"));
    assert!(
        drawn.stderr().contains("400 epochs one by one, 200 with shared beginnings, 200 to run"),
        "{}",
        drawn.stderr()
    );
}

#[test]
fn the_examples_of_methods_are_right() {
    let project = Project::new();
    for (name, trials) in [("kd-ema.yaml", 18), ("mask-head.yaml", 6), ("ensemble.yaml", 4)] {
        project.write(name, &block(&format!("# {name}")));
        let expanded = project.sweep(&["expand", name, "--json"]).json();
        assert_eq!(expanded["trials"], trials, "{name}");
    }
    let distilled = sweep::spec::parse("distill.yaml", &block("# distill.yaml"), &[]).unwrap();
    assert_eq!(distilled.trials().count(), 2);
    // A table row for each method there is.
    for method in ["ce", "kd", "mask"] {
        assert!(README.contains(&format!("\n| `{method}` |")), "{method}");
    }
    project.sweep(&["metrics", "rankme"]).exits_with(0);
}

#[test]
fn the_spec_in_the_description_of_the_language_is_right() {
    let text = include_str!("../docs/SPEC.md");
    let study = text.split("```yaml\n# study.yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let project = Project::new();
    project.write("study.yaml", study);
    project.write("common.yaml", "parameters: {dataset: cifar10, epochs: 50}\n");
    let expanded = project.sweep(&["expand", "study.yaml", "--json"]).json();
    // Three ratios, three pairs of modes, two weights, two starts; ema has two ratios of its own.
    assert_eq!(expanded["trials"], 3 * 3 * 2 * 2 * (1 + 2) * 3);
}

#[test]
fn the_wrong_spec_gets_the_error_that_the_readme_shows() {
    let project = Project::new();
    project.write("masks.yaml", &block("# masks.yaml"));
    let refused = project.sweep(&["run", "masks.yaml", "mask_mode=s,sfg", "ema_ratio=0.9"]).exits_with(2);
    assert_eq!(refused.stderr(), block("$ sweep run masks.yaml mask_mode=s,sfg ema_ratio=0.9"));
}

#[test]
fn the_slurm_script_says_what_the_readme_shows() {
    let project = Project::new();
    project.write("masks.yaml", "name: masks\ncommand: [/bin/true]\nparameters: {x: [1, 2]}\n");
    let (first, rest) =
        README.split_once("```console\n$ sweep slurm masks.yaml ").unwrap().1.split_once('\n').unwrap();
    let arguments: Vec<&str> = first.strip_suffix(" | grep SBATCH").unwrap().split(' ').collect();
    let script = project.sweep(&[&["slurm", "masks.yaml"], &arguments[..]].concat()).exits_with(0).stdout();
    let here = project.folder.path().display().to_string();
    let shown: Vec<String> = script
        .lines()
        .filter(|line| line.contains("SBATCH"))
        .map(|line| line.replace(&here, "/home/u/masks"))
        .collect();
    assert_eq!(shown.join("\n") + "\n", rest.split("```").next().unwrap());
    // The command that submits is the same one.
    assert!(README.contains(&format!("sweep slurm masks.yaml {} --submit\n", arguments.join(" "))));
    let profile = README.split("  ```toml\n").nth(1).unwrap().split("  ```").next().unwrap();
    project.write("sweep.toml", profile);
    let script = project.sweep(&["slurm", "1", "--profile", "h200"]).exits_with(0).stdout();
    assert!(
        script.contains("\nmodule load cuda\n") && script.contains("#SBATCH --gres=gpu:h200:1\n"),
        "{script}"
    );
}

#[test]
fn the_demos_table_has_the_columns_that_the_readme_shows() {
    let header = block("$ sweep run sweeps/demo.yaml").lines().next().unwrap().to_owned();
    let columns: Vec<_> = header.split_whitespace().collect();
    assert_eq!(columns, ["method", "seeds", "top1", "shifted_top1", "rankme", "shifted_gap", "train_loss"]);
}
