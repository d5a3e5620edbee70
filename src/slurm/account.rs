//! What Slurm has kept account of: how jobs ended that have left its queue. Not every cluster does.

use std::time::Duration;

use super::command::{Question, SlurmError, ask};

const WITHIN: Duration = Duration::from_secs(5);
/// The state of a job that ended well.
pub(super) const COMPLETED: &str = "COMPLETED";

/// A job, or a task of an array, that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndedTask {
    pub(super) submitted_as: u32,
    /// In Slurm's word.
    pub(super) state: String,
}

/// How the tasks of these jobs ended, as far as they have.
pub(super) async fn list_ended(jobs: &[u32]) -> Result<Vec<EndedTask>, SlurmError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    let arguments = [
        "--noheader".to_owned(),
        "--parsable2".to_owned(),
        "--allocations".to_owned(),
        "--format=JobID,State".to_owned(),
        format!("--jobs={}", jobs.join(",")),
    ];
    let answer = ask(Question { program: "sacct", arguments: &arguments, input: "", within: WITHIN }).await?;
    Ok(answer.lines().filter_map(parse_line).collect())
}

/// `4711_3|TIMEOUT`, or `4711_3|CANCELLED by 1000`; `4711_[4-7]` has not begun.
fn parse_line(line: &str) -> Option<EndedTask> {
    let (id, state) = line.trim().split_once('|')?;
    let state = state.split(' ').next().unwrap_or(state);
    let has_not_ended =
        ["PENDING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING", "COMPLETING"].contains(&state);
    let job = id.split(['_', '+', '.']).next()?;
    (!has_not_ended).then_some(EndedTask { submitted_as: job.parse().ok()?, state: state.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_account_is_a_task_that_has_ended() {
        let state = |line: &str| parse_line(line).map(|task| (task.submitted_as, task.state));
        assert_eq!(state("4711_3|TIMEOUT"), Some((4711, "TIMEOUT".to_owned())));
        assert_eq!(state("4711|CANCELLED by 1000"), Some((4711, "CANCELLED".to_owned())));
        for line in ["4711_[4-7]|PENDING", "4711_2|RUNNING", "", "sacct: error"] {
            assert_eq!(state(line), None, "{line}");
        }
    }
}
