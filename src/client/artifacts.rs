//! Files of the artifact store, as streams: neither side ever holds one in memory.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::{ANSWER_LIMIT, Backoff, Client, ClientError};
use crate::vocabulary::CheckpointHash;

/// A transfer is given up when it is slower than this on the whole, beyond [`ANSWER_LIMIT`].
const SLOWEST_BYTES_PER_SECOND: u64 = 512 * 1024;

/// Nothing for this long, and the other end is gone.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// A download that breaks off again and again is given up in the end, though a little more came each time.
const MOST_BREAKS: u32 = 10_000;

/// What has come of a file so far.
struct Download {
    file: File,
    hasher: blake3::Hasher,
    received: u64,
}

impl Client {
    /// `HEAD /v1/artifacts/{hash}`: whether the coordinator has the file.
    ///
    /// # Errors
    /// As for all methods.
    pub async fn has_artifact(&self, hash: &CheckpointHash) -> Result<bool, ClientError> {
        let route = format!("v1/artifacts/{hash}");
        let call = async {
            let there = self.send(Method::HEAD, &route, None::<&()>, ANSWER_LIMIT).await?;
            self.read(there).await
        };
        match self.wherever_it_is(call).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `PUT /v1/artifacts/{hash}`: sends the file at `path`, unless the coordinator has it.
    ///
    /// # Errors
    /// When the file can't be read, or as for all methods.
    pub async fn upload_artifact(&self, path: &Path, hash: &CheckpointHash) -> Result<(), ClientError> {
        let route = format!("v1/artifacts/{hash}");
        let size_bytes = tokio::fs::metadata(path).await.map_err(|source| unreadable(path, source))?.len();
        let there = async {
            let there = self.send(Method::HEAD, &route, None::<&()>, ANSWER_LIMIT).await?;
            Ok(there.status().is_success() && length_of(&there) == Some(size_bytes))
        };
        if self.wherever_it_is(there).await? {
            return Ok(());
        }
        self.send_artifact(path, hash).await
    }

    /// The same for a file that the coordinator is known not to have, or not whole.
    ///
    /// # Errors
    /// When the file can't be read, or as for all methods.
    pub async fn send_artifact(&self, path: &Path, hash: &CheckpointHash) -> Result<(), ClientError> {
        let route = format!("v1/artifacts/{hash}");
        let file = File::open(path).await.map_err(|source| unreadable(path, source))?;
        let size_bytes = file.metadata().await.map_err(|source| unreadable(path, source))?.len();
        let call = async {
            let limit = ANSWER_LIMIT + Duration::from_secs(size_bytes / SLOWEST_BYTES_PER_SECOND);
            let request = self.http.request(Method::PUT, self.url(&route).await?).timeout(limit);
            let request = request.header(CONTENT_LENGTH, size_bytes).body(file);
            let response = request.send().await.map_err(|source| self.unreachable(source))?;
            self.read(response).await.map(drop)
        };
        self.wherever_it_is(call).await
    }

    /// `GET /v1/artifacts/{hash}`: fetches the file and puts it at `path` when it is whole. When the connection breaks it goes on
    /// where it was, after a pause of `backoff`, whose attempts count anew whenever something has come.
    ///
    /// # Errors
    /// When the file can't be written, is not what its name says, or as for all methods; then `path` is as before.
    pub async fn download_artifact(
        &self,
        hash: &CheckpointHash,
        path: &Path,
        backoff: &Backoff,
    ) -> Result<(), ClientError> {
        let unwritable = |source| ClientError::File { path: path.to_owned(), source };
        let folder = path.parent().unwrap_or(Path::new("."));
        let beside = tempfile::Builder::new().prefix(".download-").tempfile_in(folder).map_err(unwritable)?;
        let (file, beside) = beside.into_parts();
        let mut download =
            Download { file: File::from_std(file), hasher: blake3::Hasher::new(), received: 0 };
        let (mut breaks, mut failed) = (0, 0);
        loop {
            let received = download.received;
            let fetched = self.wherever_it_is(self.fetch(hash, path, &mut download)).await;
            let Err(error) = fetched else { break };
            failed = if download.received > received { 1 } else { failed + 1 };
            breaks += 1;
            if !error.is_transient() || failed >= backoff.attempts || breaks >= MOST_BREAKS {
                return Err(error);
            }
            let received = download.received;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                received,
                "an artifact has not come whole yet, trying again"
            );
            tokio::time::sleep(backoff.pause(failed)).await;
        }
        let found = download.hasher.finalize().to_hex().to_string();
        if found != hash.to_string() {
            return Err(ClientError::Damaged { hash: hash.clone(), found });
        }
        download.file.flush().await.map_err(unwritable)?;
        download.file.sync_all().await.map_err(unwritable)?;
        beside.persist(path).map_err(|error| unwritable(error.error))?;
        File::open(folder).await.map_err(unwritable)?.sync_all().await.map_err(unwritable)
    }

    /// Adds to `download` what is missing of it.
    async fn fetch(
        &self,
        hash: &CheckpointHash,
        path: &Path,
        download: &mut Download,
    ) -> Result<(), ClientError> {
        let unwritable = |source| ClientError::File { path: path.to_owned(), source };
        let mut request = self.http.get(self.url(&format!("v1/artifacts/{hash}")).await?);
        if download.received > 0 {
            request = request.header(RANGE, format!("bytes={}-", download.received));
        }
        let response = self.in_time(request.send()).await?;
        let mut response = match response.status() {
            StatusCode::PARTIAL_CONTENT => response,
            StatusCode::OK => {
                download.begin_anew().await.map_err(unwritable)?;
                response
            }
            // All of it had come when the connection broke.
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(()),
            _ => return self.read(response).await.map(drop),
        };
        while let Some(piece) = self.in_time(response.chunk()).await? {
            download.hasher.update(&piece);
            download.received += piece.len() as u64;
            download.file.write_all(&piece).await.map_err(unwritable)?;
        }
        Ok(())
    }

    async fn in_time<T>(&self, coming: impl Future<Output = reqwest::Result<T>>) -> Result<T, ClientError> {
        match tokio::time::timeout(LONGEST_SILENCE, coming).await {
            Ok(came) => came.map_err(|source| self.unreachable(source)),
            Err(_) => Err(ClientError::Silent { url: self.address.shown() }),
        }
    }
}

impl Download {
    async fn begin_anew(&mut self) -> std::io::Result<()> {
        self.file.set_len(0).await?;
        self.file.seek(SeekFrom::Start(0)).await?;
        self.hasher.reset();
        self.received = 0;
        Ok(())
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::File { path: path.to_owned(), source }
}

/// As the header says: a HEAD request's answer has no body whose length could be asked.
fn length_of(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
