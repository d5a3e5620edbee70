//! Finds the class folders in a folder or an archive: every image is at `PREFIX/CLASS/FILE`, with one prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::{ImportError, Problem};
use super::{MAX_SPLIT_BYTES, archive, folder};

/// Most files in one input: ten times ImageNet.
const MAX_FILES: usize = 10_000_000;
/// Largest file that can be an image: four times the pixels of the largest.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The images of one split, still encoded, by class and file name whatever order they were found in.
pub(super) struct ClassFolders {
    /// Sorted; a label is an index into them.
    pub(super) classes: Vec<String>,
    pub(super) images: Vec<ImageFile>,
    /// What the user named.
    pub(super) source: String,
}

pub(super) struct ImageFile {
    /// How errors name it.
    pub(super) place: String,
    pub(super) label: i64,
    pub(super) bytes: Vec<u8>,
}

/// All files below one folder or in one archive. Paths have `/` between names and neither begin nor end with it.
pub(super) struct Listing {
    /// What comes before a path to make the place that errors name: `DIR/` or `ARCHIVE: `.
    pub(super) place_prefix: String,
    files: BTreeMap<String, Vec<u8>>,
    pub(super) folders: BTreeSet<String>,
    total_bytes: u64,
    max_file_bytes: u64,
}

/// Reads the images in `path`, a folder or an archive, of the split called `split`.
///
/// Where it holds several folders of class folders, such as `train` and `test`, the one called like the split counts.
pub(super) fn read(path: &Path, split: &str) -> Result<ClassFolders, ImportError> {
    let kind = path.metadata().map_err(|error| ImportError::at(path, Problem::Unreadable(error)))?;
    let listing = if kind.is_dir() {
        folder::list(path)?
    } else if kind.is_file() {
        archive::list(path)?
    } else {
        return Err(ImportError::at(path, Problem::NotAFile));
    };
    group(listing, path, split)
}

impl Listing {
    pub(super) fn new(place_prefix: String) -> Listing {
        Listing {
            place_prefix,
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            total_bytes: 0,
            max_file_bytes: MAX_FILE_BYTES,
        }
    }

    /// Of files that are no single images.
    pub(super) fn with_files_up_to(self, bytes: u64) -> Listing {
        Listing { max_file_bytes: bytes, ..self }
    }

    /// Takes the file of this path out of it.
    pub(super) fn take(&mut self, path: &str) -> Option<Vec<u8>> {
        self.files.remove(path)
    }

    pub(super) fn error(&self, path: &str, problem: Problem) -> ImportError {
        ImportError::input(format!("{}{path}", self.place_prefix), problem)
    }

    /// Refuses a file before it is read, for its size or because there are too many.
    pub(super) fn admit(&mut self, path: &str, bytes: u64) -> Result<(), ImportError> {
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        let problem = if bytes > self.max_file_bytes {
            Problem::FileTooLarge { bytes, limit: self.max_file_bytes }
        } else if self.files.len() >= MAX_FILES {
            Problem::TooManyFiles { limit: MAX_FILES }
        } else if self.total_bytes > MAX_SPLIT_BYTES {
            Problem::TooLarge { limit: MAX_SPLIT_BYTES }
        } else {
            return Ok(());
        };
        Err(self.error(path, problem))
    }

    pub(super) fn add(&mut self, path: String, bytes: Vec<u8>) -> Result<(), ImportError> {
        match self.files.insert(path.clone(), bytes) {
            None => Ok(()),
            Some(_) => Err(self.error(&path, Problem::Twice)),
        }
    }

    /// The folder that holds the class folders, and whether files elsewhere are another split's.
    fn class_root(&self, split: &str) -> (String, Elsewhere) {
        let mut counts = BTreeMap::<&str, usize>::new();
        for (root, ..) in self.files.keys().filter_map(|path| class_and_name(path)) {
            *counts.entry(root).or_default() += 1;
        }
        let mut named = counts.keys().filter(|root| root.rsplit('/').next() == Some(split));
        if let (Some(root), None) = (named.next(), named.next())
            && counts.len() > 1
        {
            return ((*root).to_owned(), Elsewhere::AnotherSplit);
        }
        // With one stray file among thousands of images it is the stray one that is to be named.
        let most = counts.iter().rev().max_by_key(|&(_, count)| count);
        (most.map(|(root, _)| (*root).to_owned()).unwrap_or_default(), Elsewhere::Misplaced)
    }
}

/// What a file is that does not lie below the folder with the class folders.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    AnotherSplit,
    Misplaced,
}

fn group(mut listing: Listing, source: &Path, split: &str) -> Result<ClassFolders, ImportError> {
    let (root, elsewhere) = listing.class_root(split);
    let mut classes = BTreeMap::<String, BTreeMap<String, Vec<u8>>>::new();
    for (path, bytes) in std::mem::take(&mut listing.files) {
        match class_and_name(&path) {
            Some((parent, class, name)) if parent == root => {
                classes.entry(class.to_owned()).or_default().insert(name.to_owned(), bytes);
            }
            _ if elsewhere == Elsewhere::AnotherSplit && below(&root, &path).is_none() => {}
            _ => {
                let expected = join(&root, "CLASS/FILE");
                return Err(listing.error(&path, Problem::OutsideClasses { expected }));
            }
        }
    }
    let is_class = |folder: &&String| below(&root, folder).is_some_and(|rest| !rest.contains('/'));
    let is_empty = |folder: &&String| !below(&root, folder).is_some_and(|class| classes.contains_key(class));
    if classes.is_empty() {
        return Err(ImportError::at(source, Problem::NoImages));
    }
    if let Some(empty) = listing.folders.iter().filter(is_class).find(is_empty) {
        return Err(listing.error(empty, Problem::EmptyClass));
    }
    Ok(number(classes, &root, &listing, source))
}

/// Gives every class its number and every image its label.
fn number(
    classes: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    root: &str,
    listing: &Listing,
    source: &Path,
) -> ClassFolders {
    let mut folders = ClassFolders {
        classes: classes.keys().cloned().collect(),
        images: Vec::new(),
        source: source.display().to_string(),
    };
    for (label, (class, files)) in (0..).zip(classes) {
        for (name, bytes) in files {
            let place = format!("{}{}", listing.place_prefix, join(root, &format!("{class}/{name}")));
            folders.images.push(ImageFile { place, label, bytes });
        }
    }
    folders
}

impl ClassFolders {
    /// Refuses other classes than those of the training images, which came from `train`.
    pub(super) fn require_classes(&self, classes: &[String], train: &Path) -> Result<(), ImportError> {
        let train = train.display().to_string();
        let problem = if let Some(class) = classes.iter().find(|class| !self.classes.contains(class)) {
            Problem::MissingClass { class: class.clone(), train }
        } else if let Some(class) = self.classes.iter().find(|class| !classes.contains(class)) {
            Problem::UnknownClass { class: class.clone(), train }
        } else {
            return Ok(());
        };
        Err(ImportError::input(&self.source, problem))
    }
}

/// `PREFIX/CLASS/FILE` in its parts; `None` for a path with fewer.
fn class_and_name(path: &str) -> Option<(&str, &str, &str)> {
    let (folder, name) = path.rsplit_once('/')?;
    let (root, class) = folder.rsplit_once('/').unwrap_or(("", folder));
    Some((root, class, name))
}

/// What follows `root` in `path`, if it lies below.
fn below<'a>(root: &str, path: &'a str) -> Option<&'a str> {
    if root.is_empty() { Some(path) } else { path.strip_prefix(root)?.strip_prefix('/') }
}

fn join(root: &str, path: &str) -> String {
    if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") }
}
