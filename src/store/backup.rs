//! Copies of the table, made while it is written to.

use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{Store, StoreError};

/// What a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    pub sweeps: u64,
    pub trials: u64,
    pub jobs: u64,
}

impl Store {
    /// Writes a copy of the table, as it is at one moment, to `path`, where there is no file or an empty one. The writer
    /// goes on meanwhile: the copy is read in one transaction. It is not synced. In it nobody holds a lease but exports.
    ///
    /// # Errors
    /// When the disk refuses; then what is at `path` is no copy.
    pub async fn back_up(&self, path: &Path) -> Result<(), StoreError> {
        let open_error = |source| StoreError::Open { path: path.to_owned(), source: Arc::new(source) };
        let unwritable = || open_error(sqlx::Error::Configuration("its name is no text".into()));
        let name = path.to_str().ok_or_else(unwritable)?;
        // A connection of its own: the two readers are for those who wait for an answer.
        let options =
            SqliteConnectOptions::clone(&self.readers.connect_options()).pragma("query_only", "off");
        let mut connection = options.connect().await.map_err(open_error)?;
        let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await;
        let closed = connection.close().await;
        copied?;
        closed?;
        let mut copy = SqliteConnectOptions::new().filename(path).connect().await.map_err(open_error)?;
        let withdrawn = withdraw_leases(&mut copy).await;
        let closed = copy.close().await;
        withdrawn?;
        Ok(closed?)
    }
}

/// Gives the leases of a copy nonces that nobody was told: whoever holds one reports to the table that goes on, and the copy will not know of
/// that. An export's lease stays as it is, since its folder says everything again.
async fn withdraw_leases(copy: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "-- withdraw_leases
        UPDATE jobs SET nonce = (nonce + 1) % 4294967296
        WHERE state = 'leased' AND lease_deadline < 9223372036854775807"
    )
    .execute(copy)
    .await?;
    Ok(())
}

/// Opens a copy that nobody writes to, and says what it holds.
///
/// # Errors
/// When it is no job table.
pub async fn read_copy(path: &Path) -> Result<Contents, StoreError> {
    let open_error = |source| StoreError::Open { path: path.to_owned(), source: Arc::new(source) };
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let mut connection = options.connect().await.map_err(open_error)?;
    let row = sqlx::query!(
        "-- count_contents
        SELECT (SELECT COUNT(*) FROM sweeps) AS \"sweeps!: i64\", (SELECT COUNT(*) FROM trials) AS \"trials!: i64\",
               (SELECT COUNT(*) FROM jobs) AS \"jobs!: i64\""
    )
    .fetch_one(&mut connection)
    .await
    .map_err(open_error)?;
    connection.close().await?;
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Contents { sweeps: count(row.sweeps), trials: count(row.trials), jobs: count(row.jobs) })
}
