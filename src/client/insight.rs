use super::{Client, ClientError};
use crate::protocol::insight::{Explanation, SweepProgress};
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
}
