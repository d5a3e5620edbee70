//! `sweep`: from a YAML grid to a table of results. docs/ARCHITECTURE.md draws the rooms; arrows go down only.

pub mod client;
pub mod dataset;
pub mod lease;
pub mod protocol;
pub mod recipe;
pub mod spool;
pub mod vocabulary;

#[cfg(feature = "coordinator")]
pub mod api;
#[cfg(feature = "coordinator")]
pub mod cli;
#[cfg(feature = "coordinator")]
pub mod coordinator;
#[cfg(feature = "coordinator")]
pub mod plan;
#[cfg(feature = "coordinator")]
pub mod report;
#[cfg(feature = "coordinator")]
pub mod slurm;
#[cfg(feature = "coordinator")]
pub mod spec;
#[cfg(feature = "coordinator")]
pub mod store;
