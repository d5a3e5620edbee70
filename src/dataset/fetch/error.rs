use std::io;
use std::path::{Path, PathBuf};

use super::super::import::ImportError;

/// Why a publication was not fetched. No dataset was changed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{url} can't be fetched: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} answers with status {status}; name a mirror with `--from URL|FILE`")]
    Status { url: String, status: u16 },
    #[error(
        "the connection to {url} broke off after {bytes} of {expected} bytes: {reason}; the same command goes on from there"
    )]
    Interrupted { url: String, bytes: u64, expected: u64, reason: String },
    #[error("{place} has {found} bytes and the published file {expected}: it is truncated, or another file")]
    OtherSize { place: String, found: u64, expected: u64 },
    #[error(
        "{place} is not the published file, or a damaged one: its SHA-256 is {found} instead of {expected}"
    )]
    OtherContents { place: String, found: String, expected: String },
    #[error("{} is neither {}; name the folder in which these lie, with `--from`", path.display(), names.join(" nor "))]
    OneOfSeveral { path: PathBuf, names: Vec<String> },
    #[error("another command is fetching {}; wait for it", path.display())]
    Busy { path: PathBuf },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Our own mistake.
    #[error("the publication doesn't say what its files are")]
    NotPublished,
    #[error(transparent)]
    Import(#[from] ImportError),
}

impl FetchError {
    pub(super) fn file(path: &Path, source: io::Error) -> FetchError {
        FetchError::File { path: path.to_owned(), source }
    }
}
