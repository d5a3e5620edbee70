//! Brings one file over HTTP, and goes on where an earlier attempt broke off.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, Body};

use super::error::FetchError;
use super::published::PublishedFile;
use super::{CHUNK_BYTES, Progress, verify};

const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A connection on which nothing moves any more ends by this; what arrived stays, and another one goes on from there.
const BODY_LIMIT: Duration = Duration::from_secs(600);

/// A download under way.
struct Download<'d> {
    url: &'d str,
    file: &'d PublishedFile,
    agent: Agent,
    path: PathBuf,
    part: File,
    /// How much of it is there.
    bytes: u64,
    /// How much of that was there before.
    earlier: u64,
}

/// What a server sends.
enum Answer {
    /// All that follows what is there.
    Rest(Body),
    /// The file from its beginning.
    Whole(Body),
    /// There is nothing behind what is there.
    NoRest,
}

/// Downloads a file into `folder`, where the place of what has arrived so far depends on the file's sum alone, whatever mirror it came from.
///
/// # Errors
/// When it can't be had, or is another file. What has arrived stays, unless it is wrong.
pub(super) fn download(
    url: &str,
    file: &PublishedFile,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, FetchError> {
    fs::create_dir_all(folder).map_err(|error| FetchError::file(folder, error))?;
    let sum = file.sha256.get(..12).unwrap_or(&file.sha256);
    let path = folder.join(format!("{sum}-{}", file.name));
    let unwritable = |error| FetchError::file(&path, error);
    let part = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(unwritable)?;
    match part.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(FetchError::Busy { path }),
        Err(TryLockError::Error(error)) => return Err(unwritable(error)),
    }
    let bytes = part.metadata().map_err(unwritable)?.len();
    let mut download =
        Download { url, file, agent: agent(), path: path.clone(), part, bytes, earlier: bytes };
    download.keep(bytes)?;
    let had_some = download.bytes > 0;
    if let Err(error) = download.complete(progress) {
        // Of another file nothing is of use. What was there before may be from the right one: a mirror's mistake doesn't cost it.
        if matches!(error, FetchError::OtherSize { .. }) {
            match download.earlier {
                0 => fs::remove_file(&path).map_err(unwritable)?,
                earlier => download.keep(earlier)?,
            }
        }
        return Err(error);
    }
    match verify(&path, url, file) {
        // What was there may have been from another version of the file.
        Err(FetchError::OtherContents { .. }) if had_some => {
            download.keep(0)?;
            download.complete(progress)?;
        }
        _ => {}
    }
    let verified = verify(&path, url, file);
    if verified.is_err() {
        fs::remove_file(&path).ok();
    }
    verified.map(|()| path)
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_recv_response(Some(ANSWER_LIMIT))
        .timeout_recv_body(Some(BODY_LIMIT))
        .http_status_as_error(false)
        .user_agent(concat!("sweep/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

impl Download<'_> {
    /// Reads until all is there. A connection that breaks off is replaced for as long as each brings more than there ever was.
    fn complete(&mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), FetchError> {
        let expected = self.file.bytes;
        let mut most = self.bytes;
        while self.bytes != expected {
            if self.bytes > expected {
                self.keep(0)?;
            }
            let (body, known) = match self.ask()? {
                Answer::Rest(body) => (body, 0),
                // What is there stays: this connection may end before it gets that far.
                Answer::Whole(body) => (body, self.bytes),
                Answer::NoRest => {
                    self.keep(0)?;
                    continue;
                }
            };
            let broken = self.read(body, known, progress)?;
            if self.bytes < expected && self.bytes <= most {
                let (url, bytes) = (self.url.to_owned(), self.bytes);
                let reason = broken.unwrap_or_else(|| "it was closed".to_owned());
                return Err(FetchError::Interrupted { url, bytes, expected, reason });
            }
            most = most.max(self.bytes);
        }
        self.part.sync_all().map_err(|error| FetchError::file(&self.path, error))
    }

    fn ask(&self) -> Result<Answer, FetchError> {
        let mut request = self.agent.get(self.url).header(ACCEPT_ENCODING, "identity");
        if self.bytes > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.bytes));
        }
        let unreachable = |error: ureq::Error| FetchError::Unreachable {
            url: self.url.to_owned(),
            reason: error.to_string(),
        };
        let response = request.call().map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers());
        let size = match status {
            StatusCode::OK => number(headers, CONTENT_LENGTH.as_str()),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => size_of_whole(headers),
            _ => return Err(FetchError::Status { url: self.url.to_owned(), status: status.as_u16() }),
        };
        if let Some(found) = size.filter(|size| *size != self.file.bytes) {
            let place = self.url.to_owned();
            return Err(FetchError::OtherSize { place, found, expected: self.file.bytes });
        }
        let begins_behind = first_byte(headers) == Some(self.bytes);
        Ok(match status {
            StatusCode::OK => Answer::Whole(response.into_body()),
            StatusCode::PARTIAL_CONTENT if begins_behind => Answer::Rest(response.into_body()),
            // Another part than was asked for is of no use.
            _ if self.bytes > 0 => Answer::NoRest,
            _ => return Err(FetchError::Status { url: self.url.to_owned(), status: status.as_u16() }),
        })
    }

    /// Adds what comes behind its first `known` bytes to what is there; says why it broke off, if it did.
    fn read(
        &mut self,
        body: Body,
        known: u64,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Option<String>, FetchError> {
        // One byte more than it may have shows that it has more.
        let limit = self.file.bytes + 1 - self.bytes;
        let mut body = body.into_reader();
        match io::copy(&mut body.by_ref().take(known), &mut io::sink()) {
            Ok(skipped) if skipped == known => {}
            Ok(_) => return Ok(None),
            Err(error) => return Ok(Some(error.to_string())),
        }
        let (mut reader, mut chunk) = (body.take(limit), vec![0; CHUNK_BYTES]);
        loop {
            progress(Progress { file: &self.file.name, bytes: self.bytes, of_bytes: self.file.bytes });
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => {
                    self.part
                        .write_all(&chunk[..length])
                        .map_err(|error| FetchError::file(&self.path, error))?;
                    self.bytes += length as u64;
                }
                Err(error) => return Ok(Some(error.to_string())),
            }
        }
        if self.bytes > self.file.bytes {
            let (place, found, expected) = (self.url.to_owned(), self.bytes, self.file.bytes);
            self.keep(0)?;
            return Err(FetchError::OtherSize { place, found, expected });
        }
        Ok(None)
    }

    /// Lets go of all behind the first `bytes`.
    fn keep(&mut self, bytes: u64) -> Result<(), FetchError> {
        let cut = self.part.set_len(bytes).and_then(|()| self.part.seek(SeekFrom::Start(bytes)));
        self.bytes = cut.map_err(|error| FetchError::file(&self.path, error))?;
        self.earlier = self.earlier.min(bytes);
        Ok(())
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// `bytes 5-9/10` and `bytes */10`: 10.
fn size_of_whole(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE.as_str())?.rsplit('/').next()?.trim().parse().ok()
}

/// `bytes 5-9/10`: 5.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
