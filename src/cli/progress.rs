//! What a person sees while work goes on: a view that redraws itself on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use crate::protocol::http::{RunningJob, StatusResponse, SweepState, SweepStatus, TrialCounts};
use crate::vocabulary::SweepId;

/// Plain lines come no faster, so that a log stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Rows for running jobs; more would push the rest off a small terminal.
const MOST_RUNNING_SHOWN: usize = 8;

/// Steps of the bar per trial, so that it moves with every epoch.
const STEPS_PER_TRIAL: f64 = 1000.0;

/// The view of one or all sweeps.
pub(super) struct Progress {
    view: View,
    sweep: Option<SweepId>,
    output: Output,
    started: Instant,
    /// Trials that were done when the work began; they say nothing about its speed.
    done_before: Option<f64>,
}

/// What is known of when it will be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlook {
    Unknown,
    /// When somebody says `sweep resume`.
    Paused,
    /// At the speed so far.
    Left(Duration),
}

enum View {
    Live(ProgressBar),
    Lines { last: Option<TrialCounts>, last_at: Option<Instant> },
    Quiet,
}

impl Progress {
    pub(super) fn start(sweep: Option<SweepId>, quiet: bool, output: Output) -> Progress {
        let view = match (quiet, output.is_live()) {
            (true, _) => View::Quiet,
            (false, false) => View::Lines { last: None, last_at: None },
            (false, true) => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                bar.set_style(style());
                View::Live(bar)
            }
        };
        Progress { view, sweep, output, started: Instant::now(), done_before: None }
    }

    pub(super) fn show(&mut self, status: &StatusResponse) {
        let counts = self.counts(status);
        let running: Vec<&RunningJob> =
            status.running.iter().filter(|job| self.sweep.is_none_or(|sweep| job.sweep == sweep)).collect();
        let done = done(&counts, &running);
        let outlook = if self.is_paused(status) { Outlook::Paused } else { self.outlook(&counts, done) };
        match &mut self.view {
            View::Quiet => {}
            View::Live(bar) => {
                bar.set_length(steps(as_float(counts.total)));
                bar.set_position(steps(done));
                bar.set_message(live_message(&counts, &running, outlook));
            }
            View::Lines { last, last_at } => {
                let due = last_at.is_none_or(|at| at.elapsed() >= LINE_INTERVAL);
                if *last != Some(counts) && (due || is_over(&counts)) {
                    self.output.note(&summary(&counts, outlook));
                    (*last, *last_at) = (Some(counts), Some(Instant::now()));
                }
            }
        }
    }

    /// A line that stays, above the view.
    pub(super) fn note(&self, line: &str) {
        match &self.view {
            View::Live(bar) => bar.suspend(|| self.output.note(line)),
            View::Lines { .. } | View::Quiet => self.output.note(line),
        }
    }

    /// Takes a redrawing view away.
    pub(super) fn end(&self) {
        if let View::Live(bar) = &self.view {
            bar.finish_and_clear();
        }
    }

    fn sweeps<'a>(&self, status: &'a StatusResponse) -> impl Iterator<Item = &'a SweepStatus> {
        let shown = self.sweep;
        status.sweeps.iter().filter(move |sweep| shown.is_none_or(|id| sweep.id == id))
    }

    /// Whether something is left to do and all of it waits for `sweep resume`.
    fn is_paused(&self, status: &StatusResponse) -> bool {
        let mut left =
            self.sweeps(status).filter(|sweep| sweep.trials.queued + sweep.trials.running > 0).peekable();
        left.peek().is_some() && left.all(|sweep| sweep.state == SweepState::Paused)
    }

    fn counts(&self, status: &StatusResponse) -> TrialCounts {
        let mut sum = TrialCounts::default();
        for sweep in self.sweeps(status) {
            sum.total += sweep.trials.total;
            sum.queued += sweep.trials.queued;
            sum.running += sweep.trials.running;
            sum.succeeded += sweep.trials.succeeded;
            sum.failed += sweep.trials.failed;
            sum.cancelled += sweep.trials.cancelled;
        }
        sum
    }

    /// Unknown before anything was done.
    fn outlook(&mut self, counts: &TrialCounts, done: f64) -> Outlook {
        // What was cancelled is neither done nor left to do.
        let (done, total) = (done - as_float(counts.cancelled), as_float(counts.total - counts.cancelled));
        let before = *self.done_before.get_or_insert(done);
        let share = (done - before) / (total - before).max(f64::MIN_POSITIVE);
        if share <= 0.0 {
            return Outlook::Unknown;
        }
        Outlook::Left(self.started.elapsed().mul_f64(((1.0 - share) / share).clamp(0.0, 1e6)))
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_bar:.cyan/blue} {msg}")
        .expect("the template is a constant and its keys exist")
        .progress_chars("━╸─")
}

/// Trials done, counting running ones by their epochs.
fn done(counts: &TrialCounts, running: &[&RunningJob]) -> f64 {
    let ended = as_float(counts.succeeded + counts.failed + counts.cancelled);
    let part = |job: &RunningJob| f64::from(job.epoch.min(job.last_epoch)) / f64::from(job.last_epoch);
    ended + running.iter().filter(|job| has_known_end(job)).map(|job| part(job)).sum::<f64>()
}

/// A program's epochs are its own affair: nobody knows how many there will be.
fn has_known_end(job: &RunningJob) -> bool {
    job.last_epoch > 1
}

fn is_over(counts: &TrialCounts) -> bool {
    counts.queued + counts.running == 0
}

fn summary(counts: &TrialCounts, outlook: Outlook) -> String {
    let mut text = format!("{}/{} trials", counts.succeeded, counts.total);
    for (n, what) in [(counts.running, "running"), (counts.failed, "failed"), (counts.cancelled, "cancelled")]
    {
        if n > 0 {
            text += &format!(" · {n} {what}");
        }
    }
    match outlook {
        Outlook::Left(time) if !is_over(counts) => text += &format!(" · {} left", HumanDuration(time)),
        Outlook::Paused => text += " · paused",
        Outlook::Left(_) | Outlook::Unknown => {}
    }
    text
}

fn live_message(counts: &TrialCounts, running: &[&RunningJob], outlook: Outlook) -> String {
    let mut text = summary(counts, outlook);
    for job in running.iter().take(MOST_RUNNING_SHOWN) {
        text += &format!("\n  trial {}", job.trial);
        if has_known_end(job) {
            text += &format!(" · epoch {}/{}", job.epoch, job.last_epoch);
        }
        if let Some(metric) = job.metric {
            text += &format!(" · {metric:.2}");
        }
    }
    if running.len() > MOST_RUNNING_SHOWN {
        text += &format!("\n  and {} more", running.len() - MOST_RUNNING_SHOWN);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "a bar needs no exact counts beyond 2^53 trials")]
fn as_float(n: u64) -> f64 {
    n as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "trials done are neither negative nor many"
)]
fn steps(trials: f64) -> u64 {
    (trials * STEPS_PER_TRIAL) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{TrialNumber, WorkerId};

    #[test]
    fn the_summary_leaves_out_what_is_zero() {
        let counts = TrialCounts { total: 6, succeeded: 2, running: 2, queued: 2, ..TrialCounts::default() };
        assert_eq!(
            summary(&counts, Outlook::Left(Duration::from_secs(90))),
            "2/6 trials · 2 running · 2 minutes left"
        );
        let over = TrialCounts { total: 6, succeeded: 5, failed: 1, ..TrialCounts::default() };
        assert_eq!(summary(&over, Outlook::Left(Duration::from_secs(90))), "5/6 trials · 1 failed");
        assert_eq!(summary(&counts, Outlook::Paused), "2/6 trials · 2 running · paused");
    }

    #[test]
    fn a_running_trial_counts_by_its_epochs() {
        let job = RunningJob {
            sweep: SweepId(1),
            trial: TrialNumber(3),
            worker: WorkerId(1),
            epoch: 3,
            last_epoch: 12,
            metric: Some(31.25),
        };
        let counts = TrialCounts { total: 4, succeeded: 1, running: 1, queued: 2, ..TrialCounts::default() };
        assert!((done(&counts, &[&job]) - 1.25).abs() < 1e-12);
        let program = RunningJob { epoch: 7, last_epoch: 1, ..job.clone() };
        assert!((done(&counts, &[&program]) - 1.0).abs() < 1e-12, "its end is unknown");
        assert_eq!(
            live_message(&counts, &[&job], Outlook::Unknown),
            "1/4 trials · 1 running\n  trial 3 · epoch 3/12 · 31.25"
        );
    }
}
