//! Which code of the built-in trainer a spec's trials run, and small specs that run it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Spec, Trainer};
use crate::recipe::schema::Problems;
use crate::recipe::smoke::{TEACHERS, smoke};
use crate::vocabulary::{Parameters, TrialNumber};

/// Parameters of a network, which those that teach share with their student.
const NETWORK: &[&str] = &[
    "dataset",
    "arch",
    "width",
    "stem",
    "depth",
    "pool",
    "gem_p",
    "head_hidden",
    "head_dropout",
    "head_bn",
    "head_activation",
    "batch_size",
    "device",
    "precision",
];

/// The longest that one of the small trials may take: it has seconds of work, and a hung one must not be waited for for ever.
const LONGEST: &str = "15m";

/// Code that some of a spec's trials run and no others.
#[derive(Debug, Clone, PartialEq)]
pub struct CodePath {
    /// The first trial that runs it.
    pub trial: TrialNumber,
    /// How many do, seeds counted.
    pub trials: u64,
    /// That trial's parameters.
    pub parameters: Parameters,
    /// The smallest trial that runs the same code.
    pub smoke: Parameters,
}

impl CodePath {
    /// Name of the spec that runs it.
    #[must_use]
    pub fn spec_name(&self) -> String {
        format!("trial-{}", self.trial)
    }

    /// Texts of specs that run it, to be submitted in this order: networks that teach, where others do, and then one trial, which is
    /// the spec [`CodePath::spec_name`].
    #[must_use]
    pub fn spec_texts(&self) -> Vec<(String, String)> {
        let (name, mut parameters, mut specs) = (self.spec_name(), self.smoke.clone(), Vec::new());
        if let Some(teachers) = parameters.get_mut("teachers") {
            let sweep = format!("teachers-of-{name}");
            let seeds: Vec<usize> = (0..TEACHERS).collect();
            *teachers = json!([[{"sweep": sweep, "seeds": seeds}]]);
            let mut network = self.smoke.clone();
            network.retain(|name, _| NETWORK.contains(&name.as_str()));
            network.extend([("method", json!("ce")), ("epochs", json!(1))].map(|(k, v)| (k.to_owned(), v)));
            specs.push((sweep.clone(), spec_text(&sweep, json!(seeds), &network)));
        }
        let text = spec_text(&name, json!([0]), &parameters);
        specs.push((name, text));
        specs
    }
}

/// A spec is YAML, and so is JSON.
fn spec_text(name: &str, seeds: Value, parameters: &Parameters) -> String {
    let resources = json!({"time": LONGEST});
    json!({"name": name, "seeds": seeds, "retries": 0, "resources": resources, "parameters": parameters})
        .to_string()
}

/// All of the trainer's code that a spec's trials run, by the first trial of each; nothing of a spec that runs a program.
///
/// # Errors
/// When parameters are not canonical, which those of a [`Spec`] are.
pub fn code_paths(spec: &Spec) -> Result<Vec<CodePath>, Problems> {
    let mut paths: BTreeMap<String, CodePath> = BTreeMap::new();
    let first_seed = spec.seeds.first();
    if spec.trainer != Trainer::Resnet {
        return Ok(Vec::new());
    }
    for trial in spec.trials().filter(|trial| Some(&trial.seed) == first_seed) {
        let smoke = smoke(&trial.parameters)?;
        let key = json!(smoke).to_string();
        let found = paths.entry(key).or_insert_with(|| CodePath {
            trial: trial.number,
            trials: 0,
            parameters: trial.parameters,
            smoke,
        });
        found.trials += spec.seeds.len() as u64;
    }
    let mut paths: Vec<_> = paths.into_values().collect();
    paths.sort_by_key(|path| path.trial);
    Ok(paths)
}

/// Names of the parameters by which code paths differ. What only exists for some of them is decided by another one, which is named.
#[must_use]
pub fn differing(paths: &[CodePath]) -> Vec<String> {
    // The trial's own words say more than how long its small form lasts.
    const WHEN: &[&str] = &["epochs", "lr_steps", "method_start", "method_every"];
    let names: BTreeSet<&String> = paths.iter().flat_map(|path| path.smoke.keys()).collect();
    let differs = |name: &String| {
        let values = paths.iter().filter_map(|path| Some(path.smoke.get(name)?.to_string()));
        values.collect::<BTreeSet<_>>().len() > 1
    };
    names.into_iter().filter(|name| !WHEN.contains(&name.as_str()) && differs(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Weights, parse_finding};
    use super::*;

    fn parse(text: &str) -> Spec {
        let unfound = |named: Weights<'_>| Ok(vec![named.unfound()]);
        parse_finding("s.yaml", text, &[], &unfound, &|_| None).unwrap()
    }

    fn paths(text: &str) -> Vec<CodePath> {
        code_paths(&parse(text)).unwrap()
    }

    #[test]
    fn trials_that_differ_in_numbers_are_one_code_path() {
        let paths = paths(
            "seeds: 3\nparameters: {method: [ce, mask]}\nwhen: [{if: {method: mask}, parameters: {method_start: 1, \
             method_every: 1, loss_weight: [1, 2, 0.5], mask_ratio: [0.5, 0.9], mask_mode: [s, a], inv_mode: v1}}]",
        );
        let counts: Vec<_> = paths.iter().map(|path| path.trials).collect();
        assert_eq!(counts, [3, 18, 18]);
        assert_eq!(differing(&paths), ["mask_mode", "method"]);
        assert!(paths.iter().all(|path| path.spec_texts().len() == 1));
    }

    #[test]
    fn every_text_is_a_spec_of_its_own_with_networks_of_its_kind_to_teach_it() {
        let ensemble = "parameters: {method: kd, teacher: checkpoint, teachers: [[a.safetensors]], loss_weight: [1, 2], \
                        pool: gem, head_hidden: [512], lr_steps: []}";
        let paths = paths(ensemble);
        assert_eq!(paths.len(), 1);
        let texts = paths[0].spec_texts();
        let names: Vec<_> = texts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["teachers-of-trial-1", "trial-1"]);
        let specs: Vec<_> = texts.iter().map(|(_, text)| parse(text)).collect();
        assert_eq!(specs.iter().map(|spec| spec.trials().count()).collect::<Vec<_>>(), [2, 1]);
        let pools = specs.iter().map(|spec| spec.trial(TrialNumber(1)).unwrap().parameters["pool"].clone());
        assert!(pools.eq(["gem", "gem"].map(Value::from)));
    }

    #[test]
    fn a_program_has_no_code_of_ours() {
        assert_eq!(paths("command: [run]\nparameters: {x: [1, 2]}"), []);
    }
}
