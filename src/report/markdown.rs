//! Sheets as GitHub's Markdown has tables. Where the numbers come from stands below, in a comment.

use super::provenance::{SheetOrigin, TableOrigin};
use super::sheet::{Cell, Figure, Sheet};
use super::value::{NOTHING, spread};

/// Marks what lies outside of our seeds' spread.
const OUTSIDE: &str = "!";

/// The tables of one command.
#[must_use]
pub fn markdown(sheets: &[Sheet], origin: &TableOrigin) -> String {
    let tables: Vec<String> = sheets.iter().map(|sheet| table(sheet, origin)).collect();
    tables.join("\n")
}

fn table(sheet: &Sheet, origin: &TableOrigin) -> String {
    let mut text: String = sheet.preface.iter().map(|line| format!("{}\n\n", escaped(line))).collect();
    text.extend(sheet.title.iter().map(|title| format!("**{}**\n\n", escaped(title))));
    text += &row(sheet.head.iter().map(|head| escaped(&head.text)));
    text +=
        &row(sheet.head.iter().map(|head| if head.is_right_aligned { "---:" } else { ":---" }.to_owned()));
    for cells in &sheet.rows {
        text += &row(cells.iter().map(cell));
    }
    if let Some(legend) = sheet.legend("**bold**", OUTSIDE) {
        text += &format!("\n{legend}\n");
    }
    text + "\n<!--\n" + &SheetOrigin::of(sheet, origin).lines("") + "-->\n"
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => escaped(text),
        Cell::Nothing(_) => NOTHING.to_owned(),
        Cell::Figure(figure) => number(figure),
    }
}

fn number(figure: &Figure) -> String {
    let decimals = figure.decimals;
    let ours = spread(figure.spread, decimals);
    let ours = if figure.is_best { format!("**{ours}**") } else { ours };
    match &figure.beside {
        None => ours,
        Some(published) => {
            let mark = if published.is_outside() { OUTSIDE } else { "" };
            format!("{ours} ({:.decimals$}, {:+.decimals$}{mark})", published.value, published.difference)
        }
    }
}

/// Text that shows as it is, whatever it looks like.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '\n' | '\r' => escaped += " ",
            '|' | '*' | '_' | '`' | '\\' | '[' | ']' | '~' | '$' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}
