//! The real coordinator on a real table that crashes like a process: what has not reached the file is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sweep::coordinator::{Clock, Coordinator, CoordinatorError, Settings, Watch};
use sweep::protocol::http::{
    AttemptEnd, HeartbeatRequest, HeartbeatResponse, LeaseRequest, LeaseResponse, LeaseToken, LeaveRequest,
    OutcomesRequest, RegisterRequest, RegisterResponse, ReportsRequest, SubmitRequest, WriteResponse,
};
use sweep::protocol::steering::ChosenTrials;
use sweep::store::{Store, examine, is_artifact_named};
use sweep::vocabulary::{JobId, SweepId, Timestamp, TrialNumber, WorkerId};

use super::training::Files;

pub(super) const LEASE: Duration = Duration::from_secs(60);

/// An agent's request.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Register(RegisterRequest),
    Lease(LeaseRequest),
    Beat(HeartbeatRequest),
    Report(ReportsRequest),
    Finish(OutcomesRequest),
    Leave(LeaveRequest),
}

/// Its answer.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Registered(RegisterResponse),
    Leased(LeaseResponse),
    Beat(HeartbeatResponse),
    Written(WriteResponse),
    Left,
    /// To a request for jobs: the table knows nobody of this name.
    NoSuchWorker,
}

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Pause,
    Resume,
    Cancel,
    Retry,
}

/// How thoroughly the table is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scrutiny {
    EveryCall,
    NowAndThen,
}

/// Sweeps that were submitted once: every simulation begins with a copy.
pub(super) struct Template {
    file: Vec<u8>,
    pub(super) sweeps: Vec<SweepId>,
    datasets: tempfile::TempDir,
}

impl Template {
    pub(super) async fn new(specs: &[&str]) -> Template {
        let folder = tempfile::tempdir().unwrap();
        write_dataset(folder.path());
        let path = folder.path().join("sweep.db");
        let store = Store::open(&path).await.unwrap();
        let coordinator =
            Coordinator::new(store, Clock::manual(Timestamp(0)), settings(folder.path(), folder.path()));
        let mut sweeps = Vec::new();
        for spec in specs {
            let request = SubmitRequest {
                spec: (*spec).to_owned(),
                source_name: "s.yaml".to_owned(),
                working_directory: "/".to_owned(),
                // Nothing to look at on the disk, and no git to ask.
                code: Some(Default::default()),
                ..SubmitRequest::default()
            };
            let submitted = coordinator.submit(&request).await;
            sweeps.push(submitted.unwrap_or_else(|error| panic!("{error}: {spec}")).sweep);
        }
        coordinator.close().await;
        Template { file: std::fs::read(&path).unwrap(), sweeps, datasets: folder }
    }
}

fn settings(datasets: &Path, artifacts: &Path) -> Settings {
    Settings {
        lease: LEASE,
        datasets: datasets.join("datasets"),
        state: artifacts.to_owned(),
        artifacts: artifacts.join("artifacts"),
        logs: artifacts.join("logs"),
    }
}

/// A dataset as far as planning looks at it.
fn write_dataset(folder: &Path) {
    let split = |name: &str, count: u32| serde_json::json!({"file": format!("{name}.safetensors"), "count": count, "checksum": "c", "bytes": 1, "source": "s"});
    let manifest = serde_json::json!({
        "schema_version": 1, "name": "d", "classes": ["a", "b"], "height": 32, "width": 32, "eval_sets": [],
        "files": {"train": split("train", 1000), "test": split("test", 100)}, "checksum": ""
    });
    let mut manifest: sweep::dataset::Manifest = serde_json::from_value(manifest).unwrap();
    manifest.checksum = manifest.checksum_for(None).unwrap();
    let folder = folder.join("datasets/d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// A coordinator with its table.
pub(super) struct Table<'t> {
    template: &'t Template,
    folder: tempfile::TempDir,
    running: Option<Running>,
    scrutiny: Scrutiny,
    calls: u64,
    starts: u32,
    ledger: Ledger,
    /// What was in the ledger when the copy was made that lies in the folder.
    copied: Option<Ledger>,
}

/// How often something had changed for which agents wait, in which of the coordinator's lives.
pub(super) type Changes = (u32, u64);

struct Running {
    store: Store,
    coordinator: Coordinator,
    watch: Watch,
    clock: Clock,
    path: PathBuf,
}

impl<'t> Table<'t> {
    pub(super) async fn new(
        template: &'t Template,
        folder: tempfile::TempDir,
        scrutiny: Scrutiny,
    ) -> Table<'t> {
        std::fs::write(folder.path().join("0.db"), &template.file).unwrap();
        let mut table = Table {
            template,
            folder,
            running: None,
            scrutiny,
            calls: 0,
            starts: 0,
            ledger: Ledger::default(),
            copied: None,
        };
        table.start(Timestamp(0)).await;
        table
    }

    pub(super) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub(super) async fn start(&mut self, now: Timestamp) {
        let path = self.folder.path().join(format!("{}.db", self.starts));
        let store = Store::open(&path).await.unwrap();
        let clock = Clock::manual(now);
        let settings = settings(self.template.datasets.path(), self.folder.path());
        let coordinator = Coordinator::new(store.clone(), clock.clone(), settings);
        coordinator.take_over().await.unwrap();
        let watch = Watch::new(coordinator.clone());
        self.running = Some(Running { store, coordinator, watch, clock, path });
    }

    /// What wakes the agents' requests that wait for jobs.
    pub(super) fn changes(&self) -> Changes {
        (self.starts, self.running.as_ref().map_or(0, |running| running.coordinator.changes()))
    }

    /// Ends the process: the next start finds the files as they are now.
    pub(super) fn crash(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.starts += 1;
        for ending in ["db", "db-wal"] {
            let before = running.path.with_extension(ending);
            let after = self.folder.path().join(format!("{}.{ending}", self.starts));
            if before.exists() {
                std::fs::copy(before, after).unwrap();
            }
        }
    }

    /// Makes a copy of the table, in the place of the one before.
    pub(super) async fn copy(&mut self) {
        let Some(Running { store, .. }) = &self.running else { return };
        let place = self.folder.path().join("copy.db");
        let _there_is_none = std::fs::remove_file(&place);
        store.back_up(&place).await.unwrap();
        self.copied = Some(self.ledger.clone());
    }

    /// Ends the process and puts the last copy in the place of its table; says whether there is one.
    pub(super) fn go_back(&mut self) -> bool {
        let Some(copied) = self.copied.clone() else { return false };
        self.crash();
        let place = self.folder.path().join(format!("{}.db", self.starts));
        let _there_is_none = std::fs::remove_file(place.with_extension("db-wal"));
        std::fs::copy(self.folder.path().join("copy.db"), place).unwrap();
        let now = std::mem::replace(&mut self.ledger, copied);
        self.ledger.has_cancelled |= now.has_cancelled;
        let was_over = |token: &LeaseToken| self.ledger.granted.get(token).is_some_and(|grant| grant.is_over);
        let lost: Vec<_> = now.granted.into_keys().filter(|token| !was_over(token)).collect();
        self.ledger.foreign.extend(now.foreign);
        self.ledger.foreign.extend(lost);
        true
    }

    pub(super) fn set_clock(&self, now: Timestamp) {
        if let Some(Running { clock: Clock::Manual(clock), .. }) = &self.running {
            clock.store(now.0, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Answers a call; nothing where the coordinator is down.
    pub(super) async fn serve(&mut self, call: &Call, at: u64) -> Option<Reply> {
        let coordinator = &self.running.as_ref()?.coordinator;
        let answered = match call {
            Call::Register(request) => coordinator.register(request.clone()).await.map(Reply::Registered),
            Call::Lease(request) => coordinator.lease(request).await.map(Reply::Leased),
            Call::Beat(request) => coordinator.heartbeat(request).await.map(Reply::Beat),
            Call::Report(request) => coordinator.report(request.clone()).await.map(Reply::Written),
            Call::Finish(request) => coordinator.finish(request.clone()).await.map(Reply::Written),
            Call::Leave(request) => coordinator.leave(request.worker).await.map(|()| Reply::Left),
        };
        let reply = answered.unwrap_or_else(|error| match (call, error) {
            (Call::Lease(_), CoordinatorError::NoSuchWorker(_)) if self.copied.is_some() => {
                Reply::NoSuchWorker
            }
            (_, error) => panic!("{call:?} was refused: {error}"),
        });
        self.ledger.note(call, &reply, at);
        if !matches!(&reply, Reply::Leased(response) if response.leases.is_empty()) {
            self.check().await;
        }
        Some(reply)
    }

    /// Ends leases that nobody extended.
    pub(super) async fn look(&mut self) {
        let Some(running) = &mut self.running else { return };
        if running.watch.look().await.unwrap() {
            self.check().await;
        }
    }

    /// What a user wishes; a coordinator that is down or has nothing to do about it refuses.
    pub(super) async fn obey(&mut self, wish: Wish, sweep: SweepId, trial: Option<TrialNumber>) {
        let Some(Running { coordinator, .. }) = &self.running else { return };
        let chosen = ChosenTrials { trials: trial.map(|trial| vec![trial]) };
        let outcome = match wish {
            Wish::Pause => coordinator.pause(sweep).await.map(drop),
            Wish::Resume => coordinator.resume(sweep).await.map(drop),
            Wish::Cancel => coordinator.cancel(sweep, chosen).await.map(drop),
            Wish::Retry => coordinator.retry(sweep, chosen).await.map(drop),
        };
        match outcome {
            Ok(()) => self.ledger.has_cancelled |= wish == Wish::Cancel,
            // Its trials have all ended.
            Err(CoordinatorError::Store(error)) => panic!("{wish:?}: {error}"),
            Err(_) => {}
        }
        self.check().await;
    }

    /// Deletes the files of which the table has let go, as the coordinator does.
    pub(super) async fn tidy(&self, files: &mut Files) {
        let Some(Running { store, .. }) = &self.running else { return };
        for hash in store.take_unneeded() {
            if !is_artifact_named(&mut store.reader().await.unwrap(), &hash).await.unwrap() {
                files.remove(&hash.to_string());
            }
        }
    }

    async fn check(&mut self) {
        const NOW_AND_THEN: u64 = 16;
        self.calls += 1;
        if self.scrutiny == Scrutiny::EveryCall || self.calls.is_multiple_of(NOW_AND_THEN) {
            self.check_now().await;
        }
    }

    /// What holds in the table after every transaction.
    pub(super) async fn check_now(&self) {
        let Some(Running { store, .. }) = &self.running else { return };
        let findings = examine(&mut store.reader().await.unwrap()).await.unwrap();
        assert!(findings.is_empty(), "{findings:#?}");
    }

    /// The last value of every trial's metric, where all have succeeded.
    pub(super) async fn results(&self) -> Option<BTreeMap<(SweepId, TrialNumber), f64>> {
        let Running { coordinator, .. } = self.running.as_ref()?;
        let mut results = BTreeMap::new();
        for &sweep in &self.template.sweeps {
            for trial in coordinator.results(sweep).await.unwrap().trials {
                results.insert((sweep, trial.trial), *trial.metrics.get("top1")?);
            }
        }
        let status = coordinator.status().await.unwrap();
        let is_done = |counts: &sweep::protocol::http::TrialCounts| counts.succeeded == counts.total;
        status.sweeps.iter().all(|sweep| is_done(&sweep.trials)).then_some(results)
    }

    /// Sweeps, workers and running jobs, for whoever has to find out why it doesn't end.
    pub(super) async fn describe(&self) -> String {
        let Some(Running { coordinator, .. }) = &self.running else {
            return "the coordinator is down".to_owned();
        };
        format!("{:#?}", coordinator.status().await.unwrap())
    }

    pub(super) async fn trials_of(&self, sweep: SweepId) -> Vec<TrialNumber> {
        let Some(Running { coordinator, .. }) = &self.running else { return vec![] };
        coordinator.results(sweep).await.unwrap().trials.iter().map(|trial| trial.trial).collect()
    }
}

/// A bookkeeper that knows calls and answers only.
#[derive(Debug, Clone, Default)]
struct Ledger {
    granted: BTreeMap<LeaseToken, Grant>,
    completed: BTreeMap<JobId, LeaseToken>,
    has_cancelled: bool,
    /// What was granted in lives that the table has forgotten.
    foreign: BTreeSet<LeaseToken>,
}

#[derive(Debug, Clone)]
struct Grant {
    worker: WorkerId,
    /// When the worker last showed the lease, by a clock that nobody sets.
    shown_at: u64,
    is_over: bool,
}

impl Ledger {
    fn note(&mut self, call: &Call, reply: &Reply, at: u64) {
        match (call, reply) {
            (Call::Lease(request), Reply::Leased(response)) => {
                for lease in &response.leases {
                    self.grant(lease.token, request.worker, at);
                }
            }
            (Call::Beat(request), Reply::Beat(response)) => {
                let refused: BTreeSet<_> = response.stop.iter().map(|refused| refused.token).collect();
                for token in &request.leases {
                    self.show(*token, refused.contains(token), at);
                }
            }
            (Call::Report(request), Reply::Written(response)) => {
                let refused: BTreeSet<_> = response.refused.iter().map(|refused| refused.token).collect();
                for token in request.reports.iter().map(|report| report.token) {
                    let is_foreign = self.foreign.contains(&token);
                    assert!(
                        !is_foreign || refused.contains(&token),
                        "{token:?} is of a life that is forgotten"
                    );
                }
            }
            (Call::Finish(request), Reply::Written(response)) => {
                let refused: BTreeSet<_> = response.refused.iter().map(|refused| refused.token).collect();
                for outcome in &request.outcomes {
                    let is_refused = refused.contains(&outcome.token);
                    self.show(outcome.token, is_refused, at);
                    if !is_refused {
                        self.end(outcome.token, &outcome.end);
                    }
                }
            }
            (Call::Leave(request), Reply::Left) => {
                for grant in self.granted.values_mut().filter(|grant| grant.worker == request.worker) {
                    grant.is_over = true;
                }
            }
            _ => {}
        }
    }

    fn grant(&mut self, token: LeaseToken, worker: WorkerId, at: u64) {
        let done = self.completed.get(&token.job);
        assert_eq!(done, None, "job {} was leased again after it was done", token.job);
        let newest =
            self.granted.keys().filter(|other| other.job == token.job).map(|other| other.attempt.0).max();
        assert_eq!(token.attempt.0, newest.unwrap_or(0) + 1, "attempts of job {} are miscounted", token.job);
        let before = self.granted.iter().find(|(other, grant)| {
            other.job == token.job && !grant.is_over && at < grant.shown_at + LEASE.as_millis() as u64
        });
        assert!(
            before.is_none() || self.has_cancelled,
            "job {} was given to worker {worker} while another one held it: {before:?}",
            token.job
        );
        self.granted.insert(token, Grant { worker, shown_at: at, is_over: false });
    }

    fn show(&mut self, token: LeaseToken, is_refused: bool, at: u64) {
        let has_cancelled = self.has_cancelled;
        if self.foreign.contains(&token) {
            assert!(is_refused, "{token:?} is of a life that is forgotten");
            return;
        }
        let grant = self.granted.get_mut(&token).expect("nobody shows a lease that was not granted");
        if is_refused {
            let was_in_time = !grant.is_over && at < grant.shown_at + LEASE.as_millis() as u64;
            assert!(!was_in_time || has_cancelled, "the holder of {token:?} was refused in time");
            grant.is_over = true;
        } else {
            grant.shown_at = at;
        }
    }

    fn end(&mut self, token: LeaseToken, end: &AttemptEnd) {
        if let Some(grant) = self.granted.get_mut(&token) {
            grant.is_over = true;
        }
        if matches!(end, AttemptEnd::Complete { .. }) {
            let before = self.completed.insert(token.job, token);
            assert!(before.is_none_or(|before| before == token), "job {} has two results", token.job);
        }
    }
}
