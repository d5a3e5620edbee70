//! Workers on a real Slurm. `make test-slurm` brings one up on this host, with two nodes that are both this host, and runs these
//! tests in it; without it they are left out.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it saw"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod cluster;
mod coordinator;
mod disturbed;
mod ends;
mod export;
mod gpus;
mod readme;
mod submission;
mod work;
