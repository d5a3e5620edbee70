//! Archives of code among the artifacts. They stay: no sweep is ever forgotten, and each of its trials may be run again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};

use super::archive::LARGEST_BYTES;
use super::{Code, CodeError};
use crate::vocabulary::{CheckpointHash, KEPT_CODE, code_file_name, weights_file_name};

/// Twice what the files may have: names and headers of ten thousand files are far less.
const LARGEST_ARCHIVE_BYTES: u64 = 2 * LARGEST_BYTES;

/// What there is of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coordinator) enum Condition {
    Whole,
    Damaged,
    Missing,
}

impl Code {
    /// Puts the archive where trial processes find it. One that is damaged is replaced.
    ///
    /// # Errors
    /// When it was said to be there and is not, or can't be written.
    pub fn keep(&self, artifacts: &Path) -> Result<(), CodeError> {
        let Some(kept) = &self.told.kept else { return Ok(()) };
        let hash: CheckpointHash = kept.hash.parse().map_err(|_| CodeError::NoHash(kept.hash.clone()))?;
        let path = path_of(&hash, artifacts);
        let unkept = |source| CodeError::Keep { path: path.clone(), source };
        if let Some(file) = open_whole(&path, &hash) {
            // It counts as just written, so that nobody takes it for forgotten before the sweep is stored.
            return touch(&file).map_err(unkept);
        }
        let sent = artifacts.join(weights_file_name(&kept.hash));
        match &self.archive {
            Some(archive) => write(archive, &path).map_err(unkept),
            None if open_whole(&sent, &hash).is_some() => {
                fs::create_dir_all(artifacts.join(KEPT_CODE)).map_err(unkept)?;
                fs::rename(&sent, &path).and_then(|()| sync_folder(&path)).map_err(unkept)
            }
            None => Err(CodeError::NotSent { hash }),
        }
    }
}

/// The archive's file.
fn path_of(hash: &CheckpointHash, artifacts: &Path) -> PathBuf {
    artifacts.join(KEPT_CODE).join(code_file_name(&hash.to_string()))
}

/// Whether an archive is what its name says.
pub(in crate::coordinator) fn condition(hash: &CheckpointHash, artifacts: &Path) -> Condition {
    let path = path_of(hash, artifacts);
    match open_whole(&path, hash) {
        Some(_) => Condition::Whole,
        None if path.exists() => Condition::Damaged,
        None => Condition::Missing,
    }
}

/// Copies an archive to where another state folder's trial processes find it; says whether it was there.
///
/// # Errors
/// When it can't be written.
pub fn lend_code(hash: &CheckpointHash, from: &Path, to: &Path) -> io::Result<bool> {
    match read(hash, from) {
        Some(archive) => write(&archive, &path_of(hash, to)).map(|()| true),
        None => Ok(false),
    }
}

/// The bytes of an archive that is whole.
pub(super) fn read(hash: &CheckpointHash, artifacts: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path_of(hash, artifacts)).ok()?.take(LARGEST_ARCHIVE_BYTES).read_to_end(&mut bytes).ok()?;
    (blake3::hash(&bytes).to_hex().as_str() == hash.to_string()).then_some(bytes)
}

fn open_whole(path: &Path, hash: &CheckpointHash) -> Option<File> {
    let file = File::open(path).ok()?;
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut (&file).take(LARGEST_ARCHIVE_BYTES), &mut hasher).ok()?;
    (hasher.finalize().to_hex().as_str() == hash.to_string()).then_some(file)
}

fn touch(file: &File) -> io::Result<()> {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
    match futimens(file, &times).map_err(io::Error::from) {
        // Nobody deletes what can't be written.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        touched => touched,
    }
}

/// Written beside and renamed, so that under a hash there is always all that it stands for.
fn write(archive: &[u8], path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(archive)?;
    beside.as_file().sync_all()?;
    beside.persist(path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
