//! An archive of code in memory, with nothing in it that could lead out of a copy.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

/// Files and links by their path.
#[derive(Debug)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    items: BTreeMap<PathBuf, Item>,
}

#[derive(Debug)]
pub(super) enum Item {
    /// Where its contents are.
    File { at: Range<usize>, is_executable: bool },
    /// A relative path to something in the copy.
    Link(PathBuf),
}

impl Archive {
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn of(bytes: Vec<u8>) -> Result<Archive, String> {
        let items = items_in(&bytes).map_err(|error| error.to_string())?;
        // Files are written before links are made, and none through one.
        let through_link =
            items.keys().find(|path| path.ancestors().skip(1).any(|above| items.contains_key(above)));
        match through_link {
            Some(path) => Err(format!("`{}` lies below what is no folder", path.display())),
            None => Ok(Archive { bytes, items }),
        }
    }

    pub(super) fn outline(&self) -> Outline {
        let trace = |item: &Item| match item {
            Item::File { at, .. } => {
                Trace::File { size: at.len() as u64, hash: blake3::hash(&self.bytes[at.clone()]) }
            }
            Item::Link(target) => Trace::Link(target.clone()),
        };
        Outline(self.items.iter().map(|(path, item)| (path.clone(), trace(item))).collect())
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (&Path, &Item)> {
        self.items.iter().map(|(path, item)| (path.as_path(), item))
    }

    pub(super) fn contents(&self, at: &Range<usize>) -> &[u8] {
        &self.bytes[at.clone()]
    }
}

/// What is in an archive without the contents, which may be megabytes and would stay in memory for each attempt that runs.
#[derive(Debug)]
pub(super) struct Outline(BTreeMap<PathBuf, Trace>);

#[derive(Debug)]
enum Trace {
    File { size: u64, hash: blake3::Hash },
    Link(PathBuf),
}

impl Outline {
    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Whether the link at `path` is the archive's.
    pub(super) fn has_link(&self, path: &Path, target: &Path) -> bool {
        matches!(self.0.get(path), Some(Trace::Link(kept)) if kept == target)
    }

    /// Whether the file `found` is the archive's at `path`, as it was.
    pub(super) fn has_file(&self, path: &Path, found: &Path) -> io::Result<bool> {
        let Some(Trace::File { size, hash }) = self.0.get(path) else { return Ok(false) };
        Ok(found.symlink_metadata()?.len() == *size && blake3::hash(&fs::read(found)?) == *hash)
    }
}

fn items_in(bytes: &[u8]) -> io::Result<BTreeMap<PathBuf, Item>> {
    let mut items = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let refused = |what: &str| io::Error::other(format!("`{}` {what}", path.display()));
        if path.components().any(|component| !matches!(component, Component::Normal(_))) {
            return Err(refused("leads out of the copy"));
        }
        let item = match entry.header().entry_type() {
            EntryType::Regular => {
                let from = usize::try_from(entry.raw_file_position()).map_err(io::Error::other)?;
                let size = usize::try_from(entry.size()).map_err(io::Error::other)?;
                let at = from..from.saturating_add(size);
                if at.end > bytes.len() {
                    return Err(refused("is cut off"));
                }
                Item::File { at, is_executable: entry.header().mode()? & 0o100 != 0 }
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(|| refused("leads nowhere"))?.into_owned();
                if !stays_within(&path, &target) {
                    return Err(refused("leads out of the copy"));
                }
                Item::Link(target)
            }
            _ => return Err(refused("is neither a file nor a link")),
        };
        items.insert(path, item);
    }
    Ok(items)
}

/// Whether a link leads to something in the copy, going by the paths alone.
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
