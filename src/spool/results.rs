//! What the files of a task say of its jobs.

use std::collections::{BTreeMap, btree_map};
use std::path::PathBuf;

use super::frames::{Rest, read_frames};
use crate::protocol::export::Record;
use crate::protocol::http::{AttemptEnd, EpochMetrics, LeaseToken, Outcome, Report};
use crate::protocol::trial::Checkpoint;
use crate::vocabulary::Metrics;

/// What is known of a task's jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskResults {
    pub jobs: BTreeMap<LeaseToken, JobResults>,
    /// Files with something that can't be read.
    pub rests: Vec<(PathBuf, Rest)>,
}

/// What is known of one job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobResults {
    /// By epoch; those that a later beginning did anew are left out.
    reports: BTreeMap<u32, EpochMetrics>,
    /// The newest state.
    pub checkpoint: Option<Checkpoint>,
    /// How it ended, if it has.
    pub end: Option<AttemptEnd>,
}

impl JobResults {
    /// What counts whatever becomes of the job: all reports of one that has ended; of another those that nobody will make again, since
    /// its newest state lies behind them.
    #[must_use]
    pub fn lasting_reports(&self) -> Vec<EpochMetrics> {
        let until = match (&self.end, &self.checkpoint) {
            (Some(_), _) => u32::MAX,
            (None, Some(checkpoint)) => checkpoint.epoch,
            (None, None) => return Vec::new(),
        };
        let mut lasting: Vec<_> = self.reports.range(..=until).map(|(_, report)| report.clone()).collect();
        // One within an epoch comes beside the state of the epoch before, which may be kept for itself.
        if self.end.is_none()
            && let Some(newest) = &self.checkpoint
            && self
                .reports
                .get(&newest.epoch)
                .is_some_and(|report| report.checkpoint.as_ref() != Some(newest))
        {
            let checkpoint = Some(newest.clone());
            lasting.push(EpochMetrics { epoch: newest.epoch, metrics: Metrics::new(), checkpoint });
        }
        lasting
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.end, Some(AttemptEnd::Complete { .. }))
    }

    fn begin(&mut self, epoch: u32) {
        if self.end.is_none() {
            self.reports.split_off(&(epoch + 1));
        }
    }

    fn report(&mut self, report: EpochMetrics) {
        // The first end counts, and nothing behind it.
        if self.end.is_some() {
            return;
        }
        let EpochMetrics { epoch, metrics, checkpoint } = report;
        let newest = checkpoint.clone().or_else(|| self.checkpoint.take());
        self.checkpoint = newest;
        match self.reports.entry(epoch) {
            btree_map::Entry::Vacant(place) => {
                place.insert(EpochMetrics { epoch, metrics, checkpoint });
            }
            btree_map::Entry::Occupied(mut there) => {
                let there = there.get_mut();
                there.metrics.extend(metrics);
                there.checkpoint = match (there.checkpoint.take(), checkpoint) {
                    // A state within the next epoch doesn't take the place of the epoch's own.
                    (Some(own), Some(new)) if own.step == 0 && new.step > 0 => Some(own),
                    (before, new) => new.or(before),
                };
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        for report in outcome.reports {
            self.report(report);
        }
        if self.end.is_none() && outcome.end != AttemptEnd::Release {
            self.end = Some(outcome.end);
        }
    }
}

impl TaskResults {
    /// Adds what a file says; files of a task are added in the order in which they were begun.
    pub(super) fn add_file(&mut self, path: PathBuf, bytes: &[u8]) {
        let read = read_frames(bytes);
        for frame in read.frames {
            match serde_json::from_slice(frame.payload) {
                Ok(record) => self.add(record),
                // Whole, and yet no record: of another version.
                Err(_) => {
                    let rest = Rest::Unknown { at: frame.at, bytes: frame.bytes() };
                    self.rests.push((path.clone(), rest));
                }
            }
        }
        if read.rest != Rest::Nothing {
            self.rests.push((path, read.rest));
        }
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Begun { token, epoch } => self.jobs.entry(token).or_default().begin(epoch),
            Record::Reports(request) => {
                for Report { token, epoch, metrics, checkpoint } in request.reports {
                    self.jobs.entry(token).or_default().report(EpochMetrics { epoch, metrics, checkpoint });
                }
            }
            Record::Outcomes(request) => {
                for outcome in request.outcomes {
                    self.jobs.entry(outcome.token).or_default().finish(outcome);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frames::frame;
    use super::*;
    use crate::protocol::http::{OutcomesRequest, ReportsRequest};
    use crate::protocol::trial::TrialRecord;
    use crate::vocabulary::{Attempt, JobId, Nonce};

    const TOKEN: LeaseToken = LeaseToken { job: JobId(1), attempt: Attempt(1), nonce: Nonce(0) };

    fn report(epoch: u32, loss: f64, has_checkpoint: bool) -> Record {
        let hash = format!("{epoch:064}");
        let checkpoint = has_checkpoint.then_some(Checkpoint { hash, epoch, step: 0, size_bytes: 1 });
        let metrics = Metrics::from([("loss".to_owned(), loss)]);
        Record::Reports(ReportsRequest { reports: vec![Report { token: TOKEN, epoch, metrics, checkpoint }] })
    }

    #[test]
    fn a_state_within_an_epoch_comes_beside_the_one_that_is_kept_of_it() {
        let within = Checkpoint { hash: "f".repeat(64), epoch: 3, step: 7, size_bytes: 1 };
        let released =
            Report { token: TOKEN, epoch: 3, metrics: Metrics::new(), checkpoint: Some(within.clone()) };
        let mut results = TaskResults::default();
        results.add(report(3, 0.5, true));
        results.add(Record::Reports(ReportsRequest { reports: vec![released] }));
        let job = &results.jobs[&TOKEN];
        let steps = job.lasting_reports().into_iter().map(|report| report.checkpoint.unwrap().step);
        assert_eq!(steps.collect::<Vec<_>>(), [0, 7], "the epoch's own can be the best one");
        assert_eq!(job.checkpoint, Some(within), "and the newest is gone on from");
    }

    fn end(end: AttemptEnd) -> Record {
        Record::Outcomes(OutcomesRequest { outcomes: vec![Outcome { token: TOKEN, reports: vec![], end }] })
    }

    fn complete() -> Record {
        end(AttemptEnd::Complete { record: TrialRecord::default() })
    }

    fn file_of(records: &[Record]) -> Vec<u8> {
        let mut bytes = b"sweepsp1".to_vec();
        records.iter().for_each(|record| bytes.extend(frame(&serde_json::to_vec(record).unwrap())));
        bytes
    }

    fn results_of(files: &[&[Record]]) -> JobResults {
        let mut results = TaskResults::default();
        for (number, records) in files.iter().enumerate() {
            results.add_file(PathBuf::from(number.to_string()), &file_of(records));
        }
        assert!(results.rests.is_empty());
        results.jobs.remove(&TOKEN).unwrap_or_default()
    }

    fn losses(results: &JobResults) -> Vec<(u32, f64)> {
        results.lasting_reports().iter().map(|report| (report.epoch, report.metrics["loss"])).collect()
    }

    #[test]
    fn of_a_job_under_way_that_counts_which_nobody_will_do_again() {
        let begun = Record::Begun { token: TOKEN, epoch: 0 };
        assert_eq!(losses(&results_of(&[&[begun.clone(), report(1, 0.5, false)]])), []);
        let records = [begun, report(1, 0.5, false), report(2, 0.4, true), report(3, 0.3, false)];
        assert_eq!(losses(&results_of(&[&records])), [(1, 0.5), (2, 0.4)]);
    }

    #[test]
    fn a_second_beginning_does_anew_what_lies_behind_it() {
        let first = [report(1, 0.5, true), report(2, 0.4, false), report(3, 0.3, false)];
        let second = [Record::Begun { token: TOKEN, epoch: 1 }, report(2, 0.45, false), complete()];
        let results = results_of(&[&first, &second]);
        assert_eq!(losses(&results), [(1, 0.5), (2, 0.45)]);
        assert!(results.is_complete());
    }

    #[test]
    fn the_first_end_counts_and_a_job_that_was_given_back_has_not_ended() {
        let fail = AttemptEnd::Fail {
            reason: crate::vocabulary::FailureReason::Nan,
            message: String::new(),
            log_tail: String::new(),
        };
        let results =
            results_of(&[&[report(1, 0.5, false), complete()], &[report(1, 9.0, false), end(fail)]]);
        assert!(results.is_complete());
        assert_eq!(losses(&results), [(1, 0.5)]);
        assert_eq!(results_of(&[&[end(AttemptEnd::Release)]]).end, None);
    }

    #[test]
    fn a_record_of_another_version_is_told_and_the_others_are_read() {
        let mut bytes = file_of(&[report(1, 0.5, true)]);
        let at = bytes.len() as u64;
        bytes.extend(frame(b"{\"type\": \"dreamt\"}"));
        bytes.extend(frame(&serde_json::to_vec(&complete()).unwrap()));
        let mut results = TaskResults::default();
        results.add_file(PathBuf::from("it"), &bytes);
        assert!(results.jobs[&TOKEN].is_complete());
        assert_eq!(results.rests, [(PathBuf::from("it"), Rest::Unknown { at, bytes: 26 })]);
    }

    fn any_record() -> impl Strategy<Value = Record> {
        prop_oneof![
            6 => (1_u32..6, 0_u8..9, any::<bool>()).prop_map(|(epoch, loss, is)| report(epoch, f64::from(loss), is)),
            1 => (0_u32..4).prop_map(|epoch| Record::Begun { token: TOKEN, epoch }),
            1 => Just(complete()),
        ]
    }

    proptest! {
        /// Whatever was read of a file while it grew stays true: an end stays, and so does every report that was said to last, unless
        /// the job was begun anew before it.
        #[test]
        fn what_was_read_early_is_a_part_of_what_is_read_late(
            records in prop::collection::vec(any_record(), 0..12), cut in any::<prop::sample::Index>()
        ) {
            let bytes = file_of(&records);
            let read = |bytes: &[u8]| {
                let mut results = TaskResults::default();
                results.add_file(PathBuf::from("it"), bytes);
                results.jobs.remove(&TOKEN).unwrap_or_default()
            };
            let (early, late) = (read(&bytes[..cut.index(bytes.len() + 1)]), read(&bytes));
            if early.end.is_some() {
                prop_assert_eq!(&early, &late);
            }
            prop_assert!(early.end.is_none() || late.end.is_some());
            // Twice the same is the same.
            prop_assert_eq!(read(&bytes), late);
        }
    }
}
