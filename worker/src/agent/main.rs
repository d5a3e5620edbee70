//! The agent of a node: it leases jobs from the coordinator, runs each in a trial process on a slot, and reports.
//!
//! It decides nothing about jobs, it has no tensors, and no trial can take it down: what crashes is a child process.
//! Everything that happens becomes one event ([`event::Event`]), one pure function decides ([`state::Agent::step`]),
//! and a thin shell does what it says. Invariants:
//! - A slot runs one job at a time; every lease ends in one outcome, or the coordinator took it back.
//! - No trial process outlives the agent, whatever ends it (`process`; what a program starts itself may).
//!
//! Start reading at `state`; then `shell` and `slot`, and below those `command` and `trainer_process`.

mod command;
mod event;
mod gpus;
mod identity;
mod lines;
mod options;
mod outbox;
mod output;
mod pace;
mod process;
mod report_file;
mod shell;
mod slot;
mod slots;
mod state;
mod trainer_process;

pub use event::Exit;
pub use gpus::NoSuchGpu;
pub use options::{GpuChoice, Options, ParseGpuChoiceError};
pub use shell::run;

use std::path::PathBuf;

use sweep::client::ClientError;
use tokio::sync::mpsc;

/// Why an agent can't work, or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The token file can't be read.
    #[error("can't read the token from `{path}`")]
    Token {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The state folder can't be used.
    #[error("can't use the state folder `{path}`")]
    StateFolder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Signals can't be caught.
    #[error("can't catch signals")]
    Signals(#[source] std::io::Error),
    /// A GPU was asked for that isn't there.
    #[error(transparent)]
    Gpu(#[from] NoSuchGpu),
    /// The coordinator is gone for good, or refuses to work with this agent.
    #[error("can't {what}")]
    Coordinator {
        what: &'static str,
        #[source]
        source: ClientError,
    },
}

/// Where everything that happens goes: an event, or the error that ends the agent.
type Inbox = mpsc::Sender<Result<event::Event, AgentError>>;
