//! Whole trials on tiny synthetic images: in memory, from a dataset on disk, and in a process of their own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dataset;
mod export;
mod process;
mod resume;
mod sharing;
mod training;
mod warm;
