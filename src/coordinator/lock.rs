//! One process at a time opens the job table.
//!
//! The system's lock on a file (flock(2)) is released with the process, however it ends, so that a dead holder on this
//! machine never has to be recognised. On a network file system that lock may not reach other machines (Lustre with
//! `localflock`, NFS with `nolock`) or outlive a machine that crashed. There the holder also keeps changing the file:
//! another machine's name in a file that changes is a holder; in one that doesn't it is a dead one. Only durations count,
//! so that the machines' clocks don't matter.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::processes::boot_id;
use crate::store::FileSystem;

/// How often a holder on a network file system shows that it lives.
const RENEWAL: Duration = Duration::from_secs(5);
/// One that didn't for this many periods is dead; a machine may be slow for one or two.
const MISSED_RENEWALS: u32 = 3;
/// Two machines that take the lock in the same moment both see afterwards who wrote last.
const SETTLING: Duration = Duration::from_millis(500);
/// How often a file is looked at that may change.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Held for as long as the table is open.
#[derive(Debug)]
pub struct DatabaseLock {
    file: File,
    renewal: Option<Renewal>,
}

/// The thread that keeps changing the file. (A task of the runtime would be held up by whatever holds that up.)
#[derive(Debug)]
struct Renewal {
    end: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// Why the table can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("the job table is in use by {holder}")]
    Held { holder: String },
    #[error(
        "`{}` lies on a file system without locks; have it mounted with them (Lustre: `-o flock`), or keep the job \
         table on another one (`--db PATH`)", path.display()
    )]
    NoLocks { path: PathBuf },
    #[error("can't lock `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl DatabaseLock {
    /// Takes the lock, if nobody holds it, and writes down who does. Takes up to 15 seconds where a process of another
    /// machine may hold it on a network file system.
    ///
    /// # Errors
    /// When another process holds it, which the error names, or the file can't be locked or written.
    pub async fn acquire(path: &Path) -> Result<DatabaseLock, LockError> {
        let folder = path.parent().unwrap_or(path);
        let pace = match FileSystem::of(folder).map_err(|source| io_error(path, source))? {
            FileSystem::Local => None,
            FileSystem::Network(_) => Some(Pace { renewal: RENEWAL, settling: SETTLING }),
        };
        acquire_as(Holder::this_process(), path, pace).await
    }
}

impl Drop for DatabaseLock {
    /// Whoever comes next, from whatever machine, need not find out whether the holder lives.
    fn drop(&mut self) {
        if let Some(Renewal { end, thread }) = self.renewal.take() {
            drop(end);
            // It must not write its name once more.
            let _has_ended = thread.join();
        }
        let _found_dead_later = self.file.set_len(0);
    }
}

/// How a lock is held on a network file system.
#[derive(Debug, Clone, Copy)]
struct Pace {
    renewal: Duration,
    settling: Duration,
}

async fn acquire_as(me: Holder, path: &Path, pace: Option<Pace>) -> Result<DatabaseLock, LockError> {
    let io = |source| io_error(path, source);
    let file = lock(path)?;
    let Some(pace) = pace else {
        me.write(&file, 0).map_err(io)?;
        return Ok(DatabaseLock { file, renewal: None });
    };
    let before = read(path).map_err(io)?;
    if me.may_be_elsewhere(&before) {
        wait_until_dead(path, before, pace).await?;
    }
    me.write(&file, 0).map_err(io)?;
    tokio::time::sleep(pace.settling).await;
    me.expect_in(path)?;
    let (end, ended) = mpsc::channel();
    let path = path.to_owned();
    let thread = std::thread::spawn(move || me.renew_until(&ended, &path, pace));
    Ok(DatabaseLock { file, renewal: Some(Renewal { end, thread }) })
}

/// Opens the file under the system's lock.
pub(super) fn lock(path: &Path) -> Result<File, LockError> {
    let io = |source| io_error(path, source);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            // Whoever just took it may not have written its name yet.
            let text = read(path).unwrap_or_default();
            Err(LockError::Held { holder: name_in(&text).unwrap_or("another process").to_owned() })
        }
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Looks at the file for as long as a living holder may be silent.
async fn wait_until_dead(path: &Path, before: String, pace: Pace) -> Result<(), LockError> {
    let is_dead_at = tokio::time::Instant::now() + pace.renewal * MISSED_RENEWALS;
    while tokio::time::Instant::now() < is_dead_at {
        tokio::time::sleep(LOOK_AGAIN.min(pace.renewal)).await;
        let text = read(path).map_err(|source| io_error(path, source))?;
        match name_in(&text) {
            Some(_) if text == before => {}
            Some(name) => return Err(LockError::Held { holder: name.to_owned() }),
            // It has just let go.
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The file as it is now: opened anew, since a network file system asks its server only then.
fn read(path: &Path) -> io::Result<String> {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The holder's name; `None` where the file says that there is none.
fn name_in(text: &str) -> Option<&str> {
    text.lines().next().filter(|name| !name.is_empty())
}

/// A process as it writes itself down.
#[derive(Debug, Clone)]
struct Holder {
    /// "process 12 on node3"
    name: String,
    /// Names a boot of a machine: two machines may have the same name.
    boot: String,
}

impl Holder {
    fn this_process() -> Holder {
        let host = super::folder::own_host();
        let name = format!("process {} on {host}", std::process::id());
        Holder { name, boot: boot_id().unwrap_or_default() }
    }

    /// Always of the same length: written over itself, it needs no room on a full disk.
    fn text(&self, renewals: u64) -> String {
        format!("{}\nboot {}\nrenewed {renewals:020}\n", self.name, self.boot)
    }

    fn write(&self, file: &File, renewals: u64) -> io::Result<()> {
        let text = self.text(renewals);
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        file.sync_data()
    }

    /// Whether what the file names may live without holding the system's lock: on this boot of this machine nobody can.
    fn may_be_elsewhere(&self, text: &str) -> bool {
        let boot = format!("boot {}", self.boot);
        name_in(text).is_some() && text.lines().nth(1) != Some(&boot)
    }

    fn expect_in(&self, path: &Path) -> Result<(), LockError> {
        let text = read(path).map_err(|source| io_error(path, source))?;
        match name_in(&text) {
            Some(name) if name == self.name && !self.may_be_elsewhere(&text) => Ok(()),
            name => Err(LockError::Held { holder: name.unwrap_or("another process").to_owned() }),
        }
    }

    /// Shows that this process lives, for as long as it holds the lock.
    fn renew_until(&self, ended: &mpsc::Receiver<()>, path: &Path, pace: Pace) {
        let mut renewals = 0;
        while ended.recv_timeout(pace.renewal) == Err(mpsc::RecvTimeoutError::Timeout) {
            renewals += 1;
            match self.renew(path, renewals) {
                Ok(()) => {}
                Err(LockError::Held { holder }) => {
                    // It was stopped or cut off for so long that another machine took it for dead. Two writers would
                    // ruin the table, and what this one has acknowledged is in it.
                    tracing::error!("the job table was taken over by {holder}; this process ends");
                    std::process::exit(1);
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the lock of the job table could not be renewed"
                ),
            }
        }
    }

    fn renew(&self, path: &Path, renewals: u64) -> Result<(), LockError> {
        self.expect_in(path)?;
        let file = OpenOptions::new().write(true).open(path).map_err(|source| io_error(path, source))?;
        self.write(&file, renewals).map_err(|source| io_error(path, source))
    }
}

fn io_error(path: &Path, source: io::Error) -> LockError {
    use rustix::io::Errno;
    let path = path.to_owned();
    let no_locks = [Errno::NOSYS, Errno::NOLCK, Errno::OPNOTSUPP];
    if no_locks.iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) {
        return LockError::NoLocks { path };
    }
    LockError::Io { path, source }
}

#[cfg(test)]
mod tests;
