//! A task of an export in the place of a coordinator: it hands out the task's jobs, and writes down what the agent says of them.
//!
//! A task may be begun again, by Slurm after a preemption for instance. Then what has ended is done, and the rest goes on from the
//! newest checkpoint that was written down. A job that is given back is no job that has ended: it waits for that, or for `sweep slurm
//! --static --missing`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sweep::client::ClientError;
use sweep::protocol::export::{Origin, PlannedJob, Record, TaskName};
use sweep::protocol::http::{
    AttemptEnd, Lease, LeaseResponse, LeaseToken, Outcome, OutcomesRequest, PROTOCOL, RegisterResponse,
    Report, ReportsRequest, Work, WriteResponse,
};
use sweep::protocol::trial::Checkpoint;
use sweep::spool::{Appender, ExportFolder, SpoolError, TaskResults, link_or_copy};
use sweep::vocabulary::{KEPT_CODE, NAMED_WEIGHTS, WorkerId, weights_file_name};
use tokio::task::spawn_blocking;

/// Nobody listens, so nobody is told more often that the agent is alive.
const HEARTBEAT: Duration = Duration::from_secs(3600);
/// How long a disk that refuses is given, and how often it is tried: about an hour, as long as a coordinator is waited for.
const PAUSE: Duration = Duration::from_secs(10);
const MOST_TRIES: u32 = 360;

/// A task of an export.
#[derive(Debug)]
pub(crate) struct Export {
    worker: WorkerId,
    artifacts: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Jobs that nobody has begun, or that were given back.
    waiting: VecDeque<Lease>,
    /// Those that are being done.
    given: BTreeMap<LeaseToken, Lease>,
    /// The newest checkpoint of each job.
    checkpoints: BTreeMap<LeaseToken, Checkpoint>,
    /// What jobs begin with; another job's is not deleted.
    inputs: BTreeSet<String>,
    file: Appender,
}

impl Export {
    /// Finds out what is left to do, and puts there what that reads.
    pub(crate) fn open(folder: &Path, task: TaskName, state_folder: &Path) -> Result<Export, SpoolError> {
        let folder = ExportFolder::open(folder)?;
        if folder.is_closed() {
            // Its checkpoints would be nobody's, and never be removed.
            return Err(SpoolError::Closed { path: folder.path().to_owned() });
        }
        let plan = folder.read_plan(task)?;
        let artifacts = folder.artifacts(task);
        make_folder(&artifacts, &state_folder.join("artifacts"))?;
        let mut inputs =
            Inputs { folder: &folder, artifacts: &artifacts, read: BTreeMap::new(), found: BTreeSet::new() };
        let own = folder.read_results(task)?;
        let (mut waiting, mut checkpoints) = (VecDeque::new(), BTreeMap::new());
        for job in plan.jobs {
            let token = job.lease.token;
            let results = own.jobs.get(&token);
            if let Some(done) = results.filter(|results| results.end.is_some()) {
                // What others go on from by the same name must stay.
                checkpoints.extend(done.checkpoint.clone().map(|checkpoint| (token, checkpoint)));
                continue;
            }
            // Another process of this task, which Slurm took for lost, may have deleted it: then an earlier state is what there is.
            let is_there = |newest: &Checkpoint| artifacts.join(weights_file_name(&newest.hash)).exists();
            let checkpoint = results.and_then(|results| results.checkpoint.clone()).filter(is_there);
            match inputs.provide(job, checkpoint.clone())? {
                Some(lease) => waiting.push_back(lease),
                None => tracing::warn!(
                    job = token.job.0,
                    "job {} is left out: a job from which it goes on did not get done",
                    token.job
                ),
            }
            checkpoints.extend(checkpoint.map(|checkpoint| (token, checkpoint)));
        }
        let inputs = inputs.found;
        tracing::info!(jobs = waiting.len(), "task {task} of export {}", folder.manifest().export);
        let state =
            State { waiting, given: BTreeMap::new(), checkpoints, inputs, file: folder.begin_file(task)? };
        Ok(Export { worker: folder.manifest().export, artifacts, state: Mutex::new(state) })
    }

    /// Where the task's checkpoints lie.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.artifacts.clone()
    }

    pub(crate) fn register(&self) -> RegisterResponse {
        let millis = u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX);
        RegisterResponse {
            worker: self.worker,
            heartbeat_millis: millis,
            lease_millis: millis,
            protocol: PROTOCOL,
        }
    }

    /// The next jobs. There come no others: where none is left, the agent waits for those that it has.
    pub(crate) async fn lease(self: Arc<Self>, most: u32) -> Result<LeaseResponse, ClientError> {
        let mut leases = Vec::new();
        {
            let mut state = self.lock();
            while leases.len() < most as usize
                && let Some(lease) = state.waiting.pop_front()
            {
                state.given.insert(lease.token, lease.clone());
                leases.push(lease);
            }
        }
        for lease in &leases {
            let epoch = epochs_behind(&lease.work);
            self.clone().write(Record::Begun { token: lease.token, epoch }).await?;
        }
        let is_drained = leases.is_empty();
        Ok(LeaseResponse { leases, is_drained })
    }

    pub(crate) async fn report(
        self: Arc<Self>,
        request: ReportsRequest,
    ) -> Result<WriteResponse, ClientError> {
        let newest =
            request.reports.iter().filter_map(|report| Some((report.token, report.checkpoint.clone()?)));
        let newest: Vec<_> = newest.collect();
        self.clone().write(Record::Reports(request)).await?;
        self.supersede(newest);
        Ok(WriteResponse::default())
    }

    pub(crate) async fn finish(
        self: Arc<Self>,
        request: OutcomesRequest,
    ) -> Result<WriteResponse, ClientError> {
        let (mut ended, mut reports, mut released) = (Vec::new(), Vec::new(), Vec::new());
        for outcome in request.outcomes {
            match outcome.end {
                AttemptEnd::Release => {
                    let Outcome { token, reports: last, .. } = outcome;
                    reports.extend(last.into_iter().map(|last| Report {
                        token,
                        epoch: last.epoch,
                        metrics: last.metrics,
                        checkpoint: last.checkpoint,
                    }));
                    released.push(token);
                }
                AttemptEnd::Complete { .. } | AttemptEnd::Fail { .. } => ended.push(outcome),
            }
        }
        if !reports.is_empty() {
            self.clone().report(ReportsRequest { reports }).await?;
        }
        // With the state that came last, and not before it is known what of the others is kept.
        released.into_iter().for_each(|token| self.put_back(token));
        if ended.is_empty() {
            return Ok(WriteResponse::default());
        }
        let tokens: Vec<LeaseToken> = ended.iter().map(|outcome| outcome.token).collect();
        let last = ended.iter().flat_map(|outcome| outcome.reports.iter().map(|last| (outcome.token, last)));
        let newest: Vec<_> =
            last.filter_map(|(token, last)| Some((token, last.checkpoint.clone()?))).collect();
        self.clone().write(Record::Outcomes(OutcomesRequest { outcomes: ended })).await?;
        self.supersede(newest);
        let mut state = self.lock();
        tokens.iter().for_each(|token| drop(state.given.remove(token)));
        Ok(WriteResponse::default())
    }

    /// A job that is given back can be had again, by this agent if it goes on, and goes on where it had come to.
    fn put_back(&self, token: LeaseToken) {
        let mut state = self.lock();
        let Some(mut lease) = state.given.remove(&token) else { return };
        if let (Work::Resnet(request), Some(checkpoint)) = (&mut lease.work, state.checkpoints.get(&token)) {
            request.resume = Some(checkpoint.clone());
        }
        state.waiting.push_back(lease);
    }

    /// Notes newer checkpoints, and deletes those that they take the place of.
    fn supersede(&self, newest: Vec<(LeaseToken, Checkpoint)>) {
        let mut state = self.lock();
        for (token, checkpoint) in newest {
            let keeps_all = state.given.get(&token).is_some_and(|lease| lease.keeps_checkpoints);
            let before = state.checkpoints.insert(token, checkpoint);
            let Some(before) = before.filter(|_| !keeps_all) else { continue };
            let is_needed = state.inputs.contains(&before.hash)
                || state.checkpoints.values().any(|checkpoint| checkpoint.hash == before.hash);
            if !is_needed {
                // What can't be deleted only takes room.
                let _stays = std::fs::remove_file(self.artifacts.join(weights_file_name(&before.hash)));
            }
        }
    }

    /// Appends a record. A disk that is full is waited for, as a coordinator is.
    async fn write(self: Arc<Self>, record: Record) -> Result<(), ClientError> {
        let payload: Arc<[u8]> =
            serde_json::to_vec(&record).map_err(io::Error::from).map_err(|e| self.failed(e))?.into();
        let mut tries = 0;
        loop {
            let (export, payload) = (self.clone(), payload.clone());
            let written = spawn_blocking(move || export.lock().file.append(&payload)).await;
            let error = match written {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(panic) => io::Error::other(panic),
            };
            tries += 1;
            if tries >= MOST_TRIES {
                return Err(self.failed(error));
            }
            tracing::warn!(%error, "results can't be written down; they wait");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        ClientError::File { path: self.lock().file.path().to_owned(), source }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked over it left nothing half done in it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Epochs that a job doesn't do itself.
fn epochs_behind(work: &Work) -> u32 {
    match work {
        Work::Resnet(request) => request.resume.as_ref().map_or(0, |checkpoint| checkpoint.epoch),
        Work::Command(_) => 0,
    }
}

/// A folder for the task's checkpoints. Weights that specs name and the code that was kept lie where they always do.
fn make_folder(artifacts: &Path, shared: &Path) -> Result<(), SpoolError> {
    let fail = |source| SpoolError::Io { what: "make", path: artifacts.to_owned(), source };
    std::fs::create_dir_all(artifacts).map_err(fail)?;
    let shared = std::path::absolute(shared).map_err(fail)?;
    for name in [NAMED_WEIGHTS, KEPT_CODE] {
        match std::os::unix::fs::symlink(shared.join(name), artifacts.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(error)),
            _ => {}
        }
    }
    Ok(())
}

/// What jobs begin with, from wherever it is.
struct Inputs<'a> {
    folder: &'a ExportFolder,
    artifacts: &'a Path,
    /// Results of other tasks.
    read: BTreeMap<TaskName, TaskResults>,
    found: BTreeSet<String>,
}

impl Inputs<'_> {
    /// The job with all that it reads; nothing where one that it needs did not get done.
    fn provide(&mut self, job: PlannedJob, own: Option<Checkpoint>) -> Result<Option<Lease>, SpoolError> {
        let PlannedJob { mut lease, parent, teachers } = job;
        let mut start = None;
        if let Some(parent) = parent {
            match self.last_of(parent)? {
                Last::NotDone => return Ok(None),
                Last::Done(checkpoint) => start = checkpoint,
            }
        }
        let mut weights = BTreeMap::new();
        for (state, origin) in teachers {
            match self.last_of(origin)? {
                Last::NotDone => return Ok(None),
                Last::Done(checkpoint) => {
                    weights.extend(checkpoint.map(|checkpoint| (state, checkpoint.hash)))
                }
            }
        }
        match &mut lease.work {
            Work::Resnet(request) => {
                if let Some(newest) = own.or(start) {
                    request.resume = Some(newest);
                }
                request.teachers.extend(weights);
            }
            Work::Command(work) => {
                if let (Some(stage), Some(start)) = (&mut work.stage, start) {
                    stage.load = Some(start);
                }
            }
        }
        let hashes = match &lease.work {
            Work::Resnet(request) => request.checkpoints(),
            Work::Command(work) => work.checkpoints(),
        };
        for hash in hashes {
            let hash = hash.to_string();
            link_or_copy(&hash, &self.folder.given(), self.artifacts)?;
            self.found.insert(hash);
        }
        Ok(Some(lease))
    }

    /// The state in which another job has ended, which is here then.
    fn last_of(&mut self, Origin { token, task }: Origin) -> Result<Last, SpoolError> {
        if !self.read.contains_key(&task) {
            self.read.insert(task, self.folder.read_results(task)?);
        }
        let results = self.read.get(&task).and_then(|results| results.jobs.get(&token));
        let Some(results) = results.filter(|results| results.is_complete()) else { return Ok(Last::NotDone) };
        if let Some(checkpoint) = &results.checkpoint {
            link_or_copy(&checkpoint.hash, &self.folder.artifacts(task), self.artifacts)?;
        }
        Ok(Last::Done(results.checkpoint.clone()))
    }
}

/// What another job has come to.
enum Last {
    NotDone,
    /// With its last state, where it has left one.
    Done(Option<Checkpoint>),
}

#[cfg(test)]
mod tests {
    use sweep::protocol::export::{Manifest, TaskPlan};
    use sweep::protocol::http::{EpochMetrics, Limits};
    use sweep::protocol::trial::{TrainRequest, TrialRecord};
    use sweep::vocabulary::{Attempt, JobId, Metrics, Nonce, SweepId};

    use super::*;

    const FIRST: TaskName = TaskName { depth: 0, index: 0 };
    const SECOND: TaskName = TaskName { depth: 1, index: 0 };

    fn token(job: i64) -> LeaseToken {
        LeaseToken { job: JobId(job), attempt: Attempt(1), nonce: Nonce::default() }
    }

    fn planned(job: i64, parent: Option<i64>) -> PlannedJob {
        let work = Work::Resnet(TrainRequest {
            parameters: BTreeMap::new(),
            seed: 0,
            dataset_checksum: String::new(),
            first_epoch: 1,
            last_epoch: 9,
            teachers: BTreeMap::new(),
            resume: None,
        });
        let lease = Lease {
            token: token(job),
            cpus: 1,
            gpus: None,
            limits: Limits::default(),
            keeps_checkpoints: false,
            work,
        };
        let parent = parent.map(|parent| Origin { token: token(parent), task: FIRST });
        PlannedJob { lease, parent, teachers: BTreeMap::new() }
    }

    /// Jobs 1 and 2 in the first task; 3, which goes on from 1, and 4, which goes on from 2, in the second.
    fn export(root: &Path) -> ExportFolder {
        let manifest = Manifest {
            format: 1,
            export: WorkerId(7),
            sweep: SweepId(1),
            name: "it".to_owned(),
            table: "t".to_owned(),
            created_at_millis: 1,
            jobs: 4,
            tasks: vec![1, 1],
        };
        let plans = [
            (FIRST, TaskPlan { jobs: vec![planned(1, None), planned(2, None)] }),
            (SECOND, TaskPlan { jobs: vec![planned(3, Some(1)), planned(4, Some(2))] }),
        ];
        let plans = plans.iter().map(|(task, plan)| (*task, plan));
        ExportFolder::create(&root.join("7"), manifest, plans).unwrap()
    }

    fn open(root: &Path, task: TaskName) -> Arc<Export> {
        Arc::new(Export::open(&root.join("7"), task, root).unwrap())
    }

    /// A checkpoint after an epoch, with its file.
    fn checkpoint(export: &Export, digit: char, epoch: u32) -> Checkpoint {
        let hash = digit.to_string().repeat(64);
        std::fs::write(export.artifacts.join(weights_file_name(&hash)), "weights").unwrap();
        Checkpoint { hash, epoch, step: 0, size_bytes: 7 }
    }

    fn has(export: &Export, digit: char) -> bool {
        export.artifacts.join(weights_file_name(&digit.to_string().repeat(64))).exists()
    }

    async fn report(export: &Arc<Export>, job: i64, checkpoint: Checkpoint) {
        let (epoch, metrics) = (checkpoint.epoch, Metrics::from([("loss".to_owned(), 0.5)]));
        let report = Report { token: token(job), epoch, metrics, checkpoint: Some(checkpoint) };
        export.clone().report(ReportsRequest { reports: vec![report] }).await.unwrap();
    }

    async fn finish(export: &Arc<Export>, job: i64, reports: Vec<EpochMetrics>, end: AttemptEnd) {
        let outcomes = vec![Outcome { token: token(job), reports, end }];
        export.clone().finish(OutcomesRequest { outcomes }).await.unwrap();
    }

    fn complete() -> AttemptEnd {
        AttemptEnd::Complete { record: TrialRecord::default() }
    }

    /// Jobs that are handed out, with the epoch from which they go on.
    async fn leased(export: &Arc<Export>, most: u32) -> Vec<(i64, Option<u32>)> {
        let response = export.clone().lease(most).await.unwrap();
        assert_eq!(response.is_drained, response.leases.is_empty());
        let resume = |lease: &Lease| match &lease.work {
            Work::Resnet(request) => request.resume.as_ref().map(|checkpoint| checkpoint.epoch),
            Work::Command(_) => panic!("nobody planned a program"),
        };
        response.leases.iter().map(|lease| (lease.token.job.0, resume(lease))).collect()
    }

    #[tokio::test]
    async fn a_task_that_is_begun_again_leaves_out_what_is_done_and_goes_on_from_the_newest_checkpoint() {
        let root = tempfile::tempdir().unwrap();
        let folder = export(root.path());
        let first = open(root.path(), FIRST);
        assert_eq!(leased(&first, 9).await, [(1, None), (2, None)]);
        assert_eq!(leased(&first, 9).await, []);
        finish(&first, 1, vec![], complete()).await;
        report(&first, 2, checkpoint(&first, 'a', 3)).await;
        report(&first, 2, checkpoint(&first, 'b', 4)).await;
        assert!(!has(&first, 'a') && has(&first, 'b'), "the newer one takes the older one's place");
        // It is given back with a state of its own: that is no end, and it can be had again.
        let last =
            EpochMetrics { epoch: 5, metrics: Metrics::new(), checkpoint: Some(checkpoint(&first, 'c', 5)) };
        finish(&first, 2, vec![last], AttemptEnd::Release).await;
        drop(first);
        let again = open(root.path(), FIRST);
        assert_eq!(leased(&again, 9).await, [(2, Some(5))]);
        finish(&again, 2, vec![], complete()).await;
        assert_eq!(leased(&open(root.path(), FIRST), 9).await, []);
        let results = folder.read_results(FIRST).unwrap();
        assert!(results.jobs.values().all(|job| job.is_complete()) && results.rests.is_empty());
        assert_eq!(results.jobs[&token(2)].lasting_reports().len(), 3);
    }

    #[tokio::test]
    async fn a_job_goes_on_from_where_another_tasks_job_has_ended_and_is_left_out_where_it_has_not() {
        let root = tempfile::tempdir().unwrap();
        export(root.path());
        let first = open(root.path(), FIRST);
        leased(&first, 9).await;
        report(&first, 1, checkpoint(&first, 'd', 9)).await;
        finish(&first, 1, vec![], complete()).await;
        let second = open(root.path(), SECOND);
        assert_eq!(leased(&second, 9).await, [(3, Some(9))]);
        assert!(has(&second, 'd'), "it has a copy of its own");
        // What it has begun with stays, whatever comes after it.
        report(&second, 3, checkpoint(&second, 'd', 9)).await;
        report(&second, 3, checkpoint(&second, 'e', 10)).await;
        assert!(has(&second, 'd') && has(&first, 'd'));
    }

    #[tokio::test]
    async fn a_job_whose_newest_checkpoint_is_gone_begins_where_it_can() {
        let root = tempfile::tempdir().unwrap();
        let folder = export(root.path());
        let first = open(root.path(), FIRST);
        leased(&first, 9).await;
        report(&first, 1, checkpoint(&first, 'a', 3)).await;
        std::fs::remove_file(first.artifacts.join(weights_file_name(&"a".repeat(64)))).unwrap();
        drop(first);
        let again = open(root.path(), FIRST);
        assert_eq!(leased(&again, 1).await, [(1, None)]);
        finish(&again, 1, vec![], complete()).await;
        let results = folder.read_results(FIRST).unwrap();
        assert_eq!(
            results.jobs[&token(1)].lasting_reports(),
            [],
            "what lies behind the new beginning is done anew"
        );
    }

    #[test]
    fn a_task_of_an_export_that_was_taken_back_does_nothing_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = export(root.path());
        folder.remove_artifacts(&BTreeSet::new(), root.path()).unwrap();
        folder.close().unwrap();
        let error = Export::open(folder.path(), FIRST, root.path()).unwrap_err();
        assert!(
            matches!(error, SpoolError::Closed { .. }) && error.to_string().contains("--missing"),
            "{error}"
        );
        assert!(!folder.path().join("artifacts").exists());
    }

    #[tokio::test]
    async fn a_job_that_is_given_back_waits_behind_the_others() {
        let root = tempfile::tempdir().unwrap();
        export(root.path());
        let first = open(root.path(), FIRST);
        assert_eq!(leased(&first, 1).await, [(1, None)]);
        finish(&first, 1, vec![], AttemptEnd::Release).await;
        assert_eq!(leased(&first, 9).await, [(2, None), (1, None)]);
    }
}
