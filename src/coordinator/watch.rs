//! Ends leases that nobody extended.

use std::time::Duration;

use super::{Coordinator, CoordinatorError, HEARTBEATS_PER_LEASE, SILENT_LEASES};
use crate::store::{self, StoreError};
use crate::vocabulary::Timestamp;

/// Looks after the deadlines.
///
/// Nothing expires until a whole lease's length was listened to: while the coordinator was away (not started yet,
/// stopped by Ctrl-Z, on a laptop that slept) no heartbeat could reach it, and that is no worker's fault.
#[derive(Clone)]
pub struct Watch {
    coordinator: Coordinator,
    presence: Presence,
}

impl Watch {
    #[must_use]
    pub fn new(coordinator: Coordinator) -> Watch {
        let presence = Presence::since(coordinator.clock.now());
        Watch { coordinator, presence }
    }

    /// How often to look: often enough that an expired lease is noticed within a small part of its length.
    #[must_use]
    pub fn period(&self) -> Duration {
        (self.coordinator.settings.lease / 20).max(Duration::from_millis(50))
    }

    /// Looks as long as the coordinator runs. Ends when the table is closed.
    pub async fn keep_looking(mut self) {
        let mut tick = tokio::time::interval(self.period());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.look().await {
                Ok(_) => {}
                Err(CoordinatorError::Store(StoreError::Closed)) => return,
                Err(error) => tracing::error!(%error, "expired leases could not be ended"),
            }
        }
    }

    /// Looks once, and says whether something was overdue.
    ///
    /// # Errors
    /// When the table can't be read or written.
    pub async fn look(&mut self) -> Result<bool, CoordinatorError> {
        let Coordinator { clock, settings, .. } = &self.coordinator;
        if self.presence.at(clock.now(), settings.lease) < settings.lease {
            return Ok(false);
        }
        match self.coordinator.expire_overdue().await {
            // The store has said so. Heartbeats were refused as well, which is no worker's fault.
            Err(CoordinatorError::DiskFull) => {
                self.presence = Presence::since(clock.now());
                Ok(false)
            }
            outcome => outcome,
        }
    }
}

impl Coordinator {
    /// Ends the leases whose deadline is over, and says whether anything was.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn expire_overdue(&self) -> Result<bool, CoordinatorError> {
        let now = self.clock.now();
        let silent_since = Timestamp(now.0.saturating_sub(
            i64::try_from((self.settings.lease * SILENT_LEASES).as_millis()).unwrap_or(i64::MAX),
        ));
        // Looking costs the writer nothing; most of the time there is nothing to do.
        if !store::is_anything_overdue(&mut self.store.reader().await?, now, silent_since).await? {
            return Ok(false);
        }
        let expired = self.store.expire(now, silent_since).await?;
        self.activity.note_expired(expired);
        if expired > 0 {
            tracing::warn!(expired, "{expired} leases expired");
            self.note_change();
        }
        Ok(true)
    }
}

/// Since when the coordinator has been listening without a gap.
#[derive(Debug, Clone, Copy)]
struct Presence {
    since: Timestamp,
    last_seen: Timestamp,
}

impl Presence {
    fn since(now: Timestamp) -> Presence {
        Presence { since: now, last_seen: now }
    }

    /// How long it has been there at `now`; a gap in which heartbeats may have been missed starts it anew.
    fn at(&mut self, now: Timestamp, lease: Duration) -> Duration {
        if now.since(self.last_seen) > lease / HEARTBEATS_PER_LEASE {
            self.since = now;
        }
        self.last_seen = now;
        now.since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[test]
    fn a_coordinator_that_was_away_listens_for_a_whole_lease_before_it_expires_any() {
        let seconds = |n: i64| Timestamp(n * 1000);
        let mut presence = Presence::since(seconds(0));
        let listened: Vec<u64> =
            [10, 20, 30, 600, 610].map(|n| presence.at(seconds(n), LEASE).as_secs()).into_iter().collect();
        assert_eq!(listened, [10, 20, 30, 0, 10]);
    }
}
