//! The trainer's numbers against those of an independent float64 implementation (fixtures/README.md).
//!
//! Each comparison runs in float64, where it is about formulas, and in float32, which trials are trained in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;
mod losses;
mod network;
mod recipe;
mod steps;
