//! From trials to jobs: which stretches of training there are, and which trials share them.
//!
//! Pure: datasets and code come in as checksums. Every trial is a row of states, one after each epoch, named by all that led
//! to them (`stages.rs`); equal beginnings are trained once (`tree.rs`). Trials that end in the same state end in the same
//! job, within a sweep and across sweeps.

mod order;
mod stages;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use crate::recipe::Recipe;
use crate::spec::{Order, RenderError, Spec, Trainer, Trial};
use crate::vocabulary::{KeptCode, Metric, Parameters, StateHash, TrialNumber};
use stages::Planner;
use tree::{GrowingTree, Tree};

/// The most different epochs that the trials of one spec may go through: their names take two gigabytes. What has more is a
/// slip, such as `epochs` with some zeros too many, and would end the process for want of memory.
const MOST_EPOCHS: usize = 1 << 27;

/// The jobs that a spec's trials need.
#[derive(Debug)]
pub struct Plan {
    tree: Tree,
    /// Stages in the order in which they are to run.
    order: Vec<u32>,
    /// Place of each stage in that order.
    places: Vec<u32>,
    /// What each trial is run with, as a place in [`Plan::kinds`]; a stage is run with that of its first trial.
    runs: Vec<u32>,
    /// What trials are run with, each once.
    kinds: Vec<Kind>,
    /// What jobs read beside the state that they go on from; most read nothing, and then there is one empty entry.
    required: Vec<Vec<StateHash>>,
    /// In the order in which they are to run, as far as what they share allows.
    pub trials: Vec<PlannedTrial>,
    /// What jobs have in common beside their trial's parameters.
    pub contexts: Vec<Context>,
    /// Names the expansion together with what it is called and ranked by.
    pub hash: String,
}

/// One job: a stage with what runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedJob<'p> {
    /// States after its epochs; the last one names the job.
    pub states: &'p [StateHash],
    /// Place of the job whose final state this one continues.
    pub parent: Option<u32>,
    pub first_epoch: u32,
    pub last_epoch: u32,
    /// Place in [`Plan::trials`] of the trial with whose parameters it is run.
    pub trial: u32,
    /// Place in [`Plan::contexts`].
    pub context: u32,
    pub cpus: u32,
    /// States whose weights it reads: those in which trials of other sweeps end.
    pub required: &'p [StateHash],
}

/// One trial and the job in which it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedTrial {
    pub number: TrialNumber,
    /// Place of the job among [`Plan::jobs`].
    pub job: u32,
}

/// What jobs need to know beside their trial's parameters and seed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Context {
    Resnet {
        dataset_checksum: String,
    },
    Command {
        /// Arguments are templates over the parameters.
        command: Vec<String>,
        working_directory: String,
        /// What of its code was kept.
        code: Option<KeptCode>,
        /// Whether the program is told which epochs to run, and where to load and to save.
        is_staged: bool,
    },
}

/// How much there is to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// If each trial were trained by itself.
    pub epochs_unshared: u64,
    pub epochs_shared: u64,
    /// Checkpoints that are needed at once when one worker runs the jobs in their order.
    pub live_checkpoints: usize,
}

/// Which of a spec's trials are planned, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'c> {
    pub sharing: Sharing,
    /// All where there is none.
    pub only: Option<&'c [TrialNumber]>,
}

/// Whether trials that agree up to some epoch are trained together up to there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    #[default]
    Prefixes,
    /// Every trial by itself and beside what is there already, to show that sharing changes nothing.
    Nothing,
}

/// What many trials are run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    context: u32,
    cpus: u32,
    /// Place in [`Plan::required`].
    required: u32,
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
    /// Code that was kept.
    pub kept_code: Option<KeptCode>,
}

/// Why a spec that is valid can't be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("trial {trial}")]
    Command { trial: TrialNumber, source: RenderError },
    /// Our own mistake: `spec` makes canonical parameters and `uses_of_datasets` names what they use.
    #[error("trial {trial} was not prepared: {what}")]
    Unprepared { trial: TrialNumber, what: String },
    #[error(
        "the first {trials} trials alone have more than {most} epochs, shared ones counted once; lower `epochs`, or split the \
         spec into several"
    )]
    TooMuch { trials: u32, most: usize },
}

/// The datasets that a spec's trials use.
///
/// # Errors
/// When a trial's parameters are not canonical.
pub fn uses_of_datasets(spec: &Spec) -> Result<Vec<DatasetUse>, PlanError> {
    if matches!(spec.trainer, Trainer::Command(_)) {
        return Ok(Vec::new());
    }
    let mut uses = BTreeSet::new();
    for trial in spec.trials() {
        uses.insert(DatasetUse::of(&recipe_of(trial.number, &trial.parameters)?));
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
/// When a command can't be rendered, a dataset that is used has no checksum among the surroundings, or there is too much to
/// train.
pub fn plan(spec: &Spec, around: &Surroundings, choice: Choice<'_>) -> Result<Plan, PlanError> {
    plan_up_to(MOST_EPOCHS, spec, around, choice)
}

fn plan_up_to(
    most: usize,
    spec: &Spec,
    around: &Surroundings,
    choice: Choice<'_>,
) -> Result<Plan, PlanError> {
    let (mut growing, mut contexts, mut required) =
        (GrowingTree::default(), BTreeMap::new(), BTreeMap::new());
    let (mut kinds, mut runs, mut trials) = (BTreeMap::new(), Vec::new(), Vec::new());
    let planner = Planner::new(spec, around)?;
    let is_chosen = |trial: &Trial| choice.only.is_none_or(|only| only.contains(&trial.number));
    for (place, trial) in (0..).zip(order::trials(spec).filter(is_chosen)) {
        let path = planner.path(&trial)?;
        let apart = match choice.sharing {
            Sharing::Prefixes => None,
            Sharing::Nothing => Some(trial.number),
        };
        let stage = growing.insert(&path.states(apart), place);
        if growing.tree.count_epochs() > most {
            return Err(PlanError::TooMuch { trials: place + 1, most });
        }
        let context = number_of(&mut contexts, path.context);
        let required = number_of(&mut required, path.required);
        runs.push(number_of(&mut kinds, Kind { context, cpus: path.cpus, required }));
        trials.push(PlannedTrial { number: trial.number, job: stage });
    }
    let tree = growing.tree;
    let order = match spec.order {
        Order::Listed => tree.depth_first(),
        Order::Shuffled | Order::Balanced => tree.by_trial(),
    };
    let mut places = vec![0; order.len()];
    for (place, &stage) in (0..).zip(&order) {
        places[stage as usize] = place;
    }
    for trial in &mut trials {
        trial.job = places[trial.job as usize];
    }
    let (kinds, contexts, required) = (by_number(kinds), by_number(contexts), by_number(required));
    let mut plan = Plan { tree, order, places, runs, kinds, required, trials, contexts, hash: String::new() };
    plan.hash = plan.hash_of_expansion(&spec.name, spec.metric.as_ref());
    Ok(plan)
}

/// The number of a thing of which there are few, counted from 0 as they come.
fn number_of<T: Ord>(known: &mut BTreeMap<T, u32>, thing: T) -> u32 {
    let next = u32::try_from(known.len()).expect("there are fewer of them than trials");
    *known.entry(thing).or_insert(next)
}

fn by_number<T>(known: BTreeMap<T, u32>) -> Vec<T> {
    let mut numbered: Vec<_> = known.into_iter().collect();
    numbered.sort_by_key(|(_, number)| *number);
    numbered.into_iter().map(|(thing, _)| thing).collect()
}

impl Plan {
    /// The jobs in the order in which they are to run; a parent comes before its children.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = PlannedJob<'_>> {
        self.order.iter().map(|&number| {
            let stage = &self.tree.stages[number as usize];
            let run = self.kinds[self.runs[stage.trial as usize] as usize];
            PlannedJob {
                states: self.tree.states_of(number),
                parent: stage.parent.map(|parent| self.places[parent as usize]),
                first_epoch: stage.first_epoch,
                last_epoch: stage.last_epoch(),
                trial: stage.trial,
                context: run.context,
                cpus: run.cpus,
                required: &self.required[run.required as usize],
            }
        })
    }

    /// Whether jobs read weights with which trials of other sweeps end.
    #[must_use]
    pub fn reads_trials(&self) -> bool {
        self.required.iter().any(|states| !states.is_empty())
    }

    /// How much there is to train.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let last_epochs: Vec<_> = self.jobs().map(|job| job.last_epoch).collect();
        Extent {
            epochs_unshared: self.trials.iter().map(|trial| u64::from(last_epochs[trial.job as usize])).sum(),
            epochs_shared: self.tree.stages.iter().map(|stage| u64::from(stage.epochs())).sum(),
            live_checkpoints: self.tree.live_checkpoints(&self.order),
        }
    }

    fn hash_of_expansion(&self, name: &str, metric: Option<&Metric>) -> String {
        let ranked = serde_json::to_vec(&(name, metric)).expect("text is JSON");
        let mut hasher = blake3::Hasher::new();
        hasher.update(&ranked);
        let ends: Vec<_> = self.jobs().map(|job| job.states.last().copied()).collect();
        // The order in which they run makes no other sweep of them.
        let mut trials: Vec<_> = self.trials.iter().collect();
        trials.sort_unstable_by_key(|trial| trial.number);
        for trial in trials {
            hasher.update(&trial.number.0.to_le_bytes());
            let end = ends[trial.job as usize].expect("a stage has at least one epoch");
            hasher.update(end.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

impl DatasetUse {
    fn of(recipe: &Recipe) -> DatasetUse {
        DatasetUse { name: recipe.dataset.clone(), eval_sets: recipe.eval_sets.clone() }
    }
}

fn recipe_of(trial: TrialNumber, parameters: &Parameters) -> Result<Recipe, PlanError> {
    Recipe::try_from(parameters).map_err(|problem| PlanError::Unprepared { trial, what: problem.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_epochs_than_fit_into_memory_are_refused() {
        let text = "command: [run]\nparameters: {lr: [1, 2, 3]}\n\
                    stages: [{until: 4, parameters: []}, {until: 10}]";
        let spec = crate::spec::parse("s.yaml", text, &[]).unwrap();
        let plan = |most| plan_up_to(most, &spec, &Surroundings::default(), Choice::default());
        assert_eq!(plan(4 + 3 * 6).unwrap().extent().epochs_shared, 22);
        let error = plan(4 + 2 * 6).unwrap_err().to_string();
        assert!(error.starts_with("the first 3 trials alone have more than 16 epochs"), "{error}");
    }
}
