//! The usual: arrays of workers that fill a table.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, logs, results_alone, results_of, serve, submit};
use crate::harness::Project;

/// Each trial notes that it has been run to its end.
const FORTY: &str = r#"
name: forty
command: [sh, -c, 'sleep 0.2; echo {{x}}-{{y}} >> ends; echo "{\"loss\": {{x}}.{{y}}5}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters: {x: [1, 2, 3, 4, 5, 6, 7, 8], y: [1, 2, 3, 4, 5]}
"#;

/// Three methods, as in the demo, on real images.
const TRAINED: &str = r#"
name: trained
parameters: {dataset: cifar10-sample, width: 1, epochs: 2, eval_every: 2, lr_steps: [], batch_size: 500}
seeds: 4
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn forty_programs_and_a_training_sweep_through_four_workers_on_two_nodes() {
    let cluster = Cluster::up("usual", &[]);
    let project = cluster.adopt(with_sample());
    project.write("forty.yaml", FORTY);
    project.write("trained.yaml", TRAINED);
    let _serve = serve(&project, "60");
    // Two of them fill a node.
    let workers =
        ["--workers", "4", "--cpus-per-task", "2", "--mem", "14G", "--time", "10", "--idle-timeout", "5m"];
    // The spec is submitted, and its workers with it.
    let first = submit(&project, &[&["forty.yaml"], &workers[..]].concat());
    let results = results_of(&project, "1");
    assert_eq!(results, results_alone(&project, "forty.yaml", FORTY));
    let ends: Vec<String> = project.read("ends").lines().map(str::to_owned).collect();
    assert_eq!((ends.len(), ends.iter().collect::<BTreeSet<_>>().len()), (40, 40), "each was run once");
    cluster.wait_for_end(&first);
    let ended = cluster.tasks(&first);
    assert_eq!(ended.len(), 4);
    let nodes: BTreeSet<&str> = ended.iter().map(|task| task.node.as_str()).collect();
    assert_eq!(nodes, BTreeSet::from(["n1", "n2"]));
    assert!(
        ended.iter().all(|task| task.state == "COMPLETED" && task.exit_code == "0:0"),
        "{ended:?}\n{}",
        logs(&project)
    );

    let second = submit(&project, &[&["trained.yaml"], &workers[..]].concat());
    let results = results_of(&project, "2");
    assert_eq!(results, results_alone(&project, "trained.yaml", TRAINED));
    assert!(results.iter().all(|trial| trial["metrics"]["top1"].is_f64()), "{results:?}");
    cluster.wait_for_end(&second);
}

/// A project with the images that the repository ships.
pub(crate) fn with_sample() -> Project {
    let project = Project::new();
    let asset =
        |name: &str| format!("{}/worker/assets/cifar10-sample-{name}.tar.xz", env!("CARGO_MANIFEST_DIR"));
    let (train, test) = (asset("train"), asset("test"));
    project.sweep(&["data", "import", "cifar10-sample", "--train", &train, "--test", &test]).exits_with(0);
    project
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_worker_on_each_of_two_nodes_of_one_task_and_more_tasks_than_are_needed() {
    let cluster = Cluster::up("several", &[]);
    let project = cluster.project();
    project.write("forty.yaml", FORTY);
    let _serve = serve(&project, "60");
    let several =
        ["--workers", "3", "--max-running", "1", "--nodes", "2", "--cpu-slots", "2", "--time", "10"];
    let job = submit(&project, &[&["forty.yaml"], &several[..]].concat());
    assert_eq!(results_of(&project, "1").len(), 40);
    cluster.wait_for_end(&job);
    let ended = cluster.tasks(&job);
    assert!(ended.iter().all(|task| task.state == "COMPLETED"), "{ended:?}\n{}", logs(&project));
    assert_eq!(ended.len(), 3, "those that came too late have ended as well");
    assert!(ended.iter().all(|task| task.node == "n[1-2]"), "{ended:?}");
    let ready = logs(&project).matches("ready").count();
    assert_eq!(ready, 6, "a worker on each node of each task: {}", logs(&project));
}
