//! What has come of a sweep: everything that a user may rely on, and everything that must not be left over.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sweep::protocol::http::TrialState;
use sweep::vocabulary::{SweepId, is_volatile};

use crate::cluster::Cluster;
use crate::harness::{Project, wait_until};

/// Every report of every epoch and the final state of every trial, by number.
pub(crate) fn results(cluster: &Cluster) -> Vec<Value> {
    let (client, sweep) = (cluster.client(), SweepId(1));
    let collected = cluster.runtime.block_on(async {
        let mut collected = Vec::new();
        for trial in client.results(sweep).await?.trials {
            assert_eq!(trial.state, TrialState::Succeeded, "{trial:?}");
            let history = client.history(sweep, trial.trial).await?;
            let mut reports = history.reports;
            for report in &mut reports {
                report.metrics.retain(|name, _| !is_volatile(name));
            }
            let mut last = trial.metrics;
            last.retain(|name, _| !is_volatile(name));
            collected.push(json!({
                "trial": trial.trial, "seed": trial.seed, "parameters": trial.parameters, "metrics": last,
                "reports": reports, "inherited_epochs": history.inherited_epochs, "checkpoints": trial.checkpoints,
            }));
        }
        Ok::<_, sweep::client::ClientError>(collected)
    });
    collected.unwrap()
}

/// That two runs came to the same; says where they first didn't.
pub(crate) fn assert_same(results: &[Value], expected: &[Value]) {
    assert_eq!(results.len(), expected.len(), "trials");
    for (result, expected) in results.iter().zip(expected) {
        assert_eq!(result, expected, "a trial came out differently");
    }
}

/// Files of checkpoints that the results name.
pub(crate) fn named_checkpoints(results: &[Value]) -> BTreeSet<String> {
    let named = results.iter().flat_map(|result| result["checkpoints"].as_array().unwrap());
    named.map(|kept| format!("{}.safetensors", kept["hash"].as_str().unwrap())).collect()
}

/// That nothing is left but what the results name, on the coordinator's disk. What a crash left behind is deleted by the
/// next coordinator once it is old enough, so it is made old.
pub(crate) fn assert_nothing_is_left_over(cluster: &mut Cluster, named: &BTreeSet<String>, archives: usize) {
    cluster.stop();
    let left = &files(&cluster.project, "artifacts") - named;
    age_files(&cluster.project, "artifacts");
    cluster.start_coordinator_again();
    let project = &cluster.project;
    wait_until("files of crashes to be deleted", || files(project, "artifacts") == *named);
    cluster.project.sweep(&["doctor"]).exits_with(0);
    cluster.stop();
    cluster.project.sweep(&["doctor"]).exits_with(0);
    println!("{} files of crashes had to be deleted", left.len());
    assert_eq!(files(&cluster.project, "spool"), BTreeSet::new(), "left in the spool");
    assert_eq!(files(&cluster.project, "artifacts/code").len(), archives, "kept code");
    let left = files(&cluster.project, "");
    let partial: Vec<&String> = left.iter().filter(|name| name.contains("partial")).collect();
    assert!(partial.is_empty(), "{partial:?}");
}

/// Files of a folder in the state folder, none where it was never made.
fn files(project: &Project, folder: &str) -> BTreeSet<String> {
    let folder = project.path(".sweep").join(folder);
    if !folder.exists() {
        return BTreeSet::new();
    }
    let entries = fs::read_dir(folder).unwrap().flatten();
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|file| file.file_name().into_string().unwrap()).collect()
}

/// As if they had been written some hours ago.
fn age_files(project: &Project, folder: &str) {
    #[expect(clippy::disallowed_methods, reason = "the times of files are the system's")]
    let then = SystemTime::now() - Duration::from_secs(3 * 3600);
    for name in files(project, folder) {
        let path = project.path(".sweep").join(folder).join(name);
        fs::File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
    }
}
