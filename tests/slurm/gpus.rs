//! GPUs that Slurm hands out. The cluster has them on paper, as if they were of another make than NVIDIA's.

use crate::cluster::{Cluster, logs, results_of, serve, submit};
use crate::harness::Project;

/// Trials that note which GPUs they see, and wait for each other, so that one worker can't run both.
const SEEN: &str = r#"
name: seen
retries: 0
command: [sh, -c, 'echo "$CUDA_VISIBLE_DEVICES $SLURM_JOB_GPUS" > seen-{{x}}; while ! test -e seen-1 -a -e seen-2; do sleep 0.05; done']
parameters: {x: [1, 2]}
"#;

/// The line of a script by which a worker finds no NVIDIA driver, whatever the host has: the cluster's GPUs are not the host's.
pub(crate) fn without_driver(project: &Project) -> String {
    std::fs::create_dir(project.path("no-driver")).unwrap();
    for name in ["libnvidia-ml.so", "libnvidia-ml.so.1"] {
        project.write(&format!("no-driver/{name}"), "");
    }
    format!("export LD_LIBRARY_PATH='{}'", project.path("no-driver").display())
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn two_workers_on_a_node_each_see_the_gpu_that_is_theirs() {
    let cluster = Cluster::up("gpus", &[("NODES", "1")]);
    let project = cluster.project();
    project.write("seen.yaml", SEEN);
    let _serve = serve(&project, "60");
    let setup = without_driver(&project);
    let job = submit(
        &project,
        &["seen.yaml", "--workers", "2", "--gres", "gpu:1", "--mem", "200M", "--setup", &setup],
    );
    results_of(&project, "1");
    cluster.wait_for_end(&job);
    let mut seen = ["seen-1", "seen-2"].map(|name| project.read(name));
    seen.sort();
    assert_eq!(seen, ["0 0\n", "1 1\n"], "{}", logs(&project));
    assert!(logs(&project).contains("used by their names"), "{}", logs(&project));
}

/// A network, which only one of NVIDIA's GPUs could train.
const TRAINED: &str = r#"
name: trained
parameters: {dataset: cifar10-sample, width: 1, epochs: 1, lr_steps: [], batch_size: 500}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_training_trial_never_runs_on_the_cpu_in_the_place_of_a_gpu_that_slurm_granted() {
    let cluster = Cluster::up("granted", &[("NODES", "1")]);
    let project = cluster.adopt(crate::work::with_sample());
    project.write("trained.yaml", TRAINED);
    let _serve = serve(&project, "60");
    let setup = without_driver(&project);
    let job = submit(&project, &["trained.yaml", "--gres", "gpu:1", "--mem", "1G", "--setup", &setup]);
    crate::harness::wait_until("the refusal", || {
        project.read(".sweep/logs/job-1-attempt-1.log").contains("was given the GPU")
            || logs(&project).contains("was given the GPU")
    });
    cluster.ask(&["scancel", &job]);
    cluster.wait_for_end(&job);
    assert!(project.results("1")["results"][0]["metrics"].get("top1").is_none(), "{}", logs(&project));
    // The same on CPUs, because the user says so.
    let again = submit(&project, &["1", "--mem", "1G", "--cpu-slots", "1"]);
    let results = results_of(&project, "1");
    assert!(results[0]["metrics"]["top1"].is_f64(), "{results:?}\n{}", logs(&project));
    cluster.wait_for_end(&again);
}
