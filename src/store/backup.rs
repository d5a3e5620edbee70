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
        let withdrawn = make_copy(&mut copy).await;
        let closed = copy.close().await;
        withdrawn?;
        Ok(closed?)
    }
}

/// Makes a copy one: says in it what it is, and gives its leases nonces that nobody was told. Whoever holds one reports to the
/// table that goes on, and the copy will not know of that. An export's lease stays as it is, since its folder says all
/// numbers again.
async fn make_copy(copy: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "-- withdraw_leases
        UPDATE jobs SET nonce = (nonce + 1) % 4294967296
        WHERE state = 'leased' AND lease_deadline < 9223372036854775807"
    )
    .execute(&mut *copy)
    .await?;
    sqlx::query("PRAGMA user_version = 1").execute(copy).await?;
    Ok(())
}

/// Where the table was a copy until now: lets the names of its next workers begin elsewhere than those that have been given since
/// the copy was made. Else agents of that time would pass for new ones, and their farewell would end what these hold.
pub(super) async fn become_a_table(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let is_copy: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    if is_copy == 0 {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    let gap = i64::from(fastrand::u32(1_000..100_000)) * 1_000;
    sqlx::query!(
        "-- leave_gap_in_workers
        INSERT INTO workers (id, host, boot_id, pid, started_ticks, slots, version, registered_at, last_seen_at, left_at)
        SELECT COALESCE(MAX(id), 0) + ?, 'restored', 'restored', 0, 0, 0, '', 0, 0, 0 FROM workers",
        gap
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query("PRAGMA user_version = 0").execute(&mut *transaction).await?;
    transaction.commit().await
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
