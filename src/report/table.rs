use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

use super::configurations::{Configuration, Spread, by_configuration};
use crate::protocol::http::{ResultsResponse, StatusResponse, SweepStatus, TrialState};
use crate::spec::Trial;
use crate::vocabulary::{Parameters, is_volatile};

/// Metrics that say how a trial went and not how good it is; they stay in `--json`.
const UNRANKED_METRICS: &[&str] = &["lr", "rankme_batch", "top5", "aux_loss", "ce_loss"];

/// One row a configuration: swept parameters, seeds, and mean ± std of each metric, best first.
#[must_use]
pub fn results_table(results: &ResultsResponse) -> String {
    let configurations = by_configuration(results);
    let metrics = shown_metrics(results, &configurations);
    let decimals: Vec<usize> = metrics.iter().map(|name| decimals_of(name, &configurations)).collect();
    let mut table = new_table();
    let mut header: Vec<Cell> = results.swept.iter().map(Cell::new).collect();
    header.push(Cell::new("seeds"));
    header.extend(metrics.iter().map(Cell::new));
    table.set_header(header);
    for configuration in &configurations {
        let mut row: Vec<Cell> =
            results.swept.iter().map(|name| Cell::new(parameter(configuration.parameters, name))).collect();
        row.push(Cell::new(seeds(configuration)));
        row.extend(
            metrics
                .iter()
                .zip(&decimals)
                .map(|(&name, &decimals)| number(spread(configuration.metrics.get(name), decimals))),
        );
        table.add_row(row);
    }
    align_numbers(&mut table, results.swept.len() + 1);
    lines_of(&table) + &failures(results)
}

/// The metric that ranks first, then accuracies, then the rest by name.
fn shown_metrics<'a>(results: &'a ResultsResponse, configurations: &[Configuration<'a>]) -> Vec<&'a str> {
    let ranking = results.metric.as_ref().map(|metric| metric.name.as_str());
    let all: BTreeSet<&str> =
        configurations.iter().flat_map(|configuration| configuration.metrics.keys().copied()).collect();
    let mut shown: Vec<&str> = all
        .into_iter()
        .filter(|name| Some(*name) == ranking || !is_volatile(name) && !UNRANKED_METRICS.contains(name))
        .collect();
    shown.sort_by_key(|name| (Some(*name) != ranking, !name.ends_with("top1"), *name));
    shown
}

/// `3`, or `2 of 3` where not all have a result yet.
fn seeds(configuration: &Configuration<'_>) -> String {
    let all = configuration.trials.len();
    let done = configuration.trials.iter().filter(|trial| trial.state == TrialState::Succeeded).count();
    if done == all { all.to_string() } else { format!("{done} of {all}") }
}

fn spread(spread: Option<&Spread>, decimals: usize) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { mean, std: None, .. }) => format!("{mean:.decimals$}"),
        Some(Spread { mean, std: Some(std), .. }) => format!("{mean:.decimals$} ± {std:.decimals$}"),
    }
}

/// Decimals of a whole column, so that its numbers can be compared at a glance: two, as for percent, and as many more as
/// the column's largest value needs for three digits.
fn decimals_of(metric: &str, configurations: &[Configuration<'_>]) -> usize {
    let means = configurations.iter().filter_map(|configuration| configuration.metrics.get(metric));
    let largest = means.map(|spread| spread.mean.abs()).fold(0.0, f64::max);
    let mut decimals = 2;
    while largest > 0.0 && decimals < 12 && largest * 10f64.powi(decimals) < 100.0 {
        decimals += 1;
    }
    usize::try_from(decimals).unwrap_or(2)
}

/// A line for every trial that failed, so that a hole in the table explains itself.
fn failures(results: &ResultsResponse) -> String {
    let failed =
        results.trials.iter().filter_map(|trial| trial.failure.as_ref().map(|failure| (trial, failure)));
    // Many trials usually fail for one reason: each is said once.
    let mut by_cause: BTreeMap<(String, &str), Vec<i64>> = BTreeMap::new();
    for (trial, failure) in failed {
        by_cause.entry((failure.reason.to_string(), &failure.message)).or_default().push(trial.trial.0);
    }
    let line = |((reason, message), trials): ((String, &str), Vec<i64>)| {
        let first: Vec<_> = trials.iter().take(5).map(ToString::to_string).collect();
        let more = if trials.len() > first.len() { ", …" } else { "" };
        format!("{} failed ({reason}): {message} (trial {}{more})\n", trials.len(), first.join(", "))
    };
    by_cause.into_iter().map(line).collect()
}

/// One row a trial: its number, its seed, and the swept parameters.
#[must_use]
pub fn trials_table<'a>(swept: &[&str], trials: impl Iterator<Item = &'a Trial>) -> String {
    let mut table = new_table();
    let mut header = vec![Cell::new("trial")];
    header.extend(swept.iter().map(Cell::new));
    header.push(Cell::new("seed"));
    table.set_header(header);
    for trial in trials {
        let mut row = vec![Cell::new(trial.number)];
        row.extend(swept.iter().map(|name| Cell::new(parameter(&trial.parameters, name))));
        row.push(Cell::new(trial.seed));
        table.add_row(row);
    }
    lines_of(&table)
}

/// One row a trial: its number, its state, why it failed, the swept parameters and its seed.
#[must_use]
pub fn chosen_table(chosen: &ResultsResponse) -> String {
    let mut table = new_table();
    let mut header = vec![Cell::new("trial"), Cell::new("state")];
    header.extend(chosen.swept.iter().map(Cell::new));
    header.push(Cell::new("seed"));
    table.set_header(header);
    for trial in &chosen.trials {
        let state = match &trial.failure {
            Some(failure) => format!("{} ({})", trial.state, failure.reason),
            None => trial.state.to_string(),
        };
        let mut row = vec![Cell::new(trial.trial), Cell::new(state)];
        row.extend(chosen.swept.iter().map(|name| Cell::new(parameter(&trial.parameters, name))));
        row.push(Cell::new(trial.seed));
        table.add_row(row);
    }
    lines_of(&table)
}

/// One row a sweep.
#[must_use]
pub fn sweeps_table(sweeps: &[SweepStatus]) -> String {
    let mut table = new_table();
    table.set_header([
        "sweep",
        "name",
        "state",
        "priority",
        "trials",
        "queued",
        "running",
        "succeeded",
        "failed",
        "cancelled",
    ]);
    for sweep in sweeps {
        let counts = &sweep.trials;
        let mut row = vec![Cell::new(sweep.id), Cell::new(&sweep.name), Cell::new(sweep.state)];
        row.push(number(sweep.priority.to_string()));
        row.extend(
            [counts.total, counts.queued, counts.running, counts.succeeded, counts.failed, counts.cancelled]
                .map(|n| number(n.to_string())),
        );
        table.add_row(row);
    }
    lines_of(&table)
}

/// Sweeps, then workers if there are any.
#[must_use]
pub fn status_tables(status: &StatusResponse) -> String {
    let mut text = sweeps_table(&status.sweeps);
    if !status.workers.is_empty() {
        let mut table = new_table();
        table.set_header(["worker", "host", "process", "slots", "running", "last seen"]);
        for worker in &status.workers {
            table.add_row([
                Cell::new(worker.id),
                Cell::new(&worker.host),
                number(worker.pid.to_string()),
                number(worker.slots.to_string()),
                number(worker.running.to_string()),
                number(format!("{:.0} s ago", worker.last_seen_seconds)),
            ]);
        }
        text += &format!("\n{}", lines_of(&table));
        for worker in &status.workers {
            if let Some(problem) = &worker.problem {
                text += &format!("worker {} on {} takes no jobs: {problem}\n", worker.id, worker.host);
            }
        }
    }
    text
}

/// An empty table as all of ours look: a line below the header and nothing else, so that it copies well.
#[must_use]
pub fn new_table() -> Table {
    const RULE: LineStyle = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(RULE));
    table
}

/// The table's lines without the blanks at their ends.
#[must_use]
pub fn lines_of(table: &Table) -> String {
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn number(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn align_numbers(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A parameter as it was written in the spec; nothing where it does not apply.
fn parameter(parameters: &Parameters, name: &str) -> String {
    match parameters.get(name) {
        None => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::protocol::http::{Failure, SweepState, TrialCounts, TrialResult, WorkerStatus};
    use crate::vocabulary::{FailureReason, Goal, Metric, SweepId, TrialNumber, WorkerId};

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
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).into()))
                .collect(),
            metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            checkpoints: vec![],
            failure: None,
        }
    }

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

    #[test]
    fn results_have_a_row_for_each_configuration_and_say_what_failed() {
        let mut failed = trial(4, 1, &[("lr", 0.2)], &[]);
        failed.state = TrialState::Failed;
        failed.failure = Some(Failure {
            reason: FailureReason::Nan,
            message: "the loss is not finite in epoch 3".to_owned(),
            log_tail: String::new(),
        });
        let results = results(vec![
            trial(
                1,
                0,
                &[("lr", 0.1)],
                &[("top1", 40.0), ("rankme", 12.5), ("seconds", 3.0), ("a_top1", 30.0)],
            ),
            trial(
                2,
                1,
                &[("lr", 0.1)],
                &[("top1", 44.0), ("rankme", 13.5), ("seconds", 3.0), ("a_top1", 31.0)],
            ),
            trial(
                3,
                0,
                &[("lr", 0.2)],
                &[("top1", 50.0), ("rankme", 9.25), ("seconds", 3.0), ("a_top1", 39.0)],
            ),
            failed,
        ]);
        insta::assert_snapshot!(results_table(&results));
    }

    #[test]
    fn small_losses_keep_three_digits() {
        let results = results(vec![
            trial(1, 0, &[("lr", 0.1)], &[("top1", 0.00123)]),
            trial(2, 0, &[("lr", 0.2)], &[("top1", 0.0)]),
        ]);
        let table = results_table(&results);
        assert!(table.contains("0.00123") && table.contains("0.00000"), "{table}");
    }

    #[test]
    fn status_shows_sweeps_and_workers() {
        let counts = TrialCounts { total: 6, queued: 1, running: 2, succeeded: 3, ..TrialCounts::default() };
        let status = StatusResponse {
            sweeps: vec![SweepStatus {
                id: SweepId(1),
                name: "demo".to_owned(),
                state: SweepState::Running,
                trials: counts,
                priority: 0,
            }],
            workers: vec![WorkerStatus {
                id: WorkerId(1),
                host: "node1".to_owned(),
                pid: 4711,
                slots: 2,
                running: 2,
                last_seen_seconds: 3.2,
                node: None,
                problem: Some("the disk of `/x` is full (3 MiB are free); make room".to_owned()),
            }],
            running: vec![],
        };
        insta::assert_snapshot!(status_tables(&status));
    }
}
