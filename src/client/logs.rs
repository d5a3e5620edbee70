use super::{ANSWER_LIMIT, Client, ClientError};
use crate::protocol::logs::{LogQuery, LogResponse, LogsRequest};
use crate::vocabulary::{SweepId, TrialNumber};

impl Client {
    /// `POST /v1/logs`; the answer has no body.
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn send_logs(&self, request: &LogsRequest) -> Result<(), ClientError> {
        self.tell("v1/logs", request, ANSWER_LIMIT).await
    }

    /// `GET /v1/sweeps/{sweep}/trials/{trial}/log`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn log(
        &self,
        sweep: SweepId,
        trial: TrialNumber,
        query: &LogQuery,
    ) -> Result<LogResponse, ClientError> {
        let LogQuery { job, attempt, offset } = query;
        let mut route = format!("v1/sweeps/{sweep}/trials/{trial}/log?offset={offset}");
        if let Some(job) = job {
            route += &format!("&job={job}");
        }
        if let Some(attempt) = attempt {
            route += &format!("&attempt={attempt}");
        }
        self.get(&route).await
    }
}
