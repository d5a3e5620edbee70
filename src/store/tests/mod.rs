//! Every statement of the store against a real SQLite file.

mod checkpoints;
mod crash;
mod interruptions;
mod invariants;
mod leases;
mod migrations;
mod sweeps;

pub(crate) use invariants::check_invariants;

use std::time::Duration;

use super::{
    Checkpoint, Ended, Grant, LeaseFor, Leased, LeasedJob, NewJob, NewOutcome, NewReport, NewSweep, NewTrial,
    NewWorker, Store, TrialRow, list_trials,
};
use crate::vocabulary::{CheckpointHash, Goal, Metric, Metrics, SweepId, Timestamp, TrialNumber, WorkerId};

pub(super) const LASTS: Duration = Duration::from_secs(60);

/// A store in a folder of its own, with one worker.
pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) anne: WorkerId,
    pub(super) folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("sweep.db")).await.unwrap();
        let anne = store.register(worker("anne"), Timestamp(0)).await.unwrap();
        Fixture { store, anne, folder }
    }

    /// Submits independent jobs, one trial each.
    pub(super) async fn submit(&self, name: &str, hashes: &[&str]) -> SweepId {
        let jobs = hashes.iter().map(|hash| job(hash)).collect();
        self.store.submit(sweep(name, jobs), Timestamp(0)).await.unwrap().sweep
    }

    pub(super) async fn lease(&self, most: u32, now: i64) -> Vec<LeasedJob> {
        self.lease_for(self.anne, None, most, now).await
    }

    pub(super) async fn lease_for(
        &self,
        worker: WorkerId,
        sweep: Option<SweepId>,
        most: u32,
        now: i64,
    ) -> Vec<LeasedJob> {
        jobs(self.store.lease(Grant { worker, sweep, most, lasts: LASTS }, Timestamp(now)).await.unwrap())
    }

    pub(super) async fn lease_one(&self, now: i64) -> LeaseFor {
        let leased = self.lease(1, now).await;
        assert_eq!(leased.len(), 1, "nothing was leased");
        leased[0].lease
    }

    /// Ends an attempt; says whether it was accepted.
    pub(super) async fn finish(&self, lease: LeaseFor, ended: Ended, now: i64) -> bool {
        let outcome = NewOutcome { lease, reports: vec![], ended };
        self.store.finish(vec![outcome], Timestamp(now)).await.unwrap().refused.is_empty()
    }

    /// Reports `top1`; says whether it was accepted.
    pub(super) async fn report(&self, lease: LeaseFor, epoch: u32, top1: f64) -> bool {
        self.store.report(vec![(lease, report(epoch, top1))], Timestamp(0)).await.unwrap().refused.is_empty()
    }

    /// Reports `top1` and a checkpoint together; says which files may be needed no longer.
    pub(super) async fn report_checkpoint(
        &self,
        lease: LeaseFor,
        top1: f64,
        checkpoint: Checkpoint,
    ) -> Vec<CheckpointHash> {
        let report = NewReport { checkpoint: Some(checkpoint.clone()), ..report(checkpoint.epoch, top1) };
        self.store.report(vec![(lease, report)], Timestamp(0)).await.unwrap().unneeded
    }

    pub(super) async fn trials(&self, sweep: SweepId) -> Vec<TrialRow> {
        list_trials(&mut self.store.reader().await.unwrap(), sweep).await.unwrap()
    }

    pub(super) async fn states(&self, sweep: SweepId) -> Vec<String> {
        self.trials(sweep).await.into_iter().map(|trial| trial.job_state).collect()
    }
}

pub(super) fn jobs(leased: Leased) -> Vec<LeasedJob> {
    match leased {
        Leased::Jobs(jobs) => jobs,
        Leased::NoSuchWorker => panic!("the worker is unknown"),
    }
}

pub(super) fn worker(host: &str) -> NewWorker {
    NewWorker {
        host: host.to_owned(),
        boot_id: "boot".to_owned(),
        pid: 1,
        started_ticks: u64::MAX,
        slots: 2,
        version: "0".to_owned(),
    }
}

pub(super) fn job(hash: &str) -> NewJob {
    NewJob {
        hash: hash.to_owned(),
        work: format!("\"work of {hash}\""),
        parent: None,
        requires: vec![],
        first_epoch: 1,
        last_epoch: 10,
        cpus: 1,
        retries: 0,
    }
}

/// A sweep with one trial that ends in each job.
pub(super) fn sweep(name: &str, jobs: Vec<NewJob>) -> NewSweep {
    let trials = (0..jobs.len()).map(|job| NewTrial {
        number: TrialNumber(i64::try_from(job).unwrap() + 1),
        parameters: format!("{{\"job\":{job}}}"),
        seed: u64::MAX,
        job,
    });
    NewSweep {
        name: name.to_owned(),
        spec: "spec".to_owned(),
        overrides: "[]".to_owned(),
        working_directory: "/".to_owned(),
        expansion_hash: name.to_owned(),
        metric: Some(Metric { name: "top1".to_owned(), goal: Goal::Maximize }),
        swept: "[\"job\"]".to_owned(),
        trials: trials.collect(),
        jobs,
    }
}

pub(super) fn report(epoch: u32, top1: f64) -> NewReport {
    NewReport { epoch, metrics: Metrics::from([("top1".to_owned(), top1)]), checkpoint: None }
}

/// The hash that is this digit all over.
pub(super) fn hash(digit: char) -> CheckpointHash {
    digit.to_string().repeat(64).parse().unwrap()
}

pub(super) fn checkpoint(digit: char, epoch: u32, step: u32) -> Checkpoint {
    Checkpoint { hash: hash(digit), epoch, step, size_bytes: 100 }
}

pub(super) fn complete() -> Ended {
    Ended::Complete { record: "{}".to_owned() }
}

pub(super) fn fail(reason: &str) -> Ended {
    Ended::Fail {
        reason: reason.parse().unwrap(),
        message: "it broke".to_owned(),
        log_tail: "last words".to_owned(),
    }
}
