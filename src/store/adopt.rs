//! What a coordinator does with the times that the one before it wrote.

use std::time::Duration;

use super::unit::Unit;
use super::writer::{Request, Wants};
use super::{Store, StoreError};
use crate::lease::LONGEST_BACKOFF;
use crate::vocabulary::Timestamp;

impl Store {
    /// Lets every lease last anew, and nobody wait longer than anybody may: the clock of the coordinator before may have
    /// been another one, and while there was none no heartbeat could arrive.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn adopt(&self, lasts: Duration, now: Timestamp) -> Result<(), StoreError> {
        self.writer.write(Adopt { lasts, now }).await
    }
}

struct Adopt {
    lasts: Duration,
    now: Timestamp,
}

impl Request for Adopt {
    type Answer = ();

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<(), StoreError> {
        let deadline = self.now.after(self.lasts);
        sqlx::query!(
            "-- renew_leases
            UPDATE jobs SET lease_deadline = ?
            WHERE state = 'leased' AND worker_id NOT IN (SELECT worker_id FROM exports)",
            deadline.0
        )
        .execute(unit.connection())
        .await?;
        sqlx::query!(
            "-- renew_workers
            UPDATE workers SET last_seen_at = ? WHERE left_at IS NULL",
            self.now.0
        )
        .execute(unit.connection())
        .await?;
        let due = self.now.after(LONGEST_BACKOFF);
        sqlx::query!(
            "-- shorten_waits
            UPDATE jobs SET waits_until = ?1 WHERE waits_until > ?1",
            due.0
        )
        .execute(unit.connection())
        .await?;
        if let Some(known) = &mut unit.memory.known {
            known.note_wait(due);
        }
        Ok(())
    }
}
