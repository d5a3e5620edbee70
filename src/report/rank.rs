use std::cmp::Ordering;

use crate::protocol::http::{ResultsResponse, TrialResult};
use crate::vocabulary::Goal;

/// Which of two numbers goes before the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}

impl Better {
    /// More, where nobody knows.
    pub(super) fn of(goal: Option<Goal>) -> Better {
        match goal {
            Some(Goal::Minimize) => Better::Less,
            Some(Goal::Maximize) | None => Better::More,
        }
    }
}

/// A sweep's trials, best first by this metric, and else by its own; those without a value after all others, and equals by
/// number.
#[must_use]
pub fn rank<'a>(results: &'a ResultsResponse, metric: Option<(&str, Option<Goal>)>) -> Vec<&'a TrialResult> {
    let mut trials: Vec<&TrialResult> = results.trials.iter().collect();
    let own = results.metric.as_ref().map(|metric| (metric.name.as_str(), Some(metric.goal)));
    let Some((name, goal)) = metric.or(own) else {
        trials.sort_by_key(|trial| trial.trial);
        return trials;
    };
    let value = |trial: &TrialResult| trial.metrics.get(name).copied();
    trials.sort_by(|a, b| by_goal(Better::of(goal), value(a), value(b)).then_with(|| a.trial.cmp(&b.trial)));
    trials
}

/// Orders two values of a metric, the better one first and a missing one last.
pub(super) fn by_goal(better: Better, a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => match better {
            Better::Less => a.total_cmp(&b),
            Better::More => b.total_cmp(&a),
        },
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{results, trial};
    use crate::vocabulary::Metric;

    #[test]
    fn the_best_trial_comes_first_and_one_without_a_value_last() {
        let mut results = results(vec![
            trial(1, 0, &[("lr", 0.1)], &[("top1", 40.0)]),
            trial(2, 0, &[("lr", 0.2)], &[]),
            trial(3, 0, &[("lr", 0.3)], &[("top1", 50.0)]),
        ]);
        let numbers =
            |results: &ResultsResponse| rank(results, None).iter().map(|t| t.trial.0).collect::<Vec<_>>();
        assert_eq!(numbers(&results), [3, 1, 2]);
        results.metric = Some(Metric { name: "top1".to_owned(), goal: Goal::Minimize });
        assert_eq!(numbers(&results), [1, 3, 2]);
    }

    #[test]
    fn without_a_metric_trials_stay_in_the_order_of_their_numbers() {
        let mut results = results(vec![trial(2, 0, &[], &[("top1", 1.0)]), trial(1, 0, &[], &[])]);
        results.metric = None;
        assert_eq!(rank(&results, None).iter().map(|t| t.trial.0).collect::<Vec<_>>(), [1, 2]);
    }
}
