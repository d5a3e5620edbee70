//! Failed trials by what they failed of: many usually fail for one reason, which is said once.

use std::collections::BTreeMap;

use crate::protocol::http::{Failure, TrialResult};

/// So many causes are told; more of them are one whose message differs from trial to trial.
const MOST_CAUSES: usize = 20;

/// Trials with one reason and, but for numbers, one message.
#[derive(Debug)]
pub(super) struct Cause<'a> {
    /// Of the first of the trials.
    pub(super) failure: &'a Failure,
    pub(super) trials: Vec<i64>,
}

/// The causes of which most trials failed first, and how many trials failed of those that are left out.
pub(super) fn causes(trials: &[TrialResult]) -> (Vec<Cause<'_>>, usize) {
    let mut by_cause: BTreeMap<(String, String), Cause<'_>> = BTreeMap::new();
    for trial in trials {
        let Some(failure) = &trial.failure else { continue };
        let key = (failure.reason.to_string(), without_numbers(&failure.message));
        let cause = by_cause.entry(key).or_insert_with(|| Cause { failure, trials: Vec::new() });
        cause.trials.push(trial.trial.0);
    }
    let mut causes: Vec<Cause<'_>> = by_cause.into_values().collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.trials.len()));
    let left_out = causes.iter().skip(MOST_CAUSES).map(|cause| cause.trials.len()).sum();
    causes.truncate(MOST_CAUSES);
    (causes, left_out)
}

/// "the loss is NaN in epoch 3" and "… in epoch 12" are one cause.
fn without_numbers(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for character in message.chars() {
        match character.is_ascii_digit() {
            true if text.ends_with('#') => {}
            true => text.push('#'),
            false => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::TrialState;
    use crate::report::fixtures::grid;
    use crate::vocabulary::FailureReason;

    #[test]
    fn messages_that_differ_in_numbers_are_one_cause_and_the_most_frequent_comes_first() {
        let mut results = grid(&[1.0, 2.0], &[1.0], 2, &[("top1", &|a, _, _| a)]);
        let messages = ["out of memory", "NaN in epoch 3", "NaN in epoch 12", "NaN in step 1"];
        for (trial, message) in results.trials.iter_mut().zip(messages) {
            trial.state = TrialState::Failed;
            let reason = FailureReason::Exit(1);
            trial.failure = Some(Failure { reason, message: message.to_owned(), log_tail: String::new() });
        }
        let (found, left_out) = causes(&results.trials);
        let said: Vec<(&str, usize)> =
            found.iter().map(|cause| (cause.failure.message.as_str(), cause.trials.len())).collect();
        assert_eq!(said[0], ("NaN in epoch 3", 2));
        assert_eq!((said.len(), left_out), (3, 0));
    }
}
