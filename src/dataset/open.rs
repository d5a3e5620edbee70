use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::error::{Damage, DatasetError};
use super::manifest::{Manifest, SplitFile};
use super::split::Split;

/// An imported dataset, opened: its manifest and, in memory, the contents of its files.
///
/// The files are read whole rather than mapped: all of CIFAR-10 is 180 MB, read once by a process that then trains
/// many trials, and a file that changes below a mapping would be undefined behaviour.
#[derive(Debug)]
pub struct Dataset {
    pub manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

impl Dataset {
    /// Opens the dataset `name` in the folder `root` and checks all its files against their checksums.
    ///
    /// # Errors
    /// When there is no such dataset, or a file of it is missing, unreadable or damaged.
    pub fn open(root: &Path, name: &str) -> Result<Dataset, DatasetError> {
        let manifest = Manifest::read(root, name)?;
        let mut files = BTreeMap::new();
        for (split, stored) in &manifest.files {
            let path = manifest.path(root, stored);
            let file = load(&path, stored, &manifest);
            files.insert(split.clone(), file.map_err(|damage| DatasetError::damaged(&path, damage))?);
        }
        Ok(Dataset { manifest, files })
    }

    /// The split `name`: `train`, `test`, or an extra evaluation set.
    ///
    /// # Errors
    /// When the dataset has no split of that name.
    pub fn split(&self, name: &str) -> Result<Split<'_>, DatasetError> {
        let stored = self.manifest.file(name)?;
        let damaged = |damage| DatasetError::damaged(Path::new(&stored.file), damage);
        let file = self.files.get(name).ok_or_else(|| damaged(Damage::Missing))?;
        Split::parse(file).map_err(damaged)
    }
}

/// The file of a split, if it is there and whole.
pub(super) fn load(path: &Path, stored: &SplitFile, manifest: &Manifest) -> Result<Vec<u8>, Damage> {
    let file = fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Damage::Missing,
        _ => Damage::Unreadable(error),
    })?;
    check(&file, stored, manifest)?;
    Ok(file)
}

/// Refuses a file whose contents are not those that the manifest describes.
fn check(file: &[u8], stored: &SplitFile, manifest: &Manifest) -> Result<(), Damage> {
    let split = Split::parse(file)?;
    let found = split.checksum();
    if found != stored.checksum {
        return Err(Damage::Checksum { expected: stored.checksum.clone(), found });
    }
    // The checksum proves the contents to be the imported ones; these are the manifest's other claims about them.
    let shape = (split.count, split.height, split.width);
    if shape != (stored.count, manifest.height, manifest.width) {
        return Err(Damage::Inconsistent("its shape is not the manifest's"));
    }
    let is_class = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < manifest.classes.len());
    if !split.labels.iter().all(is_class) {
        return Err(Damage::Inconsistent("a label is not the index of a class"));
    }
    Ok(())
}
