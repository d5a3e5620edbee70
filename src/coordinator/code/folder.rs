//! A folder with all that is code in it: what git does not ignore, where it is in a repository.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};

use super::archive::{Archive, Item, LARGEST, LARGEST_BYTES, MOST_FILES};
use super::{CodeError, Place};

/// Never code: what git and this program keep, and bytecode, which follows from the code.
const LEFT_OUT: [&str; 3] = [".git", ".sweep", "__pycache__"];

/// No more is looked at to say what is too large: a home folder would take minutes.
const MOST_LOOKED_AT: usize = 10 * MOST_FILES;

/// Files that are named where there is too much.
const NAMED: usize = 5;

/// The folder's files, and what a copy of them stands for.
///
/// `written` is the folder as a path from `directory`, where the spec is submitted.
pub(super) fn take(written: &str, directory: &Path) -> Result<(Archive, Place), CodeError> {
    let folder = find(written, directory)?;
    let (place, prefix) = place_of(&folder, directory)?;
    let files = list(&folder, written)?;
    let mut archive = Archive::default();
    for file in &files {
        let path = file.path();
        let inner = path.strip_prefix(&folder).expect("a walk stays where it began");
        archive.insert(prefix.join(inner), item_of(file, inner)?);
    }
    if archive.is_empty() {
        return Err(CodeError::Nothing { written: written.to_owned() });
    }
    // A file may have grown since it was listed.
    if archive.size_bytes() > LARGEST_BYTES {
        return Err(too_much(written, &files));
    }
    Ok((archive, place))
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

/// Files and links, all of them or none.
fn list(folder: &Path, written: &str) -> Result<Vec<DirEntry>, CodeError> {
    let walk = WalkBuilder::new(folder)
        .hidden(false)
        .ignore(false)
        .follow_links(false)
        .filter_entry(|entry| !LEFT_OUT.iter().any(|name| entry.file_name() == *name))
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| unreadable(folder, error))?;
        let is_code = entry.file_type().is_some_and(|kind| kind.is_file() || kind.is_symlink());
        if is_code {
            files.push(entry);
        }
        if files.len() > MOST_LOOKED_AT {
            break;
        }
    }
    let bytes: u64 = files.iter().map(size_of).sum();
    if files.len() > MOST_FILES || bytes > LARGEST_BYTES {
        return Err(too_much(written, &files));
    }
    Ok(files)
}

fn item_of(file: &DirEntry, inner: &Path) -> Result<Item, CodeError> {
    let path = file.path();
    let unread = |source| CodeError::Read { path: path.to_owned(), source };
    if file.path_is_symlink() {
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

fn size_of(file: &DirEntry) -> u64 {
    file.metadata().map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 })
}

fn too_much(written: &str, files: &[DirEntry]) -> CodeError {
    let mut sizes: Vec<(u64, &Path)> = files.iter().map(|file| (size_of(file), file.path())).collect();
    let bytes: u64 = sizes.iter().map(|(size, _)| size).sum();
    sizes.sort_unstable_by_key(|(size, path)| (std::cmp::Reverse(*size), *path));
    let largest: Vec<String> = sizes
        .iter()
        .take(NAMED)
        .map(|(size, path)| format!("`{}` ({})", path.display(), in_words(*size)))
        .collect();
    let or_more = if files.len() > MOST_LOOKED_AT { "more than " } else { "" };
    CodeError::TooMuch {
        written: written.to_owned(),
        found: format!("{or_more}{} files of {} together", files.len(), in_words(bytes)),
        limit: format!("{MOST_FILES} files of {LARGEST} together"),
        largest: format!("the largest are {}", largest.join(", ")),
    }
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
