//! What has arrived of a file so far, on disk.
//!
//! The file is there only while it holds something: it is made when the first bytes are at hand, and goes when none of it is
//! kept. So a download that never began, however it ended, leaves nothing behind.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::FetchError;

/// What has arrived of a file. One process at a time has it.
pub(super) struct Part {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
}

impl Part {
    /// What an earlier command has left, or nothing.
    ///
    /// # Errors
    /// When another process has it, or it can't be opened.
    pub(super) fn open(path: PathBuf) -> Result<Part, FetchError> {
        let unwritable = |error| FetchError::file(&path, error);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Part { path, file: None, bytes: 0 });
            }
            Err(error) => return Err(unwritable(error)),
        };
        lock(&file, &path)?;
        let bytes = file.metadata().map_err(unwritable)?.len();
        let mut part = Part { path, file: Some(file), bytes };
        part.keep(bytes)?;
        Ok(part)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How much of it is there.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds what has arrived to what is there.
    ///
    /// # Errors
    /// When it can't be written, or another process has begun with the same file in the meantime.
    pub(super) fn append(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => create(&self.path)?,
        };
        let written = self.file.insert(file).write_all(chunk);
        written.map_err(|error| FetchError::file(&self.path, error))?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Lets go of all behind the first `bytes`.
    ///
    /// # Errors
    /// When it can't be cut or removed.
    pub(super) fn keep(&mut self, bytes: u64) -> Result<(), FetchError> {
        let cut = match &mut self.file {
            None => Ok(()),
            Some(_) if bytes == 0 => fs::remove_file(&self.path),
            Some(file) => file.set_len(bytes).and_then(|()| file.seek(SeekFrom::Start(bytes))).map(drop),
        };
        cut.map_err(|error| FetchError::file(&self.path, error))?;
        // The lock goes after the name: until then nobody else takes up what is removed.
        self.file = self.file.take().filter(|_| bytes > 0);
        self.bytes = bytes;
        Ok(())
    }

    /// Waits until all of it has reached the disk.
    ///
    /// # Errors
    /// When it has not.
    pub(super) fn sync(&self) -> Result<(), FetchError> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_all);
        synced.map_err(|error| FetchError::file(&self.path, error))
    }
}

fn create(path: &Path) -> Result<File, FetchError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| FetchError::file(folder, error))?;
    }
    let file = File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => FetchError::Busy { path: path.to_owned() },
        _ => FetchError::file(path, error),
    })?;
    lock(&file, path)?;
    Ok(file)
}

fn lock(file: &File, path: &Path) -> Result<(), FetchError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => FetchError::Busy { path: path.to_owned() },
        TryLockError::Error(error) => FetchError::file(path, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_on_disk_only_while_it_holds_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("downloads/part");
        let mut part = Part::open(path.clone()).unwrap();
        part.keep(0).unwrap();
        assert!(!folder.path().join("downloads").exists());
        part.append(b"abc").unwrap();
        part.append(b"de").unwrap();
        part.keep(4).unwrap();
        part.append(b"!").unwrap();
        assert_eq!((part.bytes(), fs::read(&path).unwrap()), (5, b"abcd!".to_vec()));
        part.keep(0).unwrap();
        assert!(part.bytes() == 0 && !path.exists());
        part.append(b"anew").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"anew");
        drop(part);

        fs::write(&path, "").unwrap();
        assert_eq!(Part::open(path.clone()).unwrap().bytes(), 0);
        assert!(!path.exists(), "an empty one of an earlier version goes");
    }

    #[test]
    fn only_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let (mut one, mut other) = (Part::open(path.clone()).unwrap(), Part::open(path.clone()).unwrap());
        one.append(b"one").unwrap();
        assert!(matches!(other.append(b"other"), Err(FetchError::Busy { .. })));
        assert!(matches!(Part::open(path.clone()), Err(FetchError::Busy { .. })));
        drop(one);
        assert_eq!(Part::open(path).unwrap().bytes(), 3);
    }
}
