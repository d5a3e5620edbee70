//! Tables in LaTeX and Markdown, by the notes in their comments.

use std::collections::VecDeque;

use super::super::provenance::{ROW, RowNote, TABLE, TableNote};
use super::{CheckError, Claim, Shown, Source};

/// Files that a LaTeX file includes, as they are named there.
#[must_use]
pub fn inputs(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let (code, _) = split_comment(line);
        for command in ["\\input", "\\include", "\\subfile"] {
            for (at, _) in code.match_indices(command) {
                let rest = code[at + command.len()..].trim_start();
                let name = match rest.strip_prefix('{') {
                    Some(rest) => rest.split('}').next(),
                    // TeX's own form, without braces; `\includegraphics` is another command.
                    None if command == "\\input" => rest.split_whitespace().next(),
                    None => None,
                };
                found.extend(name.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
            }
        }
    }
    found
}

/// The cells of all tables in a text, by their notes.
///
/// # Errors
/// When a note can't be read, or the table above or below it is no longer the one that it is about.
pub fn claims_in_text(file: &str, text: &str) -> Result<Vec<Claim>, CheckError> {
    let mut claims = Vec::new();
    // Of LaTeX a row's note stands behind it; of Markdown all stand below the table.
    let mut table: Option<TableNote> = None;
    let (mut markdown, mut latex) = (MarkdownRows::default(), LatexRows::default());
    for (at, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", at + 1);
        latex.add(split_comment(line).0);
        if let Some((_, note)) = note(line, TABLE) {
            table = Some(parse(note, &place)?);
        } else if let Some((language, note)) = note(line, ROW) {
            let note: RowNote = parse(note, &place)?;
            let Some(table) = &table else {
                let what = "this row's note stands without the table's (`sweep:table`)".to_owned();
                return Err(CheckError::Unreadable { place, what });
            };
            let (cells, place) = match language {
                Language::Markdown => markdown.take(table, &note, &place)?,
                Language::Latex => (latex.take(), place),
            };
            claims.extend(claims_of_row(table, note, &cells, &place)?);
        } else if line.trim_start().starts_with('|') {
            markdown.add(markdown_cells(line), place);
        }
    }
    Ok(claims)
}

fn parse<T: serde::de::DeserializeOwned>(note: &str, place: &str) -> Result<T, CheckError> {
    serde_json::from_str(note).map_err(|error| CheckError::Unreadable {
        place: place.to_owned(),
        what: format!("the note can't be read: {error}"),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Latex,
    Markdown,
}

/// The JSON behind a note's name, and in what comment it stands.
fn note<'t>(line: &'t str, kind: &str) -> Option<(Language, &'t str)> {
    let (before, json) = line.split_once(kind)?;
    let language = match before.trim() {
        "" | "<!--" => Language::Markdown,
        before if before.contains('%') => Language::Latex,
        _ => return None,
    };
    Some((language, json.trim().trim_end_matches("-->").trim_end()))
}

/// LaTeX before and behind the first `%` that begins a comment.
fn split_comment(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '%' if !is_escaped => return line.split_at(at),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    (line, "")
}

/// The row of LaTeX that has ended last.
#[derive(Default)]
struct LatexRows {
    ended: String,
    begun: String,
}

impl LatexRows {
    fn add(&mut self, code: &str) {
        self.begun.push_str(code);
        self.begun.push(' ');
        if let Some((rows, rest)) = self.begun.rsplit_once("\\\\") {
            self.ended = rows.rsplit("\\\\").next().unwrap_or_default().to_owned();
            self.begun = rest.to_owned();
        }
    }

    fn take(&mut self) -> Vec<String> {
        latex_cells(&std::mem::take(&mut self.ended))
    }
}

fn latex_cells(code: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    for c in code.chars() {
        match c {
            '&' if !is_escaped => cells.push(String::new()),
            c => cells.last_mut().expect("there is one from the beginning").push(c),
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    cells
}

fn markdown_cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    for c in line.chars() {
        match c {
            '|' if !is_escaped => cells.push(String::new()),
            c => cells.last_mut().expect("there is one from the beginning").push(c),
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    cells.into_iter().map(|cell| unescaped(cell.trim())).collect()
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(char::is_ascii_punctuation) => plain.extend(chars.next()),
            c => plain.push(c),
        }
    }
    plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Rows of Markdown tables for which no note has come yet.
#[derive(Default)]
struct MarkdownRows(VecDeque<(Vec<String>, String)>);

impl MarkdownRows {
    fn add(&mut self, cells: Vec<String>, place: String) {
        self.0.push_back((cells, place));
    }

    /// The row that a note is about: the one with its labels in the columns that have no metric, wherever it was moved.
    fn take(
        &mut self,
        table: &TableNote,
        note: &RowNote,
        place: &str,
    ) -> Result<(Vec<String>, String), CheckError> {
        let label: Vec<String> =
            note.label.iter().map(|text| text.replace(['\n', '\r'], " ").trim().to_owned()).collect();
        let is_it = |(cells, _): &(Vec<String>, String)| {
            let labelling = cells.iter().zip(&table.columns).filter(|(_, metric)| metric.is_none());
            cells.len() == table.columns.len() && labelling.map(|(cell, _)| cell).eq(&label)
        };
        let found = self.0.iter().position(is_it).and_then(|at| self.0.remove(at));
        found.ok_or_else(|| CheckError::Unreadable {
            place: place.to_owned(),
            what: format!(
                "the table has no row that is labelled {}; export it again",
                label.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
            ),
        })
    }
}

fn claims_of_row(
    table: &TableNote,
    note: RowNote,
    cells: &[String],
    place: &str,
) -> Result<Vec<Claim>, CheckError> {
    if cells.len() != table.columns.len() {
        let what = format!(
            "the row has {} cells, and {} were exported; a column was added or removed, so export it again",
            cells.len(),
            table.columns.len()
        );
        return Err(CheckError::Unreadable { place: place.to_owned(), what });
    }
    let origin = &table.origin;
    let source = Source {
        sweep: origin.sweep,
        epoch: origin.epoch.clone(),
        best_by: origin.best_by.clone(),
        selected: origin.selected.clone(),
    };
    let mut notes = note.cells.into_iter();
    let mut claims = Vec::new();
    for (cell, metric) in cells.iter().zip(&table.columns) {
        let Some(metric) = metric else { continue };
        let Some(Some(note)) = notes.next() else { continue };
        // A number that somebody has put where there was none is checked like others.
        let is_empty = note.trials.is_empty() && !cell.contains(|c: char| c.is_ascii_digit());
        claims.push(Claim {
            place: place.to_owned(),
            source: source.clone(),
            metric: metric.clone(),
            configuration: note.configuration,
            trials: note.trials,
            shown: if is_empty { Shown::Nothing } else { Shown::Text(cell.trim().to_owned()) },
            published: note.published,
        });
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_included_are_found_and_comments_are_not() {
        let text = "\\input{tables/kd} text \\input{b.tex}\n% \\input{no}\n100\\% \\input{yes}\n\\include{c}\n\
                    \\includegraphics{no.pdf}\n\\input plain % \\input{no}\n";
        assert_eq!(inputs(text), ["tables/kd", "b.tex", "yes", "c", "plain"]);
    }

    #[test]
    fn cells_are_told_apart_by_what_is_not_escaped() {
        assert_eq!(latex_cells("a\\&b & 3\\% & \\textbf{1}"), ["a\\&b ", " 3\\% ", " \\textbf{1}"]);
        let mut rows = LatexRows::default();
        for code in ["head \\\\ \\hline", "x & 1 \\\\ y", "& 2 \\\\[2pt]"] {
            rows.add(code);
        }
        assert_eq!(rows.take(), [" y ", " 2 "]);
        assert_eq!(markdown_cells("| a\\|b | &lt;i&gt; | **1** |"), ["a|b", "<i>", "**1**"]);
    }
}
