//! The agent of a node: it leases jobs from the coordinator, runs each in a trial process on a slot, and reports.
//!
//! It decides nothing about jobs, it has no tensors, and no trial can take it down: what crashes is a child process.
//! Everything that happens becomes one event ([`event::Event`]), one pure function decides ([`state::Agent::step`]),
//! and a thin shell does what it says. Invariants:
//! - A slot runs one job at a time; every lease ends in one outcome, or the coordinator took it back.
//! - No trial process outlives the agent, whatever ends it (`process`; what a program starts itself may).
//!
//! This is a crate of its own and no part of the library beside it: so nothing of libtorch is ever linked into it.
//! Start reading at `state`; then `shell` and `slot`, and below those `command` and `trainer_process`.

mod cache;
mod code;
mod command;
mod event;
mod export;
mod gauge;
mod gpu_test;
mod gpus;
mod health;
mod identity;
mod lines;
mod link;
mod log_stream;
mod memory;
mod options;
mod outbox;
mod output;
mod pace;
mod process;
mod reach;
mod registration;
mod remote;
mod report_file;
mod self_test;
mod shell;
mod shipment;
mod slot;
mod slots;
mod slurm;
mod spawn;
mod spool;
mod stage;
mod state;
mod trainer_process;
mod watchdog;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use sweep::client::ClientError;
use sweep::spool::SpoolError;
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use event::Exit;
use gpus::GpuError;
use options::{LogFormat, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = options.check() {
        Options::command().error(ErrorKind::ValueValidation, error).exit();
    }
    start_log(options.log_format);
    match work(&options) {
        Ok(Exit::Clean) => ExitCode::SUCCESS,
        Ok(Exit::Unreleased) => {
            tracing::warn!("left before the coordinator knew of every end; those leases will expire");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("SWEEP_LOG").unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        // Otherwise a log on a full disk ends the process: the complaint itself can't be written.
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// One thread, the main one: trial processes die with the thread that started them.
fn work(options: &Options) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    let result = runtime.block_on(shell::run(options));
    // A file operation that hangs, on a lost network folder say, must not keep the agent from ending.
    runtime.shutdown_background();
    Ok(result?)
}

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
    /// Jobs would fail here.
    #[error("this node can't run jobs: {0}")]
    Unfit(String),
    /// Signals can't be caught.
    #[error("can't catch signals")]
    Signals(#[source] std::io::Error),
    /// Which GPUs to use can't be told, or one isn't there.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The export's folder can't be used.
    #[error(transparent)]
    Export(#[from] SpoolError),
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
