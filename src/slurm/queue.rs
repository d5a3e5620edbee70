//! What Slurm's queue says of this user's jobs.

use std::time::Duration;

use super::command::{Question, SlurmError, ask};

/// What all submissions have in their comments.
pub(super) const MARKED: &str = "sweep ";

/// Nothing waits for the answer but a line of `sweep status`.
const WITHIN: Duration = Duration::from_secs(5);

/// One job, or one task of an array, that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedTask {
    /// `SLURM_JOB_ID` once it has started; before that a task of an array has the array's.
    pub job: u32,
    /// What `sbatch` printed.
    pub submitted_as: u32,
    /// Its place in the array.
    pub task: Option<u32>,
    pub stage: Stage,
    /// Why it waits, in Slurm's word.
    pub reason: String,
    pub comment: String,
}

impl QueuedTask {
    /// Whether it was submitted from here. By its number alone it may be a job of another cluster, or of a Slurm that counts anew.
    #[must_use]
    pub(super) fn is_ours(&self) -> bool {
        self.comment.contains(MARKED)
    }

    /// Whether it is of the arrays of these ids, or of those whose comment begins with this.
    #[must_use]
    pub fn is_of(&self, jobs: &[u32], marker: &str) -> bool {
        // Sites add to comments.
        jobs.contains(&self.submitted_as) || self.comment.contains(marker)
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has not started, or is to be started again.
    Pending,
    /// Its processes run, or may be stopped for a while.
    Running,
    /// Its processes are being ended.
    Ending,
}

/// All jobs of this user that have not ended, each task of an array by itself.
pub async fn list_queue() -> Result<Vec<QueuedTask>, SlurmError> {
    let user = rustix::process::geteuid().as_raw();
    // Comments are free text, and so the last ones.
    let arguments = [
        format!("--user={user}"),
        "--noheader".to_owned(),
        "--array".to_owned(),
        // Those in partitions that are hidden from their own users, too.
        "--all".to_owned(),
        "--format=%A|%F|%K|%T|%r|%k".to_owned(),
    ];
    let answer =
        ask(Question { program: "squeue", arguments: &arguments, input: "", within: WITHIN }).await?;
    Ok(answer.lines().filter_map(parse_line).collect())
}

/// The name of the cluster whose queue this is.
pub(super) async fn find_cluster() -> Result<Option<String>, SlurmError> {
    let arguments = ["show".to_owned(), "config".to_owned()];
    let answer =
        ask(Question { program: "scontrol", arguments: &arguments, input: "", within: WITHIN }).await?;
    let mut lines = answer.lines().filter_map(|line| line.split_once('='));
    let name = lines.find(|(key, _)| key.trim() == "ClusterName").map(|(_, name)| name.trim().to_owned());
    Ok(name.filter(|name| !name.is_empty() && name != "(null)"))
}

fn parse_line(line: &str) -> Option<QueuedTask> {
    let mut fields = line.splitn(6, '|').map(str::trim);
    let (job, submitted_as, task) = (fields.next()?, fields.next()?, fields.next()?);
    let (state, reason, comment) = (fields.next()?, fields.next()?, fields.next()?);
    Some(QueuedTask {
        job: job.parse().ok()?,
        submitted_as: submitted_as.parse().ok()?,
        task: task.parse().ok(),
        stage: stage_of(state),
        reason: reason.to_owned(),
        comment: comment.to_owned(),
    })
}

/// squeue shows no job that has ended, so that a state of which nothing is known here is one of a job that is there.
fn stage_of(state: &str) -> Stage {
    match state {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => {
            Stage::Pending
        }
        "COMPLETING" | "STAGE_OUT" | "PREEMPTED" | "CANCELLED" | "FAILED" | "TIMEOUT" | "NODE_FAIL"
        | "COMPLETED" | "OUT_OF_MEMORY" | "BOOT_FAIL" | "DEADLINE" | "REVOKED" => Stage::Ending,
        _ => Stage::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_queue_is_read_with_free_text_at_its_end() {
        let task = parse_line("4715|4711|3|RUNNING|None|a | b").unwrap();
        assert_eq!((task.job, task.submitted_as, task.task), (4715, 4711, Some(3)));
        assert_eq!((task.stage, task.comment.as_str()), (Stage::Running, "a | b"));
        let waiting = parse_line("7|7|N/A|PENDING|Resources|(null)").unwrap();
        assert_eq!(
            (waiting.task, waiting.stage, waiting.reason.as_str()),
            (None, Stage::Pending, "Resources")
        );
        for line in ["", "squeue: error", "a|b|c|d|e|f"] {
            assert_eq!(parse_line(line), None, "{line}");
        }
    }
}
