use crate::protocol::http::{ResultsResponse, TrialResult};
use crate::spec::TrialFacts;

/// What selectors can know of a sweep's trials.
#[must_use]
pub fn facts(results: &ResultsResponse) -> Vec<TrialFacts<'_>> {
    results.trials.iter().map(facts_of).collect()
}

fn facts_of(trial: &TrialResult) -> TrialFacts<'_> {
    TrialFacts {
        number: trial.trial,
        seed: trial.seed,
        state: trial.state,
        reason: trial.failure.as_ref().map(|failure| failure.reason),
        parameters: &trial.parameters,
        metrics: &trial.metrics,
    }
}
