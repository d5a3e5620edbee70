//! Whom a command talks to: the coordinator that runs, or else the local table, which it then opens itself.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::spec_file::CheckedSpec;
use super::{CliError, Context, code, state_folder};
use crate::client::{Backoff, Client, ClientError, retry};
use crate::coordinator::{
    Clock, Coordinator, CoordinatorError, DatabaseFiles, DatabaseLock, LEASE, LockError, PlacementError,
    PrepareError, Settings, StateFolder, lend_code, own_host, partial_in,
};
use crate::protocol::export::{ExportResponse, ExportsResponse};
use crate::protocol::http::{
    DoctorResponse, LeaveRequest, OutcomesRequest, Refused, ReleaseRequest, ReportsRequest, ResultsQuery,
    ResultsResponse, StatusResponse, SubmitRequest, SubmitResponse, SweepStatus, TrialHistory,
};
use crate::protocol::logs::{LogQuery, LogResponse};
use crate::protocol::slurm::SlurmJobsRequest;
use crate::protocol::steering::{BumpRequest, BumpResponse, CancelResponse, ChosenTrials};
use crate::store::{FileSystem, Store};
use crate::vocabulary::{
    CheckpointHash, KEPT_CODE, SweepId, TrialNumber, WorkerId, code_file_name, weights_file_name,
};

/// Another command that uses the table is done sooner, and a coordinator that starts has announced itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// One that takes longer is stopped.
const LONGEST_ANSWER: Duration = Duration::from_secs(3);
/// A service that is started anew answers long before: these take some twenty seconds.
const RESTART_ATTEMPTS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Either way there is one coordinator behind it.
pub(super) enum Access {
    Local(Local),
    Remote(Remote),
}

/// A coordinator that runs in another process.
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) url: String,
    pub(super) token: String,
    /// Where it announced itself, and what it locks; `None` for one that the user named.
    home: Option<(StateFolder, DatabaseFiles)>,
    /// It is started again where it ends.
    is_service: bool,
}

/// The table of a state folder, opened by this process.
pub(super) struct Local {
    pub(super) coordinator: Coordinator,
    pub(super) folder: StateFolder,
    _lock: DatabaseLock,
}

impl Access {
    /// For commands that make the state folder if there is none.
    pub(super) async fn open_or_create(context: &Context, lease: Duration) -> Result<Access, CliError> {
        if let Some(access) = named(context).await? {
            return Ok(access);
        }
        let folder = state_folder::ensure(context)?;
        open_folder(folder, context, lease).await
    }

    /// For workers, which may be started before their coordinator: where the user named one that doesn't answer yet, waits for
    /// it, for `patience` at most where that is given. One that refuses is not waited for.
    pub(super) async fn await_coordinator(
        context: &Context,
        patience: Option<Duration>,
    ) -> Result<(), CliError> {
        let Some(remote) = name(context)? else { return Ok(()) };
        let give_up_at = patience.map(|patience| tokio::time::Instant::now() + patience);
        let (backoff, mut failed) = (backoff(u32::MAX), 0);
        loop {
            let Err(error) = remote.client.status().await else { break };
            failed += 1;
            let next_at = tokio::time::Instant::now() + backoff.pause(failed);
            if !error.is_transient() || give_up_at.is_some_and(|give_up_at| next_at > give_up_at) {
                return Err(error.into());
            }
            if failed == 1 {
                context
                    .output
                    .note(&format!("waiting for the coordinator: {:#}", anyhow::Error::from(error)));
            }
            tokio::time::sleep_until(next_at).await;
        }
        if failed > 0 {
            context.output.note("the coordinator is there");
        }
        Ok(())
    }

    /// Whether another process coordinates, and answers.
    pub(super) fn is_coordinated(&self) -> bool {
        matches!(self, Access::Remote(_))
    }

    /// For commands that ask about what is there.
    pub(super) async fn open(context: &Context) -> Result<Access, CliError> {
        if let Some(access) = named(context).await? {
            return Ok(access);
        }
        let folder = state_folder::find(context).ok_or_else(|| {
            CliError::usage(format!(
                "no sweeps here: there is no .sweep folder in {} or above it; `sweep run SPEC` makes one",
                context.environment.working_directory.display()
            ))
        })?;
        open_folder(folder, context, LEASE).await
    }

    pub(super) async fn submit(&self, spec: &mut CheckedSpec) -> Result<SubmitResponse, CliError> {
        match self {
            Access::Local(local) => match spec.prepared.take() {
                Some(prepared) => Ok(local.coordinator.submit_prepared(prepared).await?),
                None => {
                    // The coordinator to which it was sent before may have ended without it.
                    if let Some(code) = &spec.code {
                        code.keep(&local.folder.artifacts()).map_err(PrepareError::from)?;
                    }
                    Ok(local.coordinator.submit(&spec.request).await?)
                }
            },
            Access::Remote(remote) => code::submit(spec, &remote.client).await,
        }
    }

    /// What would become of a submission; nothing is stored.
    pub(super) async fn rehearse(&self, spec: CheckedSpec) -> Result<SubmitResponse, CliError> {
        match (self, spec.prepared) {
            (Access::Local(local), Some(prepared)) => {
                Ok(local.coordinator.rehearse_prepared(prepared).await?)
            }
            (Access::Local(local), None) => {
                let request = SubmitRequest { is_rehearsal: true, ..spec.request };
                Ok(local.coordinator.submit(&request).await?)
            }
            (Access::Remote(remote), _) => {
                let request = SubmitRequest { is_rehearsal: true, ..spec.request };
                Ok(remote.client.submit(&request).await?)
            }
        }
    }

    pub(super) async fn status(&self) -> Result<StatusResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.status().await?),
            Access::Remote(remote) => Ok(remote.client.status().await?),
        }
    }

    pub(super) async fn results(&self, sweep: SweepId) -> Result<ResultsResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.results(sweep).await?),
            Access::Remote(remote) => Ok(remote.patiently(|| remote.client.results(sweep)).await?),
        }
    }

    /// With the metrics of a certain epoch.
    pub(super) async fn results_at(
        &self,
        sweep: SweepId,
        query: &ResultsQuery,
    ) -> Result<ResultsResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.results_at(sweep, query).await?),
            Access::Remote(remote) => Ok(remote.patiently(|| remote.client.results_at(sweep, query)).await?),
        }
    }

    pub(super) async fn history(&self, sweep: SweepId, trial: TrialNumber) -> Result<TrialHistory, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.history(sweep, trial).await?),
            Access::Remote(remote) => Ok(remote.client.history(sweep, trial).await?),
        }
    }

    pub(super) async fn examine(&self) -> Result<DoctorResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.examine().await?),
            Access::Remote(remote) => Ok(remote.client.examine().await?),
        }
    }

    /// A part of what a trial printed.
    pub(super) async fn log(
        &self,
        sweep: SweepId,
        trial: TrialNumber,
        query: &LogQuery,
    ) -> Result<LogResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.log(sweep, trial, query).await?),
            Access::Remote(remote) => Ok(remote.patiently(|| remote.client.log(sweep, trial, query)).await?),
        }
    }

    /// A copy of the job table, in a file of `folder` that goes when it is dropped. It has reached the disk.
    pub(super) async fn back_up(&self, folder: &Path) -> Result<NamedTempFile, CliError> {
        match self {
            Access::Local(local) => local.coordinator.back_up(folder).await.map_err(|error| match error {
                // The table is only read: it is the copy that needs room.
                CoordinatorError::DiskFull => unwritable(anyhow::anyhow!("its disk is full")),
                error => unwritable(error),
            }),
            Access::Remote(remote) => {
                let mut copy = partial_in(folder).map_err(unwritable)?;
                let mut sent = remote.client.back_up().await?;
                while let Some(part) = sent.next().await? {
                    copy.write_all(&part).map_err(unwritable)?;
                }
                copy.as_file().sync_all().map_err(unwritable)?;
                Ok(copy)
            }
        }
    }

    /// What was submitted as this sweep.
    pub(super) async fn request(&self, sweep: SweepId) -> Result<SubmitRequest, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.request(sweep).await?),
            Access::Remote(remote) => Ok(remote.client.request(sweep).await?),
        }
    }

    /// Copies code that is kept to another folder of artifacts.
    pub(super) async fn lend_code(&self, hash: &CheckpointHash, to: &Path) -> Result<(), CliError> {
        match self {
            Access::Local(local) => {
                let from = local.folder.artifacts();
                if lend_code(hash, &from, to).map_err(CliError::failed)? {
                    return Ok(());
                }
                Err(CliError::failed(anyhow::anyhow!(
                    "the code {hash}, which the trials ran, is gone from {} or damaged there; `sweep doctor` says more",
                    from.display()
                )))
            }
            Access::Remote(remote) => {
                let folder = to.join(KEPT_CODE);
                std::fs::create_dir_all(&folder).map_err(CliError::failed)?;
                let path = folder.join(code_file_name(&hash.to_string()));
                Ok(remote.client.download_artifact(hash, &path, &remote.backoff()).await?)
            }
        }
    }

    /// The contents of a checkpoint, which are what its name says.
    pub(super) async fn checkpoint(&self, hash: &CheckpointHash) -> Result<Vec<u8>, CliError> {
        let name = weights_file_name(&hash.to_string());
        match self {
            Access::Local(local) => {
                let path = local.folder.artifacts().join(name);
                let contents = std::fs::read(&path).ok();
                contents.filter(|contents| blake3::hash(contents).to_hex().as_str() == hash.to_string()).ok_or_else(|| {
                    let path = path.display();
                    CliError::failed(anyhow::anyhow!(
                        "the checkpoint `{path}` is gone, or damaged; restore it from a copy (`sweep doctor` says more)"
                    ))
                })
            }
            Access::Remote(remote) => {
                let folder = tempfile::tempdir().map_err(CliError::failed)?;
                let path = folder.path().join(name);
                remote.client.download_artifact(hash, &path, &remote.backoff()).await?;
                std::fs::read(&path).map_err(CliError::failed)
            }
        }
    }

    pub(super) async fn cancel(
        &self,
        sweep: SweepId,
        trials: &ChosenTrials,
    ) -> Result<CancelResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.cancel(sweep, trials.clone()).await?),
            Access::Remote(remote) => Ok(remote.client.cancel(sweep, trials).await?),
        }
    }

    /// How many jobs are queued again.
    pub(super) async fn retry(&self, sweep: SweepId, trials: &ChosenTrials) -> Result<u64, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.retry(sweep, trials.clone()).await?),
            Access::Remote(remote) => Ok(remote.client.retry(sweep, trials).await?.jobs),
        }
    }

    /// Gives a node another chance; says whether it needed one.
    pub(super) async fn release(&self, host: &str) -> Result<bool, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.release_node(host).await?),
            Access::Remote(remote) => {
                Ok(remote.client.release(&ReleaseRequest { host: host.to_owned() }).await?.was_quarantined)
            }
        }
    }

    /// Notes jobs that were submitted to Slurm.
    pub(super) async fn record_slurm_jobs(&self, request: &SlurmJobsRequest) -> Result<(), CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.record_slurm_jobs(request.clone()).await?),
            Access::Remote(remote) => Ok(remote.client.record_slurm_jobs(request).await?),
        }
    }

    /// Takes all that can be had of a sweep's jobs, for a place without a coordinator.
    pub(super) async fn export(&self, sweep: SweepId) -> Result<ExportResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.export(sweep).await?),
            Access::Remote(remote) => Ok(remote.client.export(sweep).await?),
        }
    }

    /// All exports that were made, with what they have not brought back.
    pub(super) async fn exports(&self) -> Result<ExportsResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.exports().await?),
            Access::Remote(remote) => Ok(remote.client.exports().await?),
        }
    }

    /// Stores what an export brings back of jobs; gives what was refused.
    pub(super) async fn report(&self, request: ReportsRequest) -> Result<Vec<Refused>, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.report(request).await?.refused),
            Access::Remote(remote) => Ok(remote.client.report(&request).await?.refused),
        }
    }

    /// The same for the ends of jobs.
    pub(super) async fn finish(&self, request: OutcomesRequest) -> Result<Vec<Refused>, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.finish(request).await?.refused),
            Access::Remote(remote) => Ok(remote.client.finish(&request).await?.refused),
        }
    }

    /// Gives back what an export holds.
    pub(super) async fn leave(&self, worker: WorkerId) -> Result<(), CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.leave(worker).await?),
            Access::Remote(remote) => Ok(remote.client.leave(&LeaveRequest { worker }).await?),
        }
    }

    /// Names the job table: no two state folders have the same token.
    pub(super) fn table(&self) -> Result<String, CliError> {
        let token = match self {
            Access::Local(local) => local.folder.ensure_token().map_err(CliError::failed)?,
            Access::Remote(remote) => remote.token.clone(),
        };
        let name =
            blake3::derive_key("sweep 2026-11-27 which job table an export is of", token.trim().as_bytes());
        Ok(blake3::Hash::from_bytes(name).to_hex().as_str()[..16].to_owned())
    }

    /// The state folder in which the table's files lie; nothing where the user named a coordinator, whose files may be anywhere.
    pub(super) fn folder(&self) -> Option<&StateFolder> {
        match self {
            Access::Local(local) => Some(&local.folder),
            Access::Remote(remote) => remote.home.as_ref().map(|(folder, _)| folder),
        }
    }

    pub(super) async fn pause(&self, sweep: SweepId) -> Result<SweepStatus, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.pause(sweep).await?),
            Access::Remote(remote) => Ok(remote.client.pause(sweep).await?),
        }
    }

    pub(super) async fn resume(&self, sweep: SweepId) -> Result<SweepStatus, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.resume(sweep).await?),
            Access::Remote(remote) => Ok(remote.client.resume(sweep).await?),
        }
    }

    pub(super) async fn bump(&self, sweep: SweepId, request: BumpRequest) -> Result<BumpResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.bump(sweep, request).await?),
            Access::Remote(remote) => Ok(remote.client.bump(sweep, &request).await?),
        }
    }

    /// Whether the coordinator is known to be dead: nobody holds the lock of its table any more. A service comes back, and
    /// is waited for; only where another coordinator has announced itself since is it another one's turn.
    pub(super) async fn is_orphaned(&self) -> bool {
        match self {
            Access::Remote(Remote { home: Some((folder, _)), is_service: true, url, .. }) => {
                folder.announced().is_some_and(|announced| announced.url_from(&own_host()) != *url)
            }
            Access::Remote(Remote { home: Some((folder, files)), is_service: false, .. }) => {
                let lock = DatabaseLock::acquire(&files.lock).await;
                // Whoever sees the lock held in this moment must not find the dead one's address.
                lock.inspect(|_| folder.withdraw()).is_ok()
            }
            Access::Remote(Remote { home: None, .. }) | Access::Local(_) => false,
        }
    }

    /// Whether a request failed because the coordinator ended: it may still be about to let go of its table.
    pub(super) async fn has_ended(&self) -> bool {
        let Access::Remote(Remote { client, home: Some(_), .. }) = self else { return false };
        let give_up_at = tokio::time::Instant::now() + PATIENCE;
        loop {
            if self.is_orphaned().await {
                return true;
            }
            if client.status().await.is_ok() || tokio::time::Instant::now() >= give_up_at {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub(super) async fn close(self) {
        if let Access::Local(local) = self {
            local.close().await;
        }
    }
}

impl Remote {
    /// Asks again while a service is started anew. Others have ended where they don't answer, which must be noticed.
    async fn patiently<T, F>(&self, ask: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        retry(&self.backoff(), "ask the coordinator", ask).await
    }

    fn backoff(&self) -> Backoff {
        backoff(if self.is_service { RESTART_ATTEMPTS } else { 1 })
    }

    /// Where others are told to look for it.
    pub(super) fn told_url(&self) -> String {
        let announced = self.home.as_ref().and_then(|(folder, _)| folder.announced());
        announced.map_or_else(|| self.url.clone(), |announced| announced.url)
    }

    /// Who it is and where, for people.
    pub(super) fn describe(&self) -> String {
        let announced = self.home.as_ref().and_then(|(folder, _)| folder.announced());
        let process = announced.map(|it| format!("process {} on {}", it.pid, it.host));
        format!("{} ({})", process.as_deref().unwrap_or("another process"), self.url)
    }
}

fn unwritable(error: impl Into<anyhow::Error>) -> CliError {
    CliError::failed(error.into().context("the copy can't be written"))
}

impl Local {
    pub(super) async fn close(self) {
        self.coordinator.close().await;
    }
}

fn backoff(attempts: u32) -> Backoff {
    Backoff {
        first: Duration::from_millis(250),
        longest: Duration::from_secs(4),
        attempts,
        seed: u64::from(std::process::id()),
    }
}

/// The coordinator that the user named; it must be there.
async fn named(context: &Context) -> Result<Option<Access>, CliError> {
    let Some(remote) = name(context)? else { return Ok(None) };
    remote.client.status().await?;
    Ok(Some(Access::Remote(remote)))
}

/// The coordinator that the user named, whether it is there or not.
fn name(context: &Context) -> Result<Option<Remote>, CliError> {
    let Some(url) = context.coordinator.clone() else {
        return Ok(None);
    };
    let token = match &context.environment.token {
        Some(token) => token.clone(),
        None => state_folder::find(context)
            .and_then(|folder| std::fs::read_to_string(folder.token_file()).ok())
            .map(|token| token.trim().to_owned())
            .ok_or_else(|| {
                CliError::usage("the coordinator's token is unknown: set `SWEEP_TOKEN` to the content of its .sweep/token")
            })?,
    };
    let client = Client::new(&url, &token)?;
    Ok(Some(Remote { client, url, token, home: None, is_service: true }))
}

/// The coordinator that runs in this folder, or the folder's table.
async fn open_folder(folder: StateFolder, context: &Context, lease: Duration) -> Result<Access, CliError> {
    let token = folder.ensure_token().map_err(CliError::failed)?;
    let mut files = place(&folder, context.database.as_deref())?;
    let give_up_at = tokio::time::Instant::now() + PATIENCE;
    loop {
        // The lock first: while it is free nobody coordinates here, and an announcement is that of a dead process, whose
        // port may be anybody's by now. The token must not go there.
        match DatabaseLock::acquire(&files.lock).await {
            Ok(lock) => {
                // Another first command may have put the table elsewhere meanwhile.
                let placed = place(&folder, None)?;
                if placed != files {
                    files = placed;
                    continue;
                }
                folder.withdraw();
                return open_table(folder, &files, lock, context, lease).await;
            }
            Err(LockError::Held { holder }) => {
                if let Some(access) = reach(&folder, &files, &holder, &token).await? {
                    return Ok(access);
                }
                if tokio::time::Instant::now() >= give_up_at {
                    return Err(CliError::failed(LockError::Held { holder }));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(CliError::failed(error)),
        }
    }
}

fn place(folder: &StateFolder, wanted: Option<&Path>) -> Result<DatabaseFiles, CliError> {
    folder.place_database(wanted).map_err(|error| match error {
        PlacementError::Folder(error) => CliError::failed(error),
        PlacementError::Lock(error) => CliError::failed(error),
        error => CliError::Usage(error.into()),
    })
}

/// The coordinator that announces itself in the folder, if it is the one that holds the lock and it answers.
async fn reach(
    folder: &StateFolder,
    files: &DatabaseFiles,
    holder: &str,
    token: &str,
) -> Result<Option<Access>, CliError> {
    let Some(announced) = folder.announced() else { return Ok(None) };
    if !holder.starts_with(&format!("process {} ", announced.pid)) {
        return Ok(None);
    }
    let url = announced.url_from(&own_host()).to_owned();
    let client = Client::new(&url, token)?;
    let answers = matches!(tokio::time::timeout(LONGEST_ANSWER, client.status()).await, Ok(Ok(_)));
    Ok(answers.then(|| {
        Access::Remote(Remote {
            client,
            url,
            token: token.to_owned(),
            home: Some((folder.clone(), files.clone())),
            is_service: announced.is_service,
        })
    }))
}

async fn open_table(
    folder: StateFolder,
    files: &DatabaseFiles,
    lock: DatabaseLock,
    context: &Context,
    lease: Duration,
) -> Result<Access, CliError> {
    let Ok(file_system) = FileSystem::of(files.folder()) else {
        return Err(CliError::failed(PlacementError::NoFolder { path: files.database.clone() }));
    };
    // Once: some commands open it every second.
    static IS_NOTED: AtomicBool = AtomicBool::new(false);
    if let FileSystem::Network(name) = file_system
        && !IS_NOTED.swap(true, Ordering::Relaxed)
    {
        let database = files.database.display();
        context.output.note(&format!(
            "note: the job table `{database}` lies on a network file system ({name}): no other host can open it meanwhile"
        ));
    }
    let store = Store::open(&files.database).await.map_err(CliError::failed)?;
    let settings = Settings {
        lease,
        datasets: context.datasets()?,
        artifacts: folder.artifacts(),
        state: folder.path().to_owned(),
        logs: folder.logs(),
    };
    let coordinator = Coordinator::new(store, Clock::system(), settings);
    Ok(Access::Local(Local { coordinator, folder, _lock: lock }))
}
