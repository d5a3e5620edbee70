//! Submission: a job that Slurm has taken is known here, or it is taken back.

use std::io::Read as _;
use std::pin::pin;
use std::time::Duration;

use super::command::{Question, SlurmError, ask};
use super::queue::{MARKED, QueuedTask, Stage, list_queue};
use crate::protocol::slurm::{SlurmJob, SlurmRole};

/// How often a submission whose answer got lost is looked for, and how long to wait in between: Slurm may still be about to
/// store it.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// How long sbatch may still answer when somebody interrupts. Ended at once, it might have sent what Slurm has not stored yet.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Cancelling waits for nothing.
const CANCELLING: Duration = Duration::from_secs(30);

/// A job that Slurm has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedJob {
    pub job: u32,
    /// The cluster's name, where sbatch said it.
    pub cluster: Option<String>,
}

/// What is to be submitted.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    pub script: &'a str,
    /// Slurm's comment on the job, which no other job has: by this one is found again whose answer got lost.
    pub marker: &'a str,
    /// What has to be before it may start, as `--dependency` has it.
    pub dependency: Option<&'a str>,
    pub within: Duration,
}

/// Why nothing was submitted, or it isn't known.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Nothing was submitted.
    #[error(transparent)]
    Refused(#[from] SlurmError),
    #[error("{sbatch}; what it had submitted all the same (job {job}) was cancelled")]
    TakenBack { sbatch: SlurmError, job: u32 },
    #[error(
        "{sbatch}; whether the job was submitted is not known, since Slurm's queue can't be read ({queue}): look for one with the \
         comment `{marker}` (`squeue --me -o '%i %k'`) and `scancel` it"
    )]
    Unknown { sbatch: SlurmError, queue: SlurmError, marker: String },
}

/// Submits a script, unless `interrupted` comes first.
///
/// # Errors
/// When Slurm refuses or doesn't answer, or somebody interrupts; then nothing is submitted, as far as that can be known.
pub async fn submit(
    submission: Submission<'_>,
    interrupted: impl Future<Output = ()>,
) -> Result<SubmittedJob, SubmitError> {
    let marker = submission.marker;
    let mut arguments = vec!["--parsable".to_owned(), format!("--comment={marker}")];
    arguments.extend(submission.dependency.map(|dependency| format!("--dependency={dependency}")));
    let question = Question {
        program: "sbatch",
        arguments: &arguments,
        input: submission.script,
        within: submission.within,
    };
    let program = question.program;
    let mut asking = pin!(ask(question));
    let answer = tokio::select! {
        answer = &mut asking => answer,
        () = interrupted => {
            let last = tokio::time::timeout(LAST_WORD, asking).await;
            return Err(interrupt(last.ok(), SlurmError::Interrupted { program }, marker).await);
        }
    };
    let submitted = answer.and_then(|answer| {
        let unreadable = || SlurmError::Unreadable { program, answer: answer.trim().to_owned() };
        parse_answer(&answer).ok_or_else(unreadable)
    });
    match submitted {
        Ok(submitted) => Ok(submitted),
        Err(sbatch) if sbatch.is_unclear() => Err(take_back(sbatch, marker).await),
        Err(sbatch) => Err(sbatch.into()),
    }
}

/// Takes back what sbatch has said last, if it said anything.
async fn interrupt(
    last: Option<Result<String, SlurmError>>,
    interrupted: SlurmError,
    marker: &str,
) -> SubmitError {
    let job = match last {
        Some(Err(sbatch)) if !sbatch.is_unclear() => return interrupted.into(),
        Some(Ok(answer)) => parse_answer(&answer).map(|submitted| submitted.job),
        _ => None,
    };
    let Some(job) = job else { return take_back(interrupted, marker).await };
    match cancel(&[job]).await {
        Ok(()) => SubmitError::TakenBack { sbatch: interrupted, job },
        Err(queue) => SubmitError::Unknown { sbatch: interrupted, queue, marker: marker.to_owned() },
    }
}

/// Cancels jobs. Slurm says nothing of those that it doesn't know.
///
/// # Errors
/// When Slurm doesn't answer.
pub async fn cancel(jobs: &[u32]) -> Result<(), SlurmError> {
    let arguments: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    ask(Question { program: "scancel", arguments: &arguments, input: "", within: CANCELLING }).await.map(drop)
}

/// Cancels those tasks of jobs that have not started.
async fn cancel_pending(jobs: &[u32]) -> Result<(), SlurmError> {
    let jobs = jobs.iter().map(ToString::to_string);
    let arguments: Vec<String> = std::iter::once("--state=PENDING".to_owned()).chain(jobs).collect();
    ask(Question { program: "scancel", arguments: &arguments, input: "", within: CANCELLING }).await.map(drop)
}

/// Cancels the workers of these submissions that have not started. Whether none of them is left at all.
///
/// # Errors
/// When Slurm doesn't answer.
pub async fn dismiss(submitted: &[SlurmJob]) -> Result<bool, SlurmError> {
    let mine: Vec<u32> =
        submitted.iter().filter(|job| job.role != SlurmRole::Coordinator).map(|job| job.job).collect();
    if mine.is_empty() {
        return Ok(true);
    }
    let queue = list_queue().await?;
    let is_mine = |task: &&QueuedTask| task.is_ours() && mine.contains(&task.submitted_as);
    let left: Vec<&QueuedTask> = queue.iter().filter(is_mine).collect();
    let mut waiting: Vec<u32> =
        left.iter().filter(|task| task.stage == Stage::Pending).map(|task| task.submitted_as).collect();
    waiting.dedup();
    if !waiting.is_empty() {
        cancel_pending(&waiting).await?;
    }
    Ok(left.is_empty())
}

/// Looks for the submission and cancels it.
async fn take_back(sbatch: SlurmError, marker: &str) -> SubmitError {
    let mut last = None;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        last = match list_queue().await {
            Ok(queue) => match queue.iter().find(|task| task.comment.contains(marker)) {
                Some(task) => match cancel(&[task.submitted_as]).await {
                    Ok(()) => return SubmitError::TakenBack { sbatch, job: task.submitted_as },
                    Err(error) => Some(error),
                },
                None => None,
            },
            Err(error) => Some(error),
        };
    }
    match last {
        None => SubmitError::Refused(sbatch),
        Some(queue) => SubmitError::Unknown { sbatch, queue, marker: marker.to_owned() },
    }
}

/// The last line that is `4711`, or `4711;cluster`: sites wrap sbatch and say more before and after it.
fn parse_answer(answer: &str) -> Option<SubmittedJob> {
    answer.lines().rev().find_map(parse_line)
}

fn parse_line(line: &str) -> Option<SubmittedJob> {
    let line = line.trim();
    let (job, cluster) = match line.split_once(';') {
        Some((job, cluster)) => (job, Some(cluster.to_owned())),
        None => (line, None),
    };
    Some(SubmittedJob { job: job.parse().ok()?, cluster })
}

/// A marker for a submission that has no name of its own.
///
/// # Errors
/// When `/dev/urandom` can't be read.
pub fn new_marker() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{MARKED}{}", &blake3::hash(&bytes).to_hex().as_str()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_jobs_number_and_maybe_the_clusters_name() {
        assert_eq!(parse_answer("4711\n"), Some(SubmittedJob { job: 4711, cluster: None }));
        let elsewhere = SubmittedJob { job: 4711, cluster: Some("big".to_owned()) };
        assert_eq!(parse_answer("a site's greeting\n4711;big\n"), Some(elsewhere));
        assert_eq!(
            parse_answer("4711\nYour quota is fine\n"),
            Some(SubmittedJob { job: 4711, cluster: None })
        );
        assert_eq!(parse_answer("Submitted batch job"), None);
    }
}
