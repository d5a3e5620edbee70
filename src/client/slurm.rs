use super::{Client, ClientError, LONG_ANSWER_LIMIT};
use crate::protocol::slurm::SlurmJobsRequest;

impl Client {
    /// `POST /v1/slurm/jobs`; the answer has no body.
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn record_slurm_jobs(&self, request: &SlurmJobsRequest) -> Result<(), ClientError> {
        self.tell("v1/slurm/jobs", request, LONG_ANSWER_LIMIT).await
    }
}
