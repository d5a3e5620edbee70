//! What holds for a sweep as a whole: whether it may be leased from, and before which others. One row each.

use super::unit::Unit;
use super::writer::{Request, Wants};
use super::{Store, StoreError};
use crate::vocabulary::{HIGHEST_PRIORITY, SweepId};

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

    /// Sweeps of higher priority are leased from first. Nothing where there is no such sweep.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn bump(&self, sweep: SweepId, to: NewPriority) -> Result<Option<Bumped>, StoreError> {
        self.writer.write(Bump { sweep, to }).await
    }
}

/// A sweep's place among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewPriority {
    Exactly(i64),
    /// So much more than it is.
    By(i64),
    /// One more than any other sweep has whose trials have not all ended; never less than it is.
    First,
}

/// A sweep's priority before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bumped {
    pub before: i64,
    pub after: i64,
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

struct Bump {
    sweep: SweepId,
    to: NewPriority,
}

impl Request for Bump {
    type Answer = Option<Bumped>;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Option<Bumped>, StoreError> {
        let found = sqlx::query!(
            "-- find_priorities
            SELECT priority AS before,
                   (SELECT MAX(others.priority) FROM sweeps AS others
                    WHERE others.id <> sweeps.id AND others.trials_queued + others.trials_running > 0)
                   AS \"highest: i64\"
            FROM sweeps
            WHERE id = ?",
            self.sweep.0
        )
        .fetch_optional(unit.connection())
        .await?;
        let Some(found) = found else { return Ok(None) };
        let after = match self.to {
            NewPriority::Exactly(priority) => priority,
            NewPriority::By(more) => found.before.saturating_add(more),
            NewPriority::First => {
                found.highest.map_or(found.before, |highest| found.before.max(highest.saturating_add(1)))
            }
        };
        let after = after.clamp(-HIGHEST_PRIORITY, HIGHEST_PRIORITY);
        sqlx::query!(
            "-- set_priority
            UPDATE sweeps SET priority = ? WHERE id = ?",
            after,
            self.sweep.0
        )
        .execute(unit.connection())
        .await?;
        Ok(Some(Bumped { before: found.before, after }))
    }
}
