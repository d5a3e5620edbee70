//! Trials and sweeps as people name them on the command line: `1,3,5-8`, `all`, `last`, `state=failed`, `mask_ratio=0.5`,
//! `reason=oom`. One grammar for all commands (docs/SELECTORS.md); the selectors of specs (`super::selector`) are maps.
//!
//! `grammar` takes text apart; `numbers` are what conditions ask of whole numbers; `trials` and `sweeps` say what the parts mean and hold them against what is there.

mod grammar;
mod numbers;
mod sweeps;
mod trials;
mod written;

pub(super) use sweeps::is_selector_of_sweeps;
pub use sweeps::{SweepFacts, SweepSelector};
pub use trials::{TrialFacts, TrialSelector};
pub use written::WrittenValue;

use serde_json::Value;

use crate::recipe::schema::nearest;

/// What is wrong with a selector, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
pub struct SelectError {
    message: String,
    help: Option<String>,
}

impl SelectError {
    fn new(message: impl Into<String>) -> SelectError {
        SelectError { message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> SelectError {
        SelectError { help: Some(help.into()), ..self }
    }
}

/// So many values are named where none fits.
const MOST_NAMED: usize = 8;

/// The nearest of these names as a question, or else what there is.
fn did_you_mean<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone, otherwise: &str) -> String {
    nearest(name, known).map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"))
}

/// `a`, `b`, `c`, and no more than some of them.
fn listed(values: impl IntoIterator<Item = String>) -> String {
    let mut values: Vec<String> = values.into_iter().map(|value| format!("`{value}`")).collect();
    if values.len() > MOST_NAMED {
        values.truncate(MOST_NAMED);
        values.push("…".to_owned());
    }
    values.join(", ")
}

/// A word that has to be one of some.
fn one_of<T: std::str::FromStr>(
    what: &str,
    word: &str,
    known: impl IntoIterator<Item = &'static str> + Clone,
) -> Result<T, SelectError> {
    word.parse().map_err(|_| {
        let all = format!("it can be {}", listed(known.clone().into_iter().map(str::to_owned)));
        SelectError::new(format!("`{word}` is no {what}")).help(did_you_mean(word, known, &all))
    })
}

/// A value as a person would write it: texts bare, all else as JSON.
fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
