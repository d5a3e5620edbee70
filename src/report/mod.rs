//! From results to what people read: ranking, tables by configuration, and the documents that `--json` prints.
//!
//! Pure: results in, text or serde types out.

pub mod audit;
mod configurations;
mod facts;
mod grouped;
pub mod json;
mod rank;
mod table;
mod tree;
mod workers;

pub use configurations::{Configuration, Spread, by_configuration};
pub use facts::facts;
pub use grouped::{counted, grouped, listed};
pub use rank::rank;
pub use table::{
    chosen_table, lines_of, new_table, results_table, status_tables, sweeps_table, trials_table,
};
pub use tree::stage_tree;
pub use workers::workers_table;
