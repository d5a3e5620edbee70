use std::path::{Path, PathBuf};

use super::error::{Damage, DatasetError};
use super::manifest::Manifest;
use super::open::load;

/// A file of a dataset that is not what `import` wrote.
#[derive(Debug)]
pub struct DamagedFile {
    pub path: PathBuf,
    pub damage: Damage,
}

/// Hashes all files of the dataset `name` in the folder `root` again; returns those that are damaged, in the order of
/// their splits' names.
///
/// # Errors
/// When there is no such dataset, or its manifest is of a newer version or can't be read.
pub fn verify(root: &Path, name: &str) -> Result<Vec<DamagedFile>, DatasetError> {
    let manifest = match Manifest::read(root, name) {
        Ok(manifest) => manifest,
        Err(DatasetError::Damaged { path, damage }) => return Ok(vec![DamagedFile { path, damage }]),
        Err(error) => return Err(error),
    };
    let mut damaged = Vec::new();
    for stored in manifest.files.values() {
        let path = manifest.path(root, stored);
        if let Err(damage) = load(&path, stored, &manifest) {
            damaged.push(DamagedFile { path, damage });
        }
    }
    Ok(damaged)
}
