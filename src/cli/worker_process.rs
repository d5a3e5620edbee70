//! The `sweep-worker` that a command starts beside itself.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::{CliError, Context};
use crate::vocabulary::{SweepId, parse_duration};

/// Name of the program.
const PROGRAM: &str = "sweep-worker";

/// As much of the worker's log as explains why it ended.
const LOG_TAIL_BYTES: u64 = 2048;

/// What the worker may use of this machine.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WorkerArgs {
    /// CPU slots; one per core unless given.
    #[arg(long, value_name = "N", conflicts_with = "gpus", value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpu_slots: Option<u32>,
    /// GPUs to use, one job on each: `all`, `none`, or a list such as `0,1`; all unless given.
    #[arg(long, value_name = "GPUS", value_parser = parse_gpus)]
    gpus: Option<String>,
    /// Jobs at a time on each GPU; one unless given.
    #[arg(long, value_name = "K", conflicts_with = "cpu_slots", value_parser = clap::value_parser!(u32).range(1..=64))]
    slots_per_gpu: Option<u32>,
    /// Options of the worker itself, as `sweep-worker --help` shows them, for instance `-- --grace 60`.
    #[arg(last = true, value_name = "WORKER OPTION")]
    options: Vec<OsString>,
    #[arg(skip)]
    pub(super) end: EndArgs,
}

/// When the worker ends, beside when it is asked to.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct EndArgs {
    /// Exit after so many jobs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_jobs: Option<u64>,
    /// Exit when there was nothing to do for so long, such as `30m`.
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    idle_timeout: Option<String>,
    /// Exit after so long, such as `3h30m`; before that trials keep their state and are given back.
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    time_limit: Option<String>,
    /// How long trials have to end by themselves when the worker is asked to stop, or at its time limit; 10 unless given.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    grace: Option<u64>,
}

impl EndArgs {
    fn add_to(&self, command: &mut Command) {
        if let Some(jobs) = self.max_jobs {
            command.args(["--max-jobs", &jobs.to_string()]);
        }
        if let Some(grace) = self.grace {
            command.args(["--grace", &grace.to_string()]);
        }
        for (name, time) in [("--idle-timeout", &self.idle_timeout), ("--time-limit", &self.time_limit)] {
            if let Some(time) = time {
                command.args([name, time]);
            }
        }
    }
}

/// Where the worker finds its coordinator, and what it works on.
pub(super) struct Assignment<'a> {
    pub(super) url: &'a str,
    pub(super) token: &'a str,
    pub(super) state_folder: &'a Path,
    pub(super) sweep: Option<SweepId>,
    pub(super) until_drained: bool,
}

/// A running worker. Ends with this process, whatever ends it.
pub(super) struct WorkerProcess {
    child: Child,
    log: PathBuf,
    started_at: Instant,
}

impl WorkerProcess {
    pub(super) fn start(
        args: &WorkerArgs,
        assignment: &Assignment<'_>,
        context: &Context,
    ) -> Result<WorkerProcess, CliError> {
        let program = find_worker(context)?;
        let log = assignment.state_folder.join("logs/worker.log");
        let mut command = Command::new(&program);
        command
            .args(["--coordinator", assignment.url, "--exit-with-parent"])
            .args(["--log-format", context.log_format.name()])
            // Not as an argument: those can be read by everybody on the host.
            .env("SWEEP_TOKEN", assignment.token)
            .arg("--state-dir")
            .arg(assignment.state_folder)
            .arg("--datasets")
            .arg(context.datasets()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(open_log(&log)?)
            // A group of its own: Ctrl-C reaches this process alone, which then asks the worker to stop, once.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(slots) = args.cpu_slots {
            command.args(["--cpu-slots", &slots.to_string()]);
        }
        if let Some(gpus) = &args.gpus {
            command.args(["--gpus", gpus]);
        }
        if let Some(slots) = args.slots_per_gpu {
            command.args(["--slots-per-gpu", &slots.to_string()]);
        }
        args.end.add_to(&mut command);
        if let Some(sweep) = assignment.sweep {
            command.args(["--sweep", &sweep.to_string()]);
        }
        if assignment.until_drained {
            command.arg("--until-drained");
        }
        command.args(&args.options);
        let child = command.spawn().map_err(|error| {
            CliError::failed(
                anyhow::Error::new(error).context(format!("can't start `{}`", program.display())),
            )
        })?;
        Ok(WorkerProcess { child, log, started_at: Instant::now() })
    }

    /// Waits until it has ended. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, CliError> {
        self.child.wait().await.map_err(CliError::failed)
    }

    /// Time since it was started.
    pub(super) fn age(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// Asks it to give its jobs back and leave; asked again, it leaves at once.
    pub(super) fn ask_to_stop(&self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _already_gone = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    /// The last lines that it logged.
    pub(super) fn log_tail(&self) -> String {
        read_tail(&self.log).unwrap_or_default()
    }
}

fn parse_gpus(text: &str) -> Result<String, String> {
    let is_list = text.split(',').all(|gpu| gpu.parse::<u32>().is_ok());
    if is_list || text == "all" || text == "none" {
        return Ok(text.to_owned());
    }
    Err("it is `all`, `none`, or a list of numbers such as `0,1`".to_owned())
}

/// Checked here, so that what is wrong is said at once; the worker reads it again.
fn read_duration(text: &str) -> Result<String, String> {
    match parse_duration(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("expected a time with units, such as `3h30m`, `45m` or `3:30:00`".to_owned()),
    }
}

/// The worker's program: beside this one, or else on `PATH`.
pub(super) fn find_worker(context: &Context) -> Result<PathBuf, CliError> {
    let beside = context.environment.own_directory.iter().cloned();
    let path = context.environment.search_path.iter().flat_map(std::env::split_paths);
    beside
        .chain(path)
        .map(|directory| directory.join(PROGRAM))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            CliError::usage(format!(
                "`{PROGRAM}` is neither beside `sweep` nor on PATH; `make build` builds it"
            ))
        })
}

fn open_log(path: &Path) -> Result<File, CliError> {
    let open = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        OpenOptions::new().create(true).append(true).open(path)
    };
    open().map_err(|error| {
        CliError::failed(anyhow::Error::new(error).context(format!("can't write `{}`", path.display())))
    })
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
