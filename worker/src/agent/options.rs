use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sweep::protocol::export::TaskName;
use sweep::vocabulary::{SweepId, parse_duration};

use super::slurm::SlurmVariables;

/// Leases jobs from a coordinator and runs them on this node
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "sweep-worker",
    version,
    after_help = "SWEEP_LOG sets what is logged: error, warn, info (the default), debug."
)]
pub(crate) struct Options {
    /// Where the coordinator listens; otherwise wherever it is that the state folder's file `coordinator.json` says
    #[arg(long, value_name = "URL", env = "SWEEP_COORDINATOR")]
    pub coordinator: Option<String>,

    /// File with the coordinator's token; otherwise it is taken from the environment's SWEEP_TOKEN, or else from the state folder
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    // Hidden, because what stands on a command line is readable for everyone on the host.
    #[arg(long, env = "SWEEP_TOKEN", hide = true, hide_env_values = true)]
    pub token: Option<String>,

    /// Do a task of an export, whose folder this is, with no coordinator: `sweep slurm --static` makes them
    #[arg(long, value_name = "DIR", requires = "task")]
    pub export: Option<PathBuf>,

    /// Which task
    #[arg(long, value_name = "DEPTH-INDEX", requires = "export")]
    pub task: Option<TaskName>,

    /// Folder for logs, checkpoints, and results that are not delivered yet
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,

    /// Folder with the imported datasets
    #[arg(long, value_name = "DIR")]
    pub datasets: PathBuf,

    /// Work on this sweep only
    #[arg(long, value_name = "ID")]
    pub sweep: Option<SweepId>,

    /// Run this many jobs of one CPU each, and use no GPU [default: one per core where there is no GPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), conflicts_with = "gpus")]
    pub cpu_slots: Option<u32>,

    /// Run one job on each of these GPUs: `all` that are visible, `none`, or their numbers
    #[arg(long, value_name = "all|none|0,1,…", default_value = "all")]
    pub gpus: GpuChoice,

    /// Run this many jobs at a time on each GPU
    #[arg(long, value_name = "K", default_value = "1", conflicts_with = "cpu_slots", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub slots_per_gpu: u32,

    /// End when there are no jobs any more
    #[arg(long)]
    pub until_drained: bool,

    /// End after so many jobs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_jobs: Option<u64>,

    /// End when there was nothing to do for so long, such as `30m`
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    pub idle_timeout: Option<Duration>,

    /// End after so long, such as `3h30m` or `3:30:00`: trials are asked to end `--grace` before, and their jobs given back. In a job
    /// of Slurm no later than that ends
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    pub time_limit: Option<Duration>,

    // For whoever starts another agent after this one: how many of its jobs are left.
    /// Write a byte to standard output for every job that is started
    #[arg(long, hide = true)]
    pub tally: bool,

    /// End when the process that started this one does
    #[arg(long)]
    pub exit_with_parent: bool,

    /// The program that trains [default: `sweep-trainer` beside this program, or else on PATH]
    #[arg(long, value_name = "PATH")]
    pub trainer: Option<PathBuf>,

    /// How long trials have to end by themselves when the agent is asked to stop
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub grace: u64,

    /// How the log on stderr is written: for people, or one JSON object a line
    #[arg(long, env = "SWEEP_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    // Read here because the environment is read in one place.
    #[arg(long, env = "CUDA_VISIBLE_DEVICES", hide = true)]
    pub cuda_visible_devices: Option<String>,

    #[arg(long, env = "CUDA_DEVICE_ORDER", hide = true)]
    pub cuda_device_order: Option<String>,

    #[arg(long, env = "SLURM_STEP_GPUS", hide = true)]
    pub slurm_step_gpus: Option<String>,

    #[arg(long, env = "SLURM_JOB_GPUS", hide = true)]
    pub slurm_job_gpus: Option<String>,

    #[arg(long, env = "ROCR_VISIBLE_DEVICES", hide = true)]
    pub rocr_visible_devices: Option<String>,

    #[command(flatten)]
    pub slurm: SlurmVariables,
}

impl Options {
    /// What no single option is wrong about.
    pub(crate) fn check(&self) -> Result<(), UselessTimeLimit> {
        let grace = Duration::from_secs(self.grace);
        match self.time_limit {
            Some(limit) if limit <= grace => Err(UselessTimeLimit { limit, grace }),
            _ => Ok(()),
        }
    }
}

/// A time limit that leaves no time to work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`--time-limit` ({} s) leaves no time to work, since trials are asked to end `--grace` ({} s) before; raise it or lower \
     the grace",
    limit.as_secs(),
    grace.as_secs()
)]
pub(crate) struct UselessTimeLimit {
    limit: Duration,
    grace: Duration,
}

fn read_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok_or_else(|| "expected a time with units, such as `3h30m`, `45m` or `3:30:00`".to_owned())
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Which GPUs to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GpuChoice {
    All,
    None,
    /// By their place among those that are visible, from 0.
    These(Vec<usize>),
}

/// Text that chooses no GPUs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `all`, `none`, or numbers like `0,1`, each once")]
pub(crate) struct ParseGpuChoiceError;

impl FromStr for GpuChoice {
    type Err = ParseGpuChoiceError;

    fn from_str(text: &str) -> Result<GpuChoice, ParseGpuChoiceError> {
        match text {
            "all" => return Ok(GpuChoice::All),
            "none" => return Ok(GpuChoice::None),
            _ => {}
        }
        let mut numbers: Vec<usize> = Vec::new();
        for part in text.split(',') {
            let number = part.trim().parse().map_err(|_| ParseGpuChoiceError)?;
            if numbers.contains(&number) {
                return Err(ParseGpuChoiceError);
            }
            numbers.push(number);
        }
        Ok(GpuChoice::These(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn gpus_are_chosen_by_word_or_by_number() {
        assert_eq!("all".parse(), Ok(GpuChoice::All));
        assert_eq!("none".parse(), Ok(GpuChoice::None));
        assert_eq!("0, 2".parse(), Ok(GpuChoice::These(vec![0, 2])));
        for text in ["", "gpu", "0,", "-1", "1,1"] {
            assert_eq!(text.parse::<GpuChoice>(), Err(ParseGpuChoiceError), "{text}");
        }
    }

    fn parse(more: &[&str]) -> Result<Options, clap::Error> {
        let minimal =
            ["sweep-worker", "--coordinator=http://h:1", "--token-file=t", "--state-dir=s", "--datasets=d"];
        Options::try_parse_from(minimal.iter().chain(more))
    }

    #[test]
    fn cpu_slots_and_gpus_exclude_each_other_and_a_log_has_a_known_format() {
        assert!(parse(&[]).is_ok());
        assert!(parse(&["--cpu-slots=2", "--gpus=0"]).is_err());
        assert!(parse(&["--cpu-slots=2", "--slots-per-gpu=2"]).is_err());
        assert!(parse(&["--log-format=xml"]).is_err());
    }

    #[test]
    fn times_have_units_and_a_limit_leaves_time_to_work() {
        let options = parse(&["--time-limit=3h30m", "--idle-timeout=90s"]).unwrap();
        let times = (Some(Duration::from_secs(12_600)), Some(Duration::from_secs(90)));
        assert_eq!((options.time_limit, options.idle_timeout), times);
        assert_eq!(options.check(), Ok(()));
        for wrong in ["--time-limit=3", "--idle-timeout=soon", "--max-jobs=0"] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
        let error = parse(&["--time-limit=10s"]).unwrap().check().unwrap_err();
        assert!(error.to_string().starts_with("`--time-limit` (10 s) leaves no time to work"), "{error}");
    }
}
