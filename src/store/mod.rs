//! The job table: every SQL statement of the program, the one writer, and the readers.
//!
//! The store applies, it doesn't decide: what an event does to a job is `lease::step`'s business. All writes go through
//! one task ([`writer`]) that commits what has accumulated together; a call returns when its transaction has reached the
//! disk. Readers have connections of their own and never wait for the writer.
//! Start with `unit.rs`: every change of a job's state, and every count that depends on it, happens there. `submit/` is
//! where a sweep's jobs meet those that are there already.

mod adopt;
mod backup;
mod cancel;
mod candidates;
mod chains;
mod checkpoints;
mod curves;
mod doctor;
mod experience;
mod explain;
mod exports;
mod file_system;
mod finished;
mod flush;
mod history;
mod ill_hosts;
mod joins;
mod kept;
mod leases;
mod listing;
mod load;
mod log;
mod outcomes;
mod progress;
mod queue;
mod read;
mod reopen;
mod retry;
mod settle;
mod size;
mod slurm;
mod submit;
mod sweeps;
mod trials;
mod unit;
mod unneeded;
mod workers;
mod writer;
mod writes;

pub use backup::{Contents, read_copy};
pub use cancel::{Cancelled, Chosen, find_missing_trial};
pub use candidates::{Candidate, list_candidates};
pub use chains::At;
pub use checkpoints::{Checkpoint, is_artifact_named, list_artifact_hashes, list_checkpoints};
pub use curves::{CurveRows, TreeRow, list_curves, list_tree};
pub use doctor::{Finding, examine};
pub use experience::{FinishedJobRow, list_experience, list_seed_values};
pub use explain::{
    HoldingExport, LineRow, NeededRow, count_ready_before, list_line, list_needed, list_queues,
};
pub use exports::{Export, ExportRow, ExportedJob, list_exports};
pub use file_system::FileSystem;
pub use finished::{FinishedTrialRow, RecentlyFinished, list_finished_trials};
pub use history::{HistoryRow, RequestRow, find_history, find_request, list_code};
pub use ill_hosts::{IllHost, list_held, list_ill_hosts};
pub use leases::{Beat, Grant, LeaseFor, Leased, LeasedJob, RefusedLease, RequiredWeights};
pub use listing::{
    ListedTrialRow, Page, TrialAttemptRow, TrialFilter, TrialOrder, Wanted, count_listed, find_listed,
    list_attempts, list_page,
};
pub use log::{AttemptRow, filter_attempts, find_attempt};
pub use outcomes::{Ended, NewOutcome, NewReport};
pub use progress::{
    FailedRow, RecentFailureRow, StretchRow, count_unshared_epochs, find_best_trial, list_failed,
    list_progress, list_recent_failures,
};
pub use read::{
    RunningJobRow, SweepCounts, SweepRow, WorkerRow, find_next_due, find_sweep, is_anything_overdue,
    list_running, list_sweeps, list_workers,
};
pub use size::StoreSize;
pub use slurm::{SlurmJobRow, WorkerSlurmRow, list_slurm_jobs};
pub use submit::{Earlier, Keep, NewJob, NewSweep, NewTrial, Submitted, TrialSource};
pub use sweeps::{Bumped, NewPriority};
pub use trials::{Cause, FailureRow, KeptRow, TrialRow, list_trials, list_trials_at};
pub use workers::{LiveWorker, NewWorker};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::vocabulary::CheckpointHash;
use finished::Finished;
use unneeded::Unneeded;
use writer::Writer;

/// Two are enough: whoever reads often (status, the dashboard) is served from small tables.
const READERS: u32 = 2;

/// Page caches: a million jobs' indexes nearly fit into the writer's, and both are small beside the program's limit.
const WRITER_CACHE: &str = "-32768";
const READER_CACHE: &str = "-4096";

/// What a large submission has made of the write-ahead log is given back down to this many bytes.
const LARGEST_WAL: &str = "16777216";

/// How long a reader waits for a lock that only a checkpoint of the WAL can hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The job table of one state folder. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    readers: SqlitePool,
    unneeded: Unneeded,
    finished: Finished,
}

/// What can go wrong between us and the disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("can't open the job table `{}`", path.display())]
    Open { path: PathBuf, source: Arc<sqlx::Error> },
    #[error("the job table `{}` was made by a newer version of `sweep`; take that one, or another folder", path.display())]
    Newer { path: PathBuf },
    #[error("the job table `{}` can't be brought up to date", path.display())]
    Migrate { path: PathBuf, source: Arc<MigrateError> },
    #[error("the job table `{}` is open in another process, maybe on another host", path.display())]
    InUse { path: PathBuf },
    #[error("the job table could not be read or written")]
    Database(#[source] Arc<sqlx::Error>),
    #[error("the disk that holds the job table is full; make room, and the work goes on by itself")]
    DiskFull,
    /// A row that no version of this program writes.
    #[error("the job table is damaged: {0}")]
    Damaged(String),
    #[error("the job table is closed")]
    Closed,
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_FULL: u32 = 13;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match primary_code(&error) {
            Some(SQLITE_FULL) => StoreError::DiskFull,
            _ => StoreError::Database(Arc::new(error)),
        }
    }
}

/// SQLite's result code without what its higher bits add.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

impl Store {
    /// Opens the job table at `path`, makes it if there is none, and brings an older schema up to date.
    ///
    /// # Errors
    /// When the file can't be opened, is no database, is open on another host, or was made by a newer version.
    pub async fn open(path: &Path) -> Result<Store, StoreError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let on = FileSystem::of(folder.unwrap_or(Path::new("."))).map_err(|error| StoreError::Open {
            path: path.to_owned(),
            source: Arc::new(sqlx::Error::Io(error)),
        })?;
        Store::open_on(on, path).await
    }

    async fn open_on(file_system: FileSystem, path: &Path) -> Result<Store, StoreError> {
        let open_error = |source: sqlx::Error| match primary_code(&source) {
            Some(SQLITE_BUSY) => StoreError::InUse { path: path.to_owned() },
            _ => StoreError::Open { path: path.to_owned(), source: Arc::new(source) },
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged write has reached the disk: WAL alone would sync at checkpoints only.
            .synchronous(SqliteSynchronous::Full);
        let options = match file_system {
            FileSystem::Local => options,
            // The index of the WAL is memory that all who have the file open share, which ends at the machine. This form
            // of access keeps it in the process, for all its connections, and locks the file as long as one is open.
            FileSystem::Network(_) => options.vfs("unix-excl"),
        };
        // A migration may make a table anew under its old name, to which others refer.
        let mut migrating = options.clone().foreign_keys(false).connect().await.map_err(open_error)?;
        MIGRATIONS.run(&mut migrating).await.map_err(|source| match source {
            // A step that this program does not know.
            MigrateError::VersionMissing(_) => StoreError::Newer { path: path.to_owned() },
            source => StoreError::Migrate { path: path.to_owned(), source: Arc::new(source) },
        })?;
        backup::become_a_table(&mut migrating).await.map_err(open_error)?;
        migrating.close().await.map_err(open_error)?;
        let options = options.create_if_missing(false).foreign_keys(true);
        let writing =
            options.clone().pragma("cache_size", WRITER_CACHE).pragma("journal_size_limit", LARGEST_WAL);
        let connection = writing.connect().await.map_err(open_error)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.pragma("query_only", "on").pragma("cache_size", READER_CACHE))
            .await
            .map_err(open_error)?;
        let (unneeded, finished) = (Unneeded::default(), Finished::default());
        let writer = Writer::start(connection, unneeded.clone(), finished.clone());
        Ok(Store { writer, readers, unneeded, finished })
    }

    /// Checkpoints of which the table has let go since this was asked last: they gave way to newer ones, were refused, or
    /// nobody goes on from them any more. The table may still name such a file for another job.
    #[must_use]
    pub fn take_unneeded(&self) -> Vec<CheckpointHash> {
        self.unneeded.take()
    }

    /// Commits what is waiting and closes the file.
    pub async fn close(self) {
        self.readers.close().await;
        self.writer.stop().await;
    }

    /// A connection that can only read.
    ///
    /// # Errors
    /// When the file can't be read any more.
    pub async fn reader(&self) -> Result<Reader, StoreError> {
        Ok(Reader(self.readers.acquire().await?))
    }
}

/// A connection that can only read.
pub struct Reader(sqlx::pool::PoolConnection<sqlx::Sqlite>);

impl Reader {
    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}

/// An epoch as the table has it.
fn epoch(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
