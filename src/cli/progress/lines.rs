//! The words of the view.

use super::pace::Outlook;
use crate::protocol::http::{RunningJob, StatusResponse, SweepStatus, TrialCounts};
use crate::protocol::insight::SweepProgress;
use crate::report::{counted, decimals_of, duration, failure_line, grouped};

/// Rows for workers and for failures; more would push the rest off a small terminal.
const MOST_WORKERS: usize = 8;
const MOST_FAILURES: usize = 3;
/// Trials that are named in a worker's row.
const MOST_RUNNING: usize = 4;

/// One sweep, and what is known of it.
pub(super) struct Seen<'a> {
    pub(super) sweep: &'a SweepStatus,
    pub(super) progress: Option<&'a SweepProgress>,
    pub(super) epochs_per_second: Option<f64>,
    pub(super) outlook: Outlook,
}

/// `298/480 epochs · 7.4 epochs/s · 5/12 trials · 2 running · 1 failed · 12 min left`
pub(super) fn summary(seen: &Seen<'_>) -> String {
    let counts = &seen.sweep.trials;
    let mut parts = Vec::new();
    // Of programs that have no stages a trial is one epoch.
    if let Some(progress) = seen.progress.filter(|progress| counts_epochs(progress, counts)) {
        parts.push(format!("{}/{} epochs", grouped(progress.epochs_done), grouped(progress.epochs)));
        if let Some(speed) = seen.epochs_per_second {
            parts.push(format!("{} epochs/s", rate(speed)));
        }
    }
    parts.push(format!("{}/{} trials", grouped(counts.succeeded), grouped(counts.total)));
    for (n, what) in [(counts.running, "running"), (counts.failed, "failed"), (counts.cancelled, "cancelled")]
    {
        if n > 0 {
            parts.push(format!("{} {what}", grouped(n)));
        }
    }
    match seen.outlook {
        Outlook::Left(time) => parts.push(format!("{} left", duration(time.as_secs_f64()))),
        Outlook::Paused => parts.push("paused".to_owned()),
        Outlook::Unknown | Outlook::Over => {}
    }
    parts.join(" · ")
}

fn counts_epochs(progress: &SweepProgress, counts: &TrialCounts) -> bool {
    progress.epochs_unshared > counts.total
}

/// Three digits, as far as they say something.
fn rate(speed: f64) -> String {
    match speed {
        0.0..0.995 => format!("{speed:.2}"),
        0.995..99.5 => format!("{speed:.1}"),
        _ => format!("{speed:.0}"),
    }
}

/// The rows below the bars: the best trial, what sharing saves, who works on what, what failed.
pub(super) fn details(seen: &[Seen<'_>], status: &StatusResponse) -> Vec<String> {
    let mut rows = Vec::new();
    let is_one = seen.len() == 1;
    let of = |seen: &Seen<'_>| if is_one { String::new() } else { format!("sweep {} · ", seen.sweep.id) };
    for one in seen {
        let Some(progress) = one.progress else { continue };
        if let (Some(best), Some(metric)) = (progress.best, &progress.metric) {
            rows.push(row(
                "best",
                &format!("{}trial {} · {} {:.4}", of(one), best.trial, metric.name, best.value),
            ));
        }
        let saved = progress.epochs_saved();
        if saved > 0 {
            let all = counted(progress.epochs_unshared, "epoch", "epochs");
            rows.push(row("sharing", &format!("{}saves {} of {all}", of(one), grouped(saved))));
        }
    }
    rows.extend(workers(seen, status));
    for one in seen {
        let failures = one.progress.map(|progress| progress.recent_failures.as_slice()).unwrap_or_default();
        for failure in failures.iter().take(MOST_FAILURES) {
            rows.push(row("failed", &format!("{}{}", of(one), failure_line(failure))));
        }
    }
    rows
}

fn workers(seen: &[Seen<'_>], status: &StatusResponse) -> Vec<String> {
    let mut rows = Vec::new();
    let is_seen = |job: &&RunningJob| seen.iter().any(|one| one.sweep.id == job.sweep);
    for worker in &status.workers {
        let running: Vec<&RunningJob> =
            status.running.iter().filter(|job| job.worker == worker.id).filter(is_seen).collect();
        if running.is_empty() && worker.problem.is_none() && status.workers.len() > 1 {
            continue;
        }
        if rows.len() == MOST_WORKERS {
            rows.push(row("", &format!("and more: {} workers are there", status.workers.len())));
            break;
        }
        let mut parts = vec![format!(
            "worker {} · {}/{} slots",
            worker.id,
            worker.running.min(worker.slots),
            worker.slots
        )];
        if let Some(problem) = &worker.problem {
            parts.push(format!("takes no jobs: {problem}"));
        }
        parts.extend(running.iter().take(MOST_RUNNING).map(|job| running_job(job, seen.len() == 1)));
        if running.len() > MOST_RUNNING {
            parts.push(format!("and {} more", running.len() - MOST_RUNNING));
        }
        rows.push(row(&worker.host, &parts.join(" · ")));
    }
    rows
}

fn running_job(job: &RunningJob, is_one_sweep: bool) -> String {
    let mut text = match is_one_sweep {
        true => format!("trial {}", job.trial),
        false => format!("trial {} of {}", job.trial, job.sweep),
    };
    if has_known_end(job) {
        text += &format!(" epoch {}/{}", job.epoch, job.last_epoch);
    }
    if let Some(metric) = job.metric {
        text += &format!(" ({metric:.0$})", decimals_of(metric.abs()));
    }
    text
}

/// A program's epochs are its own affair: nobody knows how many there will be.
fn has_known_end(job: &RunningJob) -> bool {
    job.last_epoch > 1
}

fn row(head: &str, rest: &str) -> String {
    const WIDTH: usize = 9;
    let head: String = match head.chars().count() > WIDTH {
        true => head.chars().take(WIDTH - 1).chain(['…']).collect(),
        false => head.to_owned(),
    };
    format!("  {head:WIDTH$} {rest}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{progress, status};
    use super::*;
    use crate::protocol::insight::{BestTrial, RecentFailure};
    use crate::vocabulary::{FailureReason, Goal, Metric, TrialNumber};

    #[test]
    fn the_view_shows_progress_workers_the_best_trial_and_failures() {
        let status = status();
        let progress = SweepProgress {
            metric: Some(Metric { name: "top1".to_owned(), goal: Goal::Maximize }),
            best: Some(BestTrial { trial: TrialNumber(4), value: 41.2 }),
            recent_failures: vec![RecentFailure {
                trial: TrialNumber(7),
                reason: FailureReason::GpuOom,
                message: "CUDA out of memory".to_owned(),
                seconds_ago: 12.0,
                is_final: false,
            }],
            ..progress(120)
        };
        let seen = [Seen {
            sweep: &status.sweeps[0],
            progress: Some(&progress),
            epochs_per_second: Some(0.75),
            outlook: Outlook::Left(Duration::from_secs(700)),
        }];
        insta::assert_snapshot!(format!("{}\n{}", summary(&seen[0]), details(&seen, &status).join("\n")));
    }

    #[test]
    fn the_summary_leaves_out_what_is_zero_or_unknown() {
        let status = status();
        let mut sweep = status.sweeps[0].clone();
        sweep.trials = TrialCounts { total: 6, succeeded: 5, failed: 1, ..TrialCounts::default() };
        let seen = |outlook| Seen { sweep: &sweep, progress: None, epochs_per_second: None, outlook };
        assert_eq!(summary(&seen(Outlook::Over)), "5/6 trials · 1 failed");
        assert_eq!(summary(&seen(Outlook::Paused)), "5/6 trials · 1 failed · paused");
        let one_epoch = SweepProgress { epochs: 6, epochs_unshared: 6, ..progress(5) };
        let program = Seen { progress: Some(&one_epoch), ..seen(Outlook::Unknown) };
        assert_eq!(summary(&program), "5/6 trials · 1 failed", "a program's trial is no epoch");
    }
}
