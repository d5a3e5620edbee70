//! What crosses a process boundary, as serde types and nothing else: HTTP bodies between coordinator, command line
//! and agents ([`http`]), and JSON lines between an agent and its trial processes ([`trial`]).
//!
//! Durations cross the wire, never absolute times: the clocks of two hosts need not agree.

#![warn(missing_docs)]

pub mod announcement;
pub mod export;
pub mod http;
pub mod insight;
pub mod listing;
pub mod logs;
pub mod slurm;
pub mod steering;
pub mod trial;
