//! Trained weights that a spec names as teachers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::selector::Selector;
use crate::recipe::schema::{Kind, Parameter, is_content_hash};
use crate::vocabulary::{StateHash, weights_in_state};

/// Trained weights as a spec names them.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'t> {
    /// By the hash of their contents.
    Hash(&'t str),
    /// By the path of a file.
    File(&'t str),
    /// Those with which trials of a sweep end.
    Trials(&'t Selector),
}

/// Gives the names of weights in canonical parameters: content hashes of files, states in which trials end. It may read
/// files and ask the job table, which this room must not.
pub type FindWeights<'f> = dyn Fn(Weights<'_>) -> Result<Vec<String>, MissingWeights> + 'f;

/// Why weights are not found, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingWeights {
    pub message: String,
    pub help: String,
}

impl Weights<'_> {
    /// A name that stands for what was written where nobody looks it up.
    #[must_use]
    pub fn unfound(&self) -> String {
        match self {
            Weights::Hash(text) | Weights::File(text) => (*text).to_owned(),
            Weights::Trials(selector) => stand_in(selector),
        }
    }
}

fn stand_in(selector: &Selector) -> String {
    weights_in_state(StateHash::of(selector.to_string().as_bytes()))
}

/// The selectors in a value of a parameter that lists weights, by their place.
pub(super) type Selectors = BTreeMap<usize, Selector>;

/// Takes the selectors out of a value of a parameter that lists weights; names take their places. Any other value stays.
pub(super) fn take_selectors(
    parameter: &Parameter,
    value: &Value,
) -> Result<(Value, Selectors), MissingWeights> {
    let mut selectors = Selectors::new();
    let (Kind::List { of: Kind::Weights, .. }, Value::Array(items)) = (&parameter.kind, value) else {
        return Ok((value.clone(), selectors));
    };
    let mut names = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let Value::Object(entries) = item else {
            names.push(item.clone());
            continue;
        };
        let selector = Selector::read(entries)?;
        names.push(stand_in(&selector).into());
        selectors.insert(place, selector);
    }
    Ok((names.into(), selectors))
}

/// A canonical value with the names that were found in the place of files and selectors.
pub(super) fn with_names(
    parameter: &Parameter,
    value: Value,
    selectors: &Selectors,
    find_weights: &FindWeights<'_>,
) -> Result<Value, MissingWeights> {
    let (Kind::List { of: Kind::Weights, .. }, Value::Array(items)) = (&parameter.kind, &value) else {
        return Ok(value);
    };
    let mut names: Vec<String> = Vec::new();
    for (place, item) in items.iter().filter_map(Value::as_str).enumerate() {
        let found = find_weights(match selectors.get(&place) {
            Some(selector) => Weights::Trials(selector),
            None if is_content_hash(item) => Weights::Hash(item),
            None => Weights::File(item),
        })?;
        names.extend(found);
    }
    let mut sorted: Vec<_> = names.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(MissingWeights {
            message: format!("`{}` has the same network twice: {}", parameter.name, pair[0]),
            help: "it would count twice in the mean; name each once".to_owned(),
        }),
        None => Ok(names.into()),
    }
}
