//! What each value of each parameter adds to the mean, and how much of the variance parameters explain.

use std::collections::BTreeMap;

use super::levels::Factor;
use super::statistics::student_t;
use super::{Interval, LEVEL};

/// Columns beyond which the model says nothing any more.
const MOST_COLUMNS: usize = 400;

/// A configuration's results in one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Observation {
    /// How many seeds.
    pub(super) n: f64,
    pub(super) mean: f64,
    /// Sum of the squared distances of its seeds from their mean.
    pub(super) squares: f64,
}

/// What one value of a parameter adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    pub level: String,
    pub configurations: usize,
    /// Plain mean of the metric over these trials.
    pub mean: f64,
    /// What it adds to the overall mean, all other parameters being what they are.
    pub effect: f64,
    pub interval: Option<Interval>,
}

/// All values of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterEffects {
    pub parameter: String,
    /// Empty where it can't be told apart from those before it.
    pub effects: Vec<Effect>,
}

/// What an interval's width is taken from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noise {
    /// The spread of seeds within configurations.
    Seeds {
        variance: f64,
        degrees: f64,
    },
    /// There is one seed: what the sum of effects leaves unexplained.
    Residual {
        variance: f64,
        degrees: f64,
    },
    Unknown,
}

/// Fits metric = mean + Σ effects by least squares (Montgomery 2017, §5.3): each parameter's effects add up to 0, and one
/// that does not apply adds nothing.
pub(super) fn effects(factors: &[Factor], observations: &[Observation]) -> (Vec<ParameterEffects>, Noise) {
    let mut model = Model::default();
    let mut fitted: Vec<Option<usize>> = Vec::new();
    for factor in factors {
        fitted.push(model.extended(factor, factors, observations).map(|extended| {
            // The first column is the mean's.
            let first = model.columns.max(1);
            model = extended;
            first
        }));
    }
    if model.columns == 0 {
        model = Model::fit(vec![], factors, observations).unwrap_or_default();
    }
    let noise = noise(&model, factors, observations);
    let all = factors.iter().zip(&fitted).map(|(factor, first)| ParameterEffects {
        parameter: factor.name.clone(),
        effects: match first {
            None => Vec::new(),
            Some(first) => effects_of(factor, *first, &model, noise, observations),
        },
    });
    (all.collect(), noise)
}

/// Least squares over the factors that were taken in.
#[derive(Debug, Clone, Default)]
struct Model {
    /// For each factor in it, its place among all.
    members: Vec<usize>,
    /// Of the mean and of all factors.
    columns: usize,
    /// Cholesky's lower triangle of XᵀWX, row by row.
    triangle: Vec<f64>,
    coefficients: Vec<f64>,
}

impl Model {
    /// With one more factor; nothing where it can't be told apart from those that are in it.
    fn extended(&self, factor: &Factor, factors: &[Factor], observations: &[Observation]) -> Option<Model> {
        let place = factors.iter().position(|other| std::ptr::eq(other, factor))?;
        let mut members = self.members.clone();
        members.push(place);
        Model::fit(members, factors, observations)
    }

    fn fit(members: Vec<usize>, factors: &[Factor], observations: &[Observation]) -> Option<Model> {
        let columns = 1 + members.iter().map(|at| factors[*at].levels.len() - 1).sum::<usize>();
        if columns > MOST_COLUMNS {
            return None;
        }
        let (mut products, mut right) = (vec![0.0; columns * columns], vec![0.0; columns]);
        for (at, observation) in observations.iter().enumerate() {
            let row = row(&members, factors, at);
            for (i, x) in &row {
                right[*i] += observation.n * x * observation.mean;
                for (j, other) in &row {
                    products[i * columns + j] += observation.n * x * other;
                }
            }
        }
        let triangle = cholesky(products, columns)?;
        let coefficients = solve(&triangle, columns, right);
        Some(Model { members, columns, triangle, coefficients })
    }

    fn predicted(&self, factors: &[Factor], at: usize) -> f64 {
        row(&self.members, factors, at).iter().map(|(column, x)| x * self.coefficients[*column]).sum()
    }
}

/// The columns of a configuration that are not 0: the mean's, and of each factor the one of its level, or −1 in all of them for
/// the last level.
fn row(members: &[usize], factors: &[Factor], at: usize) -> Vec<(usize, f64)> {
    let mut row = vec![(0, 1.0)];
    let mut first = 1;
    for member in members {
        let factor = &factors[*member];
        let free = factor.levels.len() - 1;
        match factor.level_of[at] {
            None => {}
            Some(level) if level < free => row.push((first + level, 1.0)),
            Some(_) => row.extend((first..first + free).map(|column| (column, -1.0))),
        }
        first += free;
    }
    row
}

/// Nothing where a column is, as far as numbers go, made of those before it.
fn cholesky(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    for j in 0..n {
        let diagonal = a[j * n + j];
        for i in j..n {
            let sum: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - sum;
            if i == j {
                if rest <= 1e-9 * diagonal.max(f64::MIN_POSITIVE) {
                    return None;
                }
                a[j * n + j] = rest.sqrt();
            } else {
                a[i * n + j] = rest / a[j * n + j];
            }
        }
    }
    Some(a)
}

/// Solves LLᵀx = b.
fn solve(l: &[f64], n: usize, mut b: Vec<f64>) -> Vec<f64> {
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| l[i * n + k] * b[k]).sum();
        b[i] = (b[i] - sum) / l[i * n + i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| l[k * n + i] * b[k]).sum();
        b[i] = (b[i] - sum) / l[i * n + i];
    }
    b
}

fn noise(model: &Model, factors: &[Factor], observations: &[Observation]) -> Noise {
    let within: f64 = observations.iter().map(|observation| observation.squares).sum();
    let degrees: f64 = observations.iter().map(|observation| observation.n - 1.0).sum();
    if degrees >= 1.0 {
        return Noise::Seeds { variance: within / degrees, degrees };
    }
    let left = observations
        .iter()
        .enumerate()
        .map(|(at, observation)| observation.n * (observation.mean - model.predicted(factors, at)).powi(2));
    #[expect(clippy::cast_precision_loss, reason = "some hundred columns, some thousand configurations")]
    let degrees = observations.len() as f64 - model.columns as f64;
    if degrees < 1.0 || model.columns == 0 {
        return Noise::Unknown;
    }
    Noise::Residual { variance: left.sum::<f64>() / degrees, degrees }
}

fn effects_of(
    factor: &Factor,
    first: usize,
    model: &Model,
    noise: Noise,
    observations: &[Observation],
) -> Vec<Effect> {
    let free = factor.levels.len() - 1;
    let reach = match noise {
        Noise::Seeds { variance, degrees } | Noise::Residual { variance, degrees } => {
            Some(student_t(LEVEL, degrees) * variance.sqrt())
        }
        Noise::Unknown => None,
    };
    let effect = |level: usize| {
        let mut contrast = vec![0.0; model.columns];
        if level < free {
            contrast[first + level] = 1.0;
        } else {
            contrast[first..first + free].fill(-1.0);
        }
        let effect: f64 = contrast.iter().zip(&model.coefficients).map(|(c, b)| c * b).sum();
        let spread = solve(&model.triangle, model.columns, contrast.clone());
        let variance: f64 = contrast.iter().zip(&spread).map(|(c, s)| c * s).sum();
        let interval = reach.map(|reach| {
            let half = reach * variance.sqrt();
            Interval { low: effect - half, high: effect + half }
        });
        (effect, interval)
    };
    let means = factor.means(observations);
    let levels = factor.levels.iter().enumerate().map(|(level, label)| {
        let (effect, interval) = effect(level);
        let (configurations, mean) = means[level];
        Effect { level: label.clone(), configurations, mean, effect, interval }
    });
    levels.collect()
}

/// Shares of the variance over all trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    /// By parameter, in the order of the spec.
    pub parameters: Vec<(String, f64)>,
    /// What two parameters explain together beyond what they do one by one.
    pub pairs: Vec<(String, String, f64)>,
    /// What seeds make differ within configurations; none where there is one seed.
    pub seeds: Option<f64>,
}

/// Sums of squares between the means of levels, over the total (η²; Montgomery 2017, §5.3). Nothing where nothing varies.
pub(super) fn importance(factors: &[Factor], observations: &[Observation]) -> Option<Importance> {
    let n: f64 = observations.iter().map(|observation| observation.n).sum();
    let mean = observations.iter().map(|observation| observation.n * observation.mean).sum::<f64>() / n;
    let within: f64 = observations.iter().map(|observation| observation.squares).sum();
    let between: f64 =
        observations.iter().map(|observation| observation.n * (observation.mean - mean).powi(2)).sum();
    let total = within + between;
    if observations.len() < 2 || total <= 1e-24 * mean * mean * n {
        return None;
    }
    let single: Vec<f64> =
        factors.iter().map(|factor| squares_between(&[factor], &[factor], observations)).collect();
    let mut pairs = Vec::new();
    for (i, one) in factors.iter().enumerate() {
        for other in &factors[i + 1..] {
            let of = |members: &[&Factor]| squares_between(members, &[one, other], observations);
            // Where combinations are missing, levels overlap, and the difference can be negative.
            let beyond = (of(&[one, other]) - of(&[one]) - of(&[other])).max(0.0);
            pairs.push((one.name.clone(), other.name.clone(), beyond / total));
        }
    }
    let names = factors.iter().map(|factor| factor.name.clone());
    let has_seeds = observations.iter().any(|observation| observation.n > 1.0);
    Some(Importance {
        parameters: names.zip(single.iter().map(|squares| squares / total)).collect(),
        pairs,
        seeds: has_seeds.then_some(within / total),
    })
}

/// Sum of squares between the combinations of these factors' levels, over the configurations to which all of `applying` apply: that one
/// does not apply says something about the parameter that decides it, and nothing about its own values.
fn squares_between(members: &[&Factor], applying: &[&Factor], observations: &[Observation]) -> f64 {
    let mut cells: BTreeMap<Vec<Option<usize>>, (f64, f64)> = BTreeMap::new();
    let (mut n, mut sum) = (0.0, 0.0);
    for (at, observation) in observations.iter().enumerate() {
        if applying.iter().any(|factor| factor.level_of[at].is_none()) {
            continue;
        }
        let cell = cells.entry(members.iter().map(|factor| factor.level_of[at]).collect()).or_default();
        cell.0 += observation.n;
        cell.1 += observation.n * observation.mean;
        n += observation.n;
        sum += observation.n * observation.mean;
    }
    let mean = sum / n;
    cells.values().map(|(n, sum)| n * (sum / n - mean).powi(2)).sum()
}
