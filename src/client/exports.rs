use super::{Client, ClientError, LONG_ANSWER_LIMIT};
use crate::protocol::export::{ExportResponse, ExportsResponse};
use crate::vocabulary::SweepId;

impl Client {
    /// `POST /v1/sweeps/{sweep}/exports`: repeated it finds that all is taken.
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn export(&self, sweep: SweepId) -> Result<ExportResponse, ClientError> {
        self.post(&format!("v1/sweeps/{sweep}/exports"), &(), LONG_ANSWER_LIMIT).await
    }

    /// `GET /v1/exports`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn exports(&self) -> Result<ExportsResponse, ClientError> {
        self.get("v1/exports").await
    }
}
