//! From a spec's text to rows for the table: everything that can be wrong is found here, before anything is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::dataset::{DatasetError, Manifest};
use crate::plan::{self, Plan, PlanError, PlannedJob, Surroundings, Task};
use crate::protocol::http::{CommandWork, SubmitRequest, Work};
use crate::protocol::trial::TrainRequest;
use crate::spec::{self, Spec, SpecError, Trainer, render_command};
use crate::store::{NewJob, NewSweep, NewTrial};
use crate::vocabulary::TrialNumber;

/// A program larger than this is not a script that somebody is working on; its contents don't count.
const LARGEST_CODE_BYTES: u64 = 16 * 1024 * 1024;

/// A spec that was found to be right, with its plan.
#[derive(Debug)]
pub struct Prepared {
    pub spec: Spec,
    pub plan: Plan,
    row: NewSweep,
}

/// Why a spec can't be submitted.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the spec is wrong")]
    Spec(#[from] Box<SpecError>),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("trial {trial}: the argument `{}` has a NUL character, which no argument of a program can have; remove it",
            argument.escape_debug())]
    NulCharacter { trial: TrialNumber, argument: String },
    #[error("can't read `{}`, which the command names", path.display())]
    Code { path: PathBuf, source: std::io::Error },
}

impl Prepared {
    pub(super) fn into_row(self) -> NewSweep {
        self.row
    }
}

/// Parses, checks and plans a spec. `datasets` is where imported datasets lie.
///
/// # Errors
/// When the spec is wrong, or a dataset that it names is not there.
pub fn prepare(request: &SubmitRequest, datasets: &Path) -> Result<Prepared, PrepareError> {
    let spec = spec::parse(&request.source_name, &request.spec, &request.overrides).map_err(Box::new)?;
    let mut dataset_checksums = BTreeMap::new();
    for used in plan::uses_of_datasets(&spec)? {
        let manifest = Manifest::read(datasets, &used.name)?;
        let checksum = manifest.checksum_for(used.eval_sets.as_deref())?;
        dataset_checksums.insert(used, checksum);
    }
    let around = Surroundings {
        dataset_checksums,
        working_directory: request.working_directory.clone(),
        code: code_of(&spec, Path::new(&request.working_directory))?,
    };
    let plan = plan::plan(&spec, &around)?;
    let row = row_of(request, &spec, &plan);
    Ok(Prepared { spec, plan, row })
}

/// Checks that every command can be started, and takes checksums of the files that it names, so that a changed script is not taken for the one that made
/// the results.
fn code_of(spec: &Spec, directory: &Path) -> Result<BTreeMap<String, String>, PrepareError> {
    let Trainer::Command(command) = &spec.trainer else {
        return Ok(BTreeMap::new());
    };
    let mut names = BTreeSet::new();
    for trial in spec.trials() {
        let rendered = render_command(command, &trial.parameters, trial.seed, trial.number)
            .map_err(|source| PlanError::Command { trial: trial.number, source })?;
        if let Some(argument) = rendered.iter().find(|argument| argument.contains('\0')) {
            return Err(PrepareError::NulCharacter { trial: trial.number, argument: argument.clone() });
        }
        names.extend(plan::files_named(&rendered).map(str::to_owned));
    }
    let mut code = BTreeMap::new();
    for name in names {
        if let Some(checksum) = checksum_of(&directory.join(&name))? {
            code.insert(name, checksum);
        }
    }
    Ok(code)
}

/// BLAKE3 of a file; nothing where there is none, or one too large to be code.
fn checksum_of(path: &Path) -> Result<Option<String>, PrepareError> {
    let Ok(metadata) = path.metadata() else { return Ok(None) };
    if !metadata.is_file() || metadata.len() > LARGEST_CODE_BYTES {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_CODE_BYTES).read_to_end(&mut bytes))
        .map_err(|source| PrepareError::Code { path: path.to_owned(), source })?;
    Ok(Some(blake3::hash(&bytes).to_hex().to_string()))
}

fn row_of(request: &SubmitRequest, spec: &Spec, plan: &Plan) -> NewSweep {
    NewSweep {
        name: spec.name.clone(),
        spec: request.spec.clone(),
        overrides: json(&request.overrides),
        working_directory: request.working_directory.clone(),
        expansion_hash: plan.hash.clone(),
        metric: spec.metric.clone(),
        swept: json(&spec.swept()),
        jobs: plan.jobs.iter().map(|job| job_row(job, spec)).collect(),
        trials: plan
            .trials
            .iter()
            .map(|trial| NewTrial {
                number: trial.number,
                parameters: json(&trial.parameters),
                seed: trial.seed,
                job: trial.job,
            })
            .collect(),
    }
}

fn job_row(job: &PlannedJob, spec: &Spec) -> NewJob {
    NewJob {
        hash: job.hash.to_string(),
        work: json(&work_of(job)),
        parent: job.parent,
        requires: job.requires.clone(),
        first_epoch: job.first_epoch,
        last_epoch: job.last_epoch,
        cpus: job.cpus,
        retries: spec.retries,
    }
}

fn work_of(job: &PlannedJob) -> Work {
    match &job.task {
        Task::Resnet { parameters, seed, dataset_checksum } => Work::Resnet(TrainRequest {
            parameters: parameters.clone(),
            seed: *seed,
            dataset_checksum: dataset_checksum.clone(),
            first_epoch: job.first_epoch,
            last_epoch: job.last_epoch,
            resume: None,
        }),
        Task::Command { command, working_directory, parameters, seed, trial } => Work::Command(CommandWork {
            command: command.clone(),
            working_directory: working_directory.clone(),
            parameters: parameters.clone(),
            seed: *seed,
            trial: *trial,
        }),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps have text keys and numbers are finite")
}
