//! How fast work goes, and so when it will be over.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::protocol::http::{StatusResponse, SweepState, SweepStatus};
use crate::protocol::insight::SweepProgress;
use crate::vocabulary::SweepId;

/// What happened longer ago says nothing about the speed.
const WINDOW: Duration = Duration::from_secs(120);

/// Less is too little to tell a speed by.
const SHORTEST: Duration = Duration::from_secs(2);

/// What was done of each sweep in the last minutes.
#[derive(Debug, Default)]
pub(super) struct Pace(BTreeMap<SweepId, VecDeque<Sample>>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    epochs: f64,
    /// Work done, in seconds of one slot.
    work: Option<f64>,
}

/// What is known of when a sweep will be over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outlook {
    Unknown,
    /// When somebody says `sweep resume`.
    Paused,
    Over,
    Left(Duration),
}

impl Pace {
    pub(super) fn note(&mut self, progress: &SweepProgress, now: Instant) {
        let samples = self.0.entry(progress.sweep).or_default();
        samples.push_back(Sample {
            at: now,
            epochs: as_float(progress.epochs_done),
            work: progress.seconds_done,
        });
        // One that is older stays, so that the window is covered.
        while samples.get(1).is_some_and(|second| now.duration_since(second.at) > WINDOW) {
            samples.pop_front();
        }
    }

    /// Epochs a second; nothing before some were trained.
    pub(super) fn epochs_per_second(&self, sweep: SweepId) -> Option<f64> {
        let (first, last, seconds) = self.span(sweep)?;
        let speed = (last.epochs - first.epochs) / seconds;
        (speed > 0.0).then_some(speed)
    }

    /// How many slots' worth of work is done a second, as their work is reckoned by finished stages.
    fn slots_at_work(&self, sweep: SweepId) -> Option<f64> {
        let (first, last, seconds) = self.span(sweep)?;
        let speed = (last.work? - first.work?) / seconds;
        (speed > 0.0).then_some(speed)
    }

    fn span(&self, sweep: SweepId) -> Option<(Sample, Sample, f64)> {
        let samples = self.0.get(&sweep)?;
        let (first, last) = (*samples.front()?, *samples.back()?);
        let time = last.at.duration_since(first.at);
        (time >= SHORTEST).then_some((first, last, time.as_secs_f64()))
    }

    /// When a sweep will be over: by what finished stages cost where there are some, or else by epochs. Before anything was seen
    /// to happen, by the slots that are there.
    pub(super) fn outlook(
        &self,
        sweep: &SweepStatus,
        progress: Option<&SweepProgress>,
        status: &StatusResponse,
    ) -> Outlook {
        if sweep.state == SweepState::Paused {
            return Outlook::Paused;
        }
        if sweep.trials.left() == 0 {
            return Outlook::Over;
        }
        let Some(progress) = progress else { return Outlook::Unknown };
        let by_work = progress.seconds_left.and_then(|left| {
            let slots = self.slots_at_work(sweep.id).or_else(|| slots_for(progress, status))?;
            Some(left / slots)
        });
        let by_epochs = || {
            let left = progress.epochs.saturating_sub(progress.epochs_done);
            Some(as_float(left) / self.epochs_per_second(sweep.id)?)
        };
        match by_work.or_else(by_epochs) {
            Some(seconds) if seconds.is_finite() => {
                Outlook::Left(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
            }
            _ => Outlook::Unknown,
        }
    }
}

/// Slots that can work on a sweep at a time; nothing where nobody is there.
fn slots_for(progress: &SweepProgress, status: &StatusResponse) -> Option<f64> {
    let well = status.workers.iter().filter(|worker| worker.problem.is_none());
    let slots = well.map(|worker| u64::from(worker.slots)).sum::<u64>().min(progress.jobs_left);
    (slots > 0).then(|| as_float(slots))
}

#[expect(clippy::cast_precision_loss, reason = "nobody trains 2^53 epochs")]
pub(super) fn as_float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::super::tests::{progress, status};
    use super::*;

    #[test]
    fn a_speed_is_that_of_the_last_minutes() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let id = progress(0).sweep;
        pace.note(&progress(0), at(0));
        assert_eq!(pace.epochs_per_second(id), None);
        pace.note(&progress(40), at(10));
        assert_eq!(pace.epochs_per_second(id), Some(4.0));
        // A pause that is over is forgotten.
        pace.note(&progress(40), at(1000));
        pace.note(&progress(60), at(1010));
        pace.note(&progress(80), at(1121));
        assert_eq!(pace.epochs_per_second(id), Some(40.0 / 121.0));
    }

    #[test]
    fn the_end_is_told_by_finished_stages_then_by_epochs_then_not_at_all() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        let status = status();
        let outlook =
            |pace: &Pace, progress: &SweepProgress| pace.outlook(&status.sweeps[0], Some(progress), &status);
        let unknown = progress(0);
        assert_eq!(outlook(&pace, &unknown), Outlook::Unknown);
        // Two slots are there.
        let learned = SweepProgress { seconds_left: Some(100.0), seconds_done: Some(0.0), ..unknown.clone() };
        assert_eq!(outlook(&pace, &learned), Outlook::Left(Duration::from_secs(50)));
        pace.note(&learned, begun);
        let later = SweepProgress { seconds_left: Some(80.0), seconds_done: Some(20.0), ..progress(10) };
        pace.note(&later, begun + Duration::from_secs(20));
        assert_eq!(
            outlook(&pace, &later),
            Outlook::Left(Duration::from_secs(80)),
            "one slot's worth a second"
        );
        let by_epochs = progress(10);
        let left = as_float(by_epochs.epochs - 10) / 0.5;
        assert_eq!(outlook(&pace, &by_epochs), Outlook::Left(Duration::from_secs_f64(left)));
    }
}
