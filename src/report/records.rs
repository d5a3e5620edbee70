//! Results for machines: typed columns, full precision, and beside each number where it comes from. `csv` and `parquet` write
//! them; docs/ANALYSIS.md has the schema.

use std::collections::BTreeSet;

use serde_json::Value;

use super::configurations::{Configuration, Spread};
use super::label::Label;
use super::pivot::Pivot;
use super::provenance::TableOrigin;
use super::published::{Published, References, Verdict};
use super::sheet::Sheet;
use super::value::bare;
use super::view::{Column, View};

/// A table as columns of the same length.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    pub columns: Vec<RecordColumn>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RecordColumn {
    pub name: String,
    pub values: Values,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Text(Vec<Option<String>>),
    Whole(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Flag(Vec<Option<bool>>),
}

/// Columns that every table for machines has.
pub(super) const SWEEP: &str = "sweep";
pub(super) const EPOCH: &str = "epoch";
pub(super) const BEST_BY: &str = "best_by";
pub(super) const WHERE: &str = "where";
pub(super) const CONFIGURATION: &str = "configuration";
pub(super) const TRIALS: &str = "trials";
pub(super) const SEEDS: &str = "seeds";
pub(super) const N: &str = "n";
/// Columns of a table with a line a cell.
pub(super) const METRIC: &str = "metric";
pub(super) const MEAN: &str = "mean";
pub(super) const STD: &str = "std";
pub(super) const BEST: &str = "best";
/// Which table of several a cell is of, and which way it is better.
pub(super) const TABLE: &str = "table";
pub(super) const GOAL: &str = "goal";
/// What follows a metric's name, or stands alone where there is one.
pub(super) const STD_SUFFIX: &str = "_std";
pub(super) const PUBLISHED: &str = "published";
pub(super) const DIFFERENCE: &str = "difference";
pub(super) const OUTSIDE: &str = "outside";

/// One line a configuration; each metric has a column for its mean, one for its deviation, and where numbers were published
/// three for these.
#[must_use]
pub fn results_records(view: &View<'_>, references: Option<&References>, origin: &TableOrigin) -> Records {
    let configurations: Vec<&Configuration<'_>> = view.configurations.iter().collect();
    let mut records = Records { columns: origin_columns(&configurations, origin) };
    let mut metrics = Vec::new();
    for column in &view.columns {
        match column {
            Column::Label(Label::Parameter(name)) => records.push_parameter(name, &configurations),
            Column::Metric(metric) => metrics.push(metric),
            // They are there already.
            Column::Label(_) => {}
        }
    }
    for metric in metrics {
        let name = records.free_name("metrics.", &metric.name);
        let spreads: Vec<Option<Spread>> = configurations
            .iter()
            .map(|configuration| configuration.metrics.get(metric.name.as_str()).copied())
            .collect();
        let published = references.map(|references| {
            let find = |(configuration, spread): (&&Configuration<'_>, &Option<Spread>)| {
                references.find(configuration.parameters, &metric.name, (*spread)?)
            };
            configurations.iter().zip(&spreads).map(find).collect::<Vec<_>>()
        });
        records.push_spreads(&spreads, &name, &format!("{name}{STD_SUFFIX}"));
        if let Some(published) = published {
            records.push_published(&published, &format!("{name}_"));
        }
    }
    records
}

/// One line a cell.
#[must_use]
pub fn pivot_records(view: &View<'_>, pivot: &Pivot, sheets: &[Sheet], origin: &TableOrigin) -> Records {
    // Sheets come by metric, then by slice; so do the cells.
    let (mut placed, mut tables) = (Vec::new(), Vec::new());
    for (at, metric) in view.metrics.iter().enumerate() {
        for (slice, of_slice) in pivot.slices.iter().enumerate() {
            let sheet = &sheets[at * pivot.slices.len() + slice];
            for (row, cells) in of_slice.cells.iter().enumerate() {
                for (column, place) in cells.iter().enumerate() {
                    if let Some(place) = place {
                        let cell = &sheet.rows[row][pivot.rows.len() + column];
                        placed.push((metric, &view.configurations[*place], cell.as_figure()));
                        tables.push(sheet.title.clone());
                    }
                }
            }
        }
    }
    let configurations: Vec<&Configuration<'_>> = placed.iter().map(|(_, at, _)| *at).collect();
    let mut records = Records { columns: origin_columns(&configurations, origin) };
    for name in pivot.sliced.iter().chain(&pivot.rows).chain(&pivot.columns) {
        records.push_parameter(name, &configurations);
    }
    let metrics = placed.iter().map(|(metric, ..)| Some(metric.name.clone())).collect();
    records.push(METRIC, Values::Text(metrics));
    records.push(TABLE, Values::Text(tables));
    let goal = |goal| serde_json::to_value(goal).ok().as_ref().map(bare);
    let goals = placed.iter().map(|(metric, ..)| metric.goal.and_then(goal));
    records.push(GOAL, Values::Text(goals.collect()));
    let spreads: Vec<Option<Spread>> =
        placed.iter().map(|(.., figure)| figure.map(|figure| figure.spread)).collect();
    records.push_spreads(&spreads, MEAN, STD);
    let best = placed.iter().map(|(.., figure)| figure.map(|figure| figure.is_best)).collect();
    records.push(BEST, Values::Flag(best));
    let published: Vec<Option<Published>> =
        placed.iter().map(|(.., figure)| figure.and_then(|figure| figure.beside.clone())).collect();
    if published.iter().any(Option::is_some) {
        records.push_published(&published, "");
    }
    records
}

fn origin_columns(configurations: &[&Configuration<'_>], origin: &TableOrigin) -> Vec<RecordColumn> {
    let column = |name: &str, values| RecordColumn { name: name.to_owned(), values };
    let count = |n: usize| i64::try_from(n).ok();
    let all = configurations.len();
    let mut columns = vec![
        column(SWEEP, Values::Whole(vec![Some(origin.sweep.0); all])),
        column(EPOCH, Values::Text(vec![Some(origin.epoch.clone()); all])),
    ];
    if let Some(metric) = &origin.best_by {
        let goal = serde_json::to_value(metric.goal).ok();
        let by = format!("{}:{}", metric.name, goal.as_ref().map(bare).unwrap_or_default());
        columns.push(column(BEST_BY, Values::Text(vec![Some(by); all])));
    }
    if let Some(selected) = &origin.selected {
        columns.push(column(WHERE, Values::Text(vec![Some(selected.clone()); all])));
    }
    let text = |of: &dyn Fn(&Configuration<'_>) -> String| {
        Values::Text(configurations.iter().map(|configuration| Some(of(configuration))).collect())
    };
    columns.push(column(CONFIGURATION, text(&|configuration| configuration.hash.clone())));
    columns.push(column(TRIALS, text(&|configuration| configuration.counted_trials())));
    let seeds = configurations.iter().map(|configuration| count(configuration.trials.len()));
    columns.push(column(SEEDS, Values::Whole(seeds.collect())));
    let n = configurations.iter().map(|configuration| count(configuration.n()));
    columns.push(column(N, Values::Whole(n.collect())));
    columns
}

impl Records {
    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, name: &str, values: Values) {
        self.columns.push(RecordColumn { name: name.to_owned(), values });
    }

    /// A parameter or metric that is called like another column has a prefix.
    fn free_name(&self, prefix: &str, name: &str) -> String {
        let reserved = [METRIC, TABLE, GOAL, MEAN, STD, BEST, PUBLISHED, DIFFERENCE, OUTSIDE, BEST_BY, WHERE];
        let names: BTreeSet<&str> =
            self.columns.iter().map(|column| column.name.as_str()).chain(reserved).collect();
        if names.contains(name) { format!("{prefix}{name}") } else { name.to_owned() }
    }

    fn push_parameter(&mut self, name: &str, configurations: &[&Configuration<'_>]) {
        let values: Vec<Option<&Value>> =
            configurations.iter().map(|configuration| configuration.parameters.get(name)).collect();
        let name = self.free_name("parameters.", name);
        self.push(&name, typed(&values));
    }

    fn push_spreads(&mut self, spreads: &[Option<Spread>], mean: &str, std: &str) {
        self.push(
            mean,
            Values::Real(spreads.iter().map(|spread| spread.map(|spread| spread.mean)).collect()),
        );
        self.push(
            std,
            Values::Real(spreads.iter().map(|spread| spread.and_then(|spread| spread.std)).collect()),
        );
    }

    fn push_published(&mut self, published: &[Option<Published>], prefix: &str) {
        let real = |of: fn(&Published) -> f64| {
            Values::Real(published.iter().map(|published| published.as_ref().map(of)).collect())
        };
        self.push(&format!("{prefix}{PUBLISHED}"), real(|published| published.value));
        self.push(&format!("{prefix}{DIFFERENCE}"), real(|published| published.difference));
        let outside = published.iter().map(|published| match published.as_ref()?.verdict {
            Verdict::Inside => Some(false),
            Verdict::Outside => Some(true),
            Verdict::Unknown => None,
        });
        self.push(&format!("{prefix}{OUTSIDE}"), Values::Flag(outside.collect()));
    }

    /// As CSV (RFC 4180), with numbers that read back to the same bits.
    ///
    /// # Errors
    /// Never with what is made here; the writer's own errors are passed on.
    pub fn csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().map(|column| &column.name))?;
        for line in 0..self.len() {
            writer.write_record(self.columns.iter().map(|column| column.values.text(line)))?;
        }
        let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The narrowest type that holds all of a parameter's values.
fn typed(values: &[Option<&Value>]) -> Values {
    let there = || values.iter().flatten();
    let is_whole = |value: &&&Value| value.as_i64().is_some();
    if there().next().is_some() && there().all(|value| is_whole(&value)) {
        return Values::Whole(values.iter().map(|value| value.and_then(Value::as_i64)).collect());
    }
    if there().next().is_some() && there().all(|value| value.is_number()) {
        return Values::Real(values.iter().map(|value| value.and_then(Value::as_f64)).collect());
    }
    if there().next().is_some() && there().all(|value| value.is_boolean()) {
        return Values::Flag(values.iter().map(|value| value.and_then(Value::as_bool)).collect());
    }
    Values::Text(values.iter().map(|value| value.map(bare)).collect())
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Values::Text(values) => values.len(),
            Values::Whole(values) => values.len(),
            Values::Real(values) => values.len(),
            Values::Flag(values) => values.len(),
        }
    }

    fn text(&self, line: usize) -> String {
        match self {
            Values::Text(values) => values[line].clone(),
            Values::Whole(values) => values[line].map(|value| value.to_string()),
            Values::Real(values) => values[line].map(|value| value.to_string()),
            Values::Flag(values) => values[line].map(|value| value.to_string()),
        }
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::fixtures::grid;
    use crate::vocabulary::SweepId;

    #[test]
    fn columns_have_the_narrowest_type() {
        let of = |values: &[Value]| typed(&values.iter().map(Some).collect::<Vec<_>>());
        assert_eq!(of(&[json!(1), json!(2)]), Values::Whole(vec![Some(1), Some(2)]));
        assert_eq!(of(&[json!(1), json!(0.5)]), Values::Real(vec![Some(1.0), Some(0.5)]));
        assert_eq!(of(&[json!(true)]), Values::Flag(vec![Some(true)]));
        assert_eq!(
            of(&[json!(1), json!("a")]),
            Values::Text(vec![Some("1".to_owned()), Some("a".to_owned())])
        );
        assert_eq!(of(&[json!([25, 35])]), Values::Text(vec![Some("[25,35]".to_owned())]));
        assert_eq!(typed(&[None]), Values::Text(vec![None]));
    }

    #[test]
    fn a_line_of_csv_has_a_configuration_and_where_it_comes_from() {
        let third = |a: f64, b: f64, seed: f64| (a + b + seed) / 3.0;
        let mut results = grid(&[1.0], &[2.0, 3.0], 2, &[("top1", &third)]);
        // A parameter that is called like a column of ours.
        for trial in &mut results.trials {
            let b = trial.parameters.remove("b").unwrap();
            trial.parameters.insert("n".to_owned(), b);
        }
        results.swept = vec!["a".to_owned(), "n".to_owned()];
        let origin = TableOrigin {
            sweep: SweepId(1),
            name: "demo".to_owned(),
            epoch: "last".to_owned(),
            best_by: None,
            selected: None,
        };
        let text = results_records(&View::usual(&results), None, &origin).csv().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "sweep,epoch,configuration,trials,seeds,n,a,parameters.n,top1,top1_std");
        let cells: Vec<&str> = lines[1].split(',').collect();
        assert_eq!((cells[0], cells[3], cells[4], cells[5], cells[7]), ("1", "3-4", "2", "2", "3"));
        let mean: f64 = cells[8].parse().unwrap();
        assert_eq!(mean.to_bits(), ((4.0 / 3.0 + 5.0 / 3.0) / 2.0_f64).to_bits());
    }
}
