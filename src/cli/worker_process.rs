//! The `sweep-worker` that a command starts beside itself.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::stint::Stint;
use super::{CliError, Context};
use crate::vocabulary::SweepId;

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
    /// How long trials have to end by themselves when the worker is asked to stop, or at its time limit.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    grace: u64,
    /// The program that trains; `sweep-trainer` beside the worker, or else on PATH, unless given.
    #[arg(long, value_name = "PATH")]
    trainer: Option<PathBuf>,
}

impl WorkerArgs {
    /// For work of seconds that nobody has said anything about.
    pub(super) fn usual() -> WorkerArgs {
        WorkerArgs { cpu_slots: None, gpus: None, slots_per_gpu: None, grace: 10, trainer: None }
    }

    /// The program that trains, where the user named one.
    pub(super) fn trainer(&self) -> Option<&Path> {
        self.trainer.as_deref()
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }

    fn add_to(&self, command: &mut Command) {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        for (name, value) in [
            ("--cpu-slots", number(self.cpu_slots)),
            ("--gpus", self.gpus.clone()),
            ("--slots-per-gpu", number(self.slots_per_gpu)),
            ("--grace", Some(self.grace.to_string())),
        ] {
            if let Some(value) = value {
                command.args([name, &value]);
            }
        }
        if let Some(trainer) = &self.trainer {
            command.arg("--trainer").arg(trainer);
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
    /// Counts the jobs that it starts, where that matters.
    tally: Option<JoinHandle<()>>,
}

impl WorkerProcess {
    /// Starts one for what is left of the stint; none where nothing is.
    pub(super) fn start(
        args: &WorkerArgs,
        assignment: &Assignment<'_>,
        stint: &Stint,
        context: &Context,
    ) -> Result<Option<WorkerProcess>, CliError> {
        let Some(left) = stint.left(args.grace()) else { return Ok(None) };
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
            .stdout(if stint.tally().is_some() { Stdio::piped() } else { Stdio::null() })
            .stderr(open_log(&log)?)
            // A group of its own: Ctrl-C reaches this process alone, which then asks the worker to stop, once.
            .process_group(0)
            .kill_on_drop(true);
        args.add_to(&mut command);
        left.add_to(&mut command, args.grace());
        if let Some(sweep) = assignment.sweep {
            command.args(["--sweep", &sweep.to_string()]);
        }
        if assignment.until_drained {
            command.arg("--until-drained");
        }
        let mut child = command.spawn().map_err(|error| {
            CliError::failed(
                anyhow::Error::new(error).context(format!("can't start `{}`", program.display())),
            )
        })?;
        let tally = child.stdout.take().zip(stint.tally());
        let tally = tally.map(|(output, jobs)| tokio::spawn(count(output, jobs)));
        Ok(Some(WorkerProcess { child, log, started_at: Instant::now(), tally }))
    }

    /// Waits until it has ended. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, CliError> {
        let status = self.child.wait().await.map_err(CliError::failed)?;
        if let Some(tally) = &mut self.tally {
            // The last of what it wrote may still be in the pipe. A count that panicked has nothing to add.
            let _ = tally.await;
            self.tally = None;
        }
        Ok(status)
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

/// Counts the bytes of `output`, one a job, to its end.
async fn count(mut output: ChildStdout, jobs: Arc<AtomicU64>) {
    let mut bytes = [0; 256];
    while let Ok(length @ 1..) = output.read(&mut bytes).await {
        jobs.fetch_add(length as u64, Ordering::SeqCst);
    }
}

fn parse_gpus(text: &str) -> Result<String, String> {
    let is_list = text.split(',').all(|gpu| gpu.parse::<u32>().is_ok());
    if is_list || text == "all" || text == "none" {
        return Ok(text.to_owned());
    }
    Err("it is `all`, `none`, or a list of numbers such as `0,1`".to_owned())
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
