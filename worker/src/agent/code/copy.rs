//! What is in a copy of the code: the archive's files, which can't be written, its links, and links to what else lies
//! beside them in the folder for which the copy stands. Of a folder that was taken whole, what may be code and has come later is
//! left out: what is queued runs what was there.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};
use sweep::vocabulary::{KeptCode, KeptFolder};

use super::archive::{Archive, Item, Outline};
use super::ways_to;

/// Links to what lies beside the code. More would take longer than starting a program does.
const MOST_LINKS: usize = 10_000;

/// Python's bytecode. Its files say of which version of a source they are by its time and size, so those of one copy must never
/// be taken for another's.
const BYTECODE: &str = "__pycache__";

/// The state folder leads to the copies themselves.
const STATE: &str = ".sweep";

/// Git's own folder, which no pattern ignores.
const REPOSITORY: &str = ".git";

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Another node, or this one when it is mended, may do better.
    Node(String),
    /// What was submitted can't be run anywhere.
    Submission(String),
}

impl Problem {
    pub(super) fn into_words(self) -> String {
        match self {
            Problem::Node(words) | Problem::Submission(words) => words,
        }
    }
}

/// Puts the code into an empty folder.
pub(super) fn fill(copy: &Path, archive: &Archive, kept: &KeptCode) -> Result<(), Problem> {
    let directory = Path::new(&kept.directory);
    let root = Path::new(&kept.root);
    let leads_out = directory.components().any(|component| !matches!(component, Component::Normal(_)));
    if leads_out || !root.is_absolute() {
        return Err(Problem::Submission(format!(
            "`{}` in `{}` is no place for trials",
            kept.directory, kept.root
        )));
    }
    let unwritable = |error: io::Error| {
        Problem::Node(format!("can't make a copy of the code in `{}`: {error}", copy.display()))
    };
    let mut folders = ways_to(directory);
    for (path, _) in archive.items() {
        folders.extend(ways_to(path.parent().unwrap_or(Path::new(""))));
    }
    for folder in &folders {
        fs::create_dir_all(copy.join(folder)).map_err(unwritable)?;
    }
    for (path, item) in archive.items() {
        if let Item::File { at, is_executable } = item {
            write(&copy.join(path), archive.contents(at), *is_executable).map_err(unwritable)?;
        }
    }
    for (path, item) in archive.items() {
        if let Item::Link(target) = item {
            symlink(target, copy.join(path)).map_err(unwritable)?;
        }
    }
    let news = kept.folder.as_ref().map(|kept| find_news(root, kept, &folders)).unwrap_or_default();
    link_beside(copy, root, &folders, &news)
}

fn write(path: &Path, contents: &[u8], is_executable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(contents)?;
    file.set_permissions(Permissions::from_mode(if is_executable { 0o555 } else { 0o444 }))
}

/// What may be code and has come into the folder since it was taken: what git does not ignore, and was not there. It is looked for as
/// the coordinator looked for what to keep.
fn find_news(root: &Path, kept: &KeptFolder, folders: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let (base, looked_into) = (root.to_owned(), folders.clone());
    let live: BTreeSet<PathBuf> = kept.live.iter().map(PathBuf::from).collect();
    let is_looked_at = move |entry: &DirEntry| {
        let Ok(inner) = entry.path().strip_prefix(&base) else { return false };
        let is_beside_code = inner.parent().is_some_and(|folder| looked_into.contains(folder));
        entry.depth() == 0 || (is_beside_code && entry.file_name() != REPOSITORY && !live.contains(inner))
    };
    let walk = WalkBuilder::new(root.join(&kept.path))
        .hidden(false)
        .ignore(false)
        .follow_links(false)
        .filter_entry(is_looked_at)
        .build();
    let found = walk.flatten().filter(|entry| entry.depth() > 0);
    found.filter_map(|entry| Some(entry.path().strip_prefix(root).ok()?.to_owned())).collect()
}

/// Links what lies in the project beside the code, but for the news.
fn link_beside(
    copy: &Path,
    root: &Path,
    folders: &BTreeSet<PathBuf>,
    news: &BTreeSet<PathBuf>,
) -> Result<(), Problem> {
    let mut links = 0;
    for folder in folders {
        let project = root.join(folder);
        // On another host there may be no such folder; then the code is all there is.
        let Ok(entries) = fs::read_dir(&project) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == BYTECODE || name == STATE || news.contains(&folder.join(&name)) {
                continue;
            }
            match symlink(project.join(&name), copy.join(folder).join(&name)) {
                Ok(()) => links += 1,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Problem::Node(format!("can't write into `{}`: {error}", copy.display())));
                }
            }
            if links > MOST_LINKS {
                return Err(Problem::Submission(format!(
                    "beside the code in `{}` lie more than {MOST_LINKS} other files; put the code into a folder of its own, or \
                     write `code: live`",
                    project.display()
                )));
            }
        }
    }
    Ok(())
}

/// Takes away what [`fill`] has put into a copy; says whether nothing is left. Another agent may be at the same: what is gone is gone.
pub(super) fn clear(copy: &Path, outline: &Outline, root: &Path) -> io::Result<bool> {
    clear_folder(copy, Path::new(""), &|path, inner| is_ours(path, inner, outline, root))
}

fn clear_folder(
    folder: &Path,
    inner: &Path,
    is_ours: &impl Fn(&Path, &Path) -> io::Result<bool>,
) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut is_empty = true;
    for entry in entries {
        let entry = entry?;
        match clear_entry(&entry, &inner.join(entry.file_name()), is_ours) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            is_gone => is_empty &= is_gone?,
        }
    }
    if is_empty {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(is_empty)
}

fn clear_entry(
    entry: &fs::DirEntry,
    inner: &Path,
    is_ours: &impl Fn(&Path, &Path) -> io::Result<bool>,
) -> io::Result<bool> {
    let path = entry.path();
    if entry.file_type()?.is_dir() {
        return clear_folder(&path, inner, is_ours);
    }
    let is_ours = is_ours(&path, inner)?;
    if is_ours {
        fs::remove_file(&path)?;
    }
    Ok(is_ours)
}

/// Whether a file or link was put there, or follows from what was.
fn is_ours(path: &Path, inner: &Path, outline: &Outline, root: &Path) -> io::Result<bool> {
    if inner.parent().is_some_and(|folder| folder.ends_with(BYTECODE)) {
        return Ok(true);
    }
    if path.symlink_metadata()?.is_symlink() {
        let target = fs::read_link(path)?;
        return Ok(outline.has_link(inner, &target) || target == root.join(inner));
    }
    outline.has_file(inner, path)
}
