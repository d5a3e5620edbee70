//! What stands beside numbers and says of which configuration they are.

use serde::{Deserialize, Serialize};

use super::configurations::Configuration;
use super::value::{NOTHING, bare, parameter};

/// What a column of labels says, or the head of a pivot's column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    Parameter(String),
    /// Several in one place: the head of a pivot's column.
    Parameters(Vec<String>),
    /// How many seeds there are, and how many of them have a result.
    Seeds,
    /// How many seeds have a result.
    N,
    /// How many seeds there are.
    AllSeeds,
    /// The trials that count.
    Trials,
    /// The configuration's hash.
    Configuration,
    /// What it was when it was written, of which nothing else is known.
    Written(String),
}

impl Label {
    /// What stands above such a column.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Label::Parameter(name) => name.clone(),
            Label::Parameters(names) => names.join(", "),
            Label::Seeds | Label::AllSeeds => "seeds".to_owned(),
            Label::N => "n".to_owned(),
            Label::Trials => "trials".to_owned(),
            Label::Configuration => "configuration".to_owned(),
            Label::Written(_) => "label".to_owned(),
        }
    }

    /// What it says of a configuration, with all digits.
    #[must_use]
    pub fn text(&self, configuration: &Configuration<'_>) -> String {
        match self {
            Label::Parameter(name) => parameter(configuration.parameters, name),
            Label::Parameters(names) => {
                let value = |name: &String| match configuration.parameters.get(name) {
                    Some(value) => bare(value),
                    None => NOTHING.to_owned(),
                };
                names.iter().map(value).collect::<Vec<_>>().join(", ")
            }
            Label::Seeds => seeds(configuration),
            Label::N => configuration.n().to_string(),
            Label::AllSeeds => configuration.trials.len().to_string(),
            Label::Trials => configuration.counted_trials(),
            Label::Configuration => configuration.hash.clone(),
            Label::Written(text) => text.clone(),
        }
    }
}

/// `3`, or `2 of 3` where not all have a result.
fn seeds(configuration: &Configuration<'_>) -> String {
    let (all, done) = (configuration.trials.len(), configuration.n());
    if done == all { all.to_string() } else { format!("{done} of {all}") }
}
