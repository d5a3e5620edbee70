//! Results to test with.

use crate::protocol::http::{ResultsResponse, TrialResult, TrialState};
use crate::vocabulary::{Goal, Metric, SweepId, TrialNumber};

pub(crate) fn trial(
    number: i64,
    seed: u64,
    parameters: &[(&str, f64)],
    metrics: &[(&str, f64)],
) -> TrialResult {
    TrialResult {
        trial: TrialNumber(number),
        state: TrialState::Succeeded,
        seed,
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
        metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        epoch: None,
        checkpoints: vec![],
        failure: None,
    }
}

/// Of one sweep over `lr`, ranked by `top1`.
pub(crate) fn results(trials: Vec<TrialResult>) -> ResultsResponse {
    ResultsResponse {
        sweep: SweepId(1),
        name: "demo".to_owned(),
        metric: Some(Metric { name: "top1".to_owned(), goal: Goal::Maximize }),
        swept: vec!["lr".to_owned()],
        code: None,
        trials,
    }
}

/// A metric as a function of a, b and the seed.
pub(crate) type Of<'f> = &'f dyn Fn(f64, f64, f64) -> f64;

/// A grid over `a` and `b` with these seeds.
pub(crate) fn grid(a: &[f64], b: &[f64], seeds: u64, metrics: &[(&str, Of<'_>)]) -> ResultsResponse {
    let mut trials = Vec::new();
    for &a in a {
        for &b in b {
            for seed in 0..seeds {
                let at = f64::from(u32::try_from(seed).unwrap());
                let metrics: Vec<_> = metrics.iter().map(|(name, of)| (*name, of(a, b, at))).collect();
                let number = i64::try_from(trials.len()).unwrap() + 1;
                trials.push(trial(number, seed, &[("a", a), ("b", b)], &metrics));
            }
        }
    }
    ResultsResponse { swept: vec!["a".to_owned(), "b".to_owned()], ..results(trials) }
}
