//! What a trial process prints: one pipe for everything, and a log per attempt.

use std::future;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;
use tracing::warn;

/// How much is read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// After its process's end, output is complete when nothing came for this long: it lies in the pipe already.
const QUIET: Duration = Duration::from_millis(50);
/// A stranger that inherited the pipe and never stops talking is listened to no longer than this.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// How much of the log's end travels with a failure.
const TAIL_BYTES: usize = 4 << 10;
/// A log does not grow beyond this, so that one mad trial can't fill the disk.
const MAX_LOG_BYTES: usize = 256 << 20;

/// The reading end of a trial process's output.
#[derive(Debug)]
pub(crate) struct Output {
    pipe: Receiver,
    is_open: bool,
    chunk: Box<[u8]>,
}

impl Output {
    /// A pipe; its writing end is for the process. Standard output and error may share it, which keeps their order.
    pub(crate) fn pipe() -> io::Result<(Output, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        Ok((Output { pipe, is_open: true, chunk: vec![0; CHUNK_BYTES].into_boxed_slice() }, writer))
    }

    /// The next bytes; never comes back once all writers are gone. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> &[u8] {
        if !self.is_open {
            future::pending::<()>().await;
        }
        let length = self.pipe.read(&mut self.chunk).await.unwrap_or(0);
        self.is_open = length > 0;
        &self.chunk[..length]
    }

    /// Moves what is still in the pipe to the log, after whoever wrote it has ended or turned to the next job.
    pub(crate) async fn drain(&mut self, log: &mut AttemptLog) {
        let drained = async {
            while self.is_open {
                match timeout(QUIET, self.next()).await {
                    Ok(chunk) => log.append(chunk).await,
                    Err(_) => break,
                }
            }
        };
        // Too long is long enough: the log then lacks what a stranger said.
        let _ = timeout(DRAIN_LIMIT, drained).await;
    }
}

/// The log of one attempt. The file exists only where something was printed; a log that can't be written is
/// reported once and does not fail the trial.
#[derive(Debug)]
pub(crate) struct AttemptLog {
    path: PathBuf,
    file: LogFile,
    written: usize,
    tail: Vec<u8>,
}

#[derive(Debug)]
enum LogFile {
    NotNeededYet,
    Open(File),
    GivenUp,
}

impl AttemptLog {
    pub(crate) fn new(path: PathBuf) -> AttemptLog {
        AttemptLog { path, file: LogFile::NotNeededYet, written: 0, tail: Vec::new() }
    }

    pub(crate) async fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
        if let Err(error) = self.write(bytes).await {
            warn!(path = %self.path.display(), %error, "can't write a trial's log; the rest of it is lost");
            self.file = LogFile::GivenUp;
        }
    }

    /// Adds a line of the agent's own.
    pub(crate) async fn note(&mut self, text: &str) {
        self.append(format!("sweep: {text}\n").as_bytes()).await;
    }

    /// The end of what was printed, as text.
    pub(crate) fn tail(&self) -> String {
        let start = self.tail.len().saturating_sub(TAIL_BYTES);
        String::from_utf8_lossy(&self.tail[start..]).into_owned()
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let LogFile::NotNeededYet = self.file {
            // An older file can only be of another job table, since an attempt's number is given once.
            self.file = LogFile::Open(File::create(&self.path).await?);
        }
        let LogFile::Open(file) = &mut self.file else {
            return Ok(());
        };
        let kept = bytes.len().min(MAX_LOG_BYTES - self.written);
        file.write_all(&bytes[..kept]).await?;
        self.written += kept;
        if kept < bytes.len() {
            file.write_all(format!("\nsweep: the log ends here, at {MAX_LOG_BYTES} bytes\n").as_bytes())
                .await?;
            file.flush().await?;
            self.file = LogFile::GivenUp;
            return Ok(());
        }
        // A tokio file writes in the background until flushed, and the log is read while it grows.
        file.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn no_output_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = AttemptLog::new(path.clone());
        log.append(b"").await;
        assert!(!path.exists());
        log.append(b"hello").await;
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    }

    #[tokio::test]
    async fn the_tail_is_the_end_of_what_was_printed_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AttemptLog::new(folder.path().join("log"));
        for number in 0..5000 {
            log.append(format!("line {number}\n").as_bytes()).await;
        }
        let tail = log.tail();
        assert_eq!(tail.len(), TAIL_BYTES);
        assert!(tail.ends_with("line 4998\nline 4999\n"));
    }

    #[tokio::test]
    async fn a_log_that_cant_be_written_still_has_a_tail() {
        let mut log = AttemptLog::new(PathBuf::from("/nonexistent/folder/log"));
        log.append(b"one").await;
        log.append(b" two").await;
        assert_eq!(log.tail(), "one two");
    }

    #[tokio::test]
    async fn draining_ends_although_a_stranger_holds_the_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let (mut output, mut writer) = Output::pipe().unwrap();
        writer.write_all(b"last words").unwrap();
        let mut log = AttemptLog::new(folder.path().join("log"));
        output.drain(&mut log).await;
        assert_eq!(log.tail(), "last words");
        drop(writer);
    }
}
