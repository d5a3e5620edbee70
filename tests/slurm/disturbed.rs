//! Everything that can happen to workers and to Slurm while a sweep runs: the table is the same in the end.

use std::fs;

use crate::cluster::{Cluster, logs, results_alone, results_of, serve, submit};
use crate::harness::{Project, signal, wait_until};

/// Sixty trials that note when they have been run to their end. None may be tried again for a fault of its own.
const SIXTY: &str = r#"
name: sixty
retries: 0
command: [sh, -c, 'sleep 0.6; echo {{x}}-{{y}} >> ends; echo "{\"loss\": {{x}}.{{y}}5}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters: {x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], y: [1, 2, 3, 4, 5, 6]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn whatever_happens_to_workers_and_to_slurm_each_trial_has_its_one_result() {
    let cluster = Cluster::up("disturbed", &[]);
    let project = cluster.project();
    project.write("sixty.yaml", SIXTY);
    let first_coordinator = serve(&project, "16");
    project.sweep(&["submit", "sixty.yaml"]).exits_with(0);
    let on = |node: &str, workers: &str| {
        let node = format!("nodelist={node}");
        submit(
            &project,
            &["1", "--workers", workers, "--cpu-slots", "1", "--time", "30", "--mem", "200M", "--set", &node],
        )
    };
    let (here, there) = (on("n1", "3"), on("n2", "2"));
    wait_until("all workers", || cluster.running(&here).len() + cluster.running(&there).len() == 5);
    wait_for_more_ends(&project);

    cluster.ask(&["scancel", &format!("{here}_0")]);
    wait_for_more_ends(&project);

    cluster.ask(&["scontrol", "requeue", &format!("{here}_1")]);
    wait_for_more_ends(&project);

    // Slurm's own process for a job: what it had started lives on, and Slurm knows nothing of it.
    let step = format!(
        "slurmstepd: [{}.batch]",
        cluster.running(&here).iter().find(|task| task.name.ends_with("_2")).unwrap().id
    );
    let of_workers = project.processes("sweep-worker").into_iter().map(step_of);
    signal("KILL", of_workers.into_iter().find(|stepd| line_of(*stepd).starts_with(&step)).unwrap());
    wait_for_more_ends(&project);

    cluster.control_daemon("stop");
    wait_for_more_ends(&project);
    cluster.control_daemon("start");

    signal("KILL", first_coordinator.pid());
    drop(first_coordinator);
    let _second_coordinator = serve_again(&project);
    wait_for_more_ends(&project);

    // What runs on a node that is drained goes on; on one that is lost it is started again elsewhere, or later.
    cluster.ask(&["scontrol", "update", "nodename=n2", "state=drain", "reason=test"]);
    wait_for_more_ends(&project);
    cluster.ask(&["scontrol", "update", "nodename=n2", "state=down", "reason=test"]);
    wait_until("the loss of the node", || cluster.running(&there).is_empty());
    cluster.ask(&["scontrol", "update", "nodename=n2", "state=resume"]);
    wait_until("workers on it again", || !cluster.running(&there).is_empty());

    let results = results_of(&project, "1");
    assert_eq!(results, results_alone(&project, "sixty.yaml", SIXTY), "{}", logs(&project));
    let mut ends: Vec<String> = project.read("ends").lines().map(str::to_owned).collect();
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 60);
    project.sweep(&["doctor"]).exits_with(0);
    // The one without its process would run for ever by Slurm's account.
    cluster.ask(&["scancel", &here]);
    cluster.wait_for_end(&here);
    cluster.wait_for_end(&there);
    wait_until("the workers' end", || project.processes("sweep-worker").is_empty());
}

/// Waits until two more trials have been run to their end.
fn wait_for_more_ends(project: &Project) {
    let ends = || project.read("ends").lines().count();
    let before = ends();
    assert!(before < 58, "the sweep is over before all has happened to it");
    wait_until("two more trials", || ends() >= before + 2);
}

fn serve_again(project: &Project) -> crate::harness::Running {
    let announced = project.read(".sweep/coordinator.json");
    let mut command = project.command(&["serve", "--lease", "16"]);
    command.env("SWEEP_LOG", "warn");
    let serve = project.start_command(command, "serve-again");
    wait_until("the next coordinator", || {
        let now = project.read(".sweep/coordinator.json");
        !now.is_empty() && now != announced
    });
    serve
}

/// Slurm's own process for the script that started this worker. (Other clusters' jobs have the same numbers.)
pub(crate) fn step_of(worker: i32) -> i32 {
    parent_of(parent_of(worker))
}

fn parent_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, behind_name) = stat.rsplit_once(") ").unwrap();
    behind_name.split(' ').nth(1).unwrap().parse().unwrap()
}

/// What a process was called with.
pub(crate) fn line_of(pid: i32) -> String {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.replace('\0', " ").trim().to_owned()
}
