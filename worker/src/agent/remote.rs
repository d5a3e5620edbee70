//! The files of a coordinator that doesn't share this node's state folder. What a job reads is fetched before it starts, what
//! it leaves is sent before the table names it, so that any host can go on from there.
//!
//! They lie in a folder of their own (`cache/`), never among the checkpoints of this folder's own coordinator, if there is one.
//! Every file is named by its content and checked against that, so a copy more or less changes nothing.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sweep::client::{Backoff, Client, ClientError, retry};
use sweep::protocol::http::Work;
use sweep::vocabulary::{CheckpointHash, KEPT_CODE, NAMED_WEIGHTS, code_file_name, weights_file_name};
use tempfile::TempPath;
use tokio::task::spawn_blocking;

use super::AgentError;
use super::cache::{self, Cache};

/// Whether this node and its coordinator see the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Shared,
    Apart,
}

/// Finds out by a file that nobody else can have: `contents` name this process. It is there only for a moment.
pub(crate) async fn probe(
    client: &Client,
    artifacts: &Path,
    contents: &str,
    backoff: &Backoff,
) -> Result<Sharing, AgentError> {
    let hash = hash_of(contents.as_bytes());
    let path = artifacts.join(weights_file_name(&hash.to_string()));
    let _there = write(&path, contents.as_bytes())
        .map_err(|error| AgentError::Unfit(format!("can't write into `{}`: {error}", artifacts.display())))?;
    let what = "ask the coordinator for a file";
    match retry(backoff, what, || client.has_artifact(&hash)).await {
        Ok(true) => Ok(Sharing::Shared),
        Ok(false) => Ok(Sharing::Apart),
        Err(source) => Err(AgentError::Coordinator { what, source }),
    }
}

/// The file goes when what comes back is dropped.
fn write(path: &Path, contents: &[u8]) -> io::Result<TempPath> {
    let mut file = std::fs::File::create(path)?;
    let there = TempPath::try_from_path(path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    Ok(there)
}

/// The way to the coordinator's files, and the copies that are here.
#[derive(Debug)]
pub(crate) struct Remote {
    client: Client,
    backoff: Backoff,
    folder: PathBuf,
    /// One at a time: the network is the same for all, and siblings find what the first of them has fetched.
    fetching: tokio::sync::Mutex<()>,
    cache: Cache,
}

impl Remote {
    /// `folder` holds the copies.
    pub(crate) fn new(client: Client, backoff: Backoff, folder: PathBuf) -> Remote {
        let cache = Cache::new(folder.clone());
        Remote { client, backoff, folder, fetching: tokio::sync::Mutex::default(), cache }
    }

    /// Keeps the copies from filling the disk, for as long as the agent works.
    pub(crate) async fn keep_tidy(self: Arc<Self>) {
        self.cache.keep_tidy().await;
    }

    /// Fetches what `work` reads. What the coordinator doesn't have, or only damaged, is left out: the job begins anew without
    /// it, or says that it can't.
    ///
    /// # Errors
    /// In words, what keeps this node from getting it.
    pub(crate) async fn fetch(&self, work: &Work) -> Result<(), String> {
        for (hash, path) in self.inputs(work) {
            let _turn = self.fetching.lock().await;
            if is_whole(&path, &hash).await {
                cache::touch(&path);
                continue;
            }
            match self.client.download_artifact(&hash, &path, &self.backoff).await {
                Ok(()) => tracing::debug!(%hash, "an artifact was fetched"),
                Err(error @ (ClientError::Refused { status: 404, .. } | ClientError::Damaged { .. })) => {
                    tracing::warn!(%hash, error = &error as &dyn Error, "goes on without an artifact");
                }
                Err(ClientError::File { path, source }) if is_full(&source) => {
                    return Err(format!("the disk of `{}` is full; make room", path.display()));
                }
                Err(error) => return Err(format!("can't fetch the artifact {hash}: {}", chain(&error))),
            }
        }
        Ok(())
    }

    /// The files that `work` reads, and where they have to lie. What is no hash can't be a file.
    fn inputs(&self, work: &Work) -> Vec<(CheckpointHash, PathBuf)> {
        let (checkpoints, weights, code) = match work {
            Work::Resnet(request) => (request.checkpoints(), request.named_weights(), None),
            Work::Command(work) => (work.checkpoints(), Vec::new(), work.kept_code()),
        };
        let named = self.folder.join(NAMED_WEIGHTS);
        let place = |hash: CheckpointHash, folder: &Path| {
            let path = folder.join(weights_file_name(&hash.to_string()));
            (hash, path)
        };
        let checkpoints = checkpoints.into_iter().map(|hash| place(hash, &self.folder));
        let code = code.map(|hash| {
            let path = self.folder.join(KEPT_CODE).join(code_file_name(&hash.to_string()));
            (hash, path)
        });
        checkpoints.chain(weights.into_iter().map(|hash| place(hash, &named))).chain(code).collect()
    }

    /// Sends a checkpoint that lies here, unless the coordinator has it.
    ///
    /// # Errors
    /// In words, why the coordinator won't have it.
    pub(crate) async fn send(&self, hash: &CheckpointHash) -> Result<(), String> {
        let path = self.path(hash);
        let sent = retry(&self.backoff, "send a checkpoint", || {
            // So that it is not taken for one that nobody needs while the coordinator is waited for.
            cache::touch(&path);
            self.client.upload_artifact(&path, hash)
        });
        sent.await.map_err(|error| format!("can't send the checkpoint {hash}: {}", chain(&error)))
    }

    /// A newer checkpoint has taken the place of this one.
    pub(crate) fn supersede(&self, hash: CheckpointHash) {
        self.cache.supersede(hash);
    }

    fn path(&self, hash: &CheckpointHash) -> PathBuf {
        self.folder.join(weights_file_name(&hash.to_string()))
    }
}

fn hash_of(contents: &[u8]) -> CheckpointHash {
    blake3::hash(contents).to_hex().parse().expect("a BLAKE3 hash has 64 digits")
}

async fn is_whole(path: &Path, hash: &CheckpointHash) -> bool {
    let (path, hash) = (path.to_owned(), hash.to_string());
    let look = move || {
        let mut hasher = blake3::Hasher::new();
        let read = std::fs::File::open(path).and_then(|file| hasher.update_reader(file).map(drop));
        read.is_ok() && hasher.finalize().to_hex().as_str() == hash
    };
    spawn_blocking(look).await.unwrap_or(false)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// An error and all that caused it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
