//! From a spec's text to rows for the table: everything that can be wrong is found here, before anything is stored.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::code::{Code, CodeError};
use super::context::Context;
use super::forecast::SpecFacts;
use super::resources::Resources;
use super::selection::{Selection, Selections};
use super::weights::{Finder, Found};
use crate::dataset::{DatasetError, Manifest, TRAIN};
use crate::plan::{self, Choice, DatasetUse, Plan, PlanError, PlannedJob, Surroundings};
use crate::protocol::http::{self, BaseSpec, Selected, SubmitRequest};
use crate::spec::{self, Selector, Spec, SpecError, Trainer, Weights};
use crate::store::{Keep, NewJob, NewSweep, NewTrial, RequestRow, TrialSource};
use crate::vocabulary::{SweepId, TrialNumber};

/// A spec that was found to be right, with its plan.
#[derive(Debug)]
pub struct Prepared {
    pub spec: Spec,
    pub plan: Plan,
    request: SubmitRequest,
    weights: Found,
    selected: Vec<Selected>,
    code: Code,
}

/// Why a spec can't be submitted.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the spec is wrong")]
    Spec(#[from] Box<SpecError>),
    /// Nobody has looked up yet what these select; whoever has the job table does, and asks again.
    #[error("the spec selects trials of other sweeps, which only the job table knows")]
    Selectors(Vec<Selector>),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("trial {trial}: the argument `{}` has a NUL character, which no argument of a program can have; remove it",
            argument.escape_debug())]
    NulCharacter { trial: TrialNumber, argument: String },
    #[error(transparent)]
    Code(#[from] CodeError),
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
    #[error(
        "trial {trial} of sweep {sweep}, which is to teach, tells the {its_classes} classes of dataset `{its_dataset}` apart, and \
         dataset `{dataset}` has {classes}; select trials of the same dataset"
    )]
    OtherClasses {
        sweep: SweepId,
        trial: TrialNumber,
        its_dataset: String,
        its_classes: usize,
        dataset: String,
        classes: usize,
    },
}

impl Prepared {
    /// Copies the weights that the spec names, and the code that it runs, to where trial processes find them.
    pub(super) fn keep(&self, artifacts: &Path) -> Result<(), PrepareError> {
        self.weights.keep(artifacts).map_err(|(path, source)| PrepareError::Weights { path, source })?;
        Ok(self.code.keep(artifacts)?)
    }

    /// What the trials are run from.
    #[must_use]
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The trials of other sweeps that teach.
    pub(super) fn selected(&self) -> Vec<Selected> {
        self.selected.clone()
    }

    pub(super) fn facts(&self) -> SpecFacts {
        SpecFacts {
            seeds: self.spec.seeds.len(),
            gpus: self.spec.resources.gpus,
            is_program: self.spec.trainer != Trainer::Resnet,
        }
    }

    pub(super) fn into_row(self) -> NewSweep {
        row_of(self)
    }
}

/// Where a spec's surroundings lie.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Where imported datasets lie.
    pub datasets: &'a Path,
    /// Where checkpoints lie, if there is a state folder yet.
    pub artifacts: Option<&'a Path>,
    /// What selectors select, as far as it was looked up.
    pub selections: &'a Selections,
}

/// Parses, checks and plans a spec; nothing is written.
///
/// # Errors
/// When the spec is wrong, or a dataset or file that it names is not there or can't be used.
pub fn prepare(request: &SubmitRequest, around: Around<'_>) -> Result<Prepared, PrepareError> {
    let weights = Finder::new(request, &around);
    let find = |named: Weights<'_>| weights.find(named);
    let find_base = |name: &str| request.base(name);
    let spec =
        spec::parse_finding(&request.source_name, &request.spec, &request.overrides, &find, &find_base)
            .map_err(Box::new)?;
    let unselected = weights.take_unselected();
    if !unselected.is_empty() {
        return Err(PrepareError::Selectors(unselected));
    }
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
    for selection in around.selections.selected() {
        check_classes(&spec, selection, &manifests, around.datasets)?;
    }
    let code = Code::of(&spec, request)?;
    let plan = plan_in(&spec, request, dataset_checksums, &code)?;
    let weights = weights.into_found();
    let selected = around.selections.selected().map(|selection| selection.told.clone()).collect();
    Ok(Prepared { spec, plan, request: request.clone(), weights, selected, code })
}

/// The selectors of trials that teach; none where the spec is wrong, which [`prepare`] says.
#[must_use]
pub fn selectors_of(request: &SubmitRequest) -> Vec<Selector> {
    let found = RefCell::new(Vec::new());
    let find = |named: Weights<'_>| {
        if let Weights::Trials(selector) = named {
            let mut found = found.borrow_mut();
            if !found.contains(selector) {
                found.push(selector.clone());
            }
        }
        Ok(vec![named.unfound()])
    };
    let find_base = |name: &str| request.base(name);
    let _what_is_wrong =
        spec::parse_finding(&request.source_name, &request.spec, &request.overrides, &find, &find_base);
    found.into_inner()
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
    let given = |selector: &Selector| request.selected.get(&selector.to_string()).cloned();
    let as_written = parse(&|named| {
        let names = if let Weights::Trials(selector) = named { given(selector) } else { None };
        Ok(names.unwrap_or_else(|| vec![named.unfound()]))
    })?;
    // A plan needs hashes, and any will do that tell the files apart.
    let named_by_path = parse(&|named| match named {
        Weights::Hash(_) => Ok(vec![named.unfound()]),
        Weights::Trials(selector) => Ok(given(selector).unwrap_or_else(|| vec![named.unfound()])),
        Weights::File(path) => Ok(vec![blake3::hash(path.as_bytes()).to_hex().to_string()]),
    })?;
    let uses = plan::uses_of_datasets(&named_by_path)?.into_iter();
    let code = Code::of(&named_by_path, request)?;
    let plan = plan_in(&named_by_path, request, uses.map(|used| (used, String::new())).collect(), &code)?;
    Ok((as_written, plan))
}

fn plan_in(
    spec: &Spec,
    request: &SubmitRequest,
    dataset_checksums: BTreeMap<DatasetUse, String>,
    code: &Code,
) -> Result<Plan, PrepareError> {
    let around = Surroundings {
        dataset_checksums,
        working_directory: request.working_directory.clone(),
        code: code.told().files.clone(),
        kept_code: code.told().kept.clone(),
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

/// Refuses teachers that tell other classes apart, as far as it is known here what they were trained on.
fn check_classes(
    spec: &Spec,
    selection: &Selection,
    manifests: &BTreeMap<String, Manifest>,
    datasets: &Path,
) -> Result<(), PrepareError> {
    let mut classes_of: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for (_, its_dataset) in selection.teachers.values() {
        classes_of.entry(its_dataset).or_insert_with(|| {
            Manifest::read(datasets, its_dataset).ok().map(|manifest| manifest.classes.len())
        });
    }
    for parameters in spec.trials().map(|trial| trial.parameters) {
        let dataset = parameters.get("dataset").and_then(Value::as_str).unwrap_or_default();
        let Some(classes) = manifests.get(dataset).map(|manifest| manifest.classes.len()) else { continue };
        let names = parameters.get("teachers").and_then(Value::as_array).into_iter().flatten();
        for (trial, its_dataset) in names.filter_map(|name| selection.teachers.get(name.as_str()?)) {
            let its_classes = classes_of.get(its_dataset.as_str()).copied().flatten();
            if let Some(its_classes) = its_classes.filter(|its_classes| *its_classes != classes) {
                return Err(PrepareError::OtherClasses {
                    sweep: selection.told.sweep,
                    trial: *trial,
                    its_dataset: its_dataset.clone(),
                    its_classes,
                    dataset: dataset.to_owned(),
                    classes,
                });
            }
        }
    }
    Ok(())
}

fn row_of(prepared: Prepared) -> NewSweep {
    let Prepared { spec, plan, request, selected, code, .. } = prepared;
    let (mut jobs, mut inner_states) = (Vec::with_capacity(plan.jobs().len()), Vec::new());
    let mut requirements = Vec::new();
    for (place, job) in (0..).zip(plan.jobs()) {
        requirements.extend(job.required.iter().map(|state| (place, *state)));
        jobs.push(job_row(&job, inner_states.len()));
        inner_states.extend_from_slice(&job.states[..job.states.len() - 1]);
    }
    NewSweep {
        name: spec.name.clone(),
        spec: stored_spec(&request, &selected),
        overrides: json(&request.overrides),
        code: matches!(spec.trainer, Trainer::Command(_)).then(|| json(code.told())),
        working_directory: request.working_directory,
        metric: spec.metric.clone(),
        swept: json(&spec.swept()),
        priority: spec.priority.into(),
        retries: spec.retries,
        keep: match spec.keep {
            spec::Keep::Last => Keep::Last,
            spec::Keep::Best => Keep::Best,
            spec::Keep::All => Keep::All,
            spec::Keep::None => Keep::None,
        },
        resources: json(&Resources::from(&spec)),
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

/// What is kept of a request beside the overrides.
#[derive(Debug)]
pub(super) struct StoredSpec {
    pub(super) source_name: String,
    pub(super) spec: String,
    pub(super) bases: Vec<BaseSpec>,
    pub(super) selected: BTreeMap<String, Vec<String>>,
}

/// The texts of a spec and its bases, its own first, with what its selectors have selected.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    texts: Vec<BaseSpec>,
    selected: BTreeMap<String, Vec<String>>,
}

/// The spec's text; with bases a JSON list of all texts, the spec's own first, and with selectors a JSON object of these and
/// what was selected. No spec has such a text.
fn stored_spec(request: &SubmitRequest, selected: &[Selected]) -> String {
    if request.bases.is_empty() && selected.is_empty() {
        return request.spec.clone();
    }
    let own = BaseSpec { name: request.source_name.clone(), text: request.spec.clone() };
    let texts: Vec<BaseSpec> = std::iter::once(own).chain(request.bases.iter().cloned()).collect();
    if selected.is_empty() {
        return json(&texts);
    }
    let selected = selected.iter().map(|selected| (selected.selector.clone(), selected.weights.clone()));
    json(&Texts { texts, selected: selected.collect() })
}

/// What [`stored_spec`] has stored. Where only the text is there, the sweep's name stands in for the file's, from which it may
/// have been taken.
pub(super) fn read_stored_spec(row: &RequestRow) -> StoredSpec {
    let listed = || serde_json::from_str(&row.spec).map(|texts| Texts { texts, selected: BTreeMap::new() });
    match serde_json::from_str(&row.spec).or_else(|_| listed()) {
        Ok(Texts { mut texts, selected }) if !texts.is_empty() => {
            let own = texts.remove(0);
            StoredSpec { source_name: own.name, spec: own.text, bases: texts, selected }
        }
        _ => StoredSpec {
            source_name: format!("{}.yaml", row.name),
            spec: row.spec.clone(),
            bases: Vec::new(),
            selected: BTreeMap::new(),
        },
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

        fn request(&self, spec: &str) -> SubmitRequest {
            SubmitRequest {
                spec: spec.to_owned(),
                source_name: "s.yaml".to_owned(),
                working_directory: self.0.path().display().to_string(),
                ..SubmitRequest::default()
            }
        }

        fn prepare(&self, spec: &str) -> Result<Prepared, String> {
            let artifacts = self.path("artifacts");
            let selections = Selections::default();
            let around = Around {
                datasets: &self.path("datasets"),
                artifacts: Some(&artifacts),
                selections: &selections,
            };
            prepare(&self.request(spec), around).map_err(|error| match error {
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
        first.keep(&project.path("artifacts")).unwrap();
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
