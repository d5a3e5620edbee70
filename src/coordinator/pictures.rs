//! What pictures of a sweep are made of: curves, and the stage tree.

use std::collections::BTreeSet;

use super::{Coordinator, CoordinatorError};
use crate::protocol::insight::{Curve, CurvesResponse, StagesResponse, TreeStage, TrialCurves};
use crate::store;
use crate::vocabulary::{SweepId, TrialNumber};

/// More trials are not answered in one piece.
const MOST_TRIALS: usize = 2000;

impl Coordinator {
    /// What trials reported, epoch by epoch, or of each curve about so many `points`. Of more than 2000 trials those with the
    /// smallest numbers are taken.
    ///
    /// # Errors
    /// When there is no such sweep, or the table can't be read.
    pub async fn curves(
        &self,
        sweep: SweepId,
        trials: &BTreeSet<TrialNumber>,
        points: Option<u32>,
    ) -> Result<CurvesResponse, CoordinatorError> {
        self.find(sweep).await?;
        let trials = trials.iter().copied().take(MOST_TRIALS).collect();
        let rows = store::list_curves(&mut self.store.reader().await?, sweep, &trials, points).await?;
        let trials = rows.into_iter().map(|(trial, metrics)| TrialCurves {
            trial,
            metrics: metrics
                .into_iter()
                .map(|(metric, points)| {
                    let (epochs, values) = points.into_iter().unzip();
                    (metric, Curve { epochs, values })
                })
                .collect(),
        });
        Ok(CurvesResponse { trials: trials.collect() })
    }

    /// The jobs that a sweep's trials go through.
    ///
    /// # Errors
    /// When there is no such sweep, or the table can't be read.
    pub async fn stages(&self, sweep: SweepId) -> Result<StagesResponse, CoordinatorError> {
        self.find(sweep).await?;
        let rows = store::list_tree(&mut self.store.reader().await?, sweep).await?;
        let stages = rows.into_iter().map(|row| TreeStage {
            job: row.job,
            parent: row.parent,
            first_epoch: row.first_epoch,
            last_epoch: row.last_epoch,
            state: row.state,
            ends: row.ends,
            trial: row.trial,
        });
        Ok(StagesResponse { stages: stages.collect() })
    }
}
