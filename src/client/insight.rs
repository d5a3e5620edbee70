use std::collections::BTreeSet;

use super::{Client, ClientError};
use crate::protocol::insight::{CurvesResponse, Explanation, StagesResponse, SweepProgress};
use crate::vocabulary::{SweepId, TrialNumber};

impl Client {
    /// `GET /v1/sweeps/{sweep}/trials/{trial}/explanation`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn explain(&self, sweep: SweepId, trial: TrialNumber) -> Result<Explanation, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/trials/{trial}/explanation")).await
    }

    /// `GET /v1/sweeps/{sweep}/progress`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn progress(&self, sweep: SweepId) -> Result<SweepProgress, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/progress")).await
    }

    /// `GET /v1/sweeps/{sweep}/curves`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn curves(
        &self,
        sweep: SweepId,
        trials: &BTreeSet<TrialNumber>,
        points: Option<u32>,
    ) -> Result<CurvesResponse, ClientError> {
        let numbers: Vec<String> = trials.iter().map(ToString::to_string).collect();
        let points = points.map_or_else(String::new, |points| format!("&points={points}"));
        self.get(&format!("v1/sweeps/{sweep}/curves?trials={}{points}", numbers.join(","))).await
    }

    /// `GET /v1/sweeps/{sweep}/stages`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn stages(&self, sweep: SweepId) -> Result<StagesResponse, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/stages")).await
    }
}
