//! What makes two jobs the same: everything that decides their numbers, and nothing else.
//!
//! Name, resources, retries and priority do not count; program version and git revision never do.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{PlannedJob, PlannedTrial, Task};
use crate::recipe::NUMERICS_VERSION;
use crate::recipe::schema::identifying;
use crate::vocabulary::{Metric, Parameters};

/// BLAKE3, in hexadecimal, of all that decides the state after a job's last epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobHash(String);

impl JobHash {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What counts, in canonical form: fields in this order, maps sorted by key.
#[derive(Serialize)]
#[serde(tag = "trainer", rename_all = "snake_case")]
enum Identity<'a> {
    Resnet {
        numerics_version: u32,
        /// With device (the word that was written: what `auto` finds is not known here), precision and threads;
        /// without parameters that change no result.
        parameters: Parameters,
        seed: u64,
        dataset_checksum: &'a str,
    },
    Command {
        command: &'a [String],
        working_directory: &'a str,
        /// Checksums of the files that this trial's command names.
        code: BTreeMap<&'a str, &'a str>,
        /// The program sees them all in `SWEEP_PARAMS`.
        parameters: &'a Parameters,
        seed: u64,
    },
}

/// `code`: checksums of files that commands name, by path; the built-in trainer has its numerics version instead.
pub(super) fn of_task(task: &Task, code: &BTreeMap<String, String>) -> JobHash {
    JobHash(match task {
        Task::Resnet { parameters, seed, dataset_checksum } => hash(&Identity::Resnet {
            numerics_version: NUMERICS_VERSION,
            parameters: identifying(parameters),
            seed: *seed,
            dataset_checksum,
        }),
        Task::Command { command, working_directory, parameters, seed, .. } => {
            let named = super::files_named(command);
            let code = named.filter_map(|name| Some((name, code.get(name)?.as_str()))).collect();
            hash(&Identity::Command { command, working_directory, code, parameters, seed: *seed })
        }
    })
}

#[derive(Serialize)]
struct Expansion<'a> {
    name: &'a str,
    metric: Option<&'a Metric>,
    trials: Vec<(i64, &'a str)>,
}

pub(super) fn of_expansion(
    name: &str,
    metric: Option<&Metric>,
    trials: &[PlannedTrial],
    jobs: &[PlannedJob],
) -> String {
    let trials = trials.iter().map(|trial| (trial.number.0, jobs[trial.job].hash.as_str())).collect();
    hash(&Expansion { name, metric, trials })
}

fn hash(value: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(value).expect("maps have text keys and numbers are finite");
    blake3::hash(&bytes).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use crate::plan::{Surroundings, plan, uses_of_datasets};
    use crate::spec;

    /// The hashes of the jobs that a spec of the built-in trainer needs.
    fn jobs(parameters: &str) -> Vec<String> {
        let spec = spec::parse("s.yaml", &format!("parameters: {{{parameters}}}"), &[]).unwrap();
        let uses = uses_of_datasets(&spec).unwrap().into_iter();
        let around = Surroundings {
            dataset_checksums: uses.map(|used| (used, "checksum".to_owned())).collect(),
            ..Surroundings::default()
        };
        plan(&spec, &around).unwrap().jobs.iter().map(|job| job.hash.to_string()).collect()
    }

    const MASK: &str =
        "method: mask, method_start: 1, method_every: 1, loss_weight: 1, mask_ratio: 0.5, inv_mode: v1";

    #[test]
    fn what_is_computed_in_the_same_way_is_one_job() {
        assert_eq!(jobs("checkpoint_every: 7"), jobs("lr: 0.1"));
        assert_eq!(jobs("epochs: 30, lr_steps: [25, 40]"), jobs("epochs: 30, lr_steps: [25]"));
        assert_eq!(jobs("device: cpu, precision: tf32"), jobs("device: cpu"));
        assert_eq!(jobs("device: 'cuda:0'"), jobs("device: cuda"));
        assert_eq!(jobs(&format!("{MASK}, mask_mode: [sgf, agf]")).len(), 1);
    }

    #[test]
    fn what_is_computed_differently_is_not() {
        let bare = jobs("lr: 0.1");
        for other in [
            "device: cuda",
            "precision: bf16",
            "threads: 2",
            "eval_every: 4",
            "deterministic: true",
            "lp: true",
        ] {
            assert_ne!(jobs(other), bare, "{other}");
        }
        assert_ne!(jobs("device: cuda, precision: tf32"), jobs("device: cuda"));
        assert_eq!(jobs(&format!("{MASK}, mask_mode: [s, a, sgf]")).len(), 3);
    }
}
