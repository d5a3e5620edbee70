//! A folder with all that is code in it: what git tracks or does not ignore, where it is in a repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use ignore::WalkBuilder;

use super::archive::{Archive, Item, LARGEST, LARGEST_BYTES, MOST_FILES};
use super::{CodeError, Place, git};
use crate::vocabulary::KeptFolder;

/// Never code: what git and this program keep, and bytecode, which follows from the code.
const LEFT_OUT: [&str; 3] = [".git", ".sweep", "__pycache__"];

/// No more is looked at to say what is too large: a home folder would take minutes.
const MOST_LOOKED_AT: usize = 10 * MOST_FILES;

/// Files that are named where there is too much.
const NAMED: usize = 5;

/// A file or link in the folder.
struct Found {
    is_link: bool,
    size_bytes: u64,
}

/// What is in the folder, by paths from it.
#[derive(Default)]
struct Listing {
    files: BTreeMap<PathBuf, Found>,
    /// Folders that git does not ignore.
    folders: BTreeSet<PathBuf>,
}

/// The folder's files, and what a copy of them stands for.
///
/// `written` is the folder as a path from `directory`, where the spec is submitted.
pub(super) fn take(written: &str, directory: &Path) -> Result<(Archive, Place, KeptFolder), CodeError> {
    let folder = find(written, directory)?;
    let (place, prefix) = place_of(&folder, directory)?;
    let listing = list(&folder)?;
    listing.check(&folder, written)?;
    let mut archive = Archive::default();
    for (inner, found) in &listing.files {
        archive.insert(prefix.join(inner), item_of(&folder.join(inner), inner, found)?);
    }
    if archive.is_empty() {
        return Err(CodeError::Nothing { written: written.to_owned() });
    }
    // A file may have grown since it was listed.
    if archive.size_bytes() > LARGEST_BYTES {
        return Err(listing.too_much(&folder, written));
    }
    let live = listing.without_files().map(|inner| prefix.join(inner).display().to_string()).collect();
    Ok((archive, place, KeptFolder { path: prefix.display().to_string(), live }))
}

fn find(written: &str, directory: &Path) -> Result<PathBuf, CodeError> {
    let path = directory.join(written);
    match path.canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(folder),
        Ok(_) | Err(_) => Err(CodeError::NoFolder { written: written.to_owned(), path }),
    }
}

/// What a copy stands for, and where in it the folder lies.
fn place_of(folder: &Path, directory: &Path) -> Result<(Place, PathBuf), CodeError> {
    let submitted_in = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    if let Ok(prefix) = folder.strip_prefix(&submitted_in) {
        return Ok((Place::of(directory), prefix.to_owned()));
    }
    if let Ok(within) = submitted_in.strip_prefix(folder) {
        let place = Place { root: folder.to_owned(), directory: within.to_owned() };
        return Ok((place, PathBuf::new()));
    }
    let working_directory = directory.display().to_string();
    Err(CodeError::Apart { folder: folder.to_owned(), working_directory })
}

fn list(folder: &Path) -> Result<Listing, CodeError> {
    // An agent looks in the same way for what has come since (`find_news`).
    let walk = WalkBuilder::new(folder)
        .hidden(false)
        .ignore(false)
        .follow_links(false)
        .filter_entry(|entry| !LEFT_OUT.iter().any(|name| entry.file_name() == *name))
        .build();
    let mut listing = Listing::default();
    for entry in walk {
        let entry = entry.map_err(|error| unreadable(folder, error))?;
        let inner = entry.path().strip_prefix(folder).expect("a walk stays where it began").to_owned();
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            listing.folders.insert(inner);
        } else {
            listing.add(folder, inner);
        }
        if listing.files.len() > MOST_LOOKED_AT {
            return Ok(listing);
        }
    }
    // What git tracks it does not ignore, whatever its patterns say.
    let tracked =
        git::list_tracked(folder).ok_or_else(|| CodeError::SilentGit { folder: folder.to_owned() })?;
    for inner in tracked {
        let is_left_out =
            inner.components().any(|part| LEFT_OUT.iter().any(|name| part.as_os_str() == *name));
        if !is_left_out && !listing.files.contains_key(&inner) && !lies_behind_link(folder, &inner) {
            listing.add(folder, inner);
        }
    }
    Ok(listing)
}

/// A folder in which git tracks files may have become a link.
fn lies_behind_link(folder: &Path, inner: &Path) -> bool {
    let is_link = |above: &Path| folder.join(above).symlink_metadata().is_ok_and(|found| found.is_symlink());
    inner.ancestors().skip(1).filter(|above| *above != Path::new("")).any(is_link)
}

impl Listing {
    /// Adds a file or link, if that is what there is.
    fn add(&mut self, folder: &Path, inner: PathBuf) {
        let Ok(found) = folder.join(&inner).symlink_metadata() else { return };
        if found.is_file() || found.is_symlink() {
            let size_bytes = if found.is_file() { found.len() } else { 0 };
            self.files.insert(inner, Found { is_link: found.is_symlink(), size_bytes });
        }
    }

    fn size_bytes(&self) -> u64 {
        self.files.values().map(|found| found.size_bytes).sum()
    }

    fn check(&self, folder: &Path, written: &str) -> Result<(), CodeError> {
        match self.files.len() > MOST_FILES || self.size_bytes() > LARGEST_BYTES {
            true => Err(self.too_much(folder, written)),
            false => Ok(()),
        }
    }

    fn too_much(&self, folder: &Path, written: &str) -> CodeError {
        let sizes = self.files.iter().map(|(inner, found)| (found.size_bytes, inner));
        let mut sizes: Vec<(u64, &PathBuf)> = sizes.collect();
        sizes.sort_unstable_by_key(|(size, inner)| (std::cmp::Reverse(*size), *inner));
        let largest: Vec<String> = sizes
            .iter()
            .take(NAMED)
            .map(|(size, inner)| format!("`{}` ({})", folder.join(inner).display(), in_words(*size)))
            .collect();
        let more = if self.files.len() > MOST_LOOKED_AT { "more than " } else { "" };
        CodeError::TooMuch {
            written: written.to_owned(),
            found: format!(
                "{more}{} files of {} together",
                self.files.len().min(MOST_LOOKED_AT),
                in_words(self.size_bytes())
            ),
            limit: format!("{MOST_FILES} files of {LARGEST} together"),
            largest: format!("the largest are {}", largest.join(", ")),
        }
    }

    /// Folders without a file in them that is kept; of those that lie in each other the outermost.
    fn without_files(&self) -> impl Iterator<Item = &Path> {
        let with_files: BTreeSet<&Path> =
            self.files.keys().flat_map(|inner| inner.ancestors().skip(1)).collect();
        let folders = self.folders.iter().map(PathBuf::as_path);
        folders.filter(move |folder| {
            !with_files.contains(folder) && folder.parent().is_some_and(|above| with_files.contains(above))
        })
    }
}

fn item_of(path: &Path, inner: &Path, found: &Found) -> Result<Item, CodeError> {
    let unread = |source| CodeError::Read { path: path.to_owned(), source };
    if found.is_link {
        let target = fs::read_link(path).map_err(unread)?;
        return match stays_within(inner, &target) {
            true => Ok(Item::Link(target)),
            false => Err(CodeError::Leaves { path: path.to_owned(), target }),
        };
    }
    let contents = fs::read(path).map_err(unread)?;
    let mode = path.metadata().map_err(unread)?.permissions().mode();
    Ok(Item::File { contents, is_executable: mode & 0o111 != 0 })
}

/// Whether a link in the folder leads to something in it, going by the paths alone.
fn stays_within(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count() - 1;
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

fn in_words(bytes: u64) -> String {
    match bytes {
        0..=1023 => format!("{bytes} bytes"),
        1024..=1_048_575 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// What of a folder can't be read, as precisely as is known.
fn unreadable(folder: &Path, error: ignore::Error) -> CodeError {
    let mut path = folder.to_owned();
    let mut inner = &error;
    loop {
        inner = match inner {
            ignore::Error::WithPath { path: own, err } => {
                path.clone_from(own);
                err
            }
            ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => err,
            _ => break,
        };
    }
    let words = inner.to_string();
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other(words));
    CodeError::Read { path, source }
}
