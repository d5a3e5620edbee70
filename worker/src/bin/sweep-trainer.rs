//! `sweep-trainer`: a trial process of the built-in trainer. It is started by `sweep-worker`, speaks JSON lines over
//! standard input and output (`sweep::protocol::trial`), and never outlives the process that started it.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use sweep_worker::trainer::{Setup, Stop, Trainer, native, record, serve};

/// Trains jobs that come as JSON lines on standard input.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Folder that holds the imported datasets, one folder each.
    #[arg(long, value_name = "DIR")]
    datasets: PathBuf,
    /// Folder for checkpoints; without it, none are written.
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    /// Read by libtorch too, to use fewer CPU instructions than there are.
    #[arg(long, env = "ATEN_CPU_CAPABILITY", hide = true)]
    cpu_capability: Option<String>,
    /// Read by libtorch too.
    #[arg(long, env = "CUDA_VISIBLE_DEVICES", hide = true, default_value = "")]
    promised_gpus: String,
}

fn main() -> anyhow::Result<()> {
    die_with_parent()?;
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        // Otherwise a log on a full disk ends the process: the complaint itself can't be written.
        .log_internal_errors(false)
        .init();
    native::keep_memory();
    // Once per process, before libtorch starts threads of its own: operations run one after the other.
    tch::set_num_interop_threads(1);
    let capability = record::cpu_capability(arguments.cpu_capability.as_deref());
    let stop = Stop::default();
    stop.catch_signals().context("signals can't be caught")?;
    let Arguments { datasets, checkpoints, promised_gpus, .. } = arguments;
    let setup = Setup { datasets, checkpoints, cpu_capability: capability, promised_gpus, stop };
    let mut trainer = Trainer::new(setup);
    match serve(&mut trainer, io::stdin().lock(), io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()), // The agent is gone, and so are we.
        result => result.context("the pipe to the agent broke"),
    }
}

/// Asks the kernel to end this process with its parent, also after SIGKILL.
///
/// The kernel watches from the call on, so a parent that died before it is noticed by hand: then this process has
/// been given to another one.
fn die_with_parent() -> anyhow::Result<()> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).context("the parent can't be watched")?;
    if getppid() != parent {
        bail!("the process that started this one is gone");
    }
    Ok(())
}
