use super::{Client, ClientError};
use crate::protocol::logs::{LogQuery, LogResponse};
use crate::vocabulary::{SweepId, TrialNumber};

impl Client {
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
