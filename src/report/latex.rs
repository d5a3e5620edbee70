//! Sheets as LaTeX has tables: `tabular` and nothing that needs a package. Where the numbers come from stands behind each row, in
//! a comment.

use super::provenance::{HEAD, SheetOrigin, TableOrigin};
use super::sheet::{Cell, Figure, Sheet};

/// The tables of one command.
#[must_use]
pub fn latex(sheets: &[Sheet], origin: &TableOrigin) -> String {
    let tables: Vec<String> = sheets.iter().map(|sheet| table(sheet, origin)).collect();
    tables.join("\n")
}

fn table(sheet: &Sheet, origin: &TableOrigin) -> String {
    let notes = SheetOrigin::of(sheet, origin);
    let comment = |line: &String| format!("% {}\n", line.replace(['\n', '\r'], " "));
    let mut text: String = sheet.title.iter().chain(&sheet.preface).map(comment).collect();
    text += &sheet.legend("\\textbf", "$^\\dagger$").map(|legend| comment(&legend)).unwrap_or_default();
    text += &format!("% {}\n", notes.table_line());
    let columns: String =
        sheet.head.iter().map(|head| if head.is_right_aligned { 'r' } else { 'l' }).collect();
    text += &format!("\\begin{{tabular}}{{{columns}}}\n\\hline\n");
    let head: Vec<String> = sheet.head.iter().map(|head| escaped(&head.text)).collect();
    text += &format!("{} \\\\ % {HEAD}\n\\hline\n", head.join(" & "));
    for (cells, note) in sheet.rows.iter().zip(notes.row_lines()) {
        let cells: Vec<String> = cells.iter().map(cell).collect();
        text += &format!("{} \\\\ % {note}\n", cells.join(" & "));
    }
    text + "\\hline\n\\end{tabular}\n"
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => escaped(text),
        Cell::Nothing(_) => "--".to_owned(),
        Cell::Figure(figure) => number(figure),
    }
}

fn number(figure: &Figure) -> String {
    let decimals = figure.decimals;
    let mean = signed(figure.spread.mean, decimals);
    let ours = match figure.spread.std {
        None => mean,
        Some(std) => format!("{mean} $\\pm$ {std:.decimals$}"),
    };
    let ours = if figure.is_best { format!("\\textbf{{{ours}}}") } else { ours };
    match &figure.beside {
        None => ours,
        Some(published) => {
            let mark = if published.is_outside() { "$^\\dagger$" } else { "" };
            let difference = published.difference;
            let plus = if difference < 0.0 { "" } else { "$+$" };
            format!(
                "{ours} ({}, {plus}{}{mark})",
                signed(published.value, decimals),
                signed(difference, decimals)
            )
        }
    }
}

/// A hyphen is no minus.
fn signed(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}").replace('-', "$-$")
}

pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '<' | '>' | '|' => escaped.extend(['$', c, '$']),
            '–' => escaped += "--",
            // Behind the end of a row it would be a length.
            '[' => escaped += "{[}",
            '\n' | '\r' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `\\ [25,35]` is a row's end that asks for a space of 25,35.
    #[test]
    fn a_list_at_the_begin_of_a_row_is_no_length() {
        assert_eq!(escaped("[25,35]"), "{[}25,35]");
    }
}
