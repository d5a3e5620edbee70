//! Every statement of the store against a real SQLite file.

mod backup;
mod cancelling;
mod checkpoints;
mod crash;
mod epochs;
mod exports;
mod forks;
mod histories;
mod ill_hosts;
mod interruptions;
mod invariants;
mod kept;
mod leases;
mod logs;
mod migrations;
mod network;
mod planned;
mod queries;
mod queue;
mod requirements;
mod sharing;
mod slurm;
mod sweeps;

pub(crate) use invariants::check_invariants;
pub(super) use planned::{sweep, tree};

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{
    Bumped, Checkpoint, Chosen, Ended, Grant, LeaseFor, Leased, LeasedJob, NewOutcome, NewPriority,
    NewReport, NewSweep, NewWorker, Store, TrialRow, list_trials,
};
use crate::vocabulary::{CheckpointHash, Metrics, SweepId, Timestamp, TrialNumber, WorkerId};

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

    /// Submits trials of ten epochs that have nothing in common.
    pub(super) async fn submit(&self, name: &str, trials: &[&str]) -> SweepId {
        self.store.submit(sweep(name, trials), Timestamp(0)).await.unwrap().sweep
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
        self.store.finish(vec![outcome], Timestamp(now)).await.unwrap().is_empty()
    }

    /// Reports `top1`; says whether it was accepted.
    pub(super) async fn report(&self, lease: LeaseFor, epoch: u32, top1: f64) -> bool {
        self.store.report(vec![(lease, report(epoch, top1))], Timestamp(0)).await.unwrap().is_empty()
    }

    /// Reports `top1` and a checkpoint together; says which files may be needed no longer.
    pub(super) async fn report_checkpoint(
        &self,
        lease: LeaseFor,
        top1: f64,
        checkpoint: Checkpoint,
    ) -> Vec<CheckpointHash> {
        let report = NewReport { checkpoint: Some(checkpoint.clone()), ..report(checkpoint.epoch, top1) };
        assert_eq!(self.store.report(vec![(lease, report)], Timestamp(0)).await.unwrap(), []);
        self.store.take_unneeded()
    }

    pub(super) async fn trials(&self, sweep: SweepId) -> Vec<TrialRow> {
        list_trials(&mut self.store.reader().await.unwrap(), sweep).await.unwrap()
    }

    pub(super) async fn states(&self, sweep: SweepId) -> Vec<String> {
        self.trials(sweep).await.into_iter().map(|trial| trial.job_state).collect()
    }
}

/// Takes a table away from those who read it, or gives it back: what then can't be read is an error to them.
pub(crate) async fn rename_table(database: &Path, from: &str, to: &str) {
    let mut connection = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
    let rename = format!("ALTER TABLE {from} RENAME TO {to}");
    sqlx::query(sqlx::AssertSqlSafe(rename)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

pub(super) fn jobs(leased: Leased) -> Vec<LeasedJob> {
    match leased {
        Leased::Jobs(jobs) => jobs,
        Leased::NoSuchWorker => panic!("the worker is unknown"),
    }
}

/// Names of the trials with whose parameters jobs are run.
pub(super) fn names(leased: &[LeasedJob]) -> Vec<&str> {
    leased.iter().map(|job| job.parameters.trim_matches('"')).collect()
}

pub(super) fn worker(host: &str) -> NewWorker {
    NewWorker {
        host: host.to_owned(),
        boot_id: "boot".to_owned(),
        pid: 1,
        started_ticks: u64::MAX,
        slots: crate::lease::histories::SLOTS,
        version: "0".to_owned(),
        slurm: None,
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
