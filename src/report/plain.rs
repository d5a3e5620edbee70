//! Sheets on a terminal.

use comfy_table::{Cell as TableCell, CellAlignment};

use super::label::Label;
use super::sheet::{Cell, Figure, Head, Sheet};
use super::table::{lines_of, new_table};
use super::value::{NOTHING, spread};

const BEST: &str = "*";
const OUTSIDE: &str = "!";

/// The table, with its title above and what its marks mean below. One that is wider than `width`, in characters, is broken into
/// several below each other, each with the parameters; no number is ever broken.
#[must_use]
pub fn plain(sheet: &Sheet, width: Option<usize>) -> String {
    let mut lines: String = sheet.preface.iter().map(|line| format!("{line}\n")).collect();
    lines.extend(sheet.title.iter().map(|title| format!("{title}\n")));
    let blocks = blocks(sheet, width.unwrap_or(usize::MAX));
    let tables: Vec<String> = blocks.iter().map(|columns| table(sheet, columns)).collect();
    lines += &tables.join("\n");
    lines.extend(sheet.legend(BEST, OUTSIDE).iter().map(|legend| format!("{legend}\n")));
    lines
}

/// Which columns stand beside each other.
fn blocks(sheet: &Sheet, width: usize) -> Vec<Vec<usize>> {
    let widths: Vec<usize> = (0..sheet.head.len()).map(|column| width_of(sheet, column)).collect();
    let is_parameter = |head: &&Head| matches!(head.label, Some(Label::Parameter(_)));
    let labels = sheet.head.iter().take_while(is_parameter).count();
    let fits = |columns: &[usize]| columns.iter().map(|column| widths[*column]).sum::<usize>() <= width;
    let mut block: Vec<usize> = (0..labels).collect();
    let mut blocks = Vec::new();
    for column in labels..sheet.head.len() {
        block.push(column);
        if !fits(&block) && block.len() > labels + 1 {
            block.pop();
            let next = (0..labels).chain([column]).collect();
            blocks.push(std::mem::replace(&mut block, next));
        }
    }
    blocks.push(block);
    blocks
}

/// With the blanks around it, and one that divides it from the next.
fn width_of(sheet: &Sheet, column: usize) -> usize {
    let cells = sheet.rows.iter().filter_map(|row| row.get(column)).map(|cell| text(cell).chars().count());
    cells.chain([sheet.head[column].text.chars().count()]).max().unwrap_or(0) + 3
}

fn table(sheet: &Sheet, columns: &[usize]) -> String {
    let mut table = new_table();
    table.set_header(columns.iter().map(|column| TableCell::new(&sheet.head[*column].text)));
    for row in &sheet.rows {
        table.add_row(columns.iter().map(|column| TableCell::new(text(&row[*column]))));
    }
    for (column, of) in table.column_iter_mut().zip(columns) {
        if sheet.head[*of].is_right_aligned {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    lines_of(&table)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::grid;
    use crate::report::{View, results_sheet};

    #[test]
    fn a_table_that_is_too_wide_goes_on_below_with_its_labels() {
        let metric = |a: f64, b: f64, seed: f64| 80.0 + a - b + seed / 8.0;
        let results =
            grid(&[1.0, 2.0], &[0.5], 2, &[("top1", &metric), ("rankme", &metric), ("x_loss", &metric)]);
        let sheet = results_sheet(&View::usual(&results), None);
        insta::assert_snapshot!(plain(&sheet, Some(50)));
        for width in [10, 30, 50, 70, 90] {
            let shown = plain(&sheet, Some(width));
            let is_narrow = shown.lines().all(|line| line.chars().count() <= width.max(35));
            assert!(is_narrow, "{width}:\n{shown}");
            assert_eq!(shown.matches("81.56 ± 0.09").count(), 3, "{width}:\n{shown}");
        }
        assert_eq!(plain(&sheet, Some(90)), plain(&sheet, None));
    }
}
