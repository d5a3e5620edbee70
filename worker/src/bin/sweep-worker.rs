//! The agent of a node; see `sweep_worker::agent`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use sweep_worker::agent::{self, Exit, Options};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("SWEEP_LOG").unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
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

/// One thread, the main one: trial processes die with the thread that started them.
fn work(options: &Options) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    let result = runtime.block_on(agent::run(options));
    // A file operation that hangs, on a lost network folder say, must not keep the agent from ending.
    runtime.shutdown_background();
    Ok(result?)
}
