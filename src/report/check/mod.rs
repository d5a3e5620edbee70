//! Exported tables read again, and held against the job table: `sweep check`.
//!
//! `text` finds tables in LaTeX and Markdown by the notes that stand in their comments (`super::provenance`), `lines` in CSV,
//! JSON and Parquet by their columns. Both give [`Claim`]s: a number as it stands there, and what it is said to be. [`Checked`] is
//! what became of one (`numbers`). A number agrees where it is the true one, rounded to the digits that are shown.

mod lines;
mod numbers;
mod text;

pub use lines::{claims_in_csv, claims_in_json, claims_in_parquet};
pub use text::{claims_in_text, inputs};

use numbers::text_difference;

use super::configurations::Configuration;
use crate::vocabulary::{Metric, SweepId};

/// Of which sweep and epoch numbers are said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub sweep: SweepId,
    pub epoch: String,
    pub best_by: Option<Metric>,
    /// The selector of the trials that count, where not all do.
    pub selected: Option<String>,
}

/// A cell of an exported table.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// `kd.tex:12`
    pub place: String,
    pub source: Source,
    pub metric: String,
    pub configuration: String,
    /// The trials that it is the mean of.
    pub trials: String,
    pub shown: Shown,
    /// The published number that stands beside it.
    pub published: Option<f64>,
}

/// What stands in the cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// No number, since there was no result.
    Nothing,
    /// As text for people: a mean, perhaps ± a deviation, perhaps a published number and the difference.
    Text(String),
    /// With all digits.
    Exact { mean: f64, std: Option<f64> },
}

/// What became of one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub claim: Claim,
    /// Why it does not agree; nothing where it does.
    pub difference: Option<String>,
}

/// Why a file can't be checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    #[error(
        "`{file}` has no table that `sweep results` wrote: there is no note `sweep:table` in it. Export it with `--format latex` or \
         `markdown`, or check a CSV, JSON or Parquet file"
    )]
    NoTable { file: String },
    #[error("{place}: {what}")]
    Unreadable { place: String, what: String },
}

impl Claim {
    /// Holds it against the configurations of its sweep, at its epoch.
    #[must_use]
    pub fn check(self, configurations: &[Configuration<'_>]) -> Checked {
        let found = configurations.iter().find(|configuration| configuration.hash == self.configuration);
        let difference = match found {
            None => Some(format!("sweep {} has no such configuration", self.source.sweep)),
            Some(configuration) => self.difference(configuration),
        };
        Checked { claim: self, difference }
    }

    fn difference(&self, configuration: &Configuration<'_>) -> Option<String> {
        let trials = configuration.counted_trials();
        let spread = match (configuration.metrics.get(self.metric.as_str()), &self.shown) {
            (None, Shown::Nothing) => return None,
            (Some(_), Shown::Nothing) => {
                return Some(format!("no number stands there, and now trials {trials} have a result"));
            }
            (None, _) => return Some(format!("there is no `{}` of these trials any more", self.metric)),
            (Some(spread), _) => spread,
        };
        if trials != self.trials {
            return Some(format!("it is of trials {}, and now trials {trials} have a result", self.trials));
        }
        let (mean, std) = (spread.mean, spread.std);
        match &self.shown {
            Shown::Nothing => None,
            Shown::Exact { mean: shown, std: shown_std } => {
                let is_same = is_equal(*shown, mean)
                    && match (shown_std, std) {
                        (Some(shown), Some(std)) => is_equal(*shown, std),
                        (None, _) => true,
                        (Some(_), None) => false,
                    };
                (!is_same).then(|| format!("it is {mean}{}", plus_minus(std)))
            }
            Shown::Text(text) => {
                let mut expected = vec![mean];
                expected.extend(std);
                expected
                    .extend(self.published.into_iter().flat_map(|published| [published, mean - published]));
                text_difference(text, &expected, mean, std)
            }
        }
    }
}

fn plus_minus(std: Option<f64>) -> String {
    std.map_or_else(String::new, |std| format!(" ± {std}"))
}

/// A number may have gone through another program's hands.
fn is_equal(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}

#[cfg(test)]
mod tests;
