use serde::Serialize;

use super::super::check::{Checked, Tally};
use super::SCHEMA_VERSION;
use crate::vocabulary::SweepId;

/// `sweep check --json`
#[derive(Debug, Serialize)]
pub struct CheckDocument {
    schema_version: u32,
    /// How many numbers were compared, and how many of them agree.
    numbers: usize,
    agree: usize,
    /// The same of labels and marks.
    labels: usize,
    labels_agree: usize,
    differences: Vec<DifferenceEntry>,
}

#[derive(Debug, Serialize)]
struct DifferenceEntry {
    /// File and line.
    place: String,
    sweep: SweepId,
    /// The metric, or what else stands in the column.
    column: String,
    /// Where it is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    configuration: String,
    trials: String,
    difference: String,
}

impl CheckDocument {
    #[must_use]
    pub fn new(checked: &[Checked]) -> CheckDocument {
        let differences: Vec<DifferenceEntry> = checked
            .iter()
            .filter_map(|Checked { claim, difference }| {
                Some(DifferenceEntry {
                    place: claim.place.clone(),
                    sweep: claim.source.sweep,
                    column: claim.column.clone(),
                    metric: claim.shown.is_number().then(|| claim.column.clone()),
                    configuration: claim.configuration.clone(),
                    trials: claim.trials.clone(),
                    difference: difference.clone()?,
                })
            })
            .collect();
        let [numbers, labels] = Tally::of(checked);
        CheckDocument {
            schema_version: SCHEMA_VERSION,
            numbers: numbers.all,
            agree: numbers.all - numbers.differing,
            labels: labels.all,
            labels_agree: labels.all - labels.differing,
            differences,
        }
    }
}
