//! The values with which templates are filled in: what was asked for, and where things lie.

use std::time::Duration;

use super::quote::{literal_path, one_line};
use super::script::{CoordinatorScript, WorkerScript};
use super::wishes::{Count, SLURM_TICK, Setting, Wishes};
use crate::vocabulary::SweepId;

/// A Slurm job's name is for people, in narrow columns.
const LONGEST_NAME: usize = 60;
/// Of a short time limit no larger part passes between the end of the grace and the limit.
const SMALLEST_SHARE: u32 = 10;
/// A coordinator that moves has to answer whoever is asking; that takes moments.
const COORDINATOR_WARNING: Duration = Duration::from_secs(60);
/// Enough for the job table's caches and a submission of a million trials.
const COORDINATOR_MEMORY: &str = "1G";

/// Where things lie, on a file system that the nodes share, and how the programs are called.
#[derive(Debug, Clone)]
pub struct Place {
    pub project: String,
    pub state_folder: String,
    pub logs: String,
    pub datasets: String,
    /// `sweep`
    pub sweep: String,
    /// `sweep-worker`
    pub worker: String,
}

/// What the workers of one submission are for.
#[derive(Debug, Clone)]
pub struct Purpose {
    pub sweep: SweepId,
    pub name: String,
    /// Where the coordinator is, where the user said so.
    pub coordinator: Option<String>,
    /// Options of the worker itself.
    pub worker_options: Vec<String>,
}

/// What the script of the workers says.
#[must_use]
pub fn draft_workers(place: &Place, purpose: &Purpose, wishes: &Wishes) -> WorkerScript {
    let Purpose { sweep, name, coordinator, worker_options } = purpose;
    let workers = wishes.workers.map_or(1, Count::get);
    let at_a_time = wishes.max_running.map(|most| format!("%{most}")).unwrap_or_default();
    let mut options = vec![
        option("job-name", short_name(&format!("sweep-{sweep}-{name}"))),
        option("array", format!("0-{}{at_a_time}", workers - 1)),
    ];
    options.extend(wishes.sbatch_options());
    let more = [wishes.slot_options(), worker_options.clone()].concat();
    WorkerScript {
        title: format!("sweep {sweep} ({name})"),
        sweep: sweep.0,
        sweep_name: name.clone(),
        options,
        workers,
        output: format!("{}/slurm-%A_%a.log", literal_path(&place.logs)),
        signal: warning(wishes),
        requeue: wishes.may_requeue(),
        project: place.project.clone(),
        state_dir: place.state_folder.clone(),
        datasets: place.datasets.clone(),
        setup: wishes.setup.clone(),
        prefix: wishes.prefix.clone(),
        srun: wishes.nodes.is_some_and(|nodes| nodes.get() > 1),
        cpus_per_task: wishes.cpus_per_task.map(Count::get),
        program: place.worker.clone(),
        coordinator: coordinator.clone(),
        idle_timeout: wishes.idle_timeout().to_owned(),
        grace: wishes.grace().as_secs(),
        worker_options: more,
    }
}

/// What the script of a coordinator's own job says.
#[must_use]
pub fn draft_coordinator(place: &Place, wishes: &Wishes) -> CoordinatorScript {
    let mut options = vec![option("job-name", "sweep-coordinator".to_owned())];
    let asked = wishes.sbatch_options();
    for (key, value) in [("cpus-per-task", "1"), ("mem", COORDINATOR_MEMORY)] {
        if asked.iter().all(|asked| asked.key != key) {
            options.push(option(key, value.to_owned()));
        }
    }
    options.extend(asked);
    let seconds = match &wishes.time {
        Some(time) => COORDINATOR_WARNING.min(time.0 / SMALLEST_SHARE).as_secs(),
        None => COORDINATOR_WARNING.as_secs(),
    };
    CoordinatorScript {
        options,
        output: format!("{}/slurm-%j-coordinator.log", literal_path(&place.logs)),
        signal: format!("B:USR1@{seconds}"),
        requeue: wishes.may_requeue(),
        project: place.project.clone(),
        setup: wishes.setup.clone(),
        prefix: wishes.prefix.clone(),
        program: place.sweep.clone(),
    }
}

/// When Slurm is to warn the script, and with which signal: so that after the grace there is time to say goodbye.
pub(super) fn warning(wishes: &Wishes) -> String {
    let after = match &wishes.time {
        Some(time) => SLURM_TICK.min(time.0 / SMALLEST_SHARE),
        None => SLURM_TICK,
    };
    format!("B:USR1@{}", (wishes.grace() + after).as_secs())
}

pub(super) fn option(key: &str, value: String) -> Setting {
    Setting { key: key.to_owned(), value: Some(value) }
}

pub(super) fn short_name(name: &str) -> String {
    one_line(name).chars().take(LONGEST_NAME).collect::<String>().trim_end().to_owned()
}
