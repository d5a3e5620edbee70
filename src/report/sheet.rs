//! Tables as people read them: labels, and numbers that know where they come from. `plain`, `markdown` and `latex` draw
//! them; for machines there are `records`.

use super::configurations::{Configuration, Spread};
use super::label::Label;
use super::pivot::Pivot;
use super::published::{Published, References};
use super::rank::{Better, by_goal};
use super::value::{ShortValues, decimals};
use super::view::{Column, ShownMetric, View};
use crate::vocabulary::Goal;

/// One table.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// What it shows, where it is one of several.
    pub title: Option<String>,
    /// What has to be said before it can be read.
    pub preface: Vec<String>,
    pub head: Vec<Head>,
    pub rows: Vec<Vec<Cell>>,
    /// The configuration of each row, by its hash, where it is of one.
    pub row_configurations: Vec<Option<String>>,
    /// The parameters whose values stand in the heads of the columns with numbers.
    pub across: Vec<String>,
    /// Which way its best is better, where that is marked.
    pub best: Option<Goal>,
}

/// A column's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub text: String,
    /// The metric of which its numbers are, where they are of one.
    pub metric: Option<String>,
    /// What else stands in it.
    pub label: Option<Label>,
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
    fn label(label: &Label) -> Head {
        let is_right_aligned = matches!(label, Label::N | Label::Trials);
        Head { text: label.name(), metric: None, label: Some(label.clone()), is_right_aligned }
    }

    fn metric(text: impl Into<String>, metric: &ShownMetric) -> Head {
        Head { text: text.into(), metric: Some(metric.name.clone()), label: None, is_right_aligned: true }
    }
}

/// One row a configuration.
#[must_use]
pub fn results_sheet(view: &View<'_>, references: Option<&References>) -> Sheet {
    let head = view.columns.iter().map(|column| match column {
        Column::Label(label) => Head::label(label),
        Column::Metric(metric) => Head::metric(&metric.name, metric),
    });
    let columns: Vec<SheetColumn<'_>> =
        view.columns.iter().map(|column| SheetColumn::of(column, view)).collect();
    let row = |configuration: &Configuration<'_>| {
        columns.iter().map(|column| column.cell(configuration, references)).collect()
    };
    Sheet {
        title: None,
        preface: references.map(|references| references.preface(view)).unwrap_or_default(),
        head: head.collect(),
        rows: view.configurations.iter().map(row).collect(),
        row_configurations: view.configurations.iter().map(|one| Some(one.hash.clone())).collect(),
        across: Vec::new(),
        best: None,
    }
}

/// A column, and how all that stands in it is written.
enum SheetColumn<'a> {
    Parameter { name: &'a str, values: ShortValues },
    Label(&'a Label),
    Metric { metric: &'a ShownMetric, decimals: usize },
}

impl<'a> SheetColumn<'a> {
    fn of(column: &'a Column, view: &View<'_>) -> SheetColumn<'a> {
        match column {
            Column::Label(Label::Parameter(name)) => {
                SheetColumn::Parameter { name, values: short_values(name, view) }
            }
            Column::Label(label) => SheetColumn::Label(label),
            Column::Metric(metric) => {
                SheetColumn::Metric { metric, decimals: decimals(&metric.name, &view.configurations) }
            }
        }
    }

    fn cell(&self, configuration: &Configuration<'_>, references: Option<&References>) -> Cell {
        match self {
            SheetColumn::Parameter { name, values } => Cell::Text(
                configuration.parameters.get(*name).map(|value| values.show(value)).unwrap_or_default(),
            ),
            SheetColumn::Label(label) => Cell::Text(label.text(configuration)),
            SheetColumn::Metric { metric, decimals } => figure(configuration, metric, *decimals, references),
        }
    }
}

fn short_values(name: &str, view: &View<'_>) -> ShortValues {
    ShortValues::of(view.configurations.iter().filter_map(|configuration| configuration.parameters.get(name)))
}

/// One table for each metric and each combination of what is neither in rows nor in columns.
#[must_use]
pub fn pivot_sheets(view: &View<'_>, pivot: &Pivot, references: Option<&References>) -> Vec<Sheet> {
    let mut sheets = Vec::new();
    let mut preface = references.map(|references| references.preface(view)).unwrap_or_default();
    let short = |names: &[String]| names.iter().map(|name| short_values(name, view)).collect::<Vec<_>>();
    let (short_rows, short_columns) = (short(&pivot.rows), short(&pivot.columns));
    for metric in &view.metrics {
        let decimals = decimals(&metric.name, &view.configurations);
        for slice in &pivot.slices {
            let mut head: Vec<Head> =
                pivot.rows.iter().map(|name| Head::label(&Label::Parameter(name.clone()))).collect();
            if let Some(corner) = head.last_mut() {
                corner.text = format!("{} / {}", corner.text, pivot.columns.join(", "));
            }
            let across = slice.columns.iter().map(|values| shown(values, &short_columns).join(", "));
            head.extend(across.map(|label| Head::metric(label, metric)));
            let cell = |at: &Option<usize>| match at {
                None => Cell::Nothing(None),
                Some(at) => figure(&view.configurations[*at], metric, decimals, references),
            };
            let rows = slice.rows.iter().zip(&slice.cells).map(|(label, cells)| {
                let label = shown(label, &short_rows).into_iter().map(Cell::Text);
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
                row_configurations: vec![None; slice.rows.len()],
                across: pivot.columns.clone(),
                best: metric.goal,
            };
            mark_best(&mut sheet);
            sheets.push(sheet);
        }
    }
    sheets
}

fn shown(values: &[String], short: &[ShortValues]) -> Vec<String> {
    values.iter().zip(short).map(|(value, short)| short.show_text(value).to_owned()).collect()
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
fn mark_best(sheet: &mut Sheet) {
    if sheet.best.is_none() {
        return;
    }
    let better = Better::of(sheet.best);
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
