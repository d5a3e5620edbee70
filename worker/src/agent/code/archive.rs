//! An archive of code in memory, with nothing in it that could lead out of a copy.

use std::collections::BTreeMap;
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

    pub(super) fn has(&self, path: &Path) -> bool {
        self.items.contains_key(path)
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (&Path, &Item)> {
        self.items.iter().map(|(path, item)| (path.as_path(), item))
    }

    pub(super) fn find(&self, path: &Path) -> Option<&Item> {
        self.items.get(path)
    }

    pub(super) fn contents(&self, at: &Range<usize>) -> &[u8] {
        &self.bytes[at.clone()]
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
