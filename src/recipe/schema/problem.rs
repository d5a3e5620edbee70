use std::fmt;

use serde_json::Value;

use super::{Condition, PARAMETERS, find, nearest};

/// What is wrong with the parameters of the built-in trainer. Each names the parameter that it is about.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("unknown parameter `{name}`")]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("`seed` is not a parameter of the built-in trainer")]
    Seed,
    #[error("`{name}: {value}` has the wrong type")]
    WrongType { name: &'static str, value: String },
    #[error("`{name}: {value}` is out of range")]
    OutOfRange { name: &'static str, value: String },
    #[error("`{name}` has no choice `{value}`")]
    UnknownChoice { name: &'static str, value: String, nearest: Option<&'static str> },
    #[error("`{name}` lists `{item}` twice")]
    Repetition { name: &'static str, item: String },
    #[error("`{name}` has no effect under `{under}`")]
    NoEffect { name: &'static str, under: Setting },
    #[error("`{name}` is required under `{under}`")]
    Missing { name: &'static str, under: Setting },
    #[error("{message}")]
    Contradiction { name: &'static str, message: String, help: &'static str },
}

/// One parameter and its value: what makes another one required or idle.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub name: &'static str,
    pub value: Value,
}

/// All that is wrong with one set of parameters; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// That there is no parameter of this name.
    #[must_use]
    pub fn unknown(name: &str) -> Problem {
        if name == "seed" {
            return Problem::Seed;
        }
        let known = PARAMETERS.iter().map(|parameter| parameter.name);
        Problem::Unknown { name: name.to_owned(), nearest: nearest(name, known) }
    }

    /// The parameter that it is about.
    #[must_use]
    pub fn parameter(&self) -> &str {
        match self {
            Problem::Unknown { name, .. } => name,
            Problem::Seed => "seed",
            Problem::WrongType { name, .. }
            | Problem::OutOfRange { name, .. }
            | Problem::UnknownChoice { name, .. }
            | Problem::Repetition { name, .. }
            | Problem::NoEffect { name, .. }
            | Problem::Missing { name, .. }
            | Problem::Contradiction { name, .. } => name,
        }
    }

    /// How to mend it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Problem::Unknown { nearest, .. } => nearest.map(|name| format!("did you mean `{name}`?")),
            Problem::Seed => {
                Some("seeds have a key of their own, beside `parameters`: `seeds: 3`".to_owned())
            }
            Problem::WrongType { name, .. } | Problem::OutOfRange { name, .. } => must_be(name),
            Problem::UnknownChoice { name, nearest: None, .. } => must_be(name),
            Problem::UnknownChoice { name, nearest: Some(word), .. } => {
                must_be(name).map(|kind| format!("did you mean `{word}`? {kind}"))
            }
            Problem::Repetition { .. } => Some("remove one of them".to_owned()),
            Problem::NoEffect { name, .. } => Some(remove_or_change(name)),
            Problem::Missing { name, .. } => must_be(name).map(|kind| format!("add `{name}`; {kind}")),
            Problem::Contradiction { help, .. } => Some((*help).to_owned()),
        }
    }
}

fn must_be(name: &str) -> Option<String> {
    find(name).map(|parameter| format!("it must be {}", parameter.kind))
}

fn remove_or_change(name: &str) -> String {
    let groups = find(name).map_or(&[] as &[_], |parameter| parameter.applies);
    match conditions(groups) {
        Some(conditions) => format!("remove it; it applies where {conditions}"),
        None => "remove it".to_owned(),
    }
}

/// Groups of conditions, of which one has to hold, as a clause; `None` where nothing has to.
#[must_use]
pub fn conditions(groups: &[&[Condition]]) -> Option<String> {
    let clauses: Vec<_> = groups
        .iter()
        .map(|group| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))
        .collect();
    Some(clauses.join(", or ")).filter(|text| !text.is_empty())
}

/// A value as a person would write it: texts bare, all else as JSON.
pub(super) fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, show(&self.value))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&messages.join("; "))
    }
}

impl std::error::Error for Problems {}
