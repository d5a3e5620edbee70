use std::time::Duration;

use reqwest::{Method, Response};

use super::{Client, ClientError};

/// How long a copy of the job table may take: some gigabytes over a slow line.
const COPY_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// A copy of the job table on its way.
pub struct Copy<'a> {
    client: &'a Client,
    response: Response,
}

impl Client {
    /// `GET /v1/backup`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn back_up(&self) -> Result<Copy<'_>, ClientError> {
        let response = self.send(Method::GET, "v1/backup", None::<&()>, COPY_LIMIT).await?;
        if !response.status().is_success() {
            self.read(response).await?;
            return Err(self.garbled("it has no body".to_owned()));
        }
        Ok(Copy { client: self, response })
    }
}

impl Copy<'_> {
    /// The next part; none once all of it was received.
    ///
    /// # Errors
    /// The connection broke before that.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let part = self.response.chunk().await.map_err(|source| self.client.unreachable(source))?;
        Ok(part.map(|part| part.to_vec()))
    }
}
