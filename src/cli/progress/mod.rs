//! What a person sees while work goes on: a view that redraws itself on a terminal, plain lines elsewhere.

mod lines;
mod pace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use super::output::{Paint, tame};
use crate::protocol::http::{StatusResponse, SweepStatus, TrialCounts};
use crate::protocol::insight::SweepProgress;
use crate::report::failure_line;
use crate::vocabulary::{SweepId, TrialNumber};
use lines::{Seen, details, summary};
use pace::Pace;

/// Plain lines come no faster, so that a log stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// More sweeps at a time are counted.
const MOST_SWEEPS: usize = 6;

/// The view of one or all sweeps.
pub(super) struct Progress {
    view: View,
    sweep: Option<SweepId>,
    output: Output,
    pace: Pace,
    /// What was heard last of each sweep.
    known: BTreeMap<SweepId, SweepProgress>,
}

enum View {
    Live(Live),
    Lines(Lines),
    Quiet,
}

struct Live {
    all: MultiProgress,
    bars: BTreeMap<SweepId, ProgressBar>,
    /// The rows below the bars.
    rest: ProgressBar,
    paint: Paint,
}

#[derive(Default)]
struct Lines {
    last: BTreeMap<SweepId, (TrialCounts, u64)>,
    last_at: Option<Instant>,
    /// Failures that were told, by trial and message.
    told: BTreeSet<(SweepId, TrialNumber, String)>,
}

impl Progress {
    pub(super) fn start(sweep: Option<SweepId>, quiet: bool, output: Output) -> Progress {
        let view = match (quiet, output.is_live()) {
            (true, _) => View::Quiet,
            (false, false) => View::Lines(Lines::default()),
            (false, true) => View::Live(Live::start(output.paint())),
        };
        Progress { view, sweep, output, pace: Pace::default(), known: BTreeMap::new() }
    }

    /// Whether anybody looks: then how far the sweeps are has to be asked.
    pub(super) fn is_shown(&self) -> bool {
        !matches!(self.view, View::Quiet)
    }

    /// The sweeps that are shown: one, or all that have something to do.
    pub(super) fn shown<'a>(&self, status: &'a StatusResponse) -> Vec<&'a SweepStatus> {
        let sweeps = status.sweeps.iter().filter(|sweep| match self.sweep {
            Some(id) => sweep.id == id,
            None => sweep.trials.left() > 0 || self.known.contains_key(&sweep.id),
        });
        sweeps.collect()
    }

    /// Takes in how far a sweep is.
    pub(super) fn note_progress(&mut self, progress: SweepProgress) {
        self.pace.note(&progress, Instant::now());
        self.known.insert(progress.sweep, progress);
    }

    pub(super) fn show(&mut self, status: &StatusResponse) {
        if !self.is_shown() {
            return;
        }
        let sweeps = self.shown(status);
        let seen: Vec<Seen<'_>> = sweeps
            .into_iter()
            .map(|sweep| {
                let progress = self.known.get(&sweep.id);
                Seen {
                    sweep,
                    progress,
                    epochs_per_second: self.pace.epochs_per_second(sweep.id),
                    outlook: self.pace.outlook(sweep, progress, status),
                }
            })
            .collect();
        match &mut self.view {
            View::Quiet => {}
            View::Live(live) => live.show(&seen, status),
            View::Lines(lines) => lines.show(&seen, self.output),
        }
    }

    /// A line that stays, above the view.
    pub(super) fn note(&self, line: &str) {
        match &self.view {
            View::Live(live) => live.all.suspend(|| self.output.note(line)),
            View::Lines(_) | View::Quiet => self.output.note(line),
        }
    }

    /// Takes a redrawing view away.
    pub(super) fn end(&self) {
        if let View::Live(live) = &self.view {
            live.bars.values().for_each(ProgressBar::finish_and_clear);
            live.rest.finish_and_clear();
        }
    }
}

impl Live {
    fn start(paint: Paint) -> Live {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let rest = all.add(ProgressBar::new(0));
        rest.set_style(template("{msg}"));
        Live { all, bars: BTreeMap::new(), rest, paint }
    }

    fn show(&mut self, seen: &[Seen<'_>], status: &StatusResponse) {
        let width = terminal_width();
        for one in seen.iter().take(MOST_SWEEPS) {
            let bar = self.bars.entry(one.sweep.id).or_insert_with(|| {
                let bar = self.all.insert_before(&self.rest, ProgressBar::new(0));
                bar.set_style(bar_style(self.paint));
                bar
            });
            let (position, length) = extent(one);
            bar.set_length(length);
            bar.set_position(position.min(length));
            bar.set_prefix(cut(&tame(&one.sweep.name), width / 4));
            bar.set_message(tame(&summary(one)).into_owned());
        }
        let mut rows = details(seen, status);
        if seen.len() > MOST_SWEEPS {
            rows.insert(0, format!("  and {} other sweeps", seen.len() - MOST_SWEEPS));
        }
        let painted = |row: &String| match row.trim_start().starts_with("failed") {
            true => self.paint.alarm(&cut(row, width)),
            false => cut(row, width),
        };
        let rows: Vec<String> = rows.iter().map(painted).collect();
        self.rest.set_message(tame(&rows.join("\n")).into_owned());
        self.rest.tick();
    }
}

impl Lines {
    fn show(&mut self, seen: &[Seen<'_>], output: Output) {
        for one in seen {
            let failures =
                one.progress.map(|progress| progress.recent_failures.as_slice()).unwrap_or_default();
            for failure in failures.iter().rev() {
                if self.told.insert((one.sweep.id, failure.trial, failure.message.clone())) {
                    output.note(&failure_line(failure));
                }
            }
        }
        let is_due = self.last_at.is_none_or(|at| at.elapsed() >= LINE_INTERVAL);
        for one in seen {
            let counts = one.sweep.trials;
            let state = (counts, one.progress.map_or(0, |progress| progress.epochs_done));
            let is_over = counts.left() == 0;
            if self.last.get(&one.sweep.id) == Some(&state) || !(is_due || is_over) {
                continue;
            }
            let name = if seen.len() > 1 { format!("{}: ", one.sweep.name) } else { String::new() };
            output.note(&format!("{name}{}", summary(one)));
            self.last.insert(one.sweep.id, state);
            self.last_at = Some(Instant::now());
        }
    }
}

/// How far the bar is: by epochs where they are known, else by trials.
fn extent(seen: &Seen<'_>) -> (u64, u64) {
    let counts = &seen.sweep.trials;
    let by_trials = (counts.succeeded + counts.failed + counts.cancelled, counts.total);
    seen.progress.map_or(by_trials, |progress| (progress.epochs_done, progress.epochs))
}

fn terminal_width() -> usize {
    usize::from(console::Term::stderr().size().1).max(40)
}

/// As much as fits into a row.
fn cut(text: &str, width: usize) -> String {
    console::truncate_str(text, width.saturating_sub(1), "…").into_owned()
}

fn bar_style(paint: Paint) -> ProgressStyle {
    let text = match paint {
        Paint::Colour => "{prefix:.bold} {wide_bar:.cyan/blue} {percent:>3} % · {msg}",
        Paint::Plain => "{prefix} {wide_bar} {percent:>3} % · {msg}",
    };
    template(text).progress_chars("━╸─")
}

fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).expect("the template is a constant and its keys exist")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::{RunningJob, SweepState, WorkerStatus};
    use crate::vocabulary::WorkerId;

    pub(super) fn progress(epochs_done: u64) -> SweepProgress {
        SweepProgress {
            sweep: SweepId(1),
            metric: None,
            epochs: 480,
            epochs_done,
            epochs_shared: 480,
            epochs_unshared: 960,
            jobs_left: 9,
            seconds_left: None,
            seconds_done: None,
            best: None,
            failed: vec![],
            recent_failures: vec![],
        }
    }

    /// A sweep of twelve trials, two of which run on a worker with two slots.
    pub(super) fn status() -> StatusResponse {
        let trials = TrialCounts { total: 12, succeeded: 3, running: 2, queued: 7, ..TrialCounts::default() };
        let running = |trial, epoch, metric| RunningJob {
            sweep: SweepId(1),
            trial: TrialNumber(trial),
            worker: WorkerId(1),
            epoch,
            last_epoch: 50,
            metric,
        };
        StatusResponse {
            sweeps: vec![SweepStatus {
                id: SweepId(1),
                name: "kd-ema".to_owned(),
                state: SweepState::Running,
                trials,
                priority: 0,
            }],
            workers: vec![WorkerStatus {
                id: WorkerId(1),
                host: "node1".to_owned(),
                pid: 1,
                slots: 2,
                running: 2,
                last_seen_seconds: 1.0,
                node: None,
                problem: None,
                slurm: None,
            }],
            running: vec![running(3, 12, Some(31.25)), running(5, 0, None)],
            slurm: vec![],
        }
    }

    #[test]
    fn the_bar_goes_by_epochs_where_they_are_known() {
        let status = status();
        let mut view =
            Progress::start(None, true, Output::new(super::super::output::ColourChoice::Never, true));
        assert!(!view.is_shown());
        let known = progress(120);
        let seen = |progress| Seen {
            sweep: &status.sweeps[0],
            progress,
            epochs_per_second: None,
            outlook: pace::Outlook::Unknown,
        };
        assert_eq!(extent(&seen(None)), (3, 12));
        assert_eq!(extent(&seen(Some(&known))), (120, 480));
        view.note_progress(known.clone());
        assert_eq!(view.shown(&status).len(), 1);
        assert_eq!(cut("abcdef", 5), "abc…");
    }
}
