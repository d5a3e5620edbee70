use reqwest::Method;

use super::{Client, ClientError, LONG_ANSWER_LIMIT};
use crate::protocol::slurm::SlurmJobsRequest;

impl Client {
    /// `POST /v1/slurm/jobs`; the answer has no body.
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn record_slurm_jobs(&self, request: &SlurmJobsRequest) -> Result<(), ClientError> {
        let call = async {
            let response = self.send(Method::POST, "v1/slurm/jobs", Some(request), LONG_ANSWER_LIMIT).await?;
            self.read(response).await.map(drop)
        };
        self.wherever_it_is(call).await
    }
}
