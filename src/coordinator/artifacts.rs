//! Files of checkpoints, and of code, that nobody needs any more: deleted beside the work, after the table has let go of them.
//!
//! Nothing here can fail a request. What is not deleted now, whatever the reason, is found an hour later.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::code::{self, Condition};
use super::{Coordinator, CoordinatorError, wire};
use crate::protocol::http::{DoctorResponse, Finding};
use crate::store;
use crate::vocabulary::{
    CheckpointHash, KEPT_CODE, NAMED_WEIGHTS, SweepId, Timestamp, code_file_name, weights_file_name,
};

/// How often files are deleted: often enough that a fast sweep does not pile them up.
const PERIOD: Duration = Duration::from_secs(2);

/// A file that was written later may be about to be reported for another job, which is in the same state.
const SETTLED: Duration = Duration::from_secs(10);

/// A file that nobody named for this long was left by a crash: the longest that an agent waits for its coordinator.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// No more hashes wait to be deleted; the files of others are found at the next start.
const MOST_WAITING: usize = 4096;

/// The folder of checkpoints, and those in it that gave way to newer ones.
#[derive(Debug)]
pub(super) struct Artifacts {
    folder: PathBuf,
    unneeded: Mutex<BTreeSet<CheckpointHash>>,
}

/// What is done about a file that was written a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recent {
    /// It waits.
    Spared,
    /// It goes too: nobody is left who could report it.
    Deleted,
}

impl Artifacts {
    pub(super) fn new(folder: PathBuf) -> Artifacts {
        Artifacts { folder, unneeded: Mutex::default() }
    }

    /// Notes files that may be needed no longer; whether they are is looked up before they are deleted.
    fn note_unneeded(&self, hashes: Vec<CheckpointHash>) {
        let mut unneeded = self.waiting();
        unneeded.extend(hashes);
        while unneeded.len() > MOST_WAITING {
            unneeded.pop_last();
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<CheckpointHash>> {
        // A set is whole after every step, so one that a panic left behind can be used.
        self.unneeded.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn path(&self, hash: &CheckpointHash) -> PathBuf {
        self.folder.join(weights_file_name(&hash.to_string()))
    }

    /// Where the code of this hash lies.
    pub(super) fn code_path(&self, hash: &CheckpointHash) -> PathBuf {
        self.folder.join(KEPT_CODE).join(code_file_name(&hash.to_string()))
    }

    /// Where the file of this hash may lie: among the checkpoints, with what specs name, or with the code of programs.
    pub(super) fn places(&self, hash: &CheckpointHash) -> [PathBuf; 3] {
        let named = self.folder.join(NAMED_WEIGHTS).join(weights_file_name(&hash.to_string()));
        [self.path(hash), named, self.code_path(hash)]
    }
}

impl Coordinator {
    /// Deletes whatever checkpoints give way to newer ones, and from time to time what crashes left behind, for as long as
    /// the coordinator runs.
    pub async fn tidy_artifacts(self) {
        self.tidy_artifacts_every(PERIOD, FORGOTTEN).await;
    }

    pub(super) async fn tidy_artifacts_every(self, period: Duration, forgotten_period: Duration) {
        let tick = |period| {
            let mut tick = tokio::time::interval(period);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            tick
        };
        let (mut often, mut seldom) = (tick(period), tick(forgotten_period));
        loop {
            tokio::select! {
                _ = seldom.tick() => self.delete_forgotten().await,
                _ = often.tick() => self.delete_unneeded(Recent::Spared).await,
            }
        }
    }

    /// Deletes what is left to delete when the coordinator ends, unless an agent is still there: it may be about to
    /// report a file.
    pub async fn tidy_artifacts_at_the_end(&self) {
        let is_alone = match self.store.reader().await {
            Ok(mut reader) => store::list_workers(&mut reader).await.is_ok_and(|workers| workers.is_empty()),
            Err(_) => false,
        };
        if is_alone {
            self.delete_unneeded(Recent::Deleted).await;
        }
    }

    pub(super) async fn delete_unneeded(&self, recent: Recent) {
        self.artifacts.note_unneeded(self.store.take_unneeded());
        let waiting: Vec<CheckpointHash> = self.artifacts.waiting().iter().cloned().collect();
        for hash in waiting {
            let path = self.artifacts.path(&hash);
            let written_at = in_background(path.clone(), written_at).await;
            let is_settled = |at: Timestamp| self.clock.now().since(at) >= SETTLED;
            if recent == Recent::Spared && written_at.is_some_and(|at| !is_settled(at)) {
                continue;
            }
            self.artifacts.waiting().remove(&hash);
            if written_at.is_some() && !self.is_named(&hash).await {
                in_background(path, delete).await;
            }
        }
    }

    /// Looks at the whole table and at the files that it names.
    ///
    /// # Errors
    /// When the table can't be read at all.
    pub async fn examine(&self) -> Result<DoctorResponse, CoordinatorError> {
        let mut reader = self.store.reader().await?;
        let mut findings: Vec<_> = store::examine(&mut reader).await?.into_iter().map(damage).collect();
        for (job, checkpoint) in store::list_checkpoints(&mut reader).await? {
            let path = self.artifacts.path(&checkpoint.hash);
            let size =
                in_background(path.clone(), |path| path.metadata().ok().map(|found| found.len())).await;
            if size != Some(checkpoint.size_bytes) {
                let what = match size {
                    None => format!("the checkpoint of job {job} is gone: `{}`", path.display()),
                    Some(size) => {
                        format!(
                            "the checkpoint of job {job} has {size} bytes, not {}: `{}`",
                            checkpoint.size_bytes,
                            path.display()
                        )
                    }
                };
                let help = "restore it from a copy, or leave it: whoever goes on from it then trains those epochs again";
                findings.push(Finding { what, help: help.to_owned() });
            }
        }
        findings.extend(self.examine_code().await?);
        Ok(DoctorResponse { findings })
    }

    async fn examine_code(&self) -> Result<Vec<Finding>, CoordinatorError> {
        let mut findings = Vec::new();
        for (hash, sweeps) in self.code_of_sweeps().await? {
            let examined = hash.clone();
            let look = move |folder: &Path| Some(code::condition(&examined, folder));
            let what = match in_background(self.artifacts.folder.clone(), look).await {
                Some(Condition::Whole) | None => continue,
                Some(Condition::Damaged) => "is damaged",
                Some(Condition::Missing) => "is gone",
            };
            let path = self.artifacts.code_path(&hash);
            let noun = if sweeps.len() == 1 { "sweep" } else { "sweeps" };
            let sweeps = sweeps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            findings.push(Finding {
                what: format!("the code of {noun} {sweeps} {what}: `{}`", path.display()),
                help: "restore it from a copy, or submit the spec again with the code as it was then; until then no trial of it \
                       is run"
                    .to_owned(),
            });
        }
        Ok(findings)
    }

    /// Hashes of all archives of code that sweeps need, with these.
    async fn code_of_sweeps(&self) -> Result<BTreeMap<CheckpointHash, Vec<SweepId>>, CoordinatorError> {
        let mut needed: BTreeMap<CheckpointHash, Vec<SweepId>> = BTreeMap::new();
        for (sweep, code) in store::list_code(&mut self.store.reader().await?).await? {
            if let Some(hash) = wire::read_code(&code)?.kept.and_then(|kept| kept.hash.parse().ok()) {
                needed.entry(hash).or_default().push(sweep);
            }
        }
        Ok(needed)
    }

    /// Counts as named where the table can't be read: a file too many does no harm.
    async fn is_named(&self, hash: &CheckpointHash) -> bool {
        match self.store.reader().await {
            Ok(mut reader) => store::is_artifact_named(&mut reader, hash).await.unwrap_or(true),
            Err(_) => true,
        }
    }

    pub(super) async fn delete_forgotten(&self) {
        let oldest = Timestamp(self.clock.now().0.saturating_sub(FORGOTTEN.as_millis() as i64));
        // Files first and names after them: a file that is reported in between is seen as named.
        let list = move |folder: &Path| {
            let code = list_older(&folder.join(KEPT_CODE), oldest);
            [list_older(folder, oldest), code].concat()
        };
        let old = in_background(self.artifacts.folder.clone(), list).await;
        if old.is_empty() {
            return;
        }
        let named = match self.named_files().await {
            Ok(named) => named,
            Err(error) => {
                tracing::warn!(%error, "can't tell which checkpoints are needed; none is deleted");
                return;
            }
        };
        for path in old {
            let is_named = path.file_name().is_some_and(|name| named.contains(&*name.to_string_lossy()));
            if !is_named {
                in_background(path, delete).await;
            }
        }
    }

    async fn named_files(&self) -> Result<BTreeSet<String>, CoordinatorError> {
        let hashes = store::list_artifact_hashes(&mut self.store.reader().await?).await?;
        let code = self.code_of_sweeps().await?.into_keys().map(|hash| code_file_name(&hash.to_string()));
        Ok(hashes.iter().map(|hash| weights_file_name(hash)).chain(code).collect())
    }
}

fn damage(found: store::Finding) -> Finding {
    let store::Finding { what, rows } = found;
    Finding {
        what: if rows == 1 { what } else { format!("{what} ({rows} rows)") },
        help: "copy .sweep/ away and stop all workers; `sqlite3 sweep.db .recover` saves what can be read of a damaged \
               file. If the disk and its memory are sound, this is a fault of `sweep`: please report it with this line"
            .to_owned(),
    }
}

/// Does something slow with a file while requests are answered.
async fn in_background<T: Default + Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> T {
    // It fails only when the program is about to end.
    tokio::task::spawn_blocking(move || work(&path)).await.unwrap_or_default()
}

/// When the file was written; nothing where there is none.
fn written_at(path: &Path) -> Option<Timestamp> {
    let metadata = path.symlink_metadata().ok()?;
    let millis = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    metadata.is_file().then_some(Timestamp(millis))
}

/// Files of ours that were written before `oldest`. What else somebody put there stays.
fn list_older(folder: &Path, oldest: Timestamp) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|path| is_ours(path) && written_at(path).is_some_and(|at| at < oldest)).collect()
}

/// A checkpoint, or what a trainer that was killed had begun to write: hidden, or named by a hash.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_named_by_hash = name.split('.').next().is_some_and(|stem| stem.parse::<CheckpointHash>().is_ok());
    name.starts_with('.') || is_named_by_hash
}

fn delete(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "can't delete `{}`, which nobody needs any more", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}
