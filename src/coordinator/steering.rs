//! What people do to a sweep after they submitted it.

use super::{Coordinator, CoordinatorError, wire};
use crate::protocol::http::{SweepState, SweepStatus};
use crate::protocol::steering::{BumpRequest, BumpResponse, CancelResponse, ChosenTrials};
use crate::store::{self, Chosen};
use crate::vocabulary::SweepId;

/// Those of a sweep that has ended.
const ALL: &str = "all its trials";

impl Coordinator {
    /// Cancels trials that have not ended, all or some of them; a worker that runs one hears of it with its next heartbeat.
    ///
    /// # Errors
    /// When there is no such sweep or trial, all of them have ended, or the disk refuses.
    pub async fn cancel(
        &self,
        sweep: SweepId,
        trials: ChosenTrials,
    ) -> Result<CancelResponse, CoordinatorError> {
        let chosen = self.choose(sweep, trials).await?;
        let which = if chosen == Chosen::All { ALL } else { "these trials" };
        let cancelled = self.store.cancel(sweep, chosen, self.clock.now()).await?;
        // Whoever waits for this sweep to be drained need not wait any longer.
        self.note_change();
        match wire::cancelled(cancelled) {
            CancelResponse { jobs: 0, kept: 0, .. } => {
                Err(CoordinatorError::HasEnded { sweep, what: "to cancel", which })
            }
            cancelled => Ok(cancelled),
        }
    }

    /// Puts failed and cancelled trials back into the queue, all or some of them; says how many jobs.
    ///
    /// # Errors
    /// When there is no such sweep or trial, or the disk refuses.
    pub async fn retry(&self, sweep: SweepId, trials: ChosenTrials) -> Result<u64, CoordinatorError> {
        let chosen = self.choose(sweep, trials).await?;
        let reopened = self.store.retry(sweep, chosen, self.clock.now()).await?;
        self.note_change();
        Ok(reopened)
    }

    /// Leases no more jobs of a sweep; what runs goes on. May be repeated.
    ///
    /// # Errors
    /// When there is no such sweep, it has ended, or the disk refuses.
    pub async fn pause(&self, sweep: SweepId) -> Result<SweepStatus, CoordinatorError> {
        self.find_unfinished(sweep, "to pause").await?;
        self.store.pause(sweep).await?;
        self.note_change();
        self.sweep(sweep).await
    }

    /// Leases jobs of a sweep again. May be repeated.
    ///
    /// # Errors
    /// When there is no such sweep, it has ended without being paused, or the disk refuses.
    pub async fn resume(&self, sweep: SweepId) -> Result<SweepStatus, CoordinatorError> {
        // One that was paused and then cancelled: its trials may be retried later.
        if !self.find(sweep).await?.is_paused {
            self.find_unfinished(sweep, "to resume").await?;
        }
        self.store.resume(sweep).await?;
        self.note_change();
        self.sweep(sweep).await
    }

    /// Gives a sweep another priority.
    ///
    /// # Errors
    /// When there is no such sweep, it has ended, or the disk refuses.
    pub async fn bump(&self, sweep: SweepId, to: BumpRequest) -> Result<BumpResponse, CoordinatorError> {
        self.find_unfinished(sweep, "to bump").await?;
        let bumped = self.store.bump(sweep, to.into()).await?;
        self.note_change();
        bumped.map(Into::into).ok_or(CoordinatorError::NoSuchSweep(sweep))
    }

    async fn choose(&self, sweep: SweepId, chosen: ChosenTrials) -> Result<Chosen, CoordinatorError> {
        self.find(sweep).await?;
        let chosen = match chosen.trials {
            None => Chosen::All,
            Some(trials) => Chosen::These(trials.into_iter().collect()),
        };
        match store::find_missing_trial(&mut self.store.reader().await?, sweep, &chosen).await? {
            None => Ok(chosen),
            Some(trial) => Err(CoordinatorError::UnknownTrial { sweep, trial }),
        }
    }

    async fn sweep(&self, sweep: SweepId) -> Result<SweepStatus, CoordinatorError> {
        Ok(self.find(sweep).await?.into())
    }

    async fn find_unfinished(&self, sweep: SweepId, what: &'static str) -> Result<(), CoordinatorError> {
        match self.sweep(sweep).await?.state {
            SweepState::Queued | SweepState::Running | SweepState::Paused => Ok(()),
            SweepState::Succeeded | SweepState::Failed | SweepState::Cancelled => {
                Err(CoordinatorError::HasEnded { sweep, what, which: ALL })
            }
        }
    }
}
