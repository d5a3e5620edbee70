//! Brings one file over HTTP, and goes on where an earlier attempt broke off.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, Body, Timeout};

use super::error::FetchError;
use super::part::Part;
use super::published::PublishedFile;
use super::{CHUNK_BYTES, FetchRequest, Progress, verify};

const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A download under way.
struct Download<'d> {
    url: &'d str,
    file: &'d PublishedFile,
    agent: Agent,
    stall_limit: Duration,
    part: Part,
    /// How much of what is there was there before.
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

/// Downloads a file. The place of what has arrived so far depends on the file's sum alone, whatever mirror it came from.
///
/// # Errors
/// When it can't be had, or is another file. What has arrived stays, unless it is wrong.
pub(super) fn download(
    url: &str,
    file: &PublishedFile,
    request: &FetchRequest,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, FetchError> {
    let sum = file.sha256.get(..12).unwrap_or(&file.sha256);
    let part = Part::open(request.downloads.join(format!("{sum}-{}", file.name)))?;
    let (earlier, stall_limit) = (part.bytes(), request.stall_limit);
    let mut download = Download { url, file, agent: agent(stall_limit), stall_limit, part, earlier };
    download.bring(progress)?;
    match verify(download.part.path(), url, file) {
        // What was there may have been from another version of the file.
        Err(FetchError::OtherContents { .. }) if earlier > 0 => {
            download.keep(0)?;
            download.bring(progress)?;
        }
        _ => {}
    }
    let verified = verify(download.part.path(), url, file);
    if verified.is_err() {
        download.keep(0).ok();
    }
    verified.map(|()| download.part.path().to_owned())
}

fn agent(stall_limit: Duration) -> Agent {
    // The body as a whole has no limit: a slow link may take hours, as long as something comes.
    let config = Agent::config_builder()
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_recv_response(Some(ANSWER_LIMIT))
        .timeout_per_read(Some(stall_limit))
        .http_status_as_error(false)
        .user_agent(concat!("sweep/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

impl Download<'_> {
    /// Completes it, or lets go of what is of no use.
    fn bring(&mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), FetchError> {
        let Err(error) = self.complete(progress) else { return Ok(()) };
        // Of another file nothing is of use. What was there before may be from the right one: a mirror's mistake doesn't cost it.
        let of_use = match error {
            FetchError::OtherSize { .. } => self.earlier,
            _ => self.part.bytes(),
        };
        self.keep(of_use)?;
        Err(error)
    }

    /// Reads until all is there. A connection that breaks off is replaced for as long as each brings more than there ever was.
    fn complete(&mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), FetchError> {
        let expected = self.file.bytes;
        let mut most = self.part.bytes();
        while self.part.bytes() != expected {
            if self.part.bytes() > expected {
                self.keep(0)?;
            }
            let (body, known) = match self.ask()? {
                Answer::Rest(body) => (body, 0),
                // What is there stays: this connection may end before it gets that far.
                Answer::Whole(body) => (body, self.part.bytes()),
                Answer::NoRest => {
                    self.keep(0)?;
                    continue;
                }
            };
            let broken = self.read(body, known, progress)?;
            if self.part.bytes() < expected && self.part.bytes() <= most {
                let (url, bytes) = (self.url.to_owned(), self.part.bytes());
                let reason = broken.unwrap_or_else(|| "it was closed".to_owned());
                return Err(FetchError::Interrupted { url, bytes, expected, reason });
            }
            most = most.max(self.part.bytes());
        }
        self.part.sync()
    }

    fn ask(&self) -> Result<Answer, FetchError> {
        let mut request = self.agent.get(self.url).header(ACCEPT_ENCODING, "identity");
        if self.part.bytes() > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.part.bytes()));
        }
        let unreachable = |error: ureq::Error| FetchError::Unreachable {
            url: self.url.to_owned(),
            reason: self.reason(error),
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
        let begins_behind = first_byte(headers) == Some(self.part.bytes());
        Ok(match status {
            StatusCode::OK => Answer::Whole(response.into_body()),
            StatusCode::PARTIAL_CONTENT if begins_behind => Answer::Rest(response.into_body()),
            // Another part than was asked for is of no use.
            _ if self.part.bytes() > 0 => Answer::NoRest,
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
        let limit = self.file.bytes + 1 - self.part.bytes();
        let mut body = body.into_reader();
        match io::copy(&mut body.by_ref().take(known), &mut io::sink()) {
            Ok(skipped) if skipped == known => {}
            Ok(_) => return Ok(None),
            Err(error) => return Ok(Some(self.reason(error.into()))),
        }
        let (mut reader, mut chunk) = (body.take(limit), vec![0; CHUNK_BYTES]);
        loop {
            progress(Progress { file: &self.file.name, bytes: self.part.bytes(), of_bytes: self.file.bytes });
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => self.part.append(&chunk[..length])?,
                Err(error) => return Ok(Some(self.reason(error.into()))),
            }
        }
        if self.part.bytes() > self.file.bytes {
            let (place, found, expected) = (self.url.to_owned(), self.part.bytes(), self.file.bytes);
            return Err(FetchError::OtherSize { place, found, expected });
        }
        Ok(None)
    }

    /// Why a connection is of no use any more.
    fn reason(&self, error: ureq::Error) -> String {
        match error {
            ureq::Error::Timeout(Timeout::PerRead) => {
                format!("nothing came for {} seconds", self.stall_limit.as_secs_f64())
            }
            ureq::Error::Timeout(Timeout::RecvResponse) => {
                format!("no answer came within {} seconds", ANSWER_LIMIT.as_secs())
            }
            other => other.to_string(),
        }
    }

    /// Lets go of all behind the first `bytes`.
    fn keep(&mut self, bytes: u64) -> Result<(), FetchError> {
        self.part.keep(bytes)?;
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
