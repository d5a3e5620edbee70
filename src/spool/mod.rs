//! The spool of an export: what its jobs leave on a file system that nodes and login node share, since no coordinator can be reached.
//!
//! Each process that runs jobs appends records to a file of its own, each in a frame that shows whether it is whole. Nothing is ever
//! changed that was written; whoever reads may do so at any time and takes what is whole. Start reading at `frames.rs` (what a file
//! is), then `folder.rs` (which files there are) and `results.rs` (what they say of jobs).

mod folder;
mod frames;
mod results;

pub use folder::{ExportFolder, SpoolError, link_or_copy};
pub use frames::{Appender, Frame, Rest, Whole, frame, read_frames};
pub use results::{JobResults, TaskResults};
