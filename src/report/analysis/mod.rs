//! What a sweep says about its parameters and metrics: `sweep analyze`. Formulas and their sources are in docs/ANALYSIS.md.
//!
//! `effects` has what each value adds and what share of the variance parameters explain, `correlation` how metrics go
//! together, `levels` what counts as a value. All of it is computed from the configurations of a [`View`].

mod correlation;
mod effects;
mod levels;
mod statistics;
mod text;

pub use correlation::{Coefficient, Correlation, correlate};
pub use effects::{Effect, Importance, Noise, ParameterEffects};
pub use statistics::student_t;
pub use text::analysis_text;

use super::axes::axes;
use super::configurations::Configuration;
use super::view::{ShownMetric, View};
use effects::Observation;
use levels::Factor;

/// Of all intervals.
pub const LEVEL: f64 = 0.95;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Pairs of metrics to correlate, and what to hold fixed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pairs {
    /// None: the ranking metric with each other one that is shown.
    pub metrics: Vec<[String; 2]>,
    pub given: Vec<String>,
}

/// What a sweep says.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    pub metric: Option<ShownMetric>,
    /// With a result in the metric.
    pub configurations: usize,
    pub trials: usize,
    pub importance: Option<Importance>,
    pub effects: Vec<ParameterEffects>,
    pub noise: Noise,
    pub correlations: Vec<Correlation>,
}

impl Analysis {
    /// Of what is shown; metrics and parameters that `pairs` names are known to be there.
    #[must_use]
    pub fn of(view: &View<'_>, pairs: &Pairs) -> Analysis {
        Analysis { correlations: correlations(view, pairs), ..Analysis::of_effects(view) }
    }

    /// Without correlations, whose bootstrap is what takes time.
    #[must_use]
    pub fn of_effects(view: &View<'_>) -> Analysis {
        let mut analysis = Analysis {
            metric: view.ranking().cloned(),
            configurations: 0,
            trials: 0,
            importance: None,
            effects: Vec::new(),
            noise: Noise::Unknown,
            correlations: Vec::new(),
        };
        let Some(metric) = view.ranking() else { return analysis };
        let observed: Vec<(usize, Observation)> = view
            .configurations
            .iter()
            .enumerate()
            .filter_map(|(place, configuration)| Some((place, observe(configuration, &metric.name)?)))
            .collect();
        if observed.is_empty() {
            return analysis;
        }
        let (places, observations): (Vec<usize>, Vec<Observation>) = observed.into_iter().unzip();
        let axes = axes(&view.results.swept, &view.configurations);
        let factors: Vec<Factor> = axes.iter().filter_map(|axis| Factor::of(axis, &places)).collect();
        analysis.configurations = observations.len();
        analysis.trials = places
            .iter()
            .filter_map(|place| view.configurations[*place].metrics.get(metric.name.as_str()))
            .map(|spread| spread.n)
            .sum();
        analysis.importance = effects::importance(&factors, &observations);
        (analysis.effects, analysis.noise) = effects::effects(&factors, &observations);
        analysis
    }
}

fn correlations(view: &View<'_>, pairs: &Pairs) -> Vec<Correlation> {
    let usual = || {
        let (first, others) = view.metrics.split_first()?;
        Some(others.iter().map(|other| [other.name.clone(), first.name.clone()]).collect())
    };
    let metrics = match pairs.metrics.is_empty() {
        true => usual().unwrap_or_default(),
        false => pairs.metrics.clone(),
    };
    metrics
        .iter()
        .map(|[x, y]| correlate(&view.configurations, [x.as_str(), y.as_str()], &pairs.given))
        .collect()
}

fn observe(configuration: &Configuration<'_>, metric: &str) -> Option<Observation> {
    let spread = configuration.metrics.get(metric)?;
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 seeds")]
    let n = spread.n as f64;
    let squares = spread.std.map_or(0.0, |std| std * std * (n - 1.0));
    Some(Observation { n, mean: spread.mean, squares })
}

#[cfg(test)]
mod tests;
