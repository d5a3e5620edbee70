//! What makes two states the same: everything that decides their numbers, and nothing else.
//!
//! Name, resources, retries and priority do not count; program version and git revision never do.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{Context, DatasetUse, PlanError, Surroundings, files_named, recipe_of};
use crate::recipe::{self, Recipe, Teacher, TeacherWeights};
use crate::spec::{CommandTemplate, Spec, Trainer, Trial};
use crate::vocabulary::{CodeScope, StateHash, TrialNumber};

/// What a trial goes through, and what runs it.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) context: Context,
    pub(super) cpus: u32,
    /// States whose weights it reads from its first epoch on.
    pub(super) required: Vec<StateHash>,
    initial: StateHash,
    /// Last epochs of stretches, and what names the epochs of each.
    stretches: Vec<(u32, StateHash)>,
}

/// Finds the paths of a spec's trials.
#[derive(Debug)]
pub(super) struct Planner<'s> {
    spec: &'s Spec,
    around: &'s Surroundings,
    command: Option<(&'s [String], CommandTemplate)>,
}

impl<'s> Planner<'s> {
    pub(super) fn new(spec: &'s Spec, around: &'s Surroundings) -> Result<Planner<'s>, PlanError> {
        let command = match &spec.trainer {
            Trainer::Resnet => None,
            Trainer::Command(command) => {
                let template = CommandTemplate::parse(command)
                    .map_err(|source| PlanError::Command { trial: TrialNumber(1), source })?;
                Some((command.as_slice(), template))
            }
        };
        Ok(Planner { spec, around, command })
    }

    pub(super) fn path(&self, trial: &Trial) -> Result<Path, PlanError> {
        match &self.command {
            None => self.path_of_training(trial),
            Some((command, _)) if !self.spec.stages.is_empty() => self.path_in_stages(command, trial),
            Some((command, template)) => self.path_of_command(command, template, trial),
        }
    }

    fn path_of_training(&self, trial: &Trial) -> Result<Path, PlanError> {
        let recipe: Recipe = recipe_of(trial.number, &trial.parameters)?;
        let used = DatasetUse::of(&recipe);
        let checksum = self.around.dataset_checksums.get(&used).ok_or_else(|| PlanError::Unprepared {
            trial: trial.number,
            what: format!("dataset `{}` has no checksum", used.name),
        })?;
        let stretches = recipe::stretches(&trial.parameters, &recipe);
        Ok(Path {
            context: Context::Resnet { dataset_checksum: checksum.clone() },
            cpus: recipe.threads,
            required: required_by(&recipe),
            initial: recipe::initial_state(trial.seed, checksum),
            stretches: stretches.iter().map(|stretch| (stretch.last_epoch, stretch.hash())).collect(),
        })
    }

    /// A program is told nothing of epochs: its trial is one, named by all that the program could look at.
    fn path_of_command(
        &self,
        command: &[String],
        template: &CommandTemplate,
        trial: &Trial,
    ) -> Result<Path, PlanError> {
        let rendered = template
            .render(&trial.parameters, trial.seed, trial.number)
            .map_err(|source| PlanError::Command { trial: trial.number, source })?;
        let run = self.run(&rendered, trial.parameters.iter().collect(), trial.seed);
        Ok(self.command_path(command, vec![(1, run)]))
    }

    /// A program that runs in stages. The command counts as it is written: what it is filled in with counts as a parameter, in
    /// the stages in which that matters.
    fn path_in_stages(&self, command: &[String], trial: &Trial) -> Result<Path, PlanError> {
        let (mut stretches, mut before): (Vec<(u32, StateHash)>, _) = (Vec::new(), BTreeSet::new());
        for stage in &self.spec.stages {
            let last_epoch = stage.until.epoch(&trial.parameters).ok_or_else(|| PlanError::Unprepared {
                trial: trial.number,
                what: "a stage ends at no epoch".to_owned(),
            })?;
            match &stage.parameters {
                Some(names) => before.extend(names.iter()),
                None => before.extend(trial.parameters.keys()),
            }
            let matters = trial.parameters.iter().filter(|(name, _)| before.contains(name)).collect();
            stretches.push((last_epoch, self.run(command, matters, trial.seed)));
        }
        Ok(self.command_path(command, stretches))
    }

    fn command_path(&self, command: &[String], stretches: Vec<(u32, StateHash)>) -> Path {
        Path {
            context: Context::Command {
                command: command.to_vec(),
                working_directory: self.around.working_directory.clone(),
                code: self.around.kept_code.clone(),
                is_staged: !self.spec.stages.is_empty(),
            },
            cpus: self.spec.resources.cpus,
            required: Vec::new(),
            initial: StateHash::of(b"command"),
            stretches,
        }
    }

    /// Names what a program runs with.
    fn run(&self, command: &[String], parameters: BTreeMap<&String, &Value>, seed: u64) -> StateHash {
        #[derive(Serialize)]
        struct Run<'a> {
            command: &'a [String],
            working_directory: &'a str,
            /// Checksums of the files that the command names.
            code: BTreeMap<&'a str, &'a str>,
            /// A folder that is kept whole, and what it stands for. Of single files their checksums say it.
            #[serde(skip_serializing_if = "Option::is_none")]
            folder: Option<(&'a str, &'a str)>,
            /// The program sees them all in `SWEEP_PARAMS`.
            parameters: BTreeMap<&'a String, &'a Value>,
            seed: u64,
        }
        let code = &self.around.code;
        let kept = self.around.kept_code.as_ref().filter(|kept| kept.scope == CodeScope::Folder);
        let run = Run {
            command,
            working_directory: &self.around.working_directory,
            code: files_named(command).filter_map(|name| Some((name, code.get(name)?.as_str()))).collect(),
            folder: kept.map(|kept| (kept.root.as_str(), kept.hash.as_str())),
            parameters,
            seed,
        };
        StateHash::of(&serde_json::to_vec(&run).expect("maps have text keys and numbers are finite"))
    }
}

/// The trials that teach, by the states in which they end. Their order is part of the parameters; here it says nothing.
fn required_by(recipe: &Recipe) -> Vec<StateHash> {
    let Some(Teacher::Checkpoints(teachers)) = recipe.teacher() else { return Vec::new() };
    let states = teachers.iter().filter_map(|teacher| match teacher {
        TeacherWeights::Trial(state) => Some(*state),
        TeacherWeights::File(_) => None,
    });
    let states: BTreeSet<StateHash> = states.collect();
    states.into_iter().collect()
}

impl Path {
    /// The states after each epoch; those of a trial that stands `apart` are no other trial's.
    pub(super) fn states(&self, apart: Option<TrialNumber>) -> Vec<StateHash> {
        let mut state = self.initial;
        if let Some(number) = apart {
            state = state.then(StateHash::of(format!("trial {number} apart").as_bytes()));
        }
        let mut states = Vec::new();
        for (last_epoch, epoch) in &self.stretches {
            for _ in states.len()..*last_epoch as usize {
                state = state.then(*epoch);
                states.push(state);
            }
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Choice, Plan, Sharing, Surroundings, plan, uses_of_datasets};
    use crate::spec;
    use crate::vocabulary::{CodeScope, KeptCode, StateHash, TrialNumber};

    fn plan_of(parameters: &str) -> Plan {
        let spec = spec::parse("s.yaml", &format!("parameters: {{{parameters}}}"), &[]).unwrap();
        let uses = uses_of_datasets(&spec).unwrap().into_iter();
        let around = Surroundings {
            dataset_checksums: uses.map(|used| (used, "checksum".to_owned())).collect(),
            ..Surroundings::default()
        };
        plan(&spec, &around, Choice::default()).unwrap()
    }

    /// Names of the states in which a spec's trials end, each once.
    fn ends(parameters: &str) -> Vec<String> {
        let plan = plan_of(parameters);
        let jobs: Vec<_> = plan.jobs().collect();
        let mut ends: Vec<_> = plan.trials.iter().map(|trial| trial.job).collect();
        ends.dedup();
        ends.iter().map(|job| jobs[*job as usize].states.last().unwrap().to_string()).collect()
    }

    const MASK: &str =
        "method: mask, method_start: 1, method_every: 1, loss_weight: 1, mask_ratio: 0.5, inv_mode: v1";

    #[test]
    fn what_is_computed_in_the_same_way_is_one_job() {
        assert_eq!(ends("checkpoint_every: 7"), ends("lr: 0.1"));
        assert_eq!(ends("epochs: 30, lr_steps: [25, 40]"), ends("epochs: 30, lr_steps: [25]"));
        assert_eq!(ends("device: cpu, precision: tf32"), ends("device: cpu"));
        assert_eq!(ends("device: 'cuda:0'"), ends("device: cuda"));
        assert_eq!(ends(&format!("{MASK}, mask_mode: [sgf, agf]")).len(), 1);
    }

    #[test]
    fn what_is_computed_differently_is_not() {
        let bare = ends("lr: 0.1");
        for other in [
            "device: cuda",
            "precision: bf16",
            "threads: 2",
            "eval_every: 4",
            "deterministic: true",
            "lp: true",
        ] {
            assert_ne!(ends(other), bare, "{other}");
        }
        assert_ne!(ends("device: cuda, precision: tf32"), ends("device: cuda"));
        assert_eq!(ends(&format!("{MASK}, mask_mode: [s, a, sgf]")).len(), 3);
    }

    #[test]
    fn the_studys_table_of_averages_shares_its_first_thirty_epochs() {
        let weights: Vec<_> = (1..=12).map(|n| format!("0.{n:02}")).collect();
        let ratios: Vec<_> = (1..=11).map(|n| format!("0.{n:02}")).collect();
        let plan = plan_of(&format!(
            "method: kd, teacher: ema, method_start: 25, method_every: 5, loss_weight: [{}], ema_ratio: [{}]",
            weights.join(", "),
            ratios.join(", ")
        ));
        let extent = plan.extent();
        assert_eq!((plan.trials.len(), plan.jobs().count()), (132, 133));
        assert_eq!((extent.epochs_unshared, extent.epochs_shared), (6600, 2670));
        assert_eq!(extent.live_checkpoints, 1);
    }

    #[test]
    fn milestones_then_method_then_its_parameters_make_a_tree_of_three_levels() {
        let plan = plan_of(
            "method: kd, epochs: 12, eval_every: 12, lr_steps: [[4], [6]], method_start: 7, method_every: 1, \
             teacher: [frozen, ema, sto], loss_weight: [1, 2], ema_ratio: 0.5",
        );
        let shape: Vec<_> = plan.jobs().map(|job| (job.first_epoch, job.last_epoch, job.parent)).collect();
        // One trunk, a branch for each milestone, and six ends on each from the first reference on.
        assert_eq!(shape[..3], [(1, 4, None), (5, 8, Some(0)), (9, 12, Some(1))]);
        assert_eq!(shape.iter().filter(|job| job.0 == 5).count(), 2);
        assert_eq!(shape.iter().filter(|job| job.0 == 9).count(), 12);
        assert_eq!(plan.extent().epochs_shared, 4 + 2 * 4 + 12 * 4);
    }

    #[test]
    fn every_job_of_a_trial_needs_the_trials_that_teach_it() {
        let [a, b] = [b"a", b"b"].map(|name| StateHash::of(name));
        let plan = plan_of(&format!(
            "method: [ce, kd], loss_weight: 1, teacher: checkpoint, epochs: 4, lr_steps: [[2], [3]], \
             eval_every: 4, teachers: ['state:{b}', 'state:{a}']"
        ));
        let mut both = [a, b];
        both.sort();
        let required: Vec<_> = plan.jobs().map(|job| job.required.to_vec()).collect();
        assert_eq!(required.len(), 2 * 3);
        assert_eq!(required.iter().filter(|states| states.is_empty()).count(), 3, "cross entropy has none");
        assert_eq!(required.iter().filter(|states| ***states == both).count(), 3);
    }

    #[test]
    fn a_program_that_declares_its_stages_shares_them() {
        let text = "command: [run, '{{lr}}', '{{alpha}}']\nparameters: {lr: [1, 2], alpha: [3, 4, 5], epochs: [50, 60]}\n\
                    stages: [{until: 30, parameters: [lr]}, {until: epochs}]";
        let spec = spec::parse("s.yaml", text, &[]).unwrap();
        let plan = plan(&spec, &Surroundings::default(), Choice::default()).unwrap();
        let extent = plan.extent();
        assert_eq!((plan.trials.len(), plan.jobs().count()), (12, 2 + 12));
        assert_eq!(extent.epochs_shared, 2 * 30 + 6 * 20 + 6 * 30);
    }

    #[test]
    fn a_program_is_told_apart_by_the_folder_of_its_code_and_single_files_by_what_is_in_them() {
        let spec = spec::parse("s.yaml", "command: [run, a.py]", &[]).unwrap();
        let end = |hash: &str, scope, checksum: &str| {
            let kept_code = Some(KeptCode {
                hash: hash.to_owned(),
                root: "/p".to_owned(),
                directory: String::new(),
                scope,
                folder: None,
            });
            let code = [("a.py".to_owned(), checksum.to_owned())].into();
            let around = Surroundings { code, kept_code, ..Surroundings::default() };
            let plan = plan(&spec, &around, Choice::default()).unwrap();
            plan.jobs().map(|job| job.states[0]).next().unwrap()
        };
        assert_ne!(end("1", CodeScope::Folder, "x"), end("2", CodeScope::Folder, "x"));
        assert_eq!(end("1", CodeScope::Named, "x"), end("2", CodeScope::Named, "x"));
        assert_ne!(end("1", CodeScope::Named, "x"), end("1", CodeScope::Named, "y"));
    }

    #[test]
    fn a_choice_of_trials_is_an_expansion_of_its_own() {
        let spec = spec::parse("s.yaml", "command: [run]\nparameters: {x: [1, 2, 3]}", &[]).unwrap();
        let plan =
            |only| plan(&spec, &Surroundings::default(), Choice { only, ..Choice::default() }).unwrap();
        let (some, all) = (plan(Some(&[TrialNumber(3), TrialNumber(1)])), plan(None));
        assert_eq!(some.trials.iter().map(|trial| trial.number.0).collect::<Vec<_>>(), [1, 3]);
        assert_ne!(some.hash, all.hash);
    }

    #[test]
    fn trials_apart_share_nothing_with_anybody() {
        let spec = spec::parse("s.yaml", "command: [run]\nparameters: {x: [1, 2]}", &[]).unwrap();
        let state = |sharing| {
            let plan = plan(&spec, &Surroundings::default(), Choice { sharing, only: None }).unwrap();
            plan.jobs().map(|job| job.states.to_vec()).collect::<Vec<_>>()
        };
        let (shared, apart) = (state(Sharing::Prefixes), state(Sharing::Nothing));
        assert!(apart.iter().all(|states| !shared.contains(states)));
    }
}
