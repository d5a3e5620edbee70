//! Tables in LaTeX and Markdown, by the notes in their comments.

use super::super::label::Label;
use super::super::provenance::{CellNote, HEAD, ROW, RowNote, TABLE, TableNote};
use super::markup::Language;
use super::rows::{LatexRows, MarkdownTables, NotedTable, Row};
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
    for table in noted_tables(file, text)? {
        claims.extend(claims_of_table(&table)?);
    }
    Ok(claims)
}

/// Of LaTeX a row's note stands behind it; of Markdown all stand together, mostly below the table.
fn noted_tables(file: &str, text: &str) -> Result<Vec<NotedTable>, CheckError> {
    let mut noted: Vec<NotedTable> = Vec::new();
    let (mut markdown, mut latex) = (MarkdownTables::default(), LatexRows::default());
    for (at, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", at + 1);
        latex.add(split_comment(line).0);
        if let Some((language, note)) = note(line, TABLE) {
            let note = parse(note, &place)?;
            noted.push(NotedTable { language, note, place, head: None, rows: vec![], pending: vec![] });
        } else if note(line, HEAD).is_some() {
            let head = latex.take(place, at);
            if let Some(table) = noted.last_mut() {
                table.head = Some(head);
            }
        } else if let Some((language, note)) = note(line, ROW) {
            let note: RowNote = parse(note, &place)?;
            let Some(table) = noted.last_mut() else {
                let what = "this row's note stands without the table's (`sweep:table`)".to_owned();
                return Err(CheckError::Unreadable { place, what });
            };
            match language {
                Language::Markdown => table.pending.push(note),
                Language::Latex => table.rows.push((note, latex.take(place, at))),
            }
        } else if line.trim_start().starts_with('|') {
            markdown.add(line, place, at);
        }
    }
    for table in noted.iter_mut().filter(|table| !table.pending.is_empty()) {
        markdown.resolve(table)?;
    }
    Ok(noted)
}

fn parse<T: serde::de::DeserializeOwned>(note: &str, place: &str) -> Result<T, CheckError> {
    serde_json::from_str(note).map_err(|error| CheckError::Unreadable {
        place: place.to_owned(),
        what: format!("the note can't be read: {error}"),
    })
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

/// All that stands in one table.
fn claims_of_table(table: &NotedTable) -> Result<Vec<Claim>, CheckError> {
    let origin = &table.note.origin;
    let reader = Reader {
        table,
        source: Source {
            sweep: origin.sweep,
            epoch: origin.epoch.clone(),
            best_by: origin.best_by.clone(),
            selected: origin.selected.clone(),
        },
    };
    let mut claims = Vec::new();
    // Of each column of labels what stood in it last.
    let mut above: Vec<Option<String>> = vec![None; table.note.columns.len()];
    for (note, row) in &table.rows {
        check_width(&table.note, row)?;
        claims.extend(reader.claims_of_row(note, row, &mut above));
    }
    claims.extend(reader.claims_of_marks());
    if let Some(head) = &table.head {
        check_width(&table.note, head)?;
        claims.extend(reader.claims_of_head(head));
    }
    Ok(claims)
}

fn check_width(table: &TableNote, row: &Row) -> Result<(), CheckError> {
    if row.cells.len() == table.columns.len() {
        return Ok(());
    }
    let what = format!(
        "the row has {} cells, and {} were exported; a column was added or removed, so export it again",
        row.cells.len(),
        table.columns.len()
    );
    Err(CheckError::Unreadable { place: row.place.clone(), what })
}

struct Reader<'t> {
    table: &'t NotedTable,
    source: Source,
}

/// A cell with a number, if it has come to that, and what is known of it.
struct NotedCell<'t> {
    column: usize,
    metric: &'t str,
    text: &'t str,
    note: Option<&'t CellNote>,
    place: &'t str,
}

impl<'t> Reader<'t> {
    fn claims_of_row(&self, note: &'t RowNote, row: &'t Row, above: &mut [Option<String>]) -> Vec<Claim> {
        let first = note.cells.iter().flatten().next();
        let configuration = first.map(|cell| &cell.configuration).or(note.configuration.as_ref());
        let trials = first.map(|cell| cell.trials.as_str()).unwrap_or_default();
        let mut claims = Vec::new();
        for (at, (label, written)) in self.label_columns().zip(&note.label).enumerate() {
            let (column, of) = label;
            let text = self.table.language.plain(&row.cells[column]).trim().to_owned();
            // Version 1 did not say what stands in a column.
            let of = of.unwrap_or_else(|| Label::Written(written.clone()));
            let Some(configuration) = configuration else { continue };
            let shown = Shown::Label { above: above[at].clone(), text: text.clone(), of: of.clone() };
            claims.push(self.claim(&row.place, &of.name(), configuration, trials, shown));
            if !text.is_empty() {
                above[at] = Some(text);
            }
        }
        claims.extend(self.cells(note, row).filter_map(|cell| self.claim_of_cell(&cell)));
        claims
    }

    /// Columns without numbers, and what is said to stand in them.
    fn label_columns(&self) -> impl Iterator<Item = (usize, Option<Label>)> {
        let columns = self.table.note.columns.iter().enumerate().filter(|(_, metric)| metric.is_none());
        columns.enumerate().map(|(at, (column, _))| (column, self.table.note.labels.get(at).cloned()))
    }

    fn cells(&self, note: &'t RowNote, row: &'t Row) -> impl Iterator<Item = NotedCell<'t>> {
        let columns = self.table.note.columns.iter().zip(&row.cells).enumerate();
        let numbers = columns.filter_map(|(column, (metric, text))| Some((column, metric.as_deref()?, text)));
        let notes = note.cells.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        numbers.zip(notes).map(|((column, metric, text), note)| NotedCell {
            column,
            metric,
            text,
            note,
            place: &row.place,
        })
    }

    fn claim_of_cell(&self, cell: &NotedCell<'_>) -> Option<Claim> {
        let has_number = cell.text.contains(|c: char| c.is_ascii_digit());
        let text = || Shown::Text(cell.text.trim().to_owned());
        let Some(note) = cell.note else {
            // There is no such combination; whatever somebody has put there is of no trial.
            return has_number.then(|| self.claim(cell.place, cell.metric, "", "", text()));
        };
        // A number that somebody has put where there was none is checked like others.
        let shown = if note.trials.is_empty() && !has_number { Shown::Nothing } else { text() };
        let claim = self.claim(cell.place, cell.metric, &note.configuration, &note.trials, shown);
        Some(Claim { published: note.published, ..claim })
    }

    /// Cells that are marked as the best, where marks are the table's own.
    fn claims_of_marks(&self) -> Vec<Claim> {
        let Some(goal) = self.table.note.best else { return Vec::new() };
        let cells = || self.table.rows.iter().flat_map(|(note, row)| self.cells(note, row));
        let noted = || cells().filter_map(|cell| Some((cell.note?, cell)));
        let among: Vec<String> = noted().map(|(note, _)| note.configuration.clone()).collect();
        let marked = noted().filter(|(_, cell)| self.table.language.is_bold(cell.text));
        let claim = |(note, cell): (&CellNote, NotedCell<'_>)| {
            let shown = Shown::Best { text: cell.text.trim().to_owned(), goal, among: among.clone() };
            self.claim(cell.place, cell.metric, &note.configuration, &note.trials, shown)
        };
        marked.map(claim).collect()
    }

    /// What stands above the columns: names, or a pivot's values.
    fn claims_of_head(&self, head: &Row) -> Vec<Claim> {
        let text = |column: usize| self.table.language.plain(&head.cells[column]).trim().to_owned();
        let mut claims = Vec::new();
        if !self.table.note.across.is_empty() {
            for column in 0..head.cells.len() {
                let cells = || self.table.rows.iter().flat_map(|(note, row)| self.cells(note, row));
                let note = cells().filter(|cell| cell.column == column).find_map(|cell| cell.note);
                let (Some(note), text) = (note, text(column)) else { continue };
                // Heads may span rows, too.
                if text.is_empty() {
                    continue;
                }
                let of = Label::Parameters(self.table.note.across.clone());
                let name = of.name();
                let shown = Shown::Label { of, text, above: None };
                claims.push(self.claim(&head.place, &name, &note.configuration, &note.trials, shown));
            }
            return claims;
        }
        let Some((note, _)) = self.table.rows.first() else { return claims };
        let first = note.cells.iter().flatten().next();
        let Some(configuration) = first.map(|cell| &cell.configuration).or(note.configuration.as_ref())
        else {
            return claims;
        };
        let names = self.names();
        for (column, own) in names.iter().enumerate().filter(|(_, own)| !own.is_empty()) {
            let shown = Shown::Head { text: text(column), own: own.clone(), others: names.clone() };
            claims.push(self.claim(&head.place, own, configuration, "", shown));
        }
        claims
    }

    /// What each column is called; empty where nobody knows.
    fn names(&self) -> Vec<String> {
        let mut labels = self.table.note.labels.iter();
        let name = |metric: &Option<String>| match metric {
            Some(metric) => metric.clone(),
            None => labels.next().map(Label::name).unwrap_or_default(),
        };
        self.table.note.columns.iter().map(name).collect()
    }

    fn claim(&self, place: &str, column: &str, configuration: &str, trials: &str, shown: Shown) -> Claim {
        Claim {
            place: place.to_owned(),
            source: self.source.clone(),
            column: column.to_owned(),
            configuration: configuration.to_owned(),
            trials: trials.to_owned(),
            shown,
            published: None,
        }
    }
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
}
