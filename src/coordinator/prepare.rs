//! From a spec's text to rows for the table: everything that can be wrong is found here, before anything is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::context::{Context, Form};
use super::weights::{Finder, Found};
use crate::dataset::{DatasetError, Manifest, TRAIN};
use crate::plan::{self, Plan, PlanError, PlannedJob, Surroundings, Task};
use crate::protocol::http::SubmitRequest;
use crate::spec::{self, Spec, SpecError, Trainer, Weights, render_command};
use crate::store::{Keep, NewJob, NewSweep, NewTrial, TrialSource};
use crate::vocabulary::TrialNumber;

/// A program larger than this is not a script that somebody is working on; its contents don't count.
const LARGEST_CODE_BYTES: u64 = 16 * 1024 * 1024;

/// A spec that was found to be right, with its plan.
#[derive(Debug)]
pub struct Prepared {
    pub spec: Spec,
    pub plan: Plan,
    row: NewSweep,
    weights: Found,
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
    #[error("can't keep a copy of the weights `{}`", path.display())]
    Weights { path: PathBuf, source: std::io::Error },
    #[error(
        "the metric `{metric}` needs the extra evaluation set `{set}`, on which no trial is evaluated (there are: {})",
        evaluated.join(", ")
    )]
    MetricSet { metric: String, set: String, evaluated: Vec<String> },
    #[error("dataset `{dataset}` has one class only; there is nothing to tell apart: import it with others")]
    OneClass { dataset: String },
    #[error("dataset `{dataset}` has no images in its split `{split}`; import it again with some")]
    NoImages { dataset: String, split: String },
    #[error(
        "`batch_size: {batch_size}` is more than the {images} training images of dataset `{dataset}`; \
         lower `batch_size`"
    )]
    LargeBatch { batch_size: u64, dataset: String, images: u64 },
}

impl Prepared {
    /// Copies the weights that the spec names to where trial processes find them.
    pub(super) fn keep_weights(&self, artifacts: &Path) -> Result<(), PrepareError> {
        self.weights.keep(artifacts).map_err(|(path, source)| PrepareError::Weights { path, source })
    }

    pub(super) fn into_row(self) -> NewSweep {
        self.row
    }
}

/// Parses, checks and plans a spec; nothing is written. `datasets` is where imported datasets lie, `artifacts` where
/// checkpoints do, if there is a state folder yet.
///
/// # Errors
/// When the spec is wrong, or a dataset or file that it names is not there or can't be used.
pub fn prepare(
    request: &SubmitRequest,
    datasets: &Path,
    artifacts: Option<&Path>,
) -> Result<Prepared, PrepareError> {
    let directory = Path::new(&request.working_directory);
    let weights = Finder::new(directory, artifacts);
    let find = |named: Weights<'_>| weights.find(named);
    let spec = spec::parse_finding(&request.source_name, &request.spec, &request.overrides, &find)
        .map_err(Box::new)?;
    let mut dataset_checksums = BTreeMap::new();
    let mut manifests = BTreeMap::new();
    let mut evaluated = BTreeSet::new();
    for used in plan::uses_of_datasets(&spec)? {
        let manifest = Manifest::read(datasets, &used.name)?;
        let checksum = manifest.checksum_for(used.eval_sets.as_deref())?;
        evaluated.extend(used.eval_sets.as_ref().unwrap_or(&manifest.eval_sets).clone());
        manifests.insert(used.name.clone(), manifest);
        dataset_checksums.insert(used, checksum);
    }
    check_metric(&spec, evaluated)?;
    let around = Surroundings {
        dataset_checksums,
        working_directory: request.working_directory.clone(),
        code: code_of(&spec, directory)?,
    };
    let plan = plan::plan(&spec, &around)?;
    check_datasets(&plan, &manifests)?;
    let row = row_of(request, &spec, &plan);
    let weights = weights.into_found();
    Ok(Prepared { spec, plan, row, weights })
}

/// A sweep that is ranked by a set that none of its trials is evaluated on would have no ranking.
fn check_metric(spec: &Spec, evaluated: BTreeSet<String>) -> Result<(), PrepareError> {
    let (Some(set), Some(metric)) = (plan::set_of_metric(spec), &spec.metric) else { return Ok(()) };
    if evaluated.contains(set) {
        return Ok(());
    }
    let evaluated =
        if evaluated.is_empty() { vec!["none".to_owned()] } else { evaluated.into_iter().collect() };
    Err(PrepareError::MetricSet { metric: metric.name.clone(), set: set.to_owned(), evaluated })
}

/// Refuses what a trainer could only find out by starting.
fn check_datasets(plan: &Plan, manifests: &BTreeMap<String, Manifest>) -> Result<(), PrepareError> {
    for manifest in manifests.values() {
        let dataset = || manifest.name.clone();
        if manifest.classes.len() < 2 {
            return Err(PrepareError::OneClass { dataset: dataset() });
        }
        if let Some((split, _)) = manifest.files.iter().find(|(_, stored)| stored.count == 0) {
            return Err(PrepareError::NoImages { dataset: dataset(), split: split.clone() });
        }
    }
    for job in &plan.jobs {
        let Task::Resnet { parameters, .. } = &job.task else { continue };
        let name = parameters.get("dataset").and_then(Value::as_str).unwrap_or_default();
        let batch_size = parameters.get("batch_size").and_then(Value::as_u64).unwrap_or_default();
        let images = manifests.get(name).and_then(|manifest| manifest.files.get(TRAIN));
        if let Some(images) = images.map(|stored| stored.count as u64).filter(|images| batch_size > *images) {
            return Err(PrepareError::LargeBatch { batch_size, dataset: name.to_owned(), images });
        }
    }
    Ok(())
}

/// Checks that every command can be started, and takes checksums of the files that it names, so that a changed script is
/// not taken for the one that made the results.
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
    let mut contexts = Vec::new();
    let mut jobs: Vec<NewJob> = plan.jobs.iter().map(|job| job_row(job, spec, &mut contexts)).collect();
    for (index, trial) in plan.trials.iter().enumerate().rev() {
        // Backwards, so that the first trial that ends in a job is the one with whose parameters it is run.
        jobs[trial.job].trial = narrow(index);
    }
    NewSweep {
        name: spec.name.clone(),
        spec: request.spec.clone(),
        overrides: json(&request.overrides),
        working_directory: request.working_directory.clone(),
        expansion_hash: plan.hash.clone(),
        metric: spec.metric.clone(),
        swept: json(&spec.swept()),
        priority: 0,
        retries: spec.retries,
        keep: Keep::Last,
        contexts: contexts.iter().map(json).collect(),
        jobs,
        inner_states: vec![],
        requirements: plan
            .jobs
            .iter()
            .enumerate()
            .flat_map(|(index, job)| {
                job.requires.iter().map(move |required| (narrow(index), narrow(*required)))
            })
            .collect(),
        trial_ends: plan.trials.iter().map(|trial| narrow(trial.job)).collect(),
        trials: Arc::new(SpecTrials {
            spec: spec.clone(),
            numbers: plan.trials.iter().map(|trial| trial.number).collect(),
        }),
    }
}

fn job_row(job: &PlannedJob, spec: &Spec, contexts: &mut Vec<Context>) -> NewJob {
    let context = context_of(job, spec);
    let place = contexts.iter().position(|known| *known == context).unwrap_or_else(|| {
        contexts.push(context);
        contexts.len() - 1
    });
    // The first half of a hash that was made to be cut.
    let state = job.hash.as_str()[..32].parse().expect("a job's hash has 64 hexadecimal digits");
    NewJob {
        state,
        parent: job.parent.map(narrow),
        trial: 0,
        context: u16::try_from(place).expect("a spec names a handful of datasets"),
        cpus: u16::try_from(job.cpus).unwrap_or(u16::MAX),
        first_epoch: job.first_epoch,
        last_epoch: job.last_epoch,
        inner_from: 0,
    }
}

fn context_of(job: &PlannedJob, spec: &Spec) -> Context {
    match (&job.task, &spec.trainer) {
        (Task::Resnet { dataset_checksum, .. }, _) => {
            Context::Resnet { dataset_checksum: dataset_checksum.clone() }
        }
        (Task::Command { command, working_directory, .. }, trainer) => Context::Command {
            working_directory: working_directory.clone(),
            command: match trainer {
                Trainer::Command(template) => template.clone(),
                Trainer::Resnet => command.clone(),
            },
            form: Form::Template,
        },
    }
}

/// Index of a job or a trial, of which a spec has ten millions at most.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("a spec has at most ten million trials")
}

/// Trials computed from the spec.
#[derive(Debug)]
struct SpecTrials {
    spec: Spec,
    numbers: Vec<TrialNumber>,
}

impl TrialSource for SpecTrials {
    fn number(&self, index: usize) -> TrialNumber {
        self.numbers[index]
    }

    fn trial(&self, index: usize) -> NewTrial {
        let number = self.numbers[index];
        let trial = self.spec.trial(number).expect("a planned trial is one of the spec's");
        NewTrial { number, parameters: json(&trial.parameters), seed: trial.seed }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps have text keys and numbers are finite")
}

#[cfg(test)]
mod tests {
    use crate::dataset::SplitFile;

    use super::super::weights::weights_file;
    use super::*;

    const ENSEMBLE: &str = "parameters: {dataset: d, method: kd, teacher: checkpoint, loss_weight: 1, \
                            teachers: [[a.safetensors], [b.safetensors]]}";

    struct Project(tempfile::TempDir);

    impl Project {
        /// A project whose dataset `d` has these classes and this many images to train on.
        fn new(classes: &[&str], images: usize) -> Project {
            let project = Project(tempfile::tempdir().unwrap());
            let stored = |split: &str, count| {
                let (file, checksum) = (format!("{split}.safetensors"), format!("of {split}"));
                (split.to_owned(), SplitFile { file, count, checksum, bytes: 1, source: "x".to_owned() })
            };
            let mut manifest = Manifest {
                schema_version: 1,
                name: "d".to_owned(),
                classes: classes.iter().map(|class| (*class).to_owned()).collect(),
                height: 32,
                width: 32,
                eval_sets: vec![],
                files: [stored("train", images), stored("test", 5)].into(),
                checksum: String::new(),
            };
            manifest.checksum = manifest.checksum_for(None).unwrap();
            let folder = project.path("datasets/d");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
            project
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn prepare(&self, spec: &str) -> Result<Prepared, String> {
            let request = SubmitRequest {
                spec: spec.to_owned(),
                source_name: "s.yaml".to_owned(),
                overrides: vec![],
                working_directory: self.0.path().display().to_string(),
            };
            let artifacts = self.path("artifacts");
            prepare(&request, &self.path("datasets"), Some(artifacts.as_path())).map_err(
                |error| match error {
                    PrepareError::Spec(error) => error.to_string(),
                    other => other.to_string(),
                },
            )
        }
    }

    fn hashes(prepared: &Prepared) -> Vec<String> {
        prepared.plan.jobs.iter().map(|job| job.hash.to_string()).collect()
    }

    #[test]
    fn a_batch_larger_than_the_training_set_is_refused() {
        let project = Project::new(&["a", "b"], 100);
        assert!(project.prepare("parameters: {dataset: d, batch_size: 100}").is_ok());
        let error = project.prepare("parameters: {dataset: d, batch_size: [100, 101]}").unwrap_err();
        assert_eq!(
            error,
            "`batch_size: 101` is more than the 100 training images of dataset `d`; lower `batch_size`"
        );
    }

    #[test]
    fn a_metric_of_a_set_that_is_not_there_is_refused() {
        let project = Project::new(&["a", "b"], 200);
        let spec = "metric: {name: shifted_top1}\nparameters: {dataset: d}";
        let error = project.prepare(spec).unwrap_err();
        assert_eq!(
            error,
            "the metric `shifted_top1` needs the extra evaluation set `shifted`, on which no trial is evaluated \
             (there are: none)"
        );
    }

    #[test]
    fn a_dataset_without_images_or_with_one_class_is_refused() {
        let spec = "parameters: {dataset: d, batch_size: 1}";
        let error = Project::new(&["a", "b"], 0).prepare(spec).unwrap_err();
        assert_eq!(error, "dataset `d` has no images in its split `train`; import it again with some");
        let error = Project::new(&["a"], 9).prepare(spec).unwrap_err();
        assert!(error.starts_with("dataset `d` has one class only"), "{error}");
    }

    #[test]
    fn a_trial_is_named_by_what_its_teachers_contain() {
        let project = Project::new(&["a", "b"], 200);
        let write = |name: &str, text: &str| {
            std::fs::write(project.path(name), weights_file(text.as_bytes())).unwrap();
        };
        write("a.safetensors", "one");
        write("b.safetensors", "two");
        let first = project.prepare(ENSEMBLE).unwrap();
        assert!(!project.path("artifacts").exists(), "checking a spec copies nothing");
        first.keep_weights(&project.path("artifacts")).unwrap();
        assert_eq!(std::fs::read_dir(project.path("artifacts/weights")).unwrap().count(), 2);
        let Task::Resnet { parameters, .. } = &first.plan.jobs[0].task else { panic!("not trained") };
        assert_eq!(
            parameters["teachers"],
            serde_json::json!([blake3::hash(&weights_file(b"one")).to_hex().to_string()])
        );
        write("a.safetensors", "two");
        write("b.safetensors", "one");
        let swapped = project.prepare(ENSEMBLE).unwrap();
        let mut expected = hashes(&first);
        expected.reverse();
        assert_eq!(hashes(&swapped), expected);
    }

    #[test]
    fn teachers_that_are_not_there_or_the_same_are_shown_in_the_spec() {
        let project = Project::new(&["a", "b"], 200);
        std::fs::write(project.path("a.safetensors"), weights_file(b"one")).unwrap();
        let error = project.prepare(ENSEMBLE).unwrap_err();
        assert!(
            error.contains("there are no weights `b.safetensors`") && error.contains("s.yaml:1:"),
            "{error}"
        );
        assert!(!project.path("artifacts").exists());
        std::fs::write(project.path("b.safetensors"), weights_file(b"one")).unwrap();
        let error = project.prepare(ENSEMBLE).unwrap_err();
        assert!(error.contains("`teachers` has the value `[b.safetensors]` twice"), "{error}");
    }
}
