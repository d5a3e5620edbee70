//! One process at a time opens the job table.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Held for as long as the table is open. The system releases it when the process ends, however it ends, so that a dead
/// holder never has to be recognised.
#[derive(Debug)]
pub struct DatabaseLock {
    _file: File,
}

/// Why the table can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("the job table is in use by {holder}")]
    Held { holder: String },
    #[error("can't lock `{}`", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl DatabaseLock {
    /// Takes the lock, if nobody holds it, and writes down who does.
    ///
    /// # Errors
    /// When another process holds it, which the error names, or the file can't be written.
    pub fn try_acquire(path: &Path) -> Result<DatabaseLock, LockError> {
        let io = |source| LockError::Io { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Whoever just took it may not have written its name yet.
                let named = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if named { holder.trim().to_owned() } else { "another process".to_owned() };
                return Err(LockError::Held { holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let host = super::folder::own_host();
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        write!(file, "process {} on {host}", std::process::id()).map_err(io)?;
        Ok(DatabaseLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name_until_the_first_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = DatabaseLock::try_acquire(&path).unwrap();
        let refusal = DatabaseLock::try_acquire(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {} on ", std::process::id())), "{refusal}");
        drop(first);
        DatabaseLock::try_acquire(&path).unwrap();
    }
}
