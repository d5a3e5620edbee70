//! From a spec's text to rows for the table: everything that can be wrong is found here, before anything is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::context::Context;
use super::resources::Resources;
use super::weights::{Finder, Found};
use crate::dataset::{DatasetError, Manifest, TRAIN};
use crate::plan::{self, Choice, DatasetUse, Plan, PlanError, PlannedJob, Surroundings};
use crate::protocol::http::{self, BaseSpec, SubmitRequest};
use crate::spec::{self, CommandTemplate, Spec, SpecError, Trainer, Weights};
use crate::store::{Keep, NewJob, NewSweep, NewTrial, RequestRow, TrialSource};
use crate::vocabulary::TrialNumber;

/// A program larger than this is not a script that somebody is working on; its contents don't count.
const LARGEST_CODE_BYTES: u64 = 16 * 1024 * 1024;

/// The most things that commands can name of which it is asked whether they are files: what a sweep has more of are values.
const MOST_NAMES: usize = 10_000;

/// A spec that was found to be right, with its plan.
#[derive(Debug)]
pub struct Prepared {
    pub spec: Spec,
    pub plan: Plan,
    request: SubmitRequest,
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
        row_of(&self.request, self.spec, self.plan)
    }
}

/// Where a spec's surroundings lie.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Where imported datasets lie.
    pub datasets: &'a Path,
    /// Where checkpoints lie, if there is a state folder yet.
    pub artifacts: Option<&'a Path>,
}

/// Parses, checks and plans a spec; nothing is written.
///
/// # Errors
/// When the spec is wrong, or a dataset or file that it names is not there or can't be used.
pub fn prepare(request: &SubmitRequest, around: Around<'_>) -> Result<Prepared, PrepareError> {
    let weights = Finder::new(Path::new(&request.working_directory), around.artifacts);
    let find = |named: Weights<'_>| weights.find(named);
    let find_base = |name: &str| request.base(name);
    let spec =
        spec::parse_finding(&request.source_name, &request.spec, &request.overrides, &find, &find_base)
            .map_err(Box::new)?;
    let (mut manifests, mut dataset_checksums) = (BTreeMap::new(), BTreeMap::new());
    let mut evaluated = BTreeSet::new();
    for used in plan::uses_of_datasets(&spec)? {
        let manifest = Manifest::read(around.datasets, &used.name)?;
        let checksum = manifest.checksum_for(used.eval_sets.as_deref())?;
        evaluated.extend(used.eval_sets.as_ref().unwrap_or(&manifest.eval_sets).clone());
        manifests.insert(used.name.clone(), manifest);
        dataset_checksums.insert(used, checksum);
    }
    check_metric(&spec, evaluated)?;
    check_datasets(&spec, &manifests)?;
    let plan = plan_in(&spec, request, dataset_checksums)?;
    let weights = weights.into_found();
    Ok(Prepared { spec, plan, request: request.clone(), weights })
}

/// The same spec and plan without a look at datasets and weights, which need not be there: what is shared and how much
/// there is to train does not depend on what is in them.
///
/// # Errors
/// When the spec is wrong, or a file that a command names can't be read.
pub fn outline(request: &SubmitRequest) -> Result<(Spec, Plan), PrepareError> {
    let parse = |find: &spec::FindWeights<'_>| {
        let find_base = |name: &str| request.base(name);
        spec::parse_finding(&request.source_name, &request.spec, &request.overrides, find, &find_base)
            .map_err(Box::new)
    };
    let as_written = parse(&|named| Ok(named.as_str().to_owned()))?;
    // A plan needs hashes, and any will do that tell the files apart.
    let named_by_path = parse(&|named| match named {
        Weights::Hash(hash) => Ok(hash.to_owned()),
        Weights::File(path) => Ok(blake3::hash(path.as_bytes()).to_hex().to_string()),
    })?;
    let uses = plan::uses_of_datasets(&named_by_path)?.into_iter();
    let plan = plan_in(&named_by_path, request, uses.map(|used| (used, String::new())).collect())?;
    Ok((as_written, plan))
}

fn plan_in(
    spec: &Spec,
    request: &SubmitRequest,
    dataset_checksums: BTreeMap<DatasetUse, String>,
) -> Result<Plan, PrepareError> {
    let around = Surroundings {
        dataset_checksums,
        working_directory: request.working_directory.clone(),
        code: code_of(spec, Path::new(&request.working_directory))?,
    };
    let sharing = match request.sharing {
        http::Sharing::Prefixes => plan::Sharing::Prefixes,
        http::Sharing::Nothing => plan::Sharing::Nothing,
    };
    Ok(plan::plan(spec, &around, Choice { sharing, only: request.only.as_deref() })?)
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
fn check_datasets(spec: &Spec, manifests: &BTreeMap<String, Manifest>) -> Result<(), PrepareError> {
    for manifest in manifests.values() {
        let dataset = || manifest.name.clone();
        if manifest.classes.len() < 2 {
            return Err(PrepareError::OneClass { dataset: dataset() });
        }
        if let Some((split, _)) = manifest.files.iter().find(|(_, stored)| stored.count == 0) {
            return Err(PrepareError::NoImages { dataset: dataset(), split: split.clone() });
        }
    }
    if spec.trainer != Trainer::Resnet {
        return Ok(());
    }
    for trial in spec.trials() {
        let parameters = &trial.parameters;
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
    let template = CommandTemplate::parse(command)
        .map_err(|source| PlanError::Command { trial: TrialNumber(1), source })?;
    let (mut code, mut names) = (BTreeMap::new(), BTreeSet::new());
    for trial in spec.trials() {
        let rendered = template
            .render(&trial.parameters, trial.seed, trial.number)
            .map_err(|source| PlanError::Command { trial: trial.number, source })?;
        if let Some(argument) = rendered.iter().find(|argument| argument.contains('\0')) {
            return Err(PrepareError::NulCharacter { trial: trial.number, argument: argument.clone() });
        }
        for name in plan::files_named(&rendered) {
            if names.len() < MOST_NAMES && !names.contains(name) {
                names.insert(name.to_owned());
                let checksum = checksum_of(&directory.join(name))?;
                code.extend(checksum.map(|checksum| (name.to_owned(), checksum)));
            }
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

fn row_of(request: &SubmitRequest, spec: Spec, plan: Plan) -> NewSweep {
    let (mut jobs, mut inner_states) = (Vec::with_capacity(plan.jobs().len()), Vec::new());
    let mut requirements = Vec::new();
    for (place, job) in (0..).zip(plan.jobs()) {
        requirements.extend(job.required.iter().map(|state| (place, *state)));
        jobs.push(job_row(&job, inner_states.len()));
        inner_states.extend_from_slice(&job.states[..job.states.len() - 1]);
    }
    NewSweep {
        name: spec.name.clone(),
        spec: stored_spec(request),
        overrides: json(&request.overrides),
        working_directory: request.working_directory.clone(),
        metric: spec.metric.clone(),
        swept: json(&spec.swept()),
        priority: spec.priority.into(),
        retries: spec.retries,
        keep: match spec.keep {
            spec::Keep::Last => Keep::Last,
            spec::Keep::None => Keep::None,
        },
        resources: json(&Resources::from(&spec.resources)),
        contexts: plan.contexts.iter().map(|context| json(&Context::from(context))).collect(),
        jobs,
        inner_states,
        requirements,
        trial_ends: plan.trials.iter().map(|trial| trial.job).collect(),
        trials: Arc::new(SpecTrials {
            numbers: plan.trials.iter().map(|trial| trial.number).collect(),
            spec,
        }),
        expansion_hash: plan.hash,
    }
}

fn job_row(job: &PlannedJob<'_>, inner_from: usize) -> NewJob {
    NewJob {
        state: *job.states.last().expect("a stage has at least one epoch"),
        parent: job.parent,
        trial: job.trial,
        context: u16::try_from(job.context).expect("a spec names a handful of datasets"),
        cpus: u16::try_from(job.cpus).unwrap_or(u16::MAX),
        first_epoch: job.first_epoch,
        last_epoch: job.last_epoch,
        inner_from: u32::try_from(inner_from).expect("four billion states don't fit into memory"),
    }
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

/// The spec's text; with bases, which no text of a spec begins like, a JSON list of all texts, the spec's own first.
fn stored_spec(request: &SubmitRequest) -> String {
    if request.bases.is_empty() {
        return request.spec.clone();
    }
    let own = BaseSpec { name: request.source_name.clone(), text: request.spec.clone() };
    json(&std::iter::once(&own).chain(&request.bases).collect::<Vec<_>>())
}

/// What [`stored_spec`] has stored: the spec's name, its text, and its bases. Where only the text is there, the sweep's name
/// stands in for the file's, from which it may have been taken.
pub(super) fn read_stored_spec(row: &RequestRow) -> (String, String, Vec<BaseSpec>) {
    match serde_json::from_str::<Vec<BaseSpec>>(&row.spec) {
        Ok(mut texts) if !texts.is_empty() => {
            let own = texts.remove(0);
            (own.name, own.text, texts)
        }
        _ => (format!("{}.yaml", row.name), row.spec.clone(), Vec::new()),
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
                bases: vec![],
                overrides: vec![],
                working_directory: self.0.path().display().to_string(),
                sharing: Default::default(),
                is_rehearsal: false,
                only: None,
            };
            let artifacts = self.path("artifacts");
            let around = Around { datasets: &self.path("datasets"), artifacts: Some(&artifacts) };
            prepare(&request, around).map_err(|error| match error {
                PrepareError::Spec(error) => error.to_string(),
                other => other.to_string(),
            })
        }
    }

    fn hashes(prepared: &Prepared) -> Vec<String> {
        prepared.plan.jobs().map(|job| job.states.last().unwrap().to_string()).collect()
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
        let parameters = first.spec.trial(TrialNumber(1)).unwrap().parameters;
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
