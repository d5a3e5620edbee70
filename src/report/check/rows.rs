//! Rows of tables as they stand in a text, and which note each belongs to.

use std::collections::VecDeque;

use super::super::provenance::{RowNote, TableNote};
use super::CheckError;
use super::labels::tidy;
use super::markup::Language;

/// A row, its cells still set as they are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) place: String,
    /// Rows stand in this order.
    pub(super) line: usize,
}

/// A table and the notes about it.
pub(super) struct NotedTable {
    pub(super) language: Language,
    pub(super) note: TableNote,
    pub(super) place: String,
    pub(super) head: Option<Row>,
    /// Rows from the top.
    pub(super) rows: Vec<(RowNote, Row)>,
    /// Notes whose rows have yet to be found.
    pub(super) pending: Vec<RowNote>,
}

/// The row of LaTeX that has ended last.
#[derive(Default)]
pub(super) struct LatexRows {
    ended: String,
    begun: String,
}

impl LatexRows {
    pub(super) fn add(&mut self, code: &str) {
        self.begun.push_str(code);
        self.begun.push(' ');
        if let Some((rows, rest)) = self.begun.rsplit_once("\\\\") {
            self.ended = rows.rsplit("\\\\").next().unwrap_or_default().to_owned();
            self.begun = rest.to_owned();
        }
    }

    pub(super) fn take(&mut self, place: String, line: usize) -> Row {
        let mut cells = Vec::new();
        let ended = std::mem::take(&mut self.ended);
        for cell in cells_between('&', behind_space(&ended)) {
            let span = Language::Latex.span(&cell);
            cells.push(cell);
            cells.extend((1..span).map(|_| String::new()));
        }
        Row { cells, place, line }
    }
}

/// Without the space that the row before asks for below it: `\\\\[2pt]`, `\\\\*`.
fn behind_space(row: &str) -> &str {
    let row = row.trim_start().trim_start_matches('*').trim_start();
    row.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(row, |(_, rest)| rest)
}

/// Tables of Markdown for which no notes have come yet.
#[derive(Default)]
pub(super) struct MarkdownTables {
    tables: Vec<MarkdownTable>,
    /// The row before, which is a head if a rule follows.
    before: Option<Row>,
}

struct MarkdownTable {
    head: Row,
    rows: VecDeque<Row>,
}

impl MarkdownTables {
    pub(super) fn add(&mut self, code: &str, place: String, line: usize) {
        let code = code.trim().trim_start_matches('|');
        let code = code.strip_suffix('|').filter(|code| !code.ends_with('\\')).unwrap_or(code);
        let cells: Vec<String> =
            cells_between('|', code).into_iter().map(|cell| cell.trim().to_owned()).collect();
        let is_rule = |cell: &String| cell.contains('-') && cell.chars().all(|c| "-: ".contains(c));
        if cells.iter().all(is_rule)
            && let Some(head) = self.before.take()
        {
            // It was taken for the last row of the table before.
            if let Some(table) = self.tables.last_mut().filter(|table| table.rows.back() == Some(&head)) {
                table.rows.pop_back();
            }
            self.tables.push(MarkdownTable { head, rows: VecDeque::new() });
            return;
        }
        let row = Row { cells, place, line };
        if let Some(table) = self.tables.last_mut() {
            table.rows.push_back(row.clone());
        }
        self.before = Some(row);
    }

    /// Gives each note its row: of the table with the most rows that are labelled so, the first of equals.
    pub(super) fn resolve(&mut self, noted: &mut NotedTable) -> Result<(), CheckError> {
        let columns = noted.note.columns.len();
        let fits = |table: &MarkdownTable| table.head.cells.len() == columns;
        let score = |table: &MarkdownTable| {
            let is_labelled = |note: &&RowNote| table.rows.iter().any(|row| is_row(row, note, &noted.note));
            (noted.pending.iter().filter(is_labelled).count(), table.rows.len() == noted.pending.len())
        };
        let scores = self.tables.iter().enumerate().filter(|(_, table)| fits(table));
        let best = scores.rev().max_by_key(|(_, table)| score(table)).map(|(at, _)| at);
        let Some(at) = best else {
            return Err(CheckError::Unreadable {
                place: noted.place.clone(),
                what: format!("no table has the {columns} columns that were exported; export it again"),
            });
        };
        let mut table = self.tables.remove(at);
        noted.head = Some(table.head);
        let mut left = Vec::new();
        for note in std::mem::take(&mut noted.pending) {
            match table.rows.iter().position(|row| is_row(row, &note, &noted.note)) {
                Some(place) => noted.rows.extend(table.rows.remove(place).map(|row| (note, row))),
                None => left.push(note),
            }
        }
        // Whose labels were changed are those that are left, unless rows were deleted.
        if let Some(note) = left.first().filter(|_| left.len() != table.rows.len()) {
            return Err(no_row(note, &noted.place));
        }
        noted.rows.extend(left.into_iter().zip(table.rows));
        noted.rows.sort_by_key(|(_, row)| row.line);
        Ok(())
    }
}

/// Whether the row has a note's labels in the columns that have no metric.
fn is_row(row: &Row, note: &RowNote, table: &TableNote) -> bool {
    let labelling = row.cells.iter().zip(&table.columns).filter(|(_, metric)| metric.is_none());
    let shown = labelling.map(|(cell, _)| tidy(&Language::Markdown.plain(cell)));
    row.cells.len() == table.columns.len() && shown.eq(note.label.iter().map(|label| tidy(label)))
}

fn no_row(note: &RowNote, place: &str) -> CheckError {
    let label: Vec<String> = note.label.iter().map(|text| format!("`{text}`")).collect();
    CheckError::Unreadable {
        place: place.to_owned(),
        what: format!("the table has no row that is labelled {}; export it again", label.join(", ")),
    }
}

/// Cells, where what is escaped divides none.
fn cells_between(divider: char, code: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    for c in code.chars() {
        match c {
            c if c == divider && !is_escaped => cells.push(String::new()),
            c => cells.last_mut().expect("there is one from the beginning").push(c),
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_told_apart_by_what_is_not_escaped() {
        assert_eq!(cells_between('&', "a\\&b & 3\\% & \\textbf{1}"), ["a\\&b ", " 3\\% ", " \\textbf{1}"]);
        let mut rows = LatexRows::default();
        for code in ["head \\\\ \\hline", "x & 1 \\\\ y", "& \\multicolumn{2}{c}{2} \\\\[2pt]"] {
            rows.add(code);
        }
        assert_eq!(rows.take(String::new(), 1).cells, ["y ", " \\multicolumn{2}{c}{2} ", ""]);
        let mut tables = MarkdownTables::default();
        for line in ["| a\\|b | c | d |", "| --- | :-: | ---: |", "| x\\\\ | &lt;i&gt; | |"] {
            tables.add(line, String::new(), 1);
        }
        assert_eq!(tables.tables[0].head.cells, ["a\\|b", "c", "d"]);
        assert_eq!(tables.tables[0].rows[0].cells, ["x\\\\", "&lt;i&gt;", ""]);
    }
}
