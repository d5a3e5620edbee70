use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

use super::notes::notes;
use super::plain::plain;
use super::sheet::results_sheet;
use super::value::{ShortValues, parameter};
use super::view::View;
use crate::protocol::http::{ResultsResponse, StatusResponse, SweepStatus};
use crate::spec::Trial;

/// One row a configuration: swept parameters, seeds, and mean ± std of each metric, best first; then what is missing. `width`: of the
/// terminal, in characters.
#[must_use]
pub fn results_table(results: &ResultsResponse, width: Option<usize>) -> String {
    let view = View::usual(results);
    plain(&results_sheet(&view, None), width) + &notes(&view)
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
    let values = |name| chosen.trials.iter().filter_map(move |trial| trial.parameters.get(name));
    let short: Vec<ShortValues> = chosen.swept.iter().map(|name| ShortValues::of(values(name))).collect();
    header.push(Cell::new("seed"));
    table.set_header(header);
    for trial in &chosen.trials {
        let state = match &trial.failure {
            Some(failure) => format!("{} ({})", trial.state, failure.reason),
            None => trial.state.to_string(),
        };
        let mut row = vec![Cell::new(trial.trial), Cell::new(state)];
        row.extend(chosen.swept.iter().zip(&short).map(|(name, short)| {
            Cell::new(trial.parameters.get(name).map(|value| short.show(value)).unwrap_or_default())
        }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::{Failure, SweepState, TrialCounts, TrialState, WorkerStatus};
    use crate::report::fixtures::{results, trial};
    use crate::vocabulary::{FailureReason, SweepId, WorkerId};

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
        insta::assert_snapshot!(results_table(&results, None));
    }

    #[test]
    fn small_losses_keep_three_digits() {
        let results = results(vec![
            trial(1, 0, &[("lr", 0.1)], &[("top1", 0.00123)]),
            trial(2, 0, &[("lr", 0.2)], &[("top1", 0.0)]),
        ]);
        let table = results_table(&results, None);
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
                slurm: None,
            }],
            running: vec![],
            slurm: vec![],
        };
        insta::assert_snapshot!(status_tables(&status));
    }
}
