//! A coordinator that is a job of Slurm's itself.

use crate::cluster::{Cluster, logs, results_alone, results_of};
use crate::harness::wait_until;

/// Forty trials that note when they have been run to their end.
const FORTY: &str = r#"
name: forty
retries: 0
command: [sh, -c, 'sleep 0.5; echo {{x}}-{{y}} >> ends; echo "{\"loss\": {{x}}.{{y}}5}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters: {x: [1, 2, 3, 4, 5, 6, 7, 8], y: [1, 2, 3, 4, 5]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_coordinator_in_a_job_moves_workers_follow_it_and_all_ends_by_itself() {
    let cluster = Cluster::up("coordinator", &[]);
    let project = cluster.project();
    project.write("forty.yaml", FORTY);
    let arguments = ["slurm", "forty.yaml", "--coordinator", "job", "--submit"];
    let workers =
        ["--workers", "4", "--max-running", "2", "--cpu-slots", "1", "--mem", "200M", "--time", "10"];
    let submitted = project.sweep(&[&arguments[..], &workers].concat()).exits_with(0);
    let job = submitted.stdout().trim().to_owned();
    let said = submitted.stderr();
    let coordinator = said
        .lines()
        .find_map(|line| line.strip_prefix("the coordinator is Slurm's job "))
        .unwrap()
        .to_owned();
    let ends = || project.read("ends").lines().count();
    wait_until("some trials", || ends() >= 4);

    // A second submission finds the coordinator that is there.
    let again = project.sweep(&[
        "slurm",
        "1",
        "--coordinator",
        "job",
        "--submit",
        "--cpu-slots",
        "1",
        "--mem",
        "200M",
    ]);
    let second = again.exits_with(0).stdout().trim().to_owned();
    assert_eq!(cluster.queue(&coordinator), ["RUNNING"]);

    let announced = project.read(".sweep/coordinator.json");
    cluster.ask(&["scontrol", "requeue", &coordinator]);
    wait_until("the coordinator elsewhere", || {
        let now = project.read(".sweep/coordinator.json");
        !now.is_empty() && now != announced
    });
    let before = ends();
    wait_until("more trials", || ends() > before || before == 40);
    let status = project.status();
    let shown: Vec<_> =
        status["slurm"]["jobs"].as_array().unwrap().iter().map(|job| job["sweep"].clone()).collect();
    assert_eq!(shown, [serde_json::Value::Null, 1.into(), 1.into()], "{status}");

    let results = results_of(&project, "1");
    assert_eq!(results, results_alone(&project, "forty.yaml", FORTY), "{}", logs(&project));
    // Tasks that wait are cancelled, and the coordinator ends when the last worker has gone.
    for job in [&job, &second, &coordinator] {
        cluster.wait_for_end(job);
    }
    let [ended] = &cluster.tasks(&coordinator)[..] else { panic!("{}", logs(&project)) };
    assert_eq!(ended.state, "COMPLETED", "{}", logs(&project));
    let workers = cluster.tasks(&job);
    assert!(
        workers.iter().all(|task| ["COMPLETED", "CANCELLED"].contains(&task.state.as_str())),
        "{workers:?}"
    );
    assert!(!project.path(".sweep/coordinator.json").exists());
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_coordinator_whose_time_is_over_starts_itself_again() {
    let cluster = Cluster::up("moving", &[]);
    let project = cluster.project();
    project.write("gated.yaml", GATED);
    let arguments = [
        "slurm",
        "gated.yaml",
        "--coordinator",
        "job",
        "--submit",
        "--cpu-slots",
        "1",
        "--mem",
        "200M",
        "--time",
        "30",
    ];
    let submitted = project.sweep(&arguments).exits_with(0);
    let said = submitted.stderr();
    let coordinator = said
        .lines()
        .find_map(|line| line.strip_prefix("the coordinator is Slurm's job "))
        .unwrap()
        .to_owned();
    wait_until("the trial", || project.path("begun").exists());
    cluster.ask(&["scancel", "--batch", "--signal=USR1", &coordinator]);
    wait_until("its restart", || {
        cluster.ask(&["scontrol", "show", "job", &coordinator]).contains(" Restarts=1 ")
    });
    wait_until("the coordinator again", || cluster.queue(&coordinator) == ["RUNNING"]);
    project.write("gate", "");
    let results = results_of(&project, "1");
    assert_eq!(results[0]["state"], "succeeded");
    cluster.wait_for_end(&coordinator);
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_coordinator_that_is_killed_is_started_again_and_two_submissions_have_one() {
    let cluster = Cluster::up("killed", &[]);
    let project = cluster.project();
    project.write("gated.yaml", GATED);
    project.sweep(&["submit", "gated.yaml"]).exits_with(0);
    let arguments = ["slurm", "1", "--coordinator", "job", "--submit", "--cpu-slots", "1", "--mem", "200M"];
    let both: Vec<_> = (0..2).map(|_| project.command(&arguments).spawn().unwrap()).collect();
    for submission in both {
        assert!(submission.wait_with_output().unwrap().status.success());
    }
    wait_until("the trial", || project.path("begun").exists());
    let status = project.status();
    let jobs = status["slurm"]["jobs"].as_array().unwrap();
    let coordinators: Vec<_> = jobs.iter().filter(|job| job["sweep"].is_null()).collect();
    assert_eq!((jobs.len(), coordinators.len()), (3, 1), "{status}");

    let announced = project.read(".sweep/coordinator.json");
    let pid = serde_json::from_str::<serde_json::Value>(&announced).unwrap()["pid"].to_string();
    let killed = std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert!(killed.success());
    wait_until("the coordinator again", || {
        let now = project.read(".sweep/coordinator.json");
        !now.is_empty() && now != announced
    });
    project.write("gate", "");
    assert_eq!(results_of(&project, "1")[0]["state"], "succeeded", "{}", logs(&project));
    cluster.wait_for_end(&coordinators[0]["job"].to_string());
}

/// A trial that ends when it is let.
const GATED: &str = r#"
name: gated
retries: 0
command: [sh, -c, 'touch begun; while ! test -e gate; do sleep 0.05; done; echo "{\"loss\": 1}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters: {x: [1]}
"#;
