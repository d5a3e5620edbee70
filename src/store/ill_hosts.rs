//! Hosts on which different jobs failed alike: what a restart of the coordinator must not forget. A row each.

use std::time::Duration;

use super::load::id_list;
use super::unit::Unit;
use super::writer::{Request, Wants};
use super::{LeaseFor, Reader, Store, StoreError};
use crate::vocabulary::{Attempt, FailureReason, JobId, Nonce, WorkerId};

/// A host, and what happened there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IllHost {
    pub host: String,
    pub reason: FailureReason,
    pub jobs: Vec<JobId>,
    /// The longest time from a lease of these to its failure.
    pub longest: Duration,
}

impl Store {
    /// Notes a host, or what is known of it now.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn note_ill_host(&self, host: IllHost) -> Result<(), StoreError> {
        self.writer.write(Note(host)).await
    }

    /// Forgets a host that is well again; says whether it was noted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn forget_ill_host(&self, host: String) -> Result<bool, StoreError> {
        self.writer.write(Forget(host)).await
    }
}

/// All of them.
///
/// # Errors
/// When the file can't be read.
pub async fn list_ill_hosts(reader: &mut Reader) -> Result<Vec<IllHost>, StoreError> {
    let rows = sqlx::query!(
        "-- list_ill_hosts
        SELECT host, reason, jobs, longest_millis FROM ill_hosts ORDER BY host"
    )
    .fetch_all(reader.connection())
    .await?;
    let read = |row: (String, String, String, i64)| {
        let (host, reason, jobs, longest_millis) = row;
        let damaged = || StoreError::Damaged(format!("what ails host `{host}` can't be read"));
        let jobs: Vec<i64> = serde_json::from_str(&jobs).map_err(|_| damaged())?;
        Ok(IllHost {
            reason: reason.parse().map_err(|_| damaged())?,
            jobs: jobs.into_iter().map(JobId).collect(),
            longest: Duration::from_millis(u64::try_from(longest_millis).unwrap_or(0)),
            host,
        })
    };
    rows.into_iter().map(|row| read((row.host, row.reason, row.jobs, row.longest_millis))).collect()
}

/// Leases that are held, and by whom.
///
/// # Errors
/// When the file can't be read.
pub async fn list_held(reader: &mut Reader) -> Result<Vec<(LeaseFor, WorkerId)>, StoreError> {
    let rows = sqlx::query!(
        "-- list_held
        SELECT id AS \"id!\", attempt, nonce AS \"nonce: u32\", worker_id AS \"worker_id!\"
        FROM jobs INDEXED BY jobs_held
        WHERE worker_id IS NOT NULL AND lease_deadline < 9223372036854775807"
    )
    .fetch_all(reader.connection())
    .await?;
    let held = rows.into_iter().map(|row| {
        let lease = LeaseFor { job: JobId(row.id), attempt: Attempt(row.attempt), nonce: Nonce(row.nonce) };
        (lease, WorkerId(row.worker_id))
    });
    Ok(held.collect())
}

struct Note(IllHost);

impl Request for Note {
    type Answer = ();

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<(), StoreError> {
        let IllHost { host, reason, jobs, longest } = &self.0;
        let (reason, jobs) = (reason.to_string(), id_list(jobs));
        let longest_millis = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        sqlx::query!(
            "-- note_ill_host
            INSERT OR REPLACE INTO ill_hosts (host, reason, jobs, longest_millis) VALUES (?, ?, ?, ?)",
            host,
            reason,
            jobs,
            longest_millis
        )
        .execute(unit.connection())
        .await?;
        Ok(())
    }
}

struct Forget(String);

impl Request for Forget {
    type Answer = bool;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<bool, StoreError> {
        let forgotten = sqlx::query!(
            "-- forget_ill_host
            DELETE FROM ill_hosts WHERE host = ?",
            self.0
        )
        .execute(unit.connection())
        .await?;
        Ok(forgotten.rows_affected() > 0)
    }
}
