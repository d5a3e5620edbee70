//! Files of the artifact store on their way in and out over HTTP.
//!
//! A file is written beside, under a hidden name that tidying knows, hashed as it comes, synced, and then takes its name,
//! which is the hash. What is there under a name is not written again, unless it is damaged.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::Coordinator;
use crate::vocabulary::{CheckpointHash, Timestamp};

/// Weights, optimizer and averages of the largest model that fits into a GPU of today.
pub const LARGEST_ARTIFACT_BYTES: u64 = 256 << 30;

/// Begins the name of a file that is not complete; tidying deletes hidden files that nobody writes for an hour.
const INCOMPLETE: &str = ".upload-";

/// What can go wrong with a file of the artifact store.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("the disk that holds the artifacts is full")]
    DiskFull,
    #[error("what was sent as `{named}` has the BLAKE3 hash `{found}`")]
    OtherContent { named: CheckpointHash, found: String },
    #[error("an artifact has {LARGEST_ARTIFACT_BYTES} bytes at most")]
    TooLarge,
    #[error("can't use `{}`", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// A file of the store, open for reading.
#[derive(Debug)]
pub struct Artifact {
    pub file: File,
    pub size_bytes: u64,
}

/// A file that is not complete. Dropped before its end, it leaves nothing behind.
pub struct Upload {
    hash: CheckpointHash,
    hasher: blake3::Hasher,
    size_bytes: u64,
    file: File,
    beside: TempPath,
    path: PathBuf,
}

impl Coordinator {
    /// The file of this hash, if there is one. Whoever looks at it may be about to name it, so it counts as just written.
    ///
    /// # Errors
    /// When it can't be opened.
    pub async fn open_artifact(&self, hash: &CheckpointHash) -> Result<Option<Artifact>, ArtifactError> {
        let path = self.artifacts.path(hash);
        match File::open(&path).await {
            Ok(file) => Artifact::of(file, self.clock.now()).await.map_err(|source| trouble(&path, source)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(trouble(&path, source)),
        }
    }

    /// Whether the file of this hash is there and is what its name says. `announced`: the size that it should have, where that
    /// is known.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn has_whole_artifact(
        &self,
        hash: &CheckpointHash,
        announced: Option<u64>,
    ) -> Result<bool, ArtifactError> {
        let Some(Artifact { file, size_bytes }) = self.open_artifact(hash).await? else { return Ok(false) };
        if announced.is_some_and(|size| size != size_bytes) {
            return Ok(false);
        }
        let file = file.into_std().await;
        let hashed = tokio::task::spawn_blocking(move || {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(file).map(|hasher| hasher.finalize().to_hex())
        });
        let hashed = hashed.await.map_err(std::io::Error::other).and_then(|hashed| hashed);
        let path = self.artifacts.path(hash);
        let found = hashed.map_err(|source| trouble(&path, source))?;
        if found.as_str() != hash.to_string() {
            tracing::warn!("`{}` is damaged: its BLAKE3 hash is {found}", path.display());
            return Ok(false);
        }
        Ok(true)
    }

    /// Begins to receive the file of this hash.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub async fn begin_upload(&self, hash: CheckpointHash) -> Result<Upload, ArtifactError> {
        let path = self.artifacts.path(&hash);
        let folder = self.settings.artifacts.clone();
        let begun = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            tempfile::Builder::new().prefix(INCOMPLETE).tempfile_in(&folder)
        });
        let begun = begun.await.map_err(std::io::Error::other).and_then(|begun| begun);
        let (file, beside) = begun.map_err(|source| trouble(&path, source))?.into_parts();
        let file = File::from_std(file);
        Ok(Upload { hash, hasher: blake3::Hasher::new(), size_bytes: 0, file, beside, path })
    }
}

impl Artifact {
    async fn of(file: File, now: Timestamp) -> std::io::Result<Option<Artifact>> {
        let metadata = file.metadata().await?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let file = file.into_std().await;
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now.0.unsigned_abs());
        // On a folder that can only be read nothing is deleted either.
        if let Err(error) = file.set_modified(now) {
            tracing::debug!(%error, "an artifact's time can't be set");
        }
        Ok(Some(Artifact { file: File::from_std(file), size_bytes: metadata.len() }))
    }
}

impl Upload {
    /// Takes the next piece.
    ///
    /// # Errors
    /// When there are too many, or the disk refuses.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), ArtifactError> {
        self.size_bytes += piece.len() as u64;
        if self.size_bytes > LARGEST_ARTIFACT_BYTES {
            return Err(ArtifactError::TooLarge);
        }
        self.hasher.update(piece);
        self.file.write_all(piece).await.map_err(|source| trouble(&self.path, source))
    }

    /// Gives the file its name, if it is what the name says.
    ///
    /// # Errors
    /// When it is not, or the disk refuses; then nothing is left of it.
    pub async fn finish(mut self) -> Result<(), ArtifactError> {
        let found = self.hasher.finalize().to_hex();
        if found.as_str() != self.hash.to_string() {
            return Err(ArtifactError::OtherContent { named: self.hash, found: found.to_string() });
        }
        let io = |source| trouble(&self.path, source);
        self.file.flush().await.map_err(io)?;
        self.file.sync_all().await.map_err(io)?;
        let (beside, path) = (self.beside, self.path.clone());
        let renamed = tokio::task::spawn_blocking(move || {
            beside.persist(&path).map_err(|error| error.error)?;
            path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        });
        renamed.await.map_err(std::io::Error::other).and_then(|renamed| renamed).map_err(io)
    }
}

fn trouble(path: &std::path::Path, source: std::io::Error) -> ArtifactError {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ArtifactError::DiskFull,
        _ => ArtifactError::Io { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_never_ends_is_refused_whatever_was_announced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, beside) = tempfile::NamedTempFile::new_in(folder.path()).unwrap().into_parts();
        let mut upload = Upload {
            hash: "0".repeat(64).parse().unwrap(),
            hasher: blake3::Hasher::new(),
            size_bytes: LARGEST_ARTIFACT_BYTES - 1,
            file: File::from_std(file),
            beside,
            path: folder.path().join("x"),
        };
        upload.write(b"1").await.unwrap();
        assert!(matches!(upload.write(b"1").await, Err(ArtifactError::TooLarge)));
        drop(upload);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let kind = |kind: ErrorKind| trouble(std::path::Path::new("x"), kind.into());
        assert!(matches!(kind(ErrorKind::StorageFull), ArtifactError::DiskFull));
        assert!(matches!(kind(ErrorKind::QuotaExceeded), ArtifactError::DiskFull));
        assert!(matches!(kind(ErrorKind::PermissionDenied), ArtifactError::Io { .. }));
    }
}
