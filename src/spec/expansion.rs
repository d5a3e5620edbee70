use serde_json::Value;

use crate::recipe::schema::canonical;
use crate::vocabulary::{Metric, Parameters, TrialNumber};

/// The most trials that one spec may have: beyond it lies a slip, not a plan.
pub const MOST_TRIALS: u64 = 10_000_000;

/// A validated sweep. Made by [`super::parse`] only; its trials are computed, never stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub name: String,
    pub description: Option<String>,
    pub trainer: Trainer,
    /// What results are ranked by; a command spec may have none.
    pub metric: Option<Metric>,
    /// Distinct, at least one.
    pub seeds: Vec<u64>,
    /// All written parameters, fixed ones too, in the order of the text.
    pub axes: Vec<Axis>,
    /// How often a trial may fail for reasons of its own and run again.
    pub retries: u32,
    /// CPUs that a command trial uses; the built-in trainer has its parameter `threads`.
    pub cpus: u32,
}

/// What runs a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trainer {
    /// The built-in trainer.
    Resnet,
    /// A program and its arguments, in which `{{name}}` stands for a parameter.
    Command(Vec<String>),
}

/// One parameter and the values it takes: one where it is fixed, several where it is swept, all distinct.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub name: String,
    pub values: Vec<Value>,
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
    /// The size of the full product of axes and seeds.
    #[must_use]
    pub fn trial_count(&self) -> u64 {
        self.radices().fold(1, u64::saturating_mul)
    }

    /// The trial of this number: the axis written first varies slowest, seeds fastest.
    #[must_use]
    pub fn trial(&self, number: TrialNumber) -> Option<Trial> {
        let mut rest =
            u64::try_from(number.0).ok()?.checked_sub(1).filter(|rest| *rest < self.trial_count())?;
        let seed = *pick(&self.seeds, &mut rest)?;
        let mut parameters = Parameters::new();
        for axis in self.axes.iter().rev() {
            parameters.insert(axis.name.clone(), pick(&axis.values, &mut rest)?.clone());
        }
        Some(Trial { number, parameters: self.canonical(parameters), seed })
    }

    /// The number of the trial with these parameters and this seed; whatever number it carries doesn't count.
    #[must_use]
    pub fn number_of(&self, trial: &Trial) -> Option<TrialNumber> {
        let mut index = 0;
        for axis in &self.axes {
            let place = match axis.values.len() {
                // A fixed parameter may have no effect here, and is then not among the trial's.
                1 => 0,
                _ => axis.values.iter().position(|value| self.is_value_of(axis, value, trial))?,
            };
            index = index * axis.values.len() + place;
        }
        index = index * self.seeds.len() + self.seeds.iter().position(|seed| *seed == trial.seed)?;
        let number = TrialNumber(i64::try_from(index).ok()? + 1);
        (self.trial(number)?.parameters == trial.parameters).then_some(number)
    }

    /// Whether the trial has this value, or what is left of it beside the trial's other parameters.
    fn is_value_of(&self, axis: &Axis, value: &Value, trial: &Trial) -> bool {
        let mut parameters = trial.parameters.clone();
        parameters.insert(axis.name.clone(), value.clone());
        self.canonical(parameters) == trial.parameters
    }

    /// All trials by number.
    pub fn trials(&self) -> impl Iterator<Item = Trial> {
        let numbers = 1..=i64::try_from(self.trial_count()).unwrap_or(i64::MAX);
        numbers.filter_map(|number| self.trial(TrialNumber(number)))
    }

    /// Names of the parameters that vary, in the order of the text.
    #[must_use]
    pub fn swept(&self) -> Vec<&str> {
        let swept = self.axes.iter().filter(|axis| axis.values.len() > 1);
        swept.map(|axis| axis.name.as_str()).collect()
    }

    fn radices(&self) -> impl Iterator<Item = u64> {
        let lengths = self.axes.iter().map(|axis| axis.values.len());
        lengths.chain([self.seeds.len()]).map(|length| length as u64)
    }

    fn canonical(&self, parameters: Parameters) -> Parameters {
        match self.trainer {
            Trainer::Resnet => canonical(&parameters),
            Trainer::Command(_) => parameters,
        }
    }
}

/// Takes the last digit off `rest`, a number in mixed radix, and gives the value at that place.
fn pick<'v, T>(values: &'v [T], rest: &mut u64) -> Option<&'v T> {
    let radix = values.len() as u64;
    let place = rest.checked_rem(radix)?;
    *rest /= radix;
    values.get(usize::try_from(place).ok()?)
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
        assert_eq!(spec.trial_count(), 8);
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
    fn parameters_of_another_sweep_have_no_number() {
        let spec = spec("parameters: {lr: [0.1, 0.2], epochs: 10}");
        let mut trial = spec.trial(TrialNumber(1)).unwrap();
        trial.parameters.insert("epochs".to_owned(), json!(11));
        assert_eq!(spec.number_of(&trial), None);
    }
}
