//! Exported tables read again, and held against the job table: `sweep check`.
//!
//! `text` finds tables in LaTeX and Markdown by the notes that stand in their comments (`super::provenance`), `lines` in CSV,
//! JSON and Parquet by their columns. Both give [`Claim`]s: what stands in a cell, and what it is said to be. [`Checked`] is
//! what became of one. A number agrees where it is the true one, rounded to the digits that are shown (`numbers`); a label where it
//! says what the configuration is whose numbers stand beside it, however it is set; a mark where the cell is the best of its
//! table (`labels`). What a reader sees of a cell in LaTeX or Markdown is told by `markup`; `rows` finds a note's row.

mod labels;
mod lines;
mod markup;
mod numbers;
mod rows;
mod text;

pub use lines::{claims_in_csv, claims_in_json, claims_in_parquet};
pub use text::{claims_in_text, inputs};

use labels::{Written, head_difference, label_difference, mark_difference};
use numbers::text_difference;

use super::configurations::Configuration;
use super::label::Label;
use crate::vocabulary::{Goal, Metric, SweepId};

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
    /// The metric, or what else stands in the column.
    pub column: String,
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
    Exact { mean: f64, std: Option<f64>, difference: Option<f64> },
    /// No number, but what says of which configuration numbers are.
    Label { of: Label, text: String, above: Option<String> },
    /// The name of a column whose own name is `own`, in a table that has the others, too.
    Head { text: String, own: String, others: Vec<String> },
    /// A mark as the best of these configurations; and the number that is marked.
    Best { text: String, goal: Goal, among: Vec<String> },
}

impl Shown {
    /// Whether it is a number, or the place of one.
    #[must_use]
    pub fn is_number(&self) -> bool {
        match self {
            Shown::Nothing | Shown::Text(_) | Shown::Exact { .. } => true,
            Shown::Label { .. } | Shown::Head { .. } | Shown::Best { .. } => false,
        }
    }
}

/// What became of one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub claim: Claim,
    /// Why it does not agree; nothing where it does.
    pub difference: Option<String>,
}

/// How many were checked, and of how many something else is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub all: usize,
    pub differing: usize,
}

impl Tally {
    /// Of numbers, and of labels and marks.
    #[must_use]
    pub fn of(checked: &[Checked]) -> [Tally; 2] {
        [true, false].map(|is_number| {
            let of_kind = || checked.iter().filter(|one| one.claim.shown.is_number() == is_number);
            Tally {
                all: of_kind().count(),
                differing: of_kind().filter(|one| one.difference.is_some()).count(),
            }
        })
    }
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
            Some(configuration) => self.difference(configuration, configurations),
        };
        Checked { claim: self, difference }
    }

    fn difference(&self, found: &Configuration<'_>, all: &[Configuration<'_>]) -> Option<String> {
        match &self.shown {
            Shown::Nothing | Shown::Text(_) | Shown::Exact { .. } => self.difference_of_number(found),
            Shown::Label { of, text, above } => {
                label_difference(of, &Written { text, above: above.as_deref() }, found, all)
            }
            Shown::Head { text, own, others } => head_difference(text, own, others),
            Shown::Best { text, goal, among } => {
                let among: Vec<_> = all.iter().filter(|other| among.contains(&other.hash)).collect();
                mark_difference(text, &self.column, *goal, found, &among)
            }
        }
    }

    fn difference_of_number(&self, configuration: &Configuration<'_>) -> Option<String> {
        let trials = configuration.counted_trials();
        let spread = match (configuration.metrics.get(self.column.as_str()), &self.shown) {
            (None, Shown::Nothing) => return None,
            (Some(_), Shown::Nothing) => {
                return Some(format!("no number stands there, and now trials {trials} have a result"));
            }
            (None, _) => return Some(format!("there is no `{}` of these trials any more", self.column)),
            (Some(spread), _) => spread,
        };
        if trials != self.trials {
            return Some(format!("it is of trials {}, and now trials {trials} have a result", self.trials));
        }
        let (mean, std) = (spread.mean, spread.std);
        match &self.shown {
            Shown::Nothing | Shown::Label { .. } | Shown::Head { .. } | Shown::Best { .. } => None,
            Shown::Exact { mean: shown, std: shown_std, difference } => {
                let true_difference = self.published.map(|published| mean - published);
                let is_same = is_equal(*shown, mean)
                    && match (shown_std, std) {
                        (Some(shown), Some(std)) => is_equal(*shown, std),
                        (None, _) => true,
                        (Some(_), None) => false,
                    };
                match (difference, true_difference) {
                    _ if !is_same => Some(format!("it is {mean}{}", plus_minus(std))),
                    // A difference of nearly equal numbers has fewer digits that are theirs.
                    (Some(shown), Some(difference)) if (shown - difference).abs() > 1e-9 * mean.abs() => {
                        Some(format!("`{shown}` stands there as the difference; it is {difference}"))
                    }
                    _ => None,
                }
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
