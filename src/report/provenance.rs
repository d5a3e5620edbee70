//! Where the numbers of an exported table come from: notes in comments that `sweep check` reads again.
//!
//! A table has one note about itself (`sweep:table {…}`) and one for each row (`sweep:row {…}`), as JSON in a line. Whoever
//! edits a table by hand may move, restyle and round what is in it; the notes move with the rows.

use serde::{Deserialize, Serialize};

use super::label::Label;
use super::sheet::{Cell, Sheet};
use crate::protocol::http::ResultsResponse;
use crate::vocabulary::{EpochChoice, Goal, Metric, SweepId};

/// Raised when notes of another form are written; older ones are still read.
const VERSION: u32 = 2;

pub(super) const TABLE: &str = "sweep:table ";
/// Marks the row of heads in LaTeX; in Markdown it is the one above the rule.
pub(super) const HEAD: &str = "sweep:head";
pub(super) const ROW: &str = "sweep:row ";

/// What all tables of one command have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableOrigin {
    pub sweep: SweepId,
    pub name: String,
    /// Of which epoch the numbers are: `last`, `best`, or a number.
    pub epoch: String,
    /// By what the best epoch is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_by: Option<Metric>,
    /// The selector of the trials that count, where not all of the sweep's do.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub selected: Option<String>,
}

impl TableOrigin {
    #[must_use]
    pub fn of_last_epoch(results: &ResultsResponse) -> TableOrigin {
        TableOrigin {
            sweep: results.sweep,
            name: results.name.clone(),
            epoch: EpochChoice::Last.to_string(),
            best_by: None,
            selected: None,
        }
    }
}

/// The note about a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TableNote {
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) origin: TableOrigin,
    /// The metric of each column, where it has numbers.
    pub(super) columns: Vec<Option<String>>,
    /// What each column without numbers says; not written by version 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) labels: Vec<Label>,
    /// The parameters whose values stand above the columns with numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) across: Vec<String>,
    /// Which way the marked cell is the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) best: Option<Goal>,
}

/// The note about a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RowNote {
    /// What stands in the columns without numbers, as they were written.
    pub(super) label: Vec<String>,
    /// One for each column with numbers.
    pub(super) cells: Vec<Option<CellNote>>,
    /// Of which configuration it is, where no number says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) configuration: Option<String>,
}

/// Where a cell's number comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CellNote {
    pub(super) configuration: String,
    /// The trials that it is the mean of, as ranges; empty where there is no number yet.
    pub(super) trials: String,
    /// The published number beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<f64>,
}

/// The notes about one table.
pub(super) struct SheetOrigin {
    table: String,
    rows: Vec<String>,
}

impl SheetOrigin {
    pub(super) fn of(sheet: &Sheet, origin: &TableOrigin) -> SheetOrigin {
        let columns = sheet.head.iter().map(|head| head.metric.clone()).collect();
        let note = TableNote {
            version: VERSION,
            origin: origin.clone(),
            columns,
            labels: sheet.head.iter().filter_map(|head| head.label.clone()).collect(),
            across: sheet.across.clone(),
            best: sheet.best,
        };
        let row = |(cells, configuration): (&Vec<Cell>, &Option<String>)| {
            let mut note = RowNote { label: Vec::new(), cells: Vec::new(), configuration: None };
            for (cell, head) in cells.iter().zip(&sheet.head) {
                match cell {
                    Cell::Text(text) => note.label.push(text.clone()),
                    Cell::Nothing(_) if head.metric.is_none() => note.label.push(String::new()),
                    Cell::Nothing(configuration) => {
                        note.cells.push(configuration.clone().map(|configuration| CellNote {
                            configuration,
                            trials: String::new(),
                            published: None,
                        }))
                    }
                    Cell::Figure(figure) => note.cells.push(Some(CellNote {
                        configuration: figure.configuration.clone(),
                        trials: figure.trials.clone(),
                        published: figure.beside.as_ref().map(|published| published.value),
                    })),
                }
            }
            if note.cells.iter().flatten().next().is_none() {
                note.configuration.clone_from(configuration);
            }
            line(ROW, &note)
        };
        let rows = sheet.rows.iter().zip(&sheet.row_configurations).map(row).collect();
        SheetOrigin { table: line(TABLE, &note), rows }
    }

    pub(super) fn table_line(&self) -> &str {
        &self.table
    }

    pub(super) fn row_lines(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(String::as_str)
    }

    /// All of them, each on a line of its own behind `prefix`.
    pub(super) fn lines(&self, prefix: &str) -> String {
        let all = std::iter::once(self.table_line()).chain(self.row_lines());
        all.map(|line| format!("{prefix}{line}\n")).collect()
    }
}

fn line(kind: &str, note: &impl Serialize) -> String {
    let json = serde_json::to_string(note).unwrap_or_default();
    // Two hyphens would end a comment in Markdown; escaped they are the same JSON.
    format!("{kind}{}", json.replace("--", "-\\u002d"))
}
