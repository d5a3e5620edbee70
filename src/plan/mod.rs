//! From trials to jobs: which stretches of training there are, and which trials share them.
//!
//! Pure: datasets and code come in as checksums. Trials with the same identity end in the same job, within a sweep and
//! across sweeps. A trial is one job here; [`PlannedJob`] has a parent and requirements because the table has.

mod identity;

pub use identity::JobHash;

use std::collections::BTreeMap;

use crate::recipe::Recipe;
use crate::spec::{RenderError, Spec, Trainer, render_command};
use crate::vocabulary::{Parameters, TrialNumber};

/// The jobs that a spec's trials need.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// In the order in which they are to run.
    pub jobs: Vec<PlannedJob>,
    pub trials: Vec<PlannedTrial>,
    /// Names the expansion together with what it is called and ranked by.
    pub hash: String,
}

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedJob {
    pub hash: JobHash,
    pub task: Task,
    /// Index of the job whose final state this one continues.
    pub parent: Option<usize>,
    /// Indices of jobs whose final weights it reads.
    pub requires: Vec<usize>,
    pub first_epoch: u32,
    pub last_epoch: u32,
    pub cpus: u32,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    Resnet {
        parameters: Parameters,
        seed: u64,
        dataset_checksum: String,
    },
    Command {
        command: Vec<String>,
        working_directory: String,
        parameters: Parameters,
        seed: u64,
        trial: TrialNumber,
    },
}

/// One trial and the job in which it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTrial {
    pub number: TrialNumber,
    pub parameters: Parameters,
    pub seed: u64,
    pub job: usize,
}

/// A dataset as trials use it: which one, and which extra evaluation sets are reported on (`None`: all that it has).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatasetUse {
    pub name: String,
    pub eval_sets: Option<Vec<String>>,
}

/// What lies around a spec and decides what its trials compute.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub dataset_checksums: BTreeMap<DatasetUse, String>,
    /// Where command trials run.
    pub working_directory: String,
    /// Checksums of the files that commands name, by path (see [`files_named`]).
    pub code: BTreeMap<String, String>,
}

/// Why a spec that is valid can't be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("trial {trial}")]
    Command { trial: TrialNumber, source: RenderError },
    /// Our own mistake: `spec` makes canonical parameters and `uses_of_datasets` names what they use.
    #[error("trial {trial} was not prepared: {what}")]
    Unprepared { trial: TrialNumber, what: String },
}

/// The datasets that a spec's trials use.
///
/// # Errors
/// When a trial's parameters are not canonical.
pub fn uses_of_datasets(spec: &Spec) -> Result<Vec<DatasetUse>, PlanError> {
    if matches!(spec.trainer, Trainer::Command(_)) {
        return Ok(Vec::new());
    }
    let mut uses = std::collections::BTreeSet::new();
    for trial in spec.trials() {
        uses.insert(use_of(&recipe_of(trial.number, &trial.parameters)?));
    }
    Ok(uses.into_iter().collect())
}

/// The extra evaluation set that the built-in trainer has to evaluate for the spec's metric.
#[must_use]
pub fn set_of_metric(spec: &Spec) -> Option<&str> {
    let metric = spec.metric.as_ref().filter(|_| spec.trainer == Trainer::Resnet)?;
    crate::recipe::metrics::set_of_metric(&metric.name)
}

/// What in a command may name a file: each argument, and what follows its first `=`, as in `--config=x.yaml`.
pub fn files_named(command: &[String]) -> impl Iterator<Item = &str> {
    command.iter().flat_map(|argument| {
        let value = argument.split_once('=').map(|(_, value)| value);
        std::iter::once(argument.as_str()).chain(value).filter(|name| !name.is_empty())
    })
}

/// Plans a spec's trials.
///
/// # Errors
/// When a command can't be rendered, or a dataset that is used has no checksum among the surroundings.
pub fn plan(spec: &Spec, around: &Surroundings) -> Result<Plan, PlanError> {
    let mut jobs = Vec::new();
    let mut trials = Vec::new();
    let mut by_hash = BTreeMap::new();
    for trial in spec.trials() {
        let job = match &spec.trainer {
            Trainer::Resnet => plan_resnet(trial.number, &trial.parameters, trial.seed, around)?,
            Trainer::Command(command) => {
                let rendered = render_command(command, &trial.parameters, trial.seed, trial.number)
                    .map_err(|source| PlanError::Command { trial: trial.number, source })?;
                let task = Task::Command {
                    command: rendered,
                    working_directory: around.working_directory.clone(),
                    parameters: trial.parameters.clone(),
                    seed: trial.seed,
                    trial: trial.number,
                };
                whole_trial(identity::of_task(&task, &around.code), task, 1, spec.resources.cpus)
            }
        };
        let next = jobs.len();
        let index = *by_hash.entry(job.hash.clone()).or_insert(next);
        if index == next {
            jobs.push(job);
        }
        trials.push(PlannedTrial {
            number: trial.number,
            parameters: trial.parameters,
            seed: trial.seed,
            job: index,
        });
    }
    let hash = identity::of_expansion(&spec.name, spec.metric.as_ref(), &trials, &jobs);
    Ok(Plan { jobs, trials, hash })
}

fn plan_resnet(
    trial: TrialNumber,
    parameters: &Parameters,
    seed: u64,
    around: &Surroundings,
) -> Result<PlannedJob, PlanError> {
    let recipe = recipe_of(trial, parameters)?;
    let used = use_of(&recipe);
    let checksum = around.dataset_checksums.get(&used).ok_or_else(|| PlanError::Unprepared {
        trial,
        what: format!("dataset `{}` has no checksum", used.name),
    })?;
    let task = Task::Resnet { parameters: parameters.clone(), seed, dataset_checksum: checksum.clone() };
    Ok(whole_trial(identity::of_task(&task, &BTreeMap::new()), task, recipe.epochs, recipe.threads))
}

fn whole_trial(hash: JobHash, task: Task, epochs: u32, cpus: u32) -> PlannedJob {
    PlannedJob { hash, task, parent: None, requires: Vec::new(), first_epoch: 1, last_epoch: epochs, cpus }
}

fn use_of(recipe: &Recipe) -> DatasetUse {
    DatasetUse { name: recipe.dataset.clone(), eval_sets: recipe.eval_sets.clone() }
}

fn recipe_of(trial: TrialNumber, parameters: &Parameters) -> Result<Recipe, PlanError> {
    Recipe::try_from(parameters).map_err(|problem| PlanError::Unprepared { trial, what: problem.to_string() })
}
