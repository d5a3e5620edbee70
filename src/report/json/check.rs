use serde::Serialize;

use super::super::check::Checked;
use super::SCHEMA_VERSION;
use crate::vocabulary::SweepId;

/// `sweep check --json`
#[derive(Debug, Serialize)]
pub struct CheckDocument {
    schema_version: u32,
    /// How many numbers were compared, and how many of them agree.
    numbers: usize,
    agree: usize,
    differences: Vec<DifferenceEntry>,
}

#[derive(Debug, Serialize)]
struct DifferenceEntry {
    /// File and line.
    place: String,
    sweep: SweepId,
    metric: String,
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
                    metric: claim.metric.clone(),
                    configuration: claim.configuration.clone(),
                    trials: claim.trials.clone(),
                    difference: difference.clone()?,
                })
            })
            .collect();
        CheckDocument {
            schema_version: SCHEMA_VERSION,
            numbers: checked.len(),
            agree: checked.len() - differences.len(),
            differences,
        }
    }
}
