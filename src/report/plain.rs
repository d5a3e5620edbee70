//! Sheets on a terminal.

use comfy_table::{Cell as TableCell, CellAlignment};

use super::sheet::{Cell, Figure, Sheet};
use super::table::{lines_of, new_table};
use super::value::{NOTHING, spread};

const BEST: &str = "*";
const OUTSIDE: &str = "!";

/// The table, with its title above and what its marks mean below.
#[must_use]
pub fn plain(sheet: &Sheet) -> String {
    let mut table = new_table();
    table.set_header(sheet.head.iter().map(|head| TableCell::new(&head.text)));
    for row in &sheet.rows {
        table.add_row(row.iter().map(|cell| TableCell::new(text(cell))));
    }
    for (column, head) in table.column_iter_mut().zip(&sheet.head) {
        if head.is_right_aligned {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut lines: String = sheet.preface.iter().map(|line| format!("{line}\n")).collect();
    lines.extend(sheet.title.iter().map(|title| format!("{title}\n")));
    lines += &lines_of(&table);
    lines.extend(sheet.legend(BEST, OUTSIDE).iter().map(|legend| format!("{legend}\n")));
    lines
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Nothing(_) => NOTHING.to_owned(),
        Cell::Figure(figure) if figure.is_best => format!("{BEST} {}", number(figure)),
        Cell::Figure(figure) => number(figure),
    }
}

fn number(figure: &Figure) -> String {
    let decimals = figure.decimals;
    let ours = spread(figure.spread, decimals);
    match &figure.beside {
        None => ours,
        Some(published) => {
            let mark = if published.is_outside() { OUTSIDE } else { "" };
            format!("{ours} ({:.decimals$}, {:+.decimals$}{mark})", published.value, published.difference)
        }
    }
}
