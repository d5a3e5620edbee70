//! Why a trial is where it is, as people read it.

use comfy_table::{Cell, CellAlignment};

use super::table::{lines_of, new_table};
use crate::protocol::http::TrialState;
use crate::protocol::insight::{ExplainedStage, Explanation};

/// The state, then each cause with what to do about it, then the trial's jobs where there are several.
#[must_use]
pub fn explanation(explained: &Explanation) -> String {
    let Explanation { sweep, trial, state, causes, stages } = explained;
    let verb = match state {
        TrialState::Queued | TrialState::Running => "is",
        TrialState::Succeeded | TrialState::Failed => "has",
        TrialState::Cancelled => "was",
    };
    let mut text = format!("trial {trial} of sweep {sweep} {verb} {state}\n");
    for cause in causes {
        text += &format!("  {}\n", cause.what);
        if let Some(help) = &cause.help {
            text += &format!("    → {help}\n");
        }
    }
    if stages.len() > 1 {
        text += "\n";
        text += &stages_table(stages);
    }
    text
}

fn stages_table(stages: &[ExplainedStage]) -> String {
    let mut table = new_table();
    table.set_header(["job", "epochs", "state", "done", "attempt", "worker"]);
    for stage in stages {
        let length = stage.last_epoch - stage.first_epoch + 1;
        let done = match stage.state.as_str() {
            "succeeded" => length,
            _ => (stage.epoch + 1).saturating_sub(stage.first_epoch).min(length),
        };
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(stage.job),
            right(format!("{}–{}", stage.first_epoch, stage.last_epoch)),
            Cell::new(&stage.state),
            right(format!("{done}/{length}")),
            right(stage.attempt.map_or_else(|| "0".to_owned(), |attempt| attempt.to_string())),
            right(stage.worker.map(|worker| worker.to_string()).unwrap_or_default()),
        ]);
    }
    lines_of(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::insight::{Cause, CauseCode};
    use crate::vocabulary::{Attempt, JobId, SweepId, TrialNumber, TrialState, WorkerId};

    #[test]
    fn an_explanation_says_what_to_do_and_shows_the_jobs() {
        let stage = |job, epochs: (u32, u32), state: &str, epoch, worker: Option<i64>| ExplainedStage {
            job: JobId(job),
            first_epoch: epochs.0,
            last_epoch: epochs.1,
            state: state.to_owned(),
            epoch,
            attempt: worker.map(|_| Attempt(1)),
            worker: worker.map(WorkerId),
        };
        let cause = |code, what: &str, help: Option<&str>| Cause {
            code,
            what: what.to_owned(),
            help: help.map(str::to_owned),
        };
        let explained = Explanation {
            sweep: SweepId(3),
            trial: TrialNumber(7),
            state: TrialState::Queued,
            causes: vec![
                cause(CauseCode::ParentUnfinished, "its epochs 1–30 run now on node1 (worker 2)", None),
                cause(CauseCode::Paused, "sweep 3 is paused", Some("`sweep resume 3` goes on with it")),
            ],
            stages: vec![stage(1, (1, 30), "leased", 12, Some(2)), stage(4, (31, 50), "blocked", 0, None)],
        };
        insta::assert_snapshot!(explanation(&explained));
    }
}
