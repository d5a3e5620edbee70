//! Exports that have not brought back all that they took.

use comfy_table::{Cell, CellAlignment};

use super::table::{lines_of, new_table};
use super::{counted, duration, grouped};
use crate::vocabulary::{SweepId, WorkerId};

/// An export of which the job table still expects something.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportView {
    pub export: WorkerId,
    pub sweep: SweepId,
    pub age_seconds: f64,
    /// Jobs of which the table doesn't know the end.
    pub open_jobs: u64,
    pub folder: ExportFolderView,
}

/// What its folder says.
#[derive(Debug, Clone, PartialEq)]
pub enum ExportFolderView {
    /// It can be read.
    Here {
        /// As a command on this host names it.
        path: String,
        /// Open jobs whose end is in it.
        to_ingest: u64,
        /// Whether Slurm has tasks of it; nothing where that isn't known.
        has_tasks: Option<bool>,
    },
    /// It should be here and is not.
    Gone { path: String },
    /// Why it can't be read, in a line.
    Unreadable { why: String },
}

impl ExportView {
    /// Results that the job table doesn't have, as far as that can be seen.
    #[must_use]
    pub fn to_ingest(&self) -> Option<u64> {
        match &self.folder {
            ExportFolderView::Here { to_ingest, .. } => Some(*to_ingest),
            ExportFolderView::Gone { .. } | ExportFolderView::Unreadable { .. } => None,
        }
    }

    /// The command to be said now, where there is one.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        let missing = || Some(format!("sweep slurm {} --static --missing", self.sweep));
        match &self.folder {
            ExportFolderView::Here { path, to_ingest: 1.., .. } => Some(format!("sweep ingest {path}")),
            ExportFolderView::Here { has_tasks: Some(false), .. } => missing(),
            ExportFolderView::Gone { .. } => missing(),
            ExportFolderView::Here { .. } | ExportFolderView::Unreadable { .. } => None,
        }
    }

    /// Why that, or why nothing can be said.
    fn line(&self) -> Option<String> {
        let text = match (&self.folder, self.next()) {
            (ExportFolderView::Here { to_ingest: n @ 1.., .. }, Some(next)) => {
                format!("`{next}` brings in {}", counted(*n, "result", "results"))
            }
            (ExportFolderView::Here { .. }, Some(next)) => {
                format!("Slurm has none of its tasks any more; `{next}` exports what they left undone")
            }
            (ExportFolderView::Gone { path }, Some(next)) => {
                format!("there is no `{path}` any more; `{next}` takes its jobs back")
            }
            (ExportFolderView::Unreadable { why }, _) => why.clone(),
            (ExportFolderView::Here { .. } | ExportFolderView::Gone { .. }, None) => return None,
        };
        Some(format!("export {}: {text}\n", self.export))
    }
}

/// One row an export; below it what to do now. Nothing where there is none.
#[must_use]
pub fn exports_table(exports: &[ExportView]) -> String {
    if exports.is_empty() {
        return String::new();
    }
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let mut table = new_table();
    table.set_header(["export", "sweep", "open jobs", "to ingest", "made"]);
    for export in exports {
        table.add_row([
            Cell::new(export.export),
            Cell::new(export.sweep),
            number(grouped(export.open_jobs)),
            number(export.to_ingest().map_or_else(|| "?".to_owned(), grouped)),
            number(format!("{} ago", duration(export.age_seconds))),
        ]);
    }
    lines_of(&table) + &exports.iter().filter_map(ExportView::line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_says_what_lies_in_its_folder_and_what_to_do_now() {
        let view = |export: i64, folder: ExportFolderView| ExportView {
            export: WorkerId(export),
            sweep: SweepId(1),
            age_seconds: 12_000.0,
            open_jobs: 65,
            folder,
        };
        let here = |to_ingest: u64, has_tasks: Option<bool>| ExportFolderView::Here {
            path: ".sweep/exports/2".to_owned(),
            to_ingest,
            has_tasks,
        };
        let exports = [
            view(2, here(12, Some(true))),
            view(3, here(1, None)),
            view(4, here(0, Some(true))),
            view(5, here(0, None)),
            view(6, here(0, Some(false))),
            view(7, ExportFolderView::Gone { path: ".sweep/exports/7".to_owned() }),
            view(8, ExportFolderView::Unreadable { why: "its folder is elsewhere".to_owned() }),
        ];
        insta::assert_snapshot!(exports_table(&exports));
        let next = exports.iter().map(ExportView::next).collect::<Vec<_>>();
        assert_eq!(next[0].as_deref(), Some("sweep ingest .sweep/exports/2"));
        assert_eq!(next[4].as_deref(), Some("sweep slurm 1 --static --missing"));
        assert_eq!((&next[2], &next[3], &next[6]), (&None, &None, &None), "they are waited for");
        assert_eq!(exports_table(&[]), "");
    }
}
