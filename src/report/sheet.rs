//! Tables as people read them: labels, and numbers that know where they come from. `plain`, `markdown` and `latex` draw
//! them; for machines there are `records`.

use super::configurations::{Configuration, Spread};
use super::pivot::Pivot;
use super::published::{Published, References};
use super::rank::{Better, by_goal};
use super::value::{decimals, parameter};
use super::view::{Column, ShownMetric, View};

/// One table.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// What it shows, where it is one of several.
    pub title: Option<String>,
    /// What has to be said before it can be read.
    pub preface: Vec<String>,
    pub head: Vec<Head>,
    pub rows: Vec<Vec<Cell>>,
}

/// A column's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub text: String,
    /// The metric of which its numbers are, where they are of one.
    pub metric: Option<String>,
    pub is_right_aligned: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Text(String),
    /// There is no number yet, or there never will be; the hash of the configuration of which it would be, where there is one.
    Nothing(Option<String>),
    Figure(Figure),
}

/// A mean over seeds, and what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub spread: Spread,
    pub decimals: usize,
    /// The best of its table.
    pub is_best: bool,
    /// The configuration's hash.
    pub configuration: String,
    /// The trials that count, as ranges.
    pub trials: String,
    /// What somebody else has published of the same.
    pub beside: Option<Published>,
}

impl Head {
    fn label(text: impl Into<String>) -> Head {
        Head { text: text.into(), metric: None, is_right_aligned: false }
    }

    fn metric(text: impl Into<String>, metric: &ShownMetric) -> Head {
        Head { text: text.into(), metric: Some(metric.name.clone()), is_right_aligned: true }
    }
}

/// One row a configuration.
#[must_use]
pub fn results_sheet(view: &View<'_>, references: Option<&References>) -> Sheet {
    let head = view.columns.iter().map(|column| match column {
        Column::Parameter(name) => Head::label(name),
        Column::Seeds => Head::label("seeds"),
        Column::N => Head { is_right_aligned: true, ..Head::label("n") },
        Column::Trials => Head { is_right_aligned: true, ..Head::label("trials") },
        Column::Configuration => Head::label("configuration"),
        Column::Metric(metric) => Head::metric(&metric.name, metric),
    });
    let decimals: Vec<usize> = view
        .columns
        .iter()
        .map(|column| match column {
            Column::Metric(metric) => decimals(&metric.name, &view.configurations),
            _ => 0,
        })
        .collect();
    let cell = |configuration: &Configuration<'_>, column: &Column, decimals: usize| match column {
        Column::Parameter(name) => Cell::Text(parameter(configuration.parameters, name)),
        Column::Seeds => Cell::Text(seeds(configuration)),
        Column::N => Cell::Text(configuration.n().to_string()),
        Column::Trials => Cell::Text(configuration.counted_trials()),
        Column::Configuration => Cell::Text(configuration.hash.clone()),
        Column::Metric(metric) => figure(configuration, metric, decimals, references),
    };
    let row = |configuration: &Configuration<'_>| {
        let columns = view.columns.iter().zip(&decimals);
        columns.map(|(column, decimals)| cell(configuration, column, *decimals)).collect()
    };
    Sheet {
        title: None,
        preface: references.map(|references| references.preface(view)).unwrap_or_default(),
        head: head.collect(),
        rows: view.configurations.iter().map(row).collect(),
    }
}

/// One table for each metric and each combination of what is neither in rows nor in columns.
#[must_use]
pub fn pivot_sheets(view: &View<'_>, pivot: &Pivot, references: Option<&References>) -> Vec<Sheet> {
    let mut sheets = Vec::new();
    let mut preface = references.map(|references| references.preface(view)).unwrap_or_default();
    for metric in &view.metrics {
        let decimals = decimals(&metric.name, &view.configurations);
        for slice in &pivot.slices {
            let mut head: Vec<Head> = pivot.rows.iter().map(Head::label).collect();
            if let Some(corner) = head.last_mut() {
                corner.text = format!("{} / {}", corner.text, pivot.columns.join(", "));
            }
            head.extend(slice.columns.iter().map(|label| Head::metric(label.join(", "), metric)));
            let cell = |at: &Option<usize>| match at {
                None => Cell::Nothing(None),
                Some(at) => figure(&view.configurations[*at], metric, decimals, references),
            };
            let rows = slice.rows.iter().zip(&slice.cells).map(|(label, cells)| {
                let label = label.iter().cloned().map(Cell::Text);
                label.chain(cells.iter().map(cell)).collect()
            });
            let mut sheet = Sheet {
                title: Some(match slice.label.as_str() {
                    "" => metric.name.clone(),
                    label => format!("{} ({label})", metric.name),
                }),
                preface: std::mem::take(&mut preface),
                head,
                rows: rows.collect(),
            };
            mark_best(&mut sheet, metric);
            sheets.push(sheet);
        }
    }
    sheets
}

fn figure(
    configuration: &Configuration<'_>,
    metric: &ShownMetric,
    decimals: usize,
    references: Option<&References>,
) -> Cell {
    let Some(spread) = configuration.metrics.get(metric.name.as_str()) else {
        return Cell::Nothing(Some(configuration.hash.clone()));
    };
    let beside =
        references.and_then(|references| references.find(configuration.parameters, &metric.name, *spread));
    Cell::Figure(Figure {
        spread: *spread,
        decimals,
        is_best: false,
        configuration: configuration.hash.clone(),
        trials: configuration.counted_trials(),
        beside,
    })
}

/// Marks the best of a table, where it is known which way is better; equals too.
fn mark_best(sheet: &mut Sheet, metric: &ShownMetric) {
    if metric.goal.is_none() {
        return;
    }
    let better = Better::of(metric.goal);
    let figures = || sheet.rows.iter().flatten().filter_map(Cell::as_figure).map(|figure| figure.spread.mean);
    let best = figures().min_by(|a, b| by_goal(better, Some(*a), Some(*b)));
    for cell in sheet.rows.iter_mut().flatten() {
        if let Cell::Figure(figure) = cell {
            figure.is_best = Some(figure.spread.mean.to_bits()) == best.map(f64::to_bits);
        }
    }
}

impl Cell {
    pub(super) fn as_figure(&self) -> Option<&Figure> {
        match self {
            Cell::Figure(figure) => Some(figure),
            Cell::Text(_) | Cell::Nothing(_) => None,
        }
    }
}

impl Sheet {
    pub(super) fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.rows.iter().flatten().filter_map(Cell::as_figure)
    }

    /// What its marks mean, of those that it has.
    pub(super) fn legend(&self, best: &str, outside: &str) -> Option<String> {
        let mut parts = Vec::new();
        if self.figures().any(|figure| figure.is_best) {
            parts.push(format!("{best} best"));
        }
        if self.figures().any(|figure| figure.beside.is_some()) {
            parts.push("(published, ours minus published)".to_owned());
        }
        let is_outside = |figure: &Figure| figure.beside.as_ref().is_some_and(Published::is_outside);
        if self.figures().any(is_outside) {
            parts.push(format!("{outside} outside the spread of our seeds"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// `3`, or `2 of 3` where not all have a result.
fn seeds(configuration: &Configuration<'_>) -> String {
    let (all, done) = (configuration.trials.len(), configuration.n());
    if done == all { all.to_string() } else { format!("{done} of {all}") }
}
