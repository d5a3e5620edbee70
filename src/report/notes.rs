//! What is said below a table, so that a hole in it explains itself.

use super::configurations::Configuration;
use super::failures::{Cause, causes};
use super::value::settings;
use super::view::View;
use super::{count, counted};
use crate::protocol::http::{ResultsResponse, TrialResult, TrialState};

/// More configurations with missing seeds are counted only.
const MOST_NAMED: usize = 5;

/// What is left out, which seeds are missing, and what failed; a line each.
#[must_use]
pub fn notes(view: &View<'_>) -> String {
    let mut lines = Vec::new();
    if view.left_out > 0 {
        let more = counted(count(view.left_out), "configuration is", "configurations are");
        lines.push(format!("{more} left out (`--top`)"));
    }
    lines.extend(missing_seeds(view));
    lines.extend(failures(view.results));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Of configurations with some results: those that are missing, with the state of their trials. Those without any say so in
/// the table.
fn missing_seeds(view: &View<'_>) -> Vec<String> {
    let is_partial = |configuration: &&Configuration<'_>| {
        let n = configuration.n();
        n > 0 && n < configuration.trials.len()
    };
    let partial: Vec<&Configuration<'_>> = view.configurations.iter().filter(is_partial).collect();
    let swept = || view.results.swept.iter().map(String::as_str);
    let line = |configuration: &&Configuration<'_>| {
        let missing = configuration.trials.iter().filter(|trial| trial.state != TrialState::Succeeded);
        let seeds: Vec<String> = missing.map(|trial| missing_seed(trial)).collect();
        let word = if seeds.len() == 1 { "seed" } else { "seeds" };
        format!("{} lacks {word} {}", settings(configuration.parameters, swept()), seeds.join(", "))
    };
    let mut lines: Vec<String> = partial.iter().take(MOST_NAMED).map(line).collect();
    if partial.len() > MOST_NAMED {
        let more = counted(
            count(partial.len() - MOST_NAMED),
            "other configuration lacks",
            "other configurations lack",
        );
        lines.push(format!("{more} seeds"));
    }
    lines
}

fn missing_seed(trial: &TrialResult) -> String {
    match &trial.failure {
        Some(failure) => format!("{} (failed: {})", trial.seed, failure.reason),
        None => format!("{} ({})", trial.seed, trial.state),
    }
}

/// A line for each cause, and one for what is left.
fn failures(results: &ResultsResponse) -> Vec<String> {
    let (causes, left) = causes(&results.trials);
    let line = |Cause { failure, trials }: &Cause<'_>| {
        let first: Vec<_> = trials.iter().take(5).map(ToString::to_string).collect();
        let more = if trials.len() > first.len() { ", …" } else { "" };
        format!(
            "{} failed ({}): {} (trial {}{more})",
            trials.len(),
            failure.reason,
            failure.message,
            first.join(", ")
        )
    };
    let mut lines: Vec<String> = causes.iter().map(line).collect();
    if left > 0 {
        lines.push(format!("{left} failed with other messages (`sweep results SWEEP --json` has them)"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::grid;
    use crate::report::view::ViewOptions;

    #[test]
    fn missing_seeds_are_named_and_many_are_counted() {
        let mut results = grid(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[1.0], 3, &[("top1", &|a, _, _| a)]);
        for trial in results.trials.iter_mut().filter(|trial| trial.seed > 0) {
            trial.state = if trial.seed == 1 { TrialState::Running } else { TrialState::Cancelled };
        }
        // One without any result is no news: the table shows it.
        results.trials[0].state = TrialState::Queued;
        let options = ViewOptions { top: Some(6), ..ViewOptions::default() };
        let said = notes(&View::new(&results, &options).unwrap());
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "1 configuration is left out (`--top`)");
        assert_eq!(lines[1], "a=7.0 b=1.0 lacks seeds 1 (running), 2 (cancelled)");
        assert_eq!(lines[6..], ["1 other configuration lacks seeds"]);
    }
}
