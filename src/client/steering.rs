use super::{Client, ClientError, LONG_ANSWER_LIMIT};
use crate::protocol::http::{RetryResponse, SweepStatus};
use crate::protocol::steering::{BumpRequest, BumpResponse, CancelResponse, ChosenTrials};
use crate::vocabulary::SweepId;

/// What people do to a sweep after they submitted it.
impl Client {
    /// `POST /v1/sweeps/{sweep}/cancel`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn cancel(&self, sweep: SweepId, trials: &ChosenTrials) -> Result<CancelResponse, ClientError> {
        self.post(&format!("v1/sweeps/{sweep}/cancel"), trials, LONG_ANSWER_LIMIT).await
    }

    /// `POST /v1/sweeps/{sweep}/retry`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn retry(&self, sweep: SweepId, trials: &ChosenTrials) -> Result<RetryResponse, ClientError> {
        self.post(&format!("v1/sweeps/{sweep}/retry"), trials, LONG_ANSWER_LIMIT).await
    }

    /// `POST /v1/sweeps/{sweep}/pause`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn pause(&self, sweep: SweepId) -> Result<SweepStatus, ClientError> {
        self.post(&format!("v1/sweeps/{sweep}/pause"), &(), LONG_ANSWER_LIMIT).await
    }

    /// `POST /v1/sweeps/{sweep}/resume`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn resume(&self, sweep: SweepId) -> Result<SweepStatus, ClientError> {
        self.post(&format!("v1/sweeps/{sweep}/resume"), &(), LONG_ANSWER_LIMIT).await
    }

    /// `POST /v1/sweeps/{sweep}/bump`: where it raises it may not be repeated blindly.
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn bump(&self, sweep: SweepId, request: &BumpRequest) -> Result<BumpResponse, ClientError> {
        self.post(&format!("v1/sweeps/{sweep}/bump"), request, LONG_ANSWER_LIMIT).await
    }
}
