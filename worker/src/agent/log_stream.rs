//! What an attempt prints, on its way to a coordinator that doesn't share this node's files: read from the attempt's log as it
//! grows. A trial that prints as people do is sent whole; of one that prints more the beginning, samples and the end are, with
//! a line wherever something was left out.

use std::io::{ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sweep::protocol::http::LeaseToken;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Inbox;
use super::event::Event;

/// How often a log is looked at: whoever follows it sees a line soon after it was printed.
const PERIOD: Duration = Duration::from_secs(1);
/// How much is sent after a look.
const MOST_A_LOOK: u64 = 256 << 10;
/// How much is sent while the attempt runs; then only the end is.
const MOST_WHILE_RUNNING: u64 = 4 << 20;
/// How much of the end is sent.
const MOST_AT_THE_END: u64 = 1 << 20;

/// Follows one attempt's log; ends with the attempt, and where it is dropped.
#[derive(Debug)]
pub(crate) struct LogStream {
    has_ended: oneshot::Sender<()>,
    following: JoinHandle<()>,
}

impl LogStream {
    pub(crate) fn begin(path: PathBuf, token: LeaseToken, inbox: Inbox) -> LogStream {
        let (has_ended, ended) = oneshot::channel();
        LogStream { has_ended, following: tokio::spawn(follow(path, token, inbox, ended)) }
    }

    /// Comes back when all is handed on that the attempt printed.
    pub(crate) async fn finish(self) {
        let _it_listens = self.has_ended.send(());
        if let Err(error) = self.following.await {
            tracing::warn!(%error, "the end of a log is not sent");
        }
    }
}

async fn follow(path: PathBuf, token: LeaseToken, inbox: Inbox, mut ended: oneshot::Receiver<()>) {
    let mut reader = Reader::default();
    loop {
        let moment = tokio::select! {
            () = sleep(PERIOD) => Moment::Running,
            said = &mut ended => match said {
                Ok(()) => Moment::End,
                // The slot is gone, and nobody wants to know.
                Err(_) => return,
            },
        };
        match reader.read(&path, moment).await {
            Ok(text) if text.is_empty() => {}
            Ok(text) => {
                // It fails only when the agent is on its way out and nobody listens.
                let _ = inbox.send(Ok(Event::Printed { token, text })).await;
            }
            // It has printed nothing.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "can't read the log `{}`", path.display()),
        }
        if moment == Moment::End {
            return;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Running,
    End,
}

/// How far a log was read.
#[derive(Debug, Default)]
struct Reader {
    /// Bytes behind it, whether they were handed on or left out.
    read: u64,
    handed_on: u64,
    /// The beginning of a character whose rest has yet to come.
    cut: Vec<u8>,
}

impl Reader {
    /// What was added since, as far as it is sent.
    async fn read(&mut self, path: &Path, moment: Moment) -> std::io::Result<String> {
        let most = match moment {
            Moment::Running => MOST_A_LOOK.min(MOST_WHILE_RUNNING.saturating_sub(self.handed_on)),
            Moment::End => MOST_AT_THE_END,
        };
        if most == 0 {
            return Ok(String::new());
        }
        let mut file = File::open(path).await?;
        let length = file.metadata().await?.len();
        let new = length.saturating_sub(self.read);
        let left_out = new.saturating_sub(most);
        let mut bytes = std::mem::take(&mut self.cut);
        if left_out > 0 {
            bytes.clear();
        }
        file.seek(SeekFrom::Start(self.read + left_out)).await?;
        let count = file.take(new - left_out).read_to_end(&mut bytes).await? as u64;
        self.read += left_out + count;
        self.handed_on += count;
        if moment == Moment::Running {
            self.cut = bytes.split_off(bytes.len() - cut_at_end(&bytes));
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok(match left_out {
            0 => text.into_owned(),
            _ => format!("\nsweep: {left_out} bytes are left out here\n{}", from_the_next_line(&text)),
        })
    }
}

/// Without the rest of a line whose beginning was left out, unless it is all there is.
fn from_the_next_line(text: &str) -> &str {
    text.split_once('\n').map_or(text, |(_, rest)| rest)
}

/// How many bytes at the end are the beginning of a character that is longer.
fn cut_at_end(bytes: &[u8]) -> usize {
    let tails = (1..=bytes.len().min(3)).map(|length| &bytes[bytes.len() - length..]);
    let is_cut = |tail: &&[u8]| {
        std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    tails.filter(is_cut).map(<[u8]>::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A log, and what is read of it.
    struct Scene {
        folder: tempfile::TempDir,
        reader: Reader,
    }

    impl Scene {
        fn new() -> Scene {
            Scene { folder: tempfile::tempdir().unwrap(), reader: Reader::default() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("log")
        }

        fn print(&self, bytes: &[u8]) {
            let mut file = std::fs::File::options().create(true).append(true).open(self.path()).unwrap();
            file.write_all(bytes).unwrap();
        }

        async fn read(&mut self, moment: Moment) -> String {
            self.reader.read(&self.path(), moment).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_log_of_usual_length_is_read_whole_and_characters_are_never_cut() {
        let mut scene = Scene::new();
        let mut read = String::new();
        for byte in "one\nzwölf\n€ 😀\n".bytes() {
            scene.print(&[byte]);
            read += &scene.read(Moment::Running).await;
        }
        assert_eq!(read, "one\nzwölf\n€ 😀\n");
        scene.print(b"cut \xe2\x82");
        assert_eq!(scene.read(Moment::Running).await, "cut ");
        assert_eq!(scene.read(Moment::Running).await, "");
        assert_eq!(scene.read(Moment::End).await, "\u{fffd}", "its rest never came");
    }

    #[tokio::test]
    async fn what_comes_too_fast_is_left_out_up_to_a_line_and_that_is_said() {
        let mut scene = Scene::new();
        let most = usize::try_from(MOST_A_LOOK).unwrap();
        scene.print(&b"line\n".repeat(most));
        let read = scene.read(Moment::Running).await;
        let left_out = most * 4;
        assert!(
            read.starts_with(&format!("\nsweep: {left_out} bytes are left out here\nline\n")),
            "{:.60}",
            read
        );
        assert!(read.ends_with("line\n") && read.len() < most + 100, "{}", read.len());
        scene.print(b"next\n");
        assert_eq!(scene.read(Moment::Running).await, "next\n");
    }

    #[tokio::test]
    async fn of_a_long_log_the_beginning_and_the_end_are_read() {
        let mut scene = Scene::new();
        let look = vec![b'x'; usize::try_from(MOST_A_LOOK).unwrap()];
        let mut read = 0;
        for _ in 0..100 {
            scene.print(&look);
            read += scene.read(Moment::Running).await.len() as u64;
        }
        assert_eq!(read, MOST_WHILE_RUNNING);
        scene.print(b"\nthe end");
        let end = scene.read(Moment::End).await;
        assert!(end.starts_with("\nsweep: ") && end.ends_with("\nthe end"), "{}", end.len());
        assert!(end.len() as u64 <= MOST_AT_THE_END + 100);
    }
}
