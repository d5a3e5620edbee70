//! Questions about work that goes on, put to whomever a command talks to.

use std::collections::BTreeSet;

use super::CliError;
use super::access::Access;
use crate::protocol::insight::{CurvesResponse, Explanation, StagesResponse, SweepProgress};
use crate::protocol::listing::{TrialsQuery, TrialsResponse};
use crate::vocabulary::{SweepId, TrialNumber};

/// So many numbers of trials fit into one address.
const TRIALS_A_REQUEST: usize = 1000;

impl Access {
    /// Why a trial is where it is.
    pub(super) async fn explain(&self, sweep: SweepId, trial: TrialNumber) -> Result<Explanation, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.explain(sweep, trial).await?),
            Access::Remote(remote) => Ok(remote.client.explain(sweep, trial).await?),
        }
    }

    /// A page of a sweep's trials.
    pub(super) async fn list_trials(
        &self,
        sweep: SweepId,
        query: &TrialsQuery,
    ) -> Result<TrialsResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.list_trials(sweep, query).await?),
            Access::Remote(remote) => Ok(remote.client.list_trials(sweep, query).await?),
        }
    }

    /// How far a sweep is.
    pub(super) async fn progress(&self, sweep: SweepId) -> Result<SweepProgress, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.progress(sweep).await?),
            Access::Remote(remote) => Ok(remote.client.progress(sweep).await?),
        }
    }

    /// What trials reported, epoch by epoch, or of each curve about so many `points`.
    pub(super) async fn curves(
        &self,
        sweep: SweepId,
        trials: &BTreeSet<TrialNumber>,
        points: Option<u32>,
    ) -> Result<CurvesResponse, CliError> {
        let mut all = CurvesResponse::default();
        let trials: Vec<TrialNumber> = trials.iter().copied().collect();
        for part in trials.chunks(TRIALS_A_REQUEST) {
            let part = part.iter().copied().collect();
            all.trials.extend(match self {
                Access::Local(local) => local.coordinator.curves(sweep, &part, points).await?.trials,
                Access::Remote(remote) => remote.client.curves(sweep, &part, points).await?.trials,
            });
        }
        Ok(all)
    }

    /// The jobs that a sweep's trials go through.
    pub(super) async fn stages(&self, sweep: SweepId) -> Result<StagesResponse, CliError> {
        match self {
            Access::Local(local) => Ok(local.coordinator.stages(sweep).await?),
            Access::Remote(remote) => Ok(remote.client.stages(sweep).await?),
        }
    }
}
