//! What Slurm says of the job in which this agent runs, if it runs in one: which it is, how long it may last, and which CPUs are
//! its own.

use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use sweep::protocol::slurm::{ArrayTask, SlurmTask};
use sweep::vocabulary::parse_slurm_time;
use tokio::process::Command;
use tokio::time::timeout;

/// A Slurm that is busy answers within seconds; the signal before the limit comes all the same.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// Slurm's variables, read with the options because the environment is read in one place. As text: a variable of an unforeseen
/// kind must not keep the agent from working.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SlurmVariables {
    #[arg(long, env = "SLURM_JOB_ID", hide = true)]
    slurm_job_id: Option<String>,
    #[arg(long, env = "SLURM_ARRAY_JOB_ID", hide = true)]
    slurm_array_job_id: Option<String>,
    #[arg(long, env = "SLURM_ARRAY_TASK_ID", hide = true)]
    slurm_array_task_id: Option<String>,
    #[arg(long, env = "SLURM_RESTART_COUNT", hide = true)]
    slurm_restart_count: Option<String>,
    #[arg(long, env = "SLURM_CLUSTER_NAME", hide = true)]
    slurm_cluster_name: Option<String>,
    /// Seconds since 1970. Older versions of Slurm don't have it.
    #[arg(long, env = "SLURM_JOB_END_TIME", hide = true)]
    slurm_job_end_time: Option<String>,
    #[arg(long, env = "SLURM_CPUS_PER_TASK", hide = true)]
    slurm_cpus_per_task: Option<String>,
    #[arg(long, env = "SLURM_CPUS_ON_NODE", hide = true)]
    slurm_cpus_on_node: Option<String>,
}

impl SlurmVariables {
    /// The job in which this agent runs.
    pub(crate) fn task(&self) -> Option<SlurmTask> {
        let array = number(&self.slurm_array_job_id).zip(number(&self.slurm_array_task_id));
        Some(SlurmTask {
            cluster: self.slurm_cluster_name.clone().filter(|name| !name.is_empty()),
            job: number(&self.slurm_job_id)?,
            array: array.map(|(job, task)| ArrayTask { job, task }),
            // There is none before the first restart.
            restarts: number(&self.slurm_restart_count).unwrap_or(0),
        })
    }

    /// How many CPUs are this agent's, where Slurm says so. Not every cluster keeps a job from using more.
    pub(crate) fn cpus(&self) -> Option<usize> {
        self.task()?;
        let cpus = number(&self.slurm_cpus_per_task).or_else(|| number(&self.slurm_cpus_on_node))?;
        usize::try_from(cpus).ok().filter(|cpus| *cpus > 0)
    }

    /// How long the job may still last; nothing where there is no limit or Slurm doesn't say.
    pub(crate) async fn time_left(&self) -> Option<Duration> {
        let task = self.task()?;
        if let Some(end) = self.slurm_job_end_time.as_ref().and_then(|end| end.parse().ok()) {
            return Some(Duration::from_secs(end).saturating_sub(since_1970()));
        }
        match ask(&task).await {
            Ok(answer) => parse_left(&answer),
            Err(problem) => {
                tracing::warn!("how long Slurm's job {task} may last is not known: {problem}");
                None
            }
        }
    }
}

fn number(text: &Option<String>) -> Option<u32> {
    text.as_ref()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "Slurm names the end of a job as a time of day")]
fn since_1970() -> Duration {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What `squeue` says is left.
async fn ask(task: &SlurmTask) -> Result<String, String> {
    // By its place in the array: the number of the array's last task means the whole array.
    let asked = Command::new("squeue")
        .args(["--noheader", "--format=%L", &format!("--jobs={task}")])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(LONGEST_ANSWER, asked).await {
        Err(_) => return Err(format!("`squeue` gave no answer within {} s", LONGEST_ANSWER.as_secs())),
        Ok(Err(error)) => return Err(format!("can't start `squeue`: {error}")),
        Ok(Ok(output)) => output,
    };
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// `3:29:58`, or a word where there is no limit.
fn parse_left(answer: &str) -> Option<Duration> {
    parse_slurm_time(answer.lines().next()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn a_task_of_an_array_is_known_by_its_own_number_and_its_place() {
        let variables = SlurmVariables {
            slurm_job_id: text("4715"),
            slurm_array_job_id: text("4711"),
            slurm_array_task_id: text("3"),
            slurm_restart_count: text("2"),
            slurm_cluster_name: text("test"),
            ..SlurmVariables::default()
        };
        let task = variables.task().unwrap();
        assert_eq!((task.job, task.submitted_as(), task.restarts), (4715, 4711, 2));
        assert_eq!((task.to_string(), task.cluster.as_deref()), ("4711_3".to_owned(), Some("test")));
        let alone = SlurmVariables { slurm_job_id: text("7"), ..SlurmVariables::default() }.task().unwrap();
        assert_eq!((alone.to_string(), alone.restarts), ("7".to_owned(), 0));
        assert_eq!(SlurmVariables::default().task(), None);
        assert_eq!(SlurmVariables { slurm_job_id: text("x"), ..SlurmVariables::default() }.task(), None);
    }

    #[test]
    fn the_cpus_of_a_task_come_before_those_of_the_node_and_count_only_in_a_job() {
        let of = |job: &str, per_task: Option<&str>| SlurmVariables {
            slurm_job_id: text(job),
            slurm_cpus_per_task: per_task.and_then(text),
            slurm_cpus_on_node: text("8"),
            ..SlurmVariables::default()
        };
        assert_eq!(of("7", Some("5")).cpus(), Some(5));
        assert_eq!(of("7", None).cpus(), Some(8));
        assert_eq!(of("", Some("5")).cpus(), None);
    }

    #[test]
    fn what_is_left_is_read_as_squeue_writes_it() {
        assert_eq!(parse_left("3:29:58\n"), Some(Duration::from_secs(12_598)));
        assert_eq!(parse_left("59:58\n"), Some(Duration::from_secs(3598)));
        assert_eq!(parse_left("2-00:00:00\n"), Some(Duration::from_secs(172_800)));
        for answer in ["UNLIMITED\n", "NOT_SET\n", "INVALID\n", ""] {
            assert_eq!(parse_left(answer), None, "{answer}");
        }
    }

    #[tokio::test]
    async fn the_end_is_taken_from_the_environment_where_it_is_there() {
        let in_an_hour = since_1970() + Duration::from_secs(3600);
        let variables = SlurmVariables {
            slurm_job_id: text("7"),
            slurm_job_end_time: text(&in_an_hour.as_secs().to_string()),
            ..SlurmVariables::default()
        };
        let left = variables.time_left().await.unwrap();
        assert!(left <= Duration::from_secs(3600) && left > Duration::from_secs(3000), "{left:?}");
    }
}
