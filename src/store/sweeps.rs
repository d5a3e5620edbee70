//! What holds for a sweep as a whole: whether it may be leased from, and before which others. One row each.

use super::unit::Unit;
use super::writer::{Request, Wants};
use super::{Store, StoreError};
use crate::vocabulary::SweepId;

impl Store {
    /// Leases no more jobs of the sweep; what runs goes on.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn pause(&self, sweep: SweepId) -> Result<(), StoreError> {
        self.writer.write(SetPause { sweep, pause: Pause::On }).await
    }

    /// Leases jobs of the sweep again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn resume(&self, sweep: SweepId) -> Result<(), StoreError> {
        self.writer.write(SetPause { sweep, pause: Pause::Off }).await
    }

    /// Sweeps of higher priority are leased from first.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn set_priority(&self, sweep: SweepId, priority: i64) -> Result<(), StoreError> {
        self.writer.write(SetPriority { sweep, priority }).await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    On,
    Off,
}

struct SetPause {
    sweep: SweepId,
    pause: Pause,
}

impl Request for SetPause {
    type Answer = ();

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<(), StoreError> {
        let is_paused = self.pause == Pause::On;
        sqlx::query!(
            "-- set_pause
            UPDATE sweeps SET is_paused = ? WHERE id = ?",
            is_paused,
            self.sweep.0
        )
        .execute(unit.connection())
        .await?;
        Ok(())
    }
}

struct SetPriority {
    sweep: SweepId,
    priority: i64,
}

impl Request for SetPriority {
    type Answer = ();

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<(), StoreError> {
        sqlx::query!(
            "-- set_priority
            UPDATE sweeps SET priority = ? WHERE id = ?",
            self.priority,
            self.sweep.0
        )
        .execute(unit.connection())
        .await?;
        Ok(())
    }
}
