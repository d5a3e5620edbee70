//! The job table: every SQL statement of the program, the one writer, and the readers.
//!
//! The store applies, it doesn't decide: what an event does to a job is `lease::step`'s business. All writes go through
//! one task ([`writer`]) that commits what has accumulated together; a call returns when its transaction has reached the
//! disk. Readers have connections of their own and never wait for the writer.
//! Start with `transition.rs`: every change of a job's state, and every count that depends on it, happens there.

mod checkpoints;
mod doctor;
mod history;
mod leases;
mod outcomes;
mod read;
mod submit;
mod transition;
mod workers;
mod writer;

pub use checkpoints::{Checkpoint, is_artifact_named, list_artifact_hashes, list_checkpoints};
pub use doctor::{Finding, examine};
pub use history::{HistoryRow, RequestRow, find_history, find_request};
pub use leases::{Beat, Grant, LeaseFor, Leased, LeasedJob, RefusedLease};
pub use outcomes::{Ended, NewOutcome, NewReport, Written};
pub use read::{
    FailureRow, RunningJobRow, SweepCounts, SweepRow, TrialRow, WorkerRow, find_next_due, find_sweep,
    is_anything_overdue, list_running, list_sweeps, list_trials, list_workers,
};
pub use submit::{NewJob, NewSweep, NewTrial, Submitted};
pub use workers::{LiveWorker, NewWorker};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection};

use writer::Writer;

/// Two are enough: whoever reads often (status, the dashboard) is served from small tables.
const READERS: u32 = 2;

/// How long a reader waits for a lock that only a checkpoint of the WAL can hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The job table of one state folder. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    readers: SqlitePool,
}

/// What can go wrong between us and the disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("can't open the job table `{}`", path.display())]
    Open { path: PathBuf, source: Arc<sqlx::Error> },
    #[error("the job table `{}` was made by another version of `sweep`", path.display())]
    Migrate { path: PathBuf, source: Arc<sqlx::migrate::MigrateError> },
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

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        /// SQLITE_FULL.
        const FULL: &str = "13";
        match error.as_database_error().and_then(|error| error.code()) {
            Some(code) if code == FULL => StoreError::DiskFull,
            _ => StoreError::Database(Arc::new(error)),
        }
    }
}

impl Store {
    /// Opens the job table at `path`, makes it if there is none, and brings an older schema up to date.
    ///
    /// # Errors
    /// When the file can't be opened, is no database, or was made by a newer version.
    pub async fn open(path: &Path) -> Result<Store, StoreError> {
        let open_error = |source| StoreError::Open { path: path.to_owned(), source: Arc::new(source) };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged write has reached the disk: WAL alone would sync at checkpoints only.
            .synchronous(SqliteSynchronous::Full);
        let mut connection = options.connect().await.map_err(open_error)?;
        MIGRATIONS
            .run(&mut connection)
            .await
            .map_err(|source| StoreError::Migrate { path: path.to_owned(), source: Arc::new(source) })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.create_if_missing(false).pragma("query_only", "on"))
            .await
            .map_err(open_error)?;
        Ok(Store { writer: Writer::start(connection), readers })
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

#[cfg(test)]
pub(crate) mod tests;
