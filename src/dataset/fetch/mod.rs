//! Fetching datasets from their publishers, or a mirror, and importing them.
//!
//! A file is what it should be when its length and its SHA-256 are the published ones, wherever it comes from; nothing else is
//! imported. What arrived of an interrupted download stays in a folder beside the datasets, and the next one goes on from there.
//! Start with [`fetch`]; `published` knows the publications, `mirror` where else they lie, `download` brings a file into a `part`.

mod download;
mod error;
mod mirror;
mod part;
mod published;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::import::{AddSetRequest, BinaryRequest, Existing, ImportError, Outcome, add_set, import_binary};
use super::verify as verify_dataset;
use super::{DatasetError, DatasetName, Manifest, TRAIN};
pub use error::FetchError;
use mirror::Place;
pub use mirror::{Mirror, ParseMirrorError};
pub use published::{Contents, Publication, PublishedFile, publication};

const CHUNK_BYTES: usize = 256 << 10;

/// How long nothing may come over a connection: longer than a slow server or a lossy link pauses, and short enough for whoever
/// watches the command.
pub const STALL_LIMIT: Duration = Duration::from_secs(60);

/// What to fetch and where it goes.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    pub publication: Publication,
    /// Instead of the publisher.
    pub from: Option<Mirror>,
    /// The dataset to make, or to which a set is added.
    pub dataset: DatasetName,
    pub existing: Existing,
    /// Where downloads are kept until they are whole.
    pub downloads: PathBuf,
    /// How long nothing may come over a connection before another one takes its place; [`STALL_LIMIT`] but in tests.
    pub stall_limit: Duration,
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'p> {
    pub file: &'p str,
    pub bytes: u64,
    pub of_bytes: u64,
}

/// What a fetch came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    Imported(Outcome),
    /// It was fetched before; nothing was downloaded.
    AlreadyThere(Manifest),
}

/// A file that is what it should be.
struct Verified {
    path: PathBuf,
    /// It goes when it is imported; a file of the user's stays.
    is_download: bool,
}

/// Fetches and imports a publication into the folder `root`.
///
/// # Errors
/// When a file can't be had or is not the published one, or can't be imported. What was downloaded of it so far stays.
pub fn fetch(
    root: &Path,
    request: &FetchRequest,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Fetched, FetchError> {
    if let Some(manifest) = already_there(root, request)? {
        return Ok(Fetched::AlreadyThere(manifest));
    }
    let mut files = Vec::new();
    for file in &request.publication.files {
        files.push(obtain(file, request, progress)?);
    }
    let outcome = import(root, request, &files)?;
    for file in files.iter().filter(|file| file.is_download) {
        // It is imported; what stays takes up room, and the next fetch removes it.
        fs::remove_file(&file.path).ok();
    }
    fs::remove_dir(&request.downloads).ok();
    Ok(Fetched::Imported(outcome))
}

/// The dataset, where it was fetched before. What is missing for the import is said before a download.
fn already_there(root: &Path, request: &FetchRequest) -> Result<Option<Manifest>, FetchError> {
    let split = match &request.publication.contents {
        Contents::Dataset(_) => TRAIN,
        Contents::Set { name } => name.as_str(),
    };
    match Manifest::read(root, request.dataset.as_str()) {
        Ok(_) if request.existing == Existing::Replace => Ok(None),
        Ok(manifest) => match (&request.publication.contents, manifest.files.get(split)) {
            // One that is damaged is repaired by what is downloaded.
            (_, Some(stored)) if stored.source == request.source() => {
                let damaged = verify_dataset(root, request.dataset.as_str()).map_err(ImportError::from)?;
                Ok(damaged.is_empty().then_some(manifest))
            }
            // Images from elsewhere: they would be refused after the download.
            (Contents::Dataset(_), _) => {
                Err(ImportError::Exists { what: format!("dataset `{}`", manifest.name) }.into())
            }
            (Contents::Set { .. }, _) => Ok(None),
        },
        Err(DatasetError::NotFound { .. })
            if matches!(request.publication.contents, Contents::Dataset(_)) =>
        {
            Ok(None)
        }
        // It is replaced whole.
        Err(_) if request.existing == Existing::Replace && split == TRAIN => Ok(None),
        Err(error) => Err(ImportError::from(error).into()),
    }
}

fn import(root: &Path, request: &FetchRequest, files: &[Verified]) -> Result<Outcome, FetchError> {
    let FetchRequest { dataset, existing, .. } = request;
    let (dataset, existing, source) = (dataset.clone(), *existing, request.source());
    let outcome = match (&request.publication.contents, files) {
        (Contents::Dataset(format), [archive]) => {
            let archive = archive.path.clone();
            import_binary(root, &BinaryRequest { name: dataset, archive, format: *format, existing, source })
        }
        (Contents::Set { name }, [images, labels]) => {
            let (images, labels) = (images.path.clone(), labels.path.clone());
            let source = Some(source);
            add_set(root, &AddSetRequest { dataset, set: name.clone(), images, labels, existing, source })
        }
        _ => return Err(FetchError::NotPublished),
    };
    Ok(outcome?)
}

impl FetchRequest {
    /// What the manifest says of where it comes from: from whatever mirror, it is what the publisher has.
    fn source(&self) -> String {
        self.publication.files.first().map(|file| file.url.clone()).unwrap_or_default()
    }

    /// Where `file` is looked for.
    fn place_of(&self, file: &PublishedFile) -> Result<Place, FetchError> {
        match &self.from {
            None => Ok(Place::Url(file.url.clone())),
            Some(mirror) => mirror.place_of(file, &self.publication.files),
        }
    }
}

fn obtain(
    file: &PublishedFile,
    request: &FetchRequest,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Verified, FetchError> {
    match request.place_of(file)? {
        Place::File(path) => {
            verify(&path, &path.display().to_string(), file)?;
            Ok(Verified { path, is_download: false })
        }
        Place::Url(url) => {
            let path = download::download(&url, file, request, progress)?;
            Ok(Verified { path, is_download: true })
        }
    }
}

/// Refuses a file that is not the published one; `place` is what it is called.
fn verify(path: &Path, place: &str, file: &PublishedFile) -> Result<(), FetchError> {
    let unreadable = |error| FetchError::file(path, error);
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes != file.bytes {
        return Err(FetchError::OtherSize { place: place.to_owned(), found: bytes, expected: file.bytes });
    }
    let found = sha256_of(path).map_err(unreadable)?;
    if found != file.sha256 {
        let (place, expected) = (place.to_owned(), file.sha256.clone());
        return Err(FetchError::OtherContents { place, found, expected });
    }
    Ok(())
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher, mut chunk) = (File::open(path)?, Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hasher.update(&chunk[..length]),
        }
    }
}
