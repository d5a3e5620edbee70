//! Results as tables with one parameter in the rows and another in the columns.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::axes::axes;
use super::configurations::Configuration;
use super::value::{NOTHING, bare, settings};
use super::view::{View, ViewError};
use crate::vocabulary::TrialNumber;

/// More tables than anybody reads: something else was meant.
const MOST_SLICES: usize = 64;

/// Which parameters make the rows and which the columns: `loss_weight,ema_ratio`, `aux_loss+loss_weight,ema_ratio`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PivotSpec {
    pub rows: Vec<String>,
    pub columns: Vec<String>,
}

/// Where each configuration stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Pivot {
    /// Names of the parameters.
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    /// Names of the parameters that tell one slice from another.
    pub sliced: Vec<String>,
    pub slices: Vec<Slice>,
}

/// One combination of what is neither in rows nor in columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// `inv_mode=v1 mask_mode=s`; empty where there is only one.
    pub label: String,
    /// Values in the order of the trials that have them first.
    pub rows: Vec<Vec<String>>,
    pub columns: Vec<Vec<String>>,
    /// By row and column: the place among the view's configurations.
    pub cells: Vec<Vec<Option<usize>>>,
}

/// Why there is no such table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PivotError {
    #[error("`{0}` names no rows and columns; write `--pivot ROW,COLUMN`, several parameters joined by `+`")]
    Form(String),
    #[error("`{0}` can't be in rows and columns at once")]
    Twice(String),
    #[error(
        "these would be {count} tables, since {parameters} change too; put them into the rows as in `{example}`, or choose with \
         `--where`"
    )]
    TooMany { count: usize, parameters: String, example: String },
    #[error(transparent)]
    View(#[from] ViewError),
}

impl FromStr for PivotSpec {
    type Err = PivotError;

    fn from_str(text: &str) -> Result<PivotSpec, PivotError> {
        let wrong = || PivotError::Form(text.to_owned());
        let (rows, columns) = text.split_once(',').ok_or_else(wrong)?;
        let names = |part: &str| -> Result<Vec<String>, PivotError> {
            let names: Vec<String> = part.split('+').map(|name| name.trim().to_owned()).collect();
            if names.iter().any(|name| name.is_empty() || name.contains(',')) {
                return Err(wrong());
            }
            Ok(names)
        };
        let spec = PivotSpec { rows: names(rows)?, columns: names(columns)? };
        let all: Vec<&String> = spec.rows.iter().chain(&spec.columns).collect();
        let twice = all.iter().enumerate().find(|(at, name)| all[..*at].contains(name));
        match twice {
            Some((_, name)) => Err(PivotError::Twice((*name).clone())),
            None => Ok(spec),
        }
    }
}

impl Pivot {
    /// # Errors
    /// When a parameter is unknown, or others change as well and there would be too many tables.
    pub fn new(view: &View<'_>, spec: &PivotSpec) -> Result<Pivot, PivotError> {
        check_names(view, spec)?;
        let mut order: Vec<(TrialNumber, usize)> = view
            .configurations
            .iter()
            .enumerate()
            .map(|(at, configuration)| (configuration.trials[0].trial, at))
            .collect();
        order.sort_unstable();
        let sliced = sliced(view, spec);
        let mut slices: Vec<Slice> = Vec::new();
        let mut known: BTreeMap<String, Builder> = BTreeMap::new();
        for (_, at) in order {
            let configuration = &view.configurations[at];
            let label = settings(configuration.parameters, sliced.iter().map(String::as_str));
            let builder = known.entry(label.clone()).or_insert_with(|| {
                slices.push(Slice { label, rows: vec![], columns: vec![], cells: vec![] });
                Builder { slice: slices.len() - 1, ..Builder::default() }
            });
            builder.add(&mut slices[builder.slice], spec, configuration, at);
        }
        if slices.len() > MOST_SLICES {
            return Err(too_many(slices.len(), &sliced, spec));
        }
        for slice in &mut slices {
            for row in &mut slice.cells {
                row.resize(slice.columns.len(), None);
            }
        }
        Ok(Pivot { rows: spec.rows.clone(), columns: spec.columns.clone(), sliced, slices })
    }
}

/// Where the rows and columns of a slice are.
#[derive(Default)]
struct Builder {
    slice: usize,
    rows: BTreeMap<Vec<String>, usize>,
    columns: BTreeMap<Vec<String>, usize>,
}

impl Builder {
    fn add(&mut self, slice: &mut Slice, spec: &PivotSpec, configuration: &Configuration<'_>, at: usize) {
        let row = values(configuration, &spec.rows);
        let column = values(configuration, &spec.columns);
        let row = *self.rows.entry(row.clone()).or_insert_with(|| {
            slice.rows.push(row);
            slice.cells.push(Vec::new());
            slice.rows.len() - 1
        });
        let column = *self.columns.entry(column.clone()).or_insert_with(|| {
            slice.columns.push(column);
            slice.columns.len() - 1
        });
        let cells = &mut slice.cells[row];
        if cells.len() <= column {
            cells.resize(column + 1, None);
        }
        cells[column] = Some(at);
    }
}

fn values(configuration: &Configuration<'_>, names: &[String]) -> Vec<String> {
    let value = |name: &String| configuration.parameters.get(name).map_or_else(|| NOTHING.to_owned(), bare);
    names.iter().map(value).collect()
}

fn check_names(view: &View<'_>, spec: &PivotSpec) -> Result<(), ViewError> {
    let known = view.configurations.iter().flat_map(|configuration| configuration.parameters.keys());
    let known = known.chain(&view.results.swept).map(String::as_str).collect();
    let mut names = spec.rows.iter().chain(&spec.columns);
    match names.find(|name| !std::collections::BTreeSet::contains(&known, name.as_str())) {
        None => Ok(()),
        Some(name) => Err(ViewError::unknown("parameter", name, &known)),
    }
}

/// Swept parameters that are in neither rows nor columns and change while these stay the same.
fn sliced(view: &View<'_>, spec: &PivotSpec) -> Vec<String> {
    let is_placed = |name: &&str| spec.rows.iter().chain(&spec.columns).any(|placed| placed == name);
    let mut places: BTreeMap<(Vec<String>, Vec<String>), usize> = BTreeMap::new();
    let place_of: Vec<usize> = view
        .configurations
        .iter()
        .map(|configuration| {
            let next = places.len();
            let place = (values(configuration, &spec.rows), values(configuration, &spec.columns));
            *places.entry(place).or_insert(next)
        })
        .collect();
    let mut sliced = Vec::new();
    for axis in axes(&view.results.swept, &view.configurations) {
        if axis.names.iter().any(is_placed) {
            continue;
        }
        let mut level_at: Vec<Option<Option<usize>>> = vec![None; places.len()];
        let changes = place_of
            .iter()
            .zip(&axis.level_of)
            .any(|(place, level)| *level_at[*place].get_or_insert(*level) != *level);
        if changes {
            sliced.extend(axis.names.iter().map(|name| (*name).to_owned()));
        }
    }
    sliced
}

fn too_many(count: usize, sliced: &[String], spec: &PivotSpec) -> PivotError {
    let parameters: Vec<String> = sliced.iter().map(|name| format!("`{name}`")).collect();
    let rows: Vec<&str> = sliced.iter().take(1).chain(&spec.rows).map(String::as_str).collect();
    PivotError::TooMany {
        count,
        parameters: super::listed(&parameters),
        example: format!("--pivot {},{}", rows.join("+"), spec.columns.join("+")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::ResultsResponse;
    use crate::report::fixtures::{grid, results, trial};

    fn pivot(results: &ResultsResponse, spec: &str) -> Result<Pivot, String> {
        let view = View::usual(results);
        let spec = spec.parse::<PivotSpec>().map_err(|error| error.to_string())?;
        Pivot::new(&view, &spec).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_and_columns_stand_in_the_order_of_the_trials() {
        let results = grid(&[10.0, 1.0], &[0.5, 0.1, 0.9], 2, &[("top1", &|a, b, _| a + b)]);
        let pivot = pivot(&results, "a,b").unwrap();
        let [slice] = &pivot.slices[..] else { panic!("one table") };
        assert_eq!(slice.label, "");
        assert_eq!(
            (slice.rows.concat(), slice.columns.concat()),
            (vec!["10.0".to_owned(), "1.0".to_owned()], ["0.5", "0.1", "0.9"].map(str::to_owned).to_vec())
        );
        // The view has the best first: 10.9, 10.5, 10.1, 1.9, 1.5, 1.1.
        assert_eq!(slice.cells, [[Some(1), Some(2), Some(0)], [Some(4), Some(5), Some(3)]]);
    }

    /// Over a and b, and c where a is 1.
    fn conditional() -> ResultsResponse {
        let rows = [
            &[("a", 0.0), ("b", 1.0)][..],
            &[("a", 0.0), ("b", 2.0)],
            &[("a", 1.0), ("b", 1.0), ("c", 7.0)],
            &[("a", 1.0), ("b", 2.0), ("c", 7.0)],
            &[("a", 1.0), ("b", 1.0), ("c", 8.0)],
        ];
        let trials = rows.iter().zip(1..).map(|(row, number)| trial(number, 0, row, &[("top1", 1.0)]));
        let swept = ["a", "b", "c"].map(str::to_owned).to_vec();
        ResultsResponse { swept, ..results(trials.collect()) }
    }

    #[test]
    fn what_changes_beside_makes_tables_of_its_own_and_what_does_not_apply_has_a_dash() {
        let results = conditional();
        let over_both = pivot(&results, "a,b").unwrap();
        let labels: Vec<&str> = over_both.slices.iter().map(|slice| slice.label.as_str()).collect();
        assert_eq!(labels, ["", "c=7.0", "c=8.0"]);
        assert_eq!(over_both.slices[2].cells, [[Some(4)]]);
        let together = pivot(&results, "a+c,b").unwrap();
        let [slice] = &together.slices[..] else { panic!("one table") };
        assert_eq!(
            slice.rows,
            [["0.0", "–"], ["1.0", "7.0"], ["1.0", "8.0"]].map(|row| row.map(str::to_owned).to_vec())
        );
        assert_eq!(slice.cells[2], [Some(4), None]);
    }

    #[test]
    fn what_makes_no_table_is_refused() {
        let results = conditional();
        for (spec, said) in [
            ("a", "names no rows and columns"),
            ("a,b,c", "names no rows and columns"),
            ("a,", "names no rows and columns"),
            ("a,b+a", "`a` can't be in rows and columns at once"),
            ("a,bb", "the sweep has no parameter `bb`; there are `a`, `b`, `c`"),
        ] {
            let error = pivot(&results, spec).unwrap_err();
            assert!(error.contains(said), "{spec}: {error}");
        }
        let many: Vec<f64> = (0..65).map(f64::from).collect();
        let mut wide = grid(&many, &[1.0, 2.0], 1, &[("top1", &|_, _, _| 1.0)]);
        for (at, trial) in wide.trials.iter_mut().enumerate() {
            trial.parameters.insert("c".to_owned(), (at % 2).into());
        }
        wide.swept.push("c".to_owned());
        let error = pivot(&wide, "b,c").unwrap_err();
        assert!(
            error.contains("65 tables, since `a` change too; put them into the rows as in `--pivot a+b,c`"),
            "{error}"
        );
    }
}
