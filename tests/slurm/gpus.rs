//! GPUs that Slurm hands out. The cluster has them on paper; a library in the place of NVIDIA's shows the agent two of them.

use std::process::Command;

use crate::cluster::{Cluster, logs, results_of, serve, submit};
use crate::harness::Project;

/// Trials that note which GPUs they see, and wait for each other, so that one worker can't run both.
const SEEN: &str = r#"
name: seen
retries: 0
command: [sh, -c, 'echo "$CUDA_VISIBLE_DEVICES $SLURM_JOB_GPUS" > seen-{{x}}; while ! test -e seen-1 -a -e seen-2; do sleep 0.05; done']
parameters: {x: [1, 2]}
"#;

/// As much of NVIDIA's management library as the agent asks for.
const LIBRARY: &str = r#"
#include <stdio.h>
int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (index > 1) return 2;
    *device = (void *)(long)(index + 1);
    return 0;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%ld", (long)device - 1);
    return 0;
}
int nvmlDeviceGetName(void *device, char *name, unsigned length) { snprintf(name, length, "Paper"); return 0; }
"#;

/// The line of a script by which a worker sees GPUs.
pub(crate) fn with_gpus_on_paper(project: &Project) -> String {
    project.write("nvml.c", LIBRARY);
    let [library, source] = ["libnvidia-ml.so.1", "nvml.c"].map(|name| project.path(name));
    let built =
        Command::new("gcc").args(["-shared", "-fPIC", "-o"]).args([library, source]).status().unwrap();
    assert!(built.success());
    format!("export LD_LIBRARY_PATH='{}'", project.folder.path().display())
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn two_workers_on_a_node_each_see_the_gpu_that_is_theirs() {
    let cluster = Cluster::up("gpus", &[("NODES", "1")]);
    let project = cluster.project();
    project.write("seen.yaml", SEEN);
    let _serve = serve(&project, "60");
    let setup = with_gpus_on_paper(&project);
    let job = submit(
        &project,
        &["seen.yaml", "--workers", "2", "--gres", "gpu:1", "--mem", "200M", "--setup", &setup],
    );
    results_of(&project, "1");
    cluster.wait_for_end(&job);
    // By its number, or by the unique name that the library gives to this number.
    let mut seen = ["seen-1", "seen-2"].map(|name| project.read(name).replace("GPU-", ""));
    seen.sort();
    assert_eq!(seen, ["0 0\n", "1 1\n"], "{}", logs(&project));
}
