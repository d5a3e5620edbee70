use serde::Serialize;

use super::super::analysis::{
    Analysis, Coefficient, Correlation, Importance, Interval, Noise, ParameterEffects,
};
use super::super::provenance::TableOrigin;
use super::SCHEMA_VERSION;
use crate::vocabulary::{Goal, Metric, SweepId};

/// `sweep analyze --json`
#[derive(Debug, Serialize)]
pub struct AnalysisDocument {
    schema_version: u32,
    sweep: SweepId,
    name: String,
    metric: Option<Metric>,
    /// Of which epoch the numbers are.
    epoch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_by: Option<Metric>,
    /// The selector of the trials that count, where not all of the sweep's do.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    selected: Option<String>,
    /// With a result in the metric.
    configurations: usize,
    trials: usize,
    /// Null where nothing varies.
    importance: Option<ImportanceEntry>,
    effects: Vec<ParameterEntry>,
    /// What the effects' intervals are taken from; null where nothing says how far results spread.
    noise: Option<NoiseEntry>,
    correlations: Vec<CorrelationEntry>,
}

/// Shares of the variance, from 0 to 1.
#[derive(Debug, Serialize)]
struct ImportanceEntry {
    parameters: Vec<ShareEntry>,
    pairs: Vec<ShareEntry>,
    seeds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ShareEntry {
    parameters: Vec<String>,
    share: f64,
}

#[derive(Debug, Serialize)]
struct ParameterEntry {
    parameter: String,
    /// Empty where it can't be told apart from those before it.
    values: Vec<EffectEntry>,
}

#[derive(Debug, Serialize)]
struct EffectEntry {
    value: String,
    configurations: usize,
    mean: f64,
    effect: f64,
    interval: Option<[f64; 2]>,
}

#[derive(Debug, Serialize)]
struct NoiseEntry {
    /// `seeds` or `residual`
    from: &'static str,
    variance: f64,
    degrees: f64,
}

#[derive(Debug, Serialize)]
struct CorrelationEntry {
    metrics: [String; 2],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    given: Vec<String>,
    n: usize,
    pearson: Option<CoefficientEntry>,
    spearman: Option<CoefficientEntry>,
}

#[derive(Debug, Serialize)]
struct CoefficientEntry {
    value: f64,
    interval: Option<[f64; 2]>,
}

impl AnalysisDocument {
    #[must_use]
    pub fn new(analysis: Analysis, origin: TableOrigin) -> AnalysisDocument {
        AnalysisDocument {
            schema_version: SCHEMA_VERSION,
            sweep: origin.sweep,
            name: origin.name,
            metric: analysis
                .metric
                .map(|metric| Metric { name: metric.name, goal: metric.goal.unwrap_or(Goal::Maximize) }),
            epoch: origin.epoch,
            best_by: origin.best_by,
            selected: origin.selected,
            configurations: analysis.configurations,
            trials: analysis.trials,
            importance: analysis.importance.map(Into::into),
            effects: analysis.effects.into_iter().map(Into::into).collect(),
            noise: noise(analysis.noise),
            correlations: analysis.correlations.into_iter().map(Into::into).collect(),
        }
    }
}

fn noise(noise: Noise) -> Option<NoiseEntry> {
    match noise {
        Noise::Seeds { variance, degrees } => Some(NoiseEntry { from: "seeds", variance, degrees }),
        Noise::Residual { variance, degrees } => Some(NoiseEntry { from: "residual", variance, degrees }),
        Noise::Unknown => None,
    }
}

fn ends(interval: Option<Interval>) -> Option<[f64; 2]> {
    interval.map(|Interval { low, high }| [low, high])
}

impl From<Importance> for ImportanceEntry {
    fn from(importance: Importance) -> ImportanceEntry {
        let one = |(parameter, share)| ShareEntry { parameters: vec![parameter], share };
        let pair = |(one, other, share)| ShareEntry { parameters: vec![one, other], share };
        ImportanceEntry {
            parameters: importance.parameters.into_iter().map(one).collect(),
            pairs: importance.pairs.into_iter().map(pair).collect(),
            seeds: importance.seeds,
        }
    }
}

impl From<ParameterEffects> for ParameterEntry {
    fn from(parameter: ParameterEffects) -> ParameterEntry {
        let values = parameter.effects.into_iter().map(|effect| EffectEntry {
            value: effect.level,
            configurations: effect.configurations,
            mean: effect.mean,
            effect: effect.effect,
            interval: ends(effect.interval),
        });
        ParameterEntry { parameter: parameter.parameter, values: values.collect() }
    }
}

impl From<Correlation> for CorrelationEntry {
    fn from(correlation: Correlation) -> CorrelationEntry {
        let Correlation { x, y, given, n, pearson, spearman } = correlation;
        CorrelationEntry {
            metrics: [x, y],
            given,
            n,
            pearson: pearson.map(Into::into),
            spearman: spearman.map(Into::into),
        }
    }
}

impl From<Coefficient> for CoefficientEntry {
    fn from(coefficient: Coefficient) -> CoefficientEntry {
        CoefficientEntry { value: coefficient.value, interval: ends(coefficient.interval) }
    }
}
