//! From results to what people read: ranking, tables by configuration, pivots, analysis, exports, and the documents that `--json`
//! prints.
//!
//! Pure: results in, text, bytes or serde types out. [`View`] is what of a sweep's results is shown and where to start: `configurations`
//! groups trials, `axes` says what they differ in, `sheet` makes tables of them for people (`plain`, `markdown`, `latex`),
//! `records` for machines (`csv`, `parquet`), `provenance` and `check` write and read where numbers come from.

pub mod analysis;
pub mod audit;
mod axes;
pub mod check;
mod configurations;
mod dead_knobs;
mod duration;
mod explanation;
mod exports;
mod facts;
mod failures;
mod findings;
#[cfg(test)]
mod fixtures;
mod forecast;
mod grouped;
pub mod json;
mod label;
mod latex;
mod markdown;
mod notes;
pub mod page;
mod parquet;
mod pivot;
mod plain;
mod provenance;
mod published;
mod rank;
mod records;
mod report_line;
mod sheet;
mod slurm;
mod smoke;
mod state_dict;
mod survivors;
mod table;
mod tree;
mod value;
mod view;
mod workers;

pub use axes::{Axis, Level, axes};
pub use configurations::{Configuration, Spread, by_configuration};
pub use dead_knobs::{DeadKnob, dead_knobs};
pub use duration::duration;
pub use explanation::explanation;
pub use exports::{ExportFolderView, ExportView, exports_table};
pub use facts::facts;
pub use findings::{Around, Trouble, failure_line, progress_lines, troubles, troubles_text};
pub use forecast::{forecast, smallest_difference};
pub use grouped::{count, counted, grouped, listed};
pub use label::Label;
pub use latex::latex;
pub use markdown::markdown;
pub use notes::notes;
pub use parquet::write as write_parquet;
pub use pivot::{Pivot, PivotError, PivotSpec, Slice};
pub use plain::plain;
pub use provenance::TableOrigin;
pub use published::{Published, ReferenceError, References, Verdict};
pub use rank::rank;
pub use records::{RecordColumn, Records, Values, pivot_records, results_records};
pub use report_line::{LinedTrial, ReportLine, report_lines};
pub use sheet::{Cell, Figure, Head, Sheet, pivot_sheets, results_sheet};
pub use slurm::slurm_table;
pub use smoke::{SmokeDocument, Tried, smoke_failures, smoke_table};
pub use state_dict::{ExportedNetwork, StateDictError, WeightsOrigin, state_dict};
pub use survivors::Survivor;
pub use table::{
    chosen_table, lines_of, new_table, results_table, status_tables, sweeps_table, trials_table,
};
pub use tree::stage_tree;
pub use value::decimals_of;
pub use view::{Column, Direction, ShownMetric, Sort, View, ViewError, ViewOptions};
pub use workers::workers_table;
