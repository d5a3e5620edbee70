//! What the README's chapter shows of Slurm is what is to be seen.

use crate::cluster::{Cluster, results_of, serve, submit};
use crate::gpus::without_driver;
use crate::harness::wait_until;

const README: &str = include_str!("../../README.md");

/// The README's sweep with programs in the place of its networks, which end when they are let.
const MASKS: &str = r#"
name: masks
seeds: 3
command: [sh, -c, 'echo >> begun; while ! test -e gate; do sleep 0.05; done']
parameters: {mask_ratio: [0.75, 0.5, 0.25], mask_mode: [s, sgf]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn status_shows_what_the_readme_shows() {
    let cluster = Cluster::up("readme", &[]);
    let project = cluster.project();
    project.write("masks.yaml", MASKS);
    let _serve = serve(&project, "60");
    let setup = without_driver(&project);
    let line = README.lines().find(|line| line.starts_with("sweep slurm masks.yaml ")).unwrap();
    let typed: Vec<&str> = line.split(' ').skip(2).filter(|word| *word != "--submit").collect();
    let job = submit(&project, &[&typed[..], &["--setup", &setup]].concat());
    wait_until("four trials", || project.read("begun").lines().count() == 4);
    let shown = README.split("```console\n$ sweep status\n").nth(1).unwrap().split("```").next().unwrap();
    let mut status = String::new();
    // Slurm does not say at once what the others wait for.
    wait_until("Slurm's reason", || {
        status = project.sweep(&["status"]).exits_with(0).stdout();
        status.contains("Resources")
    });
    let mut rest = status.as_str();
    for line in shown.lines().filter(|line| *line != "…") {
        let line = line.replace("4711", &format!("{job:<4}"));
        let at = rest.find(&format!("{line}\n")).unwrap_or_else(|| panic!("`{line}` is not in\n{status}"));
        rest = &rest[at..];
    }
    project.write("gate", "");
    assert_eq!(results_of(&project, "1").len(), 18);
    cluster.wait_for_end(&job);
}
