use serde_json::Value;

use super::census::census;
use super::code::Code;
use super::settings::{Keep, Order, Resources, SeedOrder};
use super::space::{Axis, Search, Space};
use super::stages::Stage;
use crate::recipe::schema::{canonical, complete};
use crate::vocabulary::{Metric, Parameters, TrialNumber};

/// The most trials that one spec may have: beyond it lies a slip, not a plan.
pub const MOST_TRIALS: u64 = 10_000_000;

/// A validated sweep. Made by [`super::parse`] only; its trials are computed, never stored.
///
/// What a trial computes is decided by `trainer`, `space` and `seeds`; the rest says where, when and how often it runs,
/// and neither changes a number nor a trial's identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub name: String,
    pub description: Option<String>,
    pub trainer: Trainer,
    /// What of a command's code is kept.
    pub code: Code,
    /// What results are ranked by; a command spec may have none.
    pub metric: Option<Metric>,
    /// Distinct, at least one.
    pub seeds: Vec<u64>,
    pub space: Space,
    /// How often a trial may fail for reasons of its own and run again.
    pub retries: u32,
    /// −1000 … 1000; jobs of a higher one are leased first.
    pub priority: i32,
    pub resources: Resources,
    pub order: Order,
    pub seed_order: SeedOrder,
    pub keep: Keep,
    /// Stages of a command trial, the last one to its end; empty where it is one piece.
    pub stages: Vec<Stage>,
}

/// What runs a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trainer {
    /// The built-in trainer.
    Resnet,
    /// A program and its arguments, in which `{{name}}` stands for a parameter and `${args}` for all of them.
    Command(Vec<String>),
}

/// One configuration with one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    pub number: TrialNumber,
    /// For the built-in trainer the canonical ones.
    pub parameters: Parameters,
    pub seed: u64,
}

impl Spec {
    /// How many numbers there are: the size of the full product of axes (or the draws of a random search) and seeds. Not
    /// every number has a trial, see [`Spec::count_trials`].
    #[must_use]
    pub fn number_count(&self) -> u64 {
        self.space.index_count().saturating_mul(self.seeds.len() as u64)
    }

    /// How many trials there are: numbers without gaps. Looks at the combinations of all axes that stand under conditions or
    /// in them.
    #[must_use]
    pub fn count_trials(&self) -> u64 {
        let configurations = census(&self.space).map_or(u64::MAX, |census| census.configurations);
        configurations.saturating_mul(self.seeds.len() as u64)
    }

    /// The trial of this number: the axis written first varies slowest, seeds fastest. A gap has none.
    #[must_use]
    pub fn trial(&self, number: TrialNumber) -> Option<Trial> {
        let index =
            u64::try_from(number.0).ok()?.checked_sub(1).filter(|index| *index < self.number_count())?;
        let seed_count = self.seeds.len() as u64;
        let seed = *self.seeds.get(usize::try_from(index.checked_rem(seed_count)?).ok()?)?;
        let parameters = self.space.configuration(index / seed_count)?;
        Some(Trial { number, parameters: self.canonical(parameters), seed })
    }

    /// The number of the trial with these parameters and this seed; whatever number it carries doesn't count. In a random
    /// search, where draws are looked through, it is the first.
    #[must_use]
    pub fn number_of(&self, trial: &Trial) -> Option<TrialNumber> {
        let is_it = |parameters: Parameters| self.canonical(parameters) == trial.parameters;
        let index = match self.space.search {
            Search::Grid => self.space.index_by(|axis, row| self.is_row_of(axis, row, trial)),
            Search::Random { .. } => self
                .space
                .configurations()
                .find(|(_, parameters)| is_it(parameters.clone()))
                .map(|(index, _)| index),
        }?;
        let seed = self.seeds.iter().position(|seed| *seed == trial.seed)?;
        let number = self.number(index, seed)?;
        is_it(self.space.configuration(index)?).then_some(number)
    }

    /// All trials by number, gaps passed over.
    pub fn trials(&self) -> impl Iterator<Item = Trial> {
        self.space.configurations().flat_map(move |(index, parameters)| {
            let parameters = self.canonical(parameters);
            self.seeds.iter().enumerate().filter_map(move |(at, seed)| {
                Some(Trial { number: self.number(index, at)?, parameters: parameters.clone(), seed: *seed })
            })
        })
    }

    /// Names of the parameters that vary, in the order of the text.
    #[must_use]
    pub fn swept(&self) -> Vec<&str> {
        let mut swept = Vec::new();
        for axis in &self.space.axes {
            for name in &axis.names {
                if self.space.varies(name) && !swept.contains(&name.as_str()) {
                    swept.push(name);
                }
            }
        }
        swept
    }

    fn number(&self, index: u64, seed: usize) -> Option<TrialNumber> {
        let number = index.checked_mul(self.seeds.len() as u64)?.checked_add(seed as u64 + 1)?;
        i64::try_from(number).ok().map(TrialNumber)
    }

    /// Whether the trial has these values, or what is left of them beside the trial's other parameters.
    fn is_row_of(&self, axis: &Axis, row: &[Value], trial: &Trial) -> bool {
        let mut parameters = trial.parameters.clone();
        parameters.extend(axis.names.iter().cloned().zip(row.iter().cloned()));
        self.canonical(parameters) == trial.parameters
    }

    fn canonical(&self, parameters: Parameters) -> Parameters {
        match self.trainer {
            // What was written is canonical since parsing, what was drawn is not.
            Trainer::Resnet if self.space.search != Search::Grid => {
                complete(&parameters).unwrap_or_else(|_| canonical(&parameters))
            }
            Trainer::Resnet => canonical(&parameters),
            Trainer::Command(_) => parameters,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parse;
    use super::*;

    fn spec(text: &str) -> Spec {
        parse("test.yaml", text, &[]).unwrap()
    }

    #[test]
    fn the_first_axis_varies_slowest_and_seeds_fastest() {
        let spec = spec("command: [run]\nseeds: 2\nparameters: {b: [1, 2], fixed: x, a: [3, 4]}");
        let order: Vec<_> = spec
            .trials()
            .map(|t| (t.number.0, t.parameters["b"].clone(), t.parameters["a"].clone(), t.seed))
            .collect();
        assert_eq!((spec.number_count(), spec.count_trials()), (8, 8));
        assert_eq!(
            order[..5],
            [
                (1, json!(1), json!(3), 0),
                (2, json!(1), json!(3), 1),
                (3, json!(1), json!(4), 0),
                (4, json!(1), json!(4), 1),
                (5, json!(2), json!(3), 0)
            ]
        );
        assert_eq!(spec.swept(), ["b", "a"]);
    }

    #[test]
    fn there_is_no_trial_outside_the_product() {
        let spec = spec("command: [run]\nseeds: [5, 7]");
        for number in [0, -1, 3, i64::MAX, i64::MIN] {
            assert_eq!(spec.trial(TrialNumber(number)), None);
        }
        let last = spec.trial(TrialNumber(2)).unwrap();
        assert_eq!(last.seed, 7);
        assert_eq!(spec.number_of(&Trial { seed: 6, ..last }), None);
    }

    #[test]
    fn a_trial_of_the_built_in_trainer_is_canonical() {
        let spec = spec(
            "parameters: {method: [ce, kd], method_start: 1, method_every: 5, loss_weight: 1, epochs: 10, lr: 1}",
        );
        let [ce, kd] = spec.trials().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(ce.parameters["lr"], json!(1.0));
        assert_eq!((&ce.parameters["width"], ce.parameters.get("loss_weight")), (&json!(40), None));
        assert_eq!(kd.parameters["loss_weight"], json!(1.0));
        assert_eq!(spec.number_of(&kd), Some(TrialNumber(2)));
    }

    #[test]
    fn a_value_of_which_only_a_part_acts_has_its_number() {
        let spec = spec(
            "parameters: {epochs: 30, lr_steps: [[10], [20, 40]], device: [cpu, cuda], precision: tf32}",
        );
        for trial in spec.trials() {
            assert_eq!(spec.number_of(&trial), Some(trial.number));
        }
        assert_eq!(spec.trial(TrialNumber(3)).unwrap().parameters["lr_steps"], json!([20]));
    }

    #[test]
    fn drawn_parameters_of_the_built_in_trainer_are_canonical() {
        let spec = spec(
            "search: random\ncount: 20\nseeds: 2\nparameters:\n  lr: {distribution: log_uniform_values, min: 0.001, max: 1}\n  \
             momentum: {distribution: q_uniform, min: 0, max: 0.9, q: 0.1}\n  weight_decay: {min: 0, max: 3}\n  \
             batch_size: {distribution: q_log_uniform_values, min: 32, max: 256, q: 8.0}\n  epochs: {min: 10, max: 20}\n  \
             method: {values: [ce, kd], probabilities: [0.25, 0.75]}\nwhen:\n- if: {method: kd}\n  parameters: {method_start: 1, \
             method_every: 1, loss_weight: {min: 0.0, max: 1}}\nexclude: [{weight_decay: 3}]",
        );
        let trials: Vec<_> = spec.trials().collect();
        assert_eq!(spec.count_trials(), trials.len() as u64);
        assert!(trials.len() < 40 && trials.len() > 10);
        for trial in &trials {
            assert_eq!(complete(&trial.parameters).as_ref(), Ok(&trial.parameters));
            assert_eq!(spec.number_of(trial), Some(trial.number));
            assert_eq!(trial.parameters.contains_key("loss_weight"), trial.parameters["method"] == "kd");
        }
        assert_eq!(trials[0].parameters["lr"], trials[1].parameters["lr"]);
        let swept = ["lr", "momentum", "weight_decay", "batch_size", "epochs", "method", "loss_weight"];
        assert_eq!(spec.swept(), swept);
    }

    #[test]
    fn the_example_of_the_design_has_its_trials() {
        let spec = spec(
            "search: grid\nmetric: {name: top1, goal: maximize}\nseeds: 3\nparameters:\n  method: mask\n  epochs: 50\n  \
             teacher: [frozen, ema]\n  mask_ratio: [0.95, 0.85, 0.75, 0.5, 0.35]\n  inv_mode: [v1, v2]\n  mask_mode: [s, a, sgf]\n  \
             loss_weight: {values: [1.0, 0.5, 0.1]}\nzip:\n  - {method_start: [1, 25], method_every: [1, 5]}\nwhen:\n  - if: {teacher: \
             ema}\n    parameters: {ema_ratio: [0.9, 0.5, 0.1]}\nexclude:\n  - {mask_mode: a, inv_mode: v2}\nresources: {gpus: 1, time: \
             3h30m}\nretries: 2\n",
        );
        assert_eq!(spec.number_count(), 2 * 5 * 2 * 3 * 3 * 2 * 3 * 3);
        // Five of six pairs of modes are left; ema has three ratios.
        assert_eq!(spec.count_trials(), (1 + 3) * 5 * 5 * 3 * 2 * 3);
        assert_eq!(spec.trials().count() as u64, spec.count_trials());
        for trial in spec.trials().step_by(17) {
            assert_eq!(spec.trial(trial.number).as_ref(), Some(&trial));
            assert_eq!(spec.number_of(&trial), Some(trial.number));
        }
    }

    #[test]
    fn parameters_of_another_sweep_have_no_number() {
        let spec = spec("parameters: {lr: [0.1, 0.2], epochs: 10}");
        let mut trial = spec.trial(TrialNumber(1)).unwrap();
        trial.parameters.insert("epochs".to_owned(), json!(11));
        assert_eq!(spec.number_of(&trial), None);
    }
}
