//! Trials of other sweeps whose weights teach, as a spec names them: `{sweep: NAME, seeds: [1, 3], where: {lr: 0.1}, best: 2}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::space::is_same;
use super::weights::MissingWeights;
use crate::recipe::schema::{self, Problem, nearest};
use crate::vocabulary::{Parameters, SweepId, TrialNumber};

/// What a selector can say; all of it has to hold.
pub(super) const KEYS: &[&str] = &["sweep", "trials", "seeds", "where", "best"];

/// Selects trials of one sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    pub sweep: SweepName,
    trials: Option<BTreeSet<i64>>,
    seeds: Option<BTreeSet<u64>>,
    /// Parameters and the canonical values that they may have.
    conditions: BTreeMap<String, Vec<Value>>,
    /// Only so many, the best by the sweep's metric.
    pub best: Option<usize>,
}

/// How a sweep is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepName {
    Id(SweepId),
    Name(String),
}

impl Selector {
    /// Reads a selector out of a list of weights.
    pub(super) fn read(entries: &Map<String, Value>) -> Result<Selector, MissingWeights> {
        if let Some(key) = entries.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let near = nearest(key, KEYS.iter().copied());
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            return Err(MissingWeights {
                message: format!("trials can't be selected by `{key}`"),
                help: format!("{near}they are by `{}`", KEYS.join("`, `")),
            });
        }
        let sweep = entries.get("sweep").ok_or_else(|| MissingWeights {
            message: "it is not said of which sweep trials are selected".to_owned(),
            help: "write `{sweep: NAME, ..}`, with a sweep's name or id".to_owned(),
        })?;
        let listed = |key: &str| entries.get(key).map(|value| read_numbers(key, value)).transpose();
        Ok(Selector {
            sweep: read_sweep(sweep)?,
            trials: listed("trials")?.map(|numbers| numbers.into_iter().map(u64::cast_signed).collect()),
            seeds: listed("seeds")?,
            conditions: entries.get("where").map(read_conditions).transpose()?.unwrap_or_default(),
            best: entries.get("best").map(read_best).transpose()?,
        })
    }

    /// The parameters that it looks at.
    pub fn conditions(&self) -> impl Iterator<Item = &str> {
        self.conditions.keys().map(String::as_str)
    }

    /// Whether a trial is among those that it selects, `best` aside.
    #[must_use]
    pub fn fits(&self, number: TrialNumber, seed: u64, parameters: &Parameters) -> bool {
        self.trials.as_ref().is_none_or(|trials| trials.contains(&number.0))
            && self.seeds.as_ref().is_none_or(|seeds| seeds.contains(&seed))
            && self.conditions.iter().all(|(name, values)| {
                parameters.get(name).is_some_and(|found| values.iter().any(|value| is_same(value, found)))
            })
    }
}

fn read_sweep(value: &Value) -> Result<SweepName, MissingWeights> {
    let name = value.as_str().filter(|name| !name.is_empty()).map(|name| SweepName::Name(name.to_owned()));
    let id = value.as_i64().filter(|id| *id > 0).map(|id| SweepName::Id(SweepId(id)));
    name.or(id).ok_or_else(|| MissingWeights {
        message: format!("`sweep: {value}` names no sweep"),
        help: "write its name, or its id as `sweep status` shows it".to_owned(),
    })
}

/// A whole number, or a list of them.
fn read_numbers(key: &str, value: &Value) -> Result<BTreeSet<u64>, MissingWeights> {
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let numbers: Option<BTreeSet<u64>> = items.iter().map(Value::as_u64).collect();
    numbers.filter(|numbers| !numbers.is_empty()).ok_or_else(|| MissingWeights {
        message: format!("`{key}: {value}` is no list of whole numbers"),
        help: format!("write `{key}: [1, 3]`, or leave it out for all of them"),
    })
}

fn read_best(value: &Value) -> Result<usize, MissingWeights> {
    let best = value.as_u64().filter(|best| *best > 0).and_then(|best| usize::try_from(best).ok());
    best.ok_or_else(|| MissingWeights {
        message: format!("`best: {value}` is no number of trials"),
        help: "write how many of the best trials by the sweep's metric, as in `best: 3`".to_owned(),
    })
}

fn read_conditions(value: &Value) -> Result<BTreeMap<String, Vec<Value>>, MissingWeights> {
    let entries = value.as_object().filter(|entries| !entries.is_empty()).ok_or_else(|| MissingWeights {
        message: format!("`where: {value}` is no map of parameters and values"),
        help: "write `where: {lr: 0.1}`, or `where: {lr: [0.1, 0.2]}` for any of them".to_owned(),
    })?;
    let condition = |(name, value): (&String, &Value)| Ok((name.clone(), read_condition(name, value)?));
    entries.iter().map(condition).collect()
}

/// The canonical forms of a value, or of each in a list.
fn read_condition(name: &str, value: &Value) -> Result<Vec<Value>, MissingWeights> {
    let wrong = |problem: Problem| MissingWeights {
        help: problem.help().unwrap_or_else(|| "`sweep params` lists the parameters".to_owned()),
        message: format!("in `where`: {problem}"),
    };
    let parameter = schema::find(name).ok_or_else(|| wrong(Problem::unknown(name)))?;
    let several = value
        .as_array()
        .filter(|items| !items.is_empty() && (!parameter.is_list() || items.iter().all(Value::is_array)));
    let values = several.map_or(std::slice::from_ref(value), Vec::as_slice);
    values.iter().map(|value| schema::check_value(parameter, value).map_err(wrong)).collect()
}

impl fmt::Display for SweepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SweepName::Id(id) => write!(f, "{id}"),
            // Quoted, so that a name of digits is no id.
            SweepName::Name(name) => write!(f, "{}", Value::from(name.as_str())),
        }
    }
}

/// As a spec would write it; two that select by the same have the same text.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{sweep: {}", self.sweep)?;
        if let Some(trials) = &self.trials {
            write!(f, ", trials: {}", list(trials))?;
        }
        if let Some(seeds) = &self.seeds {
            write!(f, ", seeds: {}", list(seeds))?;
        }
        if !self.conditions.is_empty() {
            let conditions = self.conditions.iter().map(|(name, values)| match values.as_slice() {
                [value] => format!("{name}: {value}"),
                several => format!("{name}: {}", Value::from(several)),
            });
            write!(f, ", where: {{{}}}", conditions.collect::<Vec<_>>().join(", "))?;
        }
        if let Some(best) = self.best {
            write!(f, ", best: {best}")?;
        }
        f.write_str("}")
    }
}

fn list<T: fmt::Display>(numbers: &BTreeSet<T>) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("[{}]", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Selector, String> {
        Selector::read(value.as_object().unwrap())
            .map_err(|wrong| format!("{}; {}", wrong.message, wrong.help))
    }

    #[test]
    fn a_selector_reads_back_as_it_is_meant() {
        for (written, text) in [
            (json!({"sweep": "a b"}), r#"{sweep: "a b"}"#),
            (json!({"sweep": 3, "trials": 4}), "{sweep: 3, trials: [4]}"),
            (
                json!({"best": 2, "seeds": [3, 1, 3], "where": {"lr": 1, "width": [8, 16]}, "sweep": "7"}),
                r#"{sweep: "7", seeds: [1, 3], where: {lr: 1.0, width: [8,16]}, best: 2}"#,
            ),
            (
                json!({"sweep": 1, "where": {"lr_steps": [25, 35], "mask_mode": "sgd"}}),
                r#"{sweep: 1, where: {lr_steps: [25,35], mask_mode: "sgf"}}"#,
            ),
        ] {
            assert_eq!(read(written).unwrap().to_string(), text);
        }
    }

    #[test]
    fn all_that_is_said_has_to_hold() {
        let parameters = Parameters::from([("lr".to_owned(), json!(0.1)), ("width".to_owned(), json!(8))]);
        let fits = |selector: Value| read(selector).unwrap().fits(TrialNumber(2), 5, &parameters);
        assert!(fits(json!({"sweep": 1})));
        assert!(fits(
            json!({"sweep": 1, "trials": [2, 9], "seeds": 5, "where": {"lr": [0.1, 0.2], "width": 8}})
        ));
        for key in [json!({"trials": 1}), json!({"seeds": 6}), json!({"where": {"lr": 0.2}})] {
            let mut selector = json!({"sweep": 1});
            selector.as_object_mut().unwrap().extend(key.as_object().unwrap().clone());
            assert!(!fits(selector.clone()), "{selector}");
        }
        // What does not apply to a trial has no value there.
        assert!(!fits(json!({"sweep": 1, "where": {"loss_weight": 1}})));
    }

    #[test]
    fn what_selects_nothing_that_could_be_meant_says_how_to_write_it() {
        for (written, expected) in [
            (json!({"seeds": [1]}), "it is not said of which sweep"),
            (json!({"sweep": 0}), "`sweep: 0` names no sweep"),
            (json!({"sweep": 1, "seed": 1}), "can't be selected by `seed`; did you mean `seeds`?"),
            (json!({"sweep": 1, "seeds": []}), "`seeds: []` is no list of whole numbers"),
            (json!({"sweep": 1, "trials": [1.5]}), "`trials: [1.5]` is no list"),
            (json!({"sweep": 1, "best": 0}), "`best: 0` is no number of trials"),
            (json!({"sweep": 1, "where": {}}), "`where: {}` is no map"),
            (
                json!({"sweep": 1, "where": {"lrr": 1}}),
                "in `where`: unknown parameter `lrr`; did you mean `lr`?",
            ),
            (json!({"sweep": 1, "where": {"lr": "fast"}}), "in `where`: `lr: fast` has the wrong type"),
        ] {
            let error = read(written).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
