use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::super::dead_knobs::DeadKnob;
use super::super::pivot::Pivot;
use super::super::provenance::TableOrigin;
use super::super::published::{Published, References, Verdict};
use super::super::sheet::{Figure, Sheet};
use super::super::{Configuration, View, rank};
use super::SCHEMA_VERSION;
use crate::protocol::http::{CodeSummary, Failure, TrialResult, TrialState};
use crate::vocabulary::{Goal, Metric, Metrics, Parameters, SweepId};

/// `sweep results SWEEP --json`
#[derive(Debug, Serialize)]
pub struct ResultsDocument<'a> {
    schema_version: u32,
    sweep: SweepId,
    name: &'a str,
    /// What ranks.
    metric: Option<Metric>,
    /// What its programs are run from.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<CodeEntry<'a>>,
    /// Of which epoch the numbers are: `last`, `best`, or a number.
    epoch: String,
    /// By what the best epoch is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    best_by: Option<Metric>,
    /// The selector of the trials that count, where not all of the sweep's do.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    selected: Option<String>,
    /// Trials, best first.
    results: Vec<ResultEntry<'a>>,
    /// In the order in which they are shown.
    configurations: Vec<ConfigurationEntry<'a>>,
    /// Tables with rows and columns, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pivots: Vec<PivotEntry>,
    /// Parameters between some of whose values nothing changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dead_knobs: Vec<DeadKnobEntry>,
}

#[derive(Debug, Serialize)]
struct CodeEntry<'a> {
    /// Names the archive: `.sweep/artifacts/code/HASH.tar`.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'a str>,
    /// As git names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    /// Whether files were not as they are in the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<bool>,
}

impl<'a> From<&'a CodeSummary> for CodeEntry<'a> {
    fn from(CodeSummary { hash, commit }: &'a CodeSummary) -> Self {
        CodeEntry {
            hash: hash.as_deref(),
            commit: commit.as_ref().map(|commit| commit.hash.as_str()),
            modified: commit.as_ref().map(|commit| commit.is_modified),
        }
    }
}

#[derive(Debug, Serialize)]
struct ResultEntry<'a> {
    trial: i64,
    state: TrialState,
    seed: u64,
    parameters: &'a Parameters,
    metrics: &'a Metrics,
    /// Of which the metrics are, where an epoch was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    /// States that stay, by epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checkpoints: Vec<CheckpointEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureEntry<'a>>,
}

/// All trials that differ only in their seed.
#[derive(Debug, Serialize)]
struct ConfigurationEntry<'a> {
    /// Names it: a hash of all its parameters.
    configuration: String,
    /// The swept ones.
    parameters: BTreeMap<&'a str, &'a Value>,
    /// The trials that count, as ranges.
    trials: String,
    /// How many trials there are, and how many of them have a result.
    seeds: usize,
    n: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_seeds: Vec<u64>,
    /// Left out by `where` for what they reported, so that means over the others are biased.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dropped_seeds: Vec<u64>,
    /// By metric.
    mean: BTreeMap<&'a str, f64>,
    /// By metric; null where there is one result.
    std: BTreeMap<&'a str, Option<f64>>,
    /// Of metrics that not every trial has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    n_of: BTreeMap<&'a str, usize>,
    /// What somebody else has published, by metric.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    published: BTreeMap<&'a str, PublishedEntry>,
}

#[derive(Debug, Serialize)]
struct PublishedEntry {
    value: f64,
    #[serde(skip_serializing_if = "is_zero")]
    uncertainty: f64,
    /// Ours minus this.
    difference: f64,
    /// Whether it lies outside the spread of our seeds; null where nobody knows how far they spread.
    outside: Option<bool>,
    source: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

#[derive(Debug, Serialize)]
struct PivotEntry {
    metric: String,
    /// Which way the best cell is the best, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
    /// What tells it from the other tables of the metric.
    #[serde(skip_serializing_if = "String::is_empty")]
    slice: String,
    /// Parameters.
    rows: Vec<String>,
    columns: Vec<String>,
    cells: Vec<CellEntry>,
}

#[derive(Debug, Serialize)]
struct CellEntry {
    row: Vec<String>,
    column: Vec<String>,
    configuration: String,
    trials: String,
    n: usize,
    mean: f64,
    std: Option<f64>,
    best: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<PublishedEntry>,
}

#[derive(Debug, Serialize)]
struct DeadKnobEntry {
    parameter: String,
    values: Vec<String>,
    places: usize,
    compared: usize,
    example: [i64; 2],
    changes_metrics: bool,
}

#[derive(Debug, Serialize)]
struct CheckpointEntry<'a> {
    epoch: u32,
    /// Names the file: `.sweep/artifacts/HASH.safetensors`.
    hash: &'a str,
    /// What the sweep's metric was then; null where it was not reported.
    value: Option<f64>,
}

#[derive(Debug, Serialize)]
struct FailureEntry<'a> {
    reason: String,
    message: &'a str,
    log_tail: &'a str,
}

impl<'a> ResultsDocument<'a> {
    #[must_use]
    pub fn new(
        view: &'a View<'a>,
        origin: &TableOrigin,
        references: Option<&References>,
    ) -> ResultsDocument<'a> {
        let results = view.results;
        let ranking = view.ranking();
        let ranked = rank(results, ranking.map(|metric| (metric.name.as_str(), metric.goal)));
        ResultsDocument {
            schema_version: SCHEMA_VERSION,
            sweep: results.sweep,
            name: &results.name,
            metric: match ranking {
                None => results.metric.clone(),
                Some(metric) => {
                    Some(Metric { name: metric.name.clone(), goal: metric.goal.unwrap_or(Goal::Maximize) })
                }
            },
            code: results.code.as_ref().map(Into::into),
            epoch: origin.epoch.clone(),
            best_by: origin.best_by.clone(),
            selected: origin.selected.clone(),
            results: ranked.into_iter().map(Into::into).collect(),
            configurations: view
                .configurations
                .iter()
                .map(|configuration| configuration_entry(configuration, view, references))
                .collect(),
            pivots: Vec::new(),
            dead_knobs: view.dead_knobs.iter().cloned().map(Into::into).collect(),
        }
    }

    /// With tables that have rows and columns.
    #[must_use]
    pub fn with_pivot(mut self, view: &View<'_>, pivot: &Pivot, sheets: &[Sheet]) -> ResultsDocument<'a> {
        for (at, metric) in view.metrics.iter().enumerate() {
            for (slice, of_slice) in pivot.slices.iter().enumerate() {
                let sheet = &sheets[at * pivot.slices.len() + slice];
                let mut cells = Vec::new();
                for (row, label) in of_slice.rows.iter().enumerate() {
                    for (column, of_column) in of_slice.columns.iter().enumerate() {
                        let figure = sheet.rows[row][pivot.rows.len() + column].as_figure();
                        cells.extend(figure.map(|figure| cell_entry(label, of_column, figure)));
                    }
                }
                self.pivots.push(PivotEntry {
                    metric: metric.name.clone(),
                    goal: metric.goal,
                    slice: of_slice.label.clone(),
                    rows: pivot.rows.clone(),
                    columns: pivot.columns.clone(),
                    cells,
                });
            }
        }
        self
    }
}

fn configuration_entry<'a>(
    configuration: &'a Configuration<'a>,
    view: &'a View<'a>,
    references: Option<&References>,
) -> ConfigurationEntry<'a> {
    let n = configuration.n();
    let missing = configuration.trials.iter().filter(|trial| trial.state != TrialState::Succeeded);
    let spreads = || configuration.metrics.iter();
    let swept = view.results.swept.iter();
    let published = spreads().filter_map(|(name, spread)| {
        let published = references?.find(configuration.parameters, name, *spread)?;
        Some((*name, published.into()))
    });
    ConfigurationEntry {
        configuration: configuration.hash.clone(),
        parameters: swept
            .filter_map(|name| Some((name.as_str(), configuration.parameters.get(name)?)))
            .collect(),
        trials: configuration.counted_trials(),
        seeds: configuration.trials.len(),
        n,
        missing_seeds: missing.map(|trial| trial.seed).collect(),
        dropped_seeds: view
            .survivors
            .iter()
            .find(|survivor| survivor.configuration == configuration.hash)
            .map(|survivor| survivor.dropped_seeds.clone())
            .unwrap_or_default(),
        mean: spreads().map(|(name, spread)| (*name, spread.mean)).collect(),
        std: spreads().map(|(name, spread)| (*name, spread.std)).collect(),
        n_of: spreads().filter(|(_, spread)| spread.n != n).map(|(name, spread)| (*name, spread.n)).collect(),
        published: published.collect(),
    }
}

fn cell_entry(row: &[String], column: &[String], figure: &Figure) -> CellEntry {
    CellEntry {
        row: row.to_vec(),
        column: column.to_vec(),
        configuration: figure.configuration.clone(),
        trials: figure.trials.clone(),
        n: figure.spread.n,
        mean: figure.spread.mean,
        std: figure.spread.std,
        best: figure.is_best,
        published: figure.beside.clone().map(Into::into),
    }
}

impl From<Published> for PublishedEntry {
    fn from(published: Published) -> PublishedEntry {
        PublishedEntry {
            value: published.value,
            uncertainty: published.uncertainty,
            difference: published.difference,
            outside: match published.verdict {
                Verdict::Inside => Some(false),
                Verdict::Outside => Some(true),
                Verdict::Unknown => None,
            },
            source: published.source,
        }
    }
}

impl From<DeadKnob> for DeadKnobEntry {
    fn from(knob: DeadKnob) -> DeadKnobEntry {
        let DeadKnob { parameter, values, places, compared, example, changes_metrics } = knob;
        DeadKnobEntry {
            parameter,
            values,
            places,
            compared,
            example: [example.0.0, example.1.0],
            changes_metrics,
        }
    }
}

impl<'a> From<&'a Failure> for FailureEntry<'a> {
    fn from(failure: &'a Failure) -> Self {
        FailureEntry {
            reason: failure.reason.to_string(),
            message: &failure.message,
            log_tail: &failure.log_tail,
        }
    }
}

impl<'a> From<&'a TrialResult> for ResultEntry<'a> {
    fn from(trial: &'a TrialResult) -> Self {
        ResultEntry {
            trial: trial.trial.0,
            state: trial.state,
            seed: trial.seed,
            parameters: &trial.parameters,
            metrics: &trial.metrics,
            epoch: trial.epoch,
            checkpoints: trial
                .checkpoints
                .iter()
                .map(|kept| CheckpointEntry { epoch: kept.epoch, hash: &kept.hash, value: kept.value })
                .collect(),
            failure: trial.failure.as_ref().map(Into::into),
        }
    }
}
