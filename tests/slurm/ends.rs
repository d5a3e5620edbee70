//! How workers end: at their time limit, by Slurm's signals, and without a word.

use crate::cluster::{Cluster, logs, results_alone, results_of, serve, submit};
use crate::harness::{Project, signal, stable, wait_until};
use crate::work::with_sample;

/// A trial whose first run would take for ever, and which notes how it is asked to end.
const LONG: &str = r#"
name: long
retries: 0
command: [sh, -c, 'trap "echo asked >> asked; exit 0" TERM; if test -e asked; then echo "{\"loss\": 1}" >> "$SWEEP_REPORT"; exit 0; fi;
  touch begun; while :; do sleep 0.1; done']
metric: {name: loss, goal: minimize}
parameters: {x: [1]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn at_its_time_limit_a_worker_gives_its_job_back_and_the_next_one_goes_on() {
    let cluster = Cluster::up("limit", &[]);
    let project = cluster.project();
    project.write("long.yaml", LONG);
    let _serve = serve(&project, "60");
    // The shortest limit that Slurm knows; its warning comes between 18 and 48 seconds after the start.
    let job = submit(
        &project,
        &["long.yaml", "--workers", "2", "--max-running", "1", "--cpu-slots", "1", "--time", "1"],
    );
    let results = results_of(&project, "1");
    assert_eq!(project.read("asked"), "asked\n", "once, at the first one's end");
    assert_eq!(results[0]["state"], "succeeded", "it cost no attempt: {results:?}");
    cluster.wait_for_end(&job);
    let ended = cluster.tasks(&job);
    assert!(ended.iter().all(|task| task.state == "COMPLETED"), "{ended:?}\n{}", logs(&project));
    assert!(!logs(&project).contains("CANCELLED"), "{}", logs(&project));
}

/// A network that takes a while on one core, and writes no checkpoint by itself.
const SLOW: &str = r#"
name: slow
parameters: {dataset: cifar10-sample, width: 2, epochs: 3, eval_every: 3, lr_steps: [], batch_size: 100, checkpoint_every: 3}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_training_trial_goes_on_at_the_step_at_which_slurms_signal_came() {
    let cluster = Cluster::up("signals", &[]);
    let project = cluster.adopt(with_sample());
    project.write("slow.yaml", SLOW);
    let _serve = serve(&project, "60");
    let job = submit(&project, &["slow.yaml", "--workers", "1", "--time", "30"]);
    // The warning before the limit goes to the script alone, which passes it on; a requeue signals every process.
    wait_until("an epoch's report", || {
        project.results("1")["results"][0]["metrics"].get("train_loss").is_some()
    });
    cluster.ask(&["scancel", "--batch", "--signal=USR1", &job]);
    cluster.wait_for_end(&job);
    let [ended] = &cluster.tasks(&job)[..] else { panic!("{}", logs(&project)) };
    assert_eq!((ended.state.as_str(), ended.exit_code.as_str()), ("COMPLETED", "0:0"), "{}", logs(&project));

    let again = submit(&project, &["1", "--workers", "1", "--time", "30"]);
    wait_until("the second attempt", || goes_on(&project, 2));
    cluster.ask(&["scontrol", "requeue", &format!("{again}_0")]);
    let results = results_of(&project, "1");
    assert_eq!(results, results_alone(&project, "slow.yaml", SLOW));
    assert!(goes_on(&project, 3), "{}", logs(&project));
}

fn goes_on(project: &Project, attempt: u32) -> bool {
    project.read(&format!(".sweep/logs/job-1-attempt-{attempt}.log")).contains("goes on from a checkpoint")
}

/// Trials that end when they are let.
const GATED: &str = r#"
name: gated
retries: 0
command: [sh, -c, 'echo {{x}} >> begun; while ! test -e gate; do sleep 0.05; done; echo "{\"loss\": {{x}}}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters: {x: [1, 2, 3]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_worker_that_died_is_lost_at_slurms_word_and_status_says_what_slurm_does() {
    let cluster = Cluster::up("lost", &[]);
    let project = cluster.project();
    project.write("gated.yaml", GATED);
    let serve = serve(&project, "60");
    let job = submit(
        &project,
        &[
            "gated.yaml",
            "--workers",
            "4",
            "--max-running",
            "2",
            "--cpu-slots",
            "1",
            "--mem",
            "200M",
            "--time",
            "30",
        ],
    );
    wait_until("two trials", || project.read("begun").lines().count() == 2);
    let status = project.sweep(&["status"]).exits_with(0).stdout();
    let line = status.lines().find(|line| line.contains("sweep 1 ")).unwrap_or_else(|| panic!("{status}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, [&job, "sweep", "1", "4", "2", "2", "0", "JobArrayTaskLimit"], "{status}");

    let victim = project.processes("sweep-worker")[0];
    signal("KILL", victim);
    wait_until("another worker in its place", || project.read("begun").lines().count() == 3);
    let status = project.status();
    assert_eq!(status["slurm"]["jobs"][0]["running"], 2, "{status}");
    wait_until("Slurm's word", || serve.log().contains("is gone, and worker"));
    assert!(!serve.log().contains("leases expired"), "{}", serve.log());
    project.write("gate", "");
    let results = results_of(&project, "1");
    assert_eq!(results.len(), 3);
    assert!(results.iter().all(|trial| trial["state"] == "succeeded"), "{results:?}");
    cluster.wait_for_end(&job);
    let failed: Vec<_> = cluster.tasks(&job).into_iter().filter(|task| task.state == "FAILED").collect();
    assert_eq!(failed.len(), 1, "the shell gives the worker's end: {failed:?}");
    assert_eq!(stable(&project.results("1")).len(), 3);
}

/// The same with a gate for each.
const GATES: &str = r#"
name: gates
retries: 0
command: [sh, -c, 'echo {{x}} >> begun; while ! test -e gate-{{x}}; do sleep 0.05; done; echo "{\"loss\": {{x}}}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters: {x: [1, 2, 3]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_slurm_that_does_not_answer_changes_nothing() {
    let cluster = Cluster::up("away", &[]);
    let project = cluster.project();
    project.write("gates.yaml", GATES);
    let _serve = serve(&project, "60");
    let job = submit(&project, &["gates.yaml", "--workers", "1", "--cpu-slots", "3", "--time", "30"]);
    wait_until("three trials", || project.read("begun").lines().count() == 3);
    cluster.control_daemon("stop");
    let status = project.sweep(&["status"]).exits_with(0);
    assert!(
        status.stderr().contains("note: what Slurm does with its jobs is not known: squeue"),
        "{}",
        status.stderr()
    );
    assert!(status.stdout().contains("gates"), "{}", status.stdout());
    let document = project.status();
    assert_eq!(document["slurm"], serde_json::Value::Null);
    assert_eq!(document["workers"][0]["slurm_job"], format!("{job}_0"));
    project.write("gate-1", "");
    project.write("gate-2", "");
    project.wait_for_status("two results", |status| status["sweeps"][0]["trials"]["succeeded"] == 2);
    // The worker outlasts that.
    cluster.control_daemon("start");
    project.write("gate-3", "");
    assert_eq!(results_of(&project, "1").len(), 3);
    cluster.wait_for_end(&job);
    assert_eq!(project.read("begun").lines().count(), 3, "none was begun again");
}
