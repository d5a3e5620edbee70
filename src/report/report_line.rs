//! A sweep as lines of JSON, one for each epoch of each trial after which something was reported. docs/ANALYSIS.md has the schema.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::protocol::http::{TrialResult, TrialState};
use crate::protocol::insight::Curve;
use crate::vocabulary::{Parameters, SweepId, TrialNumber};

/// A trial's swept parameters and what it reported after one epoch. Every number is finite: workers refuse others.
#[derive(Debug, Serialize)]
pub struct ReportLine<'a> {
    sweep: SweepId,
    trial: TrialNumber,
    seed: u64,
    configuration: &'a str,
    state: TrialState,
    epoch: u32,
    parameters: &'a Parameters,
    metrics: BTreeMap<&'a str, f64>,
}

/// A trial beside others of its sweep.
#[derive(Debug)]
pub struct LinedTrial<'a> {
    pub sweep: SweepId,
    pub trial: &'a TrialResult,
    /// The hash that its table's row has.
    pub configuration: &'a str,
    /// Names of the swept ones.
    pub swept: &'a [String],
}

/// Hands over a trial's lines, by epoch, and stops at the first that is refused.
///
/// # Errors
/// What `write` refused.
pub fn report_lines<E>(
    lined: &LinedTrial<'_>,
    curves: &BTreeMap<String, Curve>,
    mut write: impl FnMut(&ReportLine<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut epochs: BTreeMap<u32, BTreeMap<&str, f64>> = BTreeMap::new();
    for (metric, curve) in curves {
        for (epoch, value) in curve.epochs.iter().zip(&curve.values) {
            epochs.entry(*epoch).or_default().insert(metric, *value);
        }
    }
    let trial = lined.trial;
    let swept = |name: &String| Some((name.clone(), trial.parameters.get(name)?.clone()));
    let parameters: Parameters = lined.swept.iter().filter_map(swept).collect();
    for (epoch, metrics) in epochs {
        write(&ReportLine {
            sweep: lined.sweep,
            trial: trial.trial,
            seed: trial.seed,
            configuration: lined.configuration,
            state: trial.state,
            epoch,
            parameters: &parameters,
            metrics,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::grid;

    #[test]
    fn an_epoch_has_a_line_with_what_was_reported_after_it() {
        let results = grid(&[1.0], &[2.0], 1, &[("top1", &|_, _, _| 3.0)]);
        let lined = LinedTrial {
            sweep: SweepId(7),
            trial: &results.trials[0],
            configuration: "abc",
            swept: &["a".to_owned(), "absent".to_owned()],
        };
        let curves = BTreeMap::from([
            ("loss".to_owned(), Curve { epochs: vec![1, 2], values: vec![0.5, 0.1 + 0.2] }),
            ("top1".to_owned(), Curve { epochs: vec![2], values: vec![3.0] }),
        ]);
        let mut lines = Vec::new();
        let written = report_lines(&lined, &curves, |line| -> Result<(), ()> {
            lines.push(serde_json::to_value(line).unwrap());
            Ok(())
        });
        assert_eq!((written, lines.len()), (Ok(()), 2));
        assert_eq!(
            (&lines[0]["epoch"], &lines[0]["metrics"]),
            (&1.into(), &serde_json::json!({"loss": 0.5}))
        );
        assert_eq!(lines[1]["metrics"], serde_json::json!({"loss": 0.1 + 0.2, "top1": 3.0}));
        assert_eq!(lines[1]["parameters"], serde_json::json!({"a": results.trials[0].parameters["a"]}));
        assert_eq!((&lines[1]["sweep"], &lines[1]["configuration"]), (&7.into(), &"abc".into()));
    }

    #[test]
    fn a_refused_line_is_the_last() {
        let results = grid(&[1.0], &[2.0], 1, &[("top1", &|_, _, _| 3.0)]);
        let lined =
            LinedTrial { sweep: SweepId(1), trial: &results.trials[0], configuration: "", swept: &[] };
        let curves =
            BTreeMap::from([("top1".to_owned(), Curve { epochs: vec![1, 2], values: vec![1.0, 2.0] })]);
        let mut seen = 0;
        let refused = report_lines(&lined, &curves, |_| {
            seen += 1;
            Err("full")
        });
        assert_eq!((refused, seen), (Err("full"), 1));
    }
}
