//! Writes datasets so that they appear whole or not at all, whatever happens in between.
//!
//! One import writes at a time, under a lock that the system releases when its holder dies. So whatever staging
//! folder is found under the lock is a dead import's, and is removed.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::super::manifest::{MANIFEST_FILE, file_names};
use super::super::open::load;
use super::super::split::{CHANNELS, IMAGES, LABELS};
use super::super::{Damage, DatasetError, DatasetName, Manifest, SCHEMA_VERSION, SplitFile, TEST, TRAIN};
use super::error::ImportError;
use super::{Existing, NewSplit, Outcome};

/// Begins the names of folders that are being written. No dataset's name begins with a dot.
const STAGING_PREFIX: &str = ".importing-";
const LOCK_FILE: &str = ".lock";

/// Stores a dataset of `classes` and `splits`.
pub(super) fn dataset(
    root: &Path,
    name: &DatasetName,
    classes: &[String],
    splits: &[NewSplit],
    existing: Existing,
) -> Result<Outcome, ImportError> {
    let _lock = lock(root)?;
    if existing == Existing::Keep {
        match Manifest::read(root, name.as_str()) {
            Ok(manifest) if holds(&manifest, classes, splits) => return ensure_whole(root, manifest, splits),
            Err(DatasetError::NotFound { .. }) if !root.join(name.as_str()).exists() => {}
            // A folder without a manifest is somebody else's: it is not replaced unasked either.
            Ok(_) | Err(DatasetError::NotFound { .. }) => {
                return Err(ImportError::Exists { what: format!("dataset `{name}`") });
            }
            Err(error) => return Err(error.into()),
        }
    }
    let staging = staging_folder(root)?;
    let mut files = BTreeMap::new();
    for split in splits {
        let [file, _] = file_names(&split.name);
        files.insert(split.name.clone(), write_split(staging.path(), file, split)?);
    }
    let manifest = describe(name, classes, splits, files)?;
    write_manifest(staging.path(), &manifest)?;
    swap_in(staging, root, name)?;
    Ok(Outcome::Imported(manifest))
}

/// Adds `split` to a stored dataset: first its file, under a name that is not in use, then the manifest.
pub(super) fn set(
    root: &Path,
    name: &DatasetName,
    split: &NewSplit,
    existing: Existing,
) -> Result<Outcome, ImportError> {
    let _lock = lock(root)?;
    // Read again: another import may have changed it before this one had the lock.
    let mut manifest = Manifest::read(root, name.as_str())?;
    let replaced = manifest.files.get(&split.name).cloned();
    if let (Some(stored), Existing::Keep) = (&replaced, existing) {
        if stored.checksum == split.as_split().checksum() {
            return ensure_whole(root, manifest, std::slice::from_ref(split));
        }
        return Err(ImportError::Exists { what: format!("set `{}` of dataset `{name}`", split.name) });
    }
    let [usual, other] = file_names(&split.name);
    let is_in_use = replaced.as_ref().is_some_and(|stored| stored.file == usual);
    let file = if is_in_use { other } else { usual };

    let staging = staging_folder(root)?;
    let stored = write_split(staging.path(), file, split)?;
    let (staged_file, file) =
        (staging.path().join(&stored.file), root.join(name.as_str()).join(&stored.file));
    if replaced.is_none() {
        manifest.eval_sets.push(split.name.clone());
        manifest.eval_sets.sort();
    }
    manifest.files.insert(split.name.clone(), stored);
    manifest.checksum = manifest.checksum_for(None)?;
    write_manifest(staging.path(), &manifest)?;

    let folder = root.join(name.as_str());
    rename(&staged_file, &file)?;
    sync_folder(&folder)?;
    rename(&staging.path().join(MANIFEST_FILE), &folder.join(MANIFEST_FILE))?;
    sync_folder(&folder)?;
    if let Some(replaced) = replaced {
        // The set is replaced by now; a file that no manifest names only takes up room.
        fs::remove_file(folder.join(&replaced.file)).ok();
    }
    Ok(Outcome::Imported(manifest))
}

/// Writes damaged files of a stored dataset again whose contents are at hand in `splits`.
///
/// # Errors
/// When another file is damaged too: nobody would learn of it after "already imported".
fn ensure_whole(root: &Path, mut manifest: Manifest, splits: &[NewSplit]) -> Result<Outcome, ImportError> {
    let staging = staging_folder(root)?;
    let folder = root.join(&manifest.name);
    let mut repaired = Vec::new();
    let mut lost = None;
    for (name, stored) in manifest.files.clone() {
        let path = folder.join(&stored.file);
        let Err(damage) = load(&path, &stored, &manifest) else { continue };
        match splits.iter().find(|split| split.name == name) {
            Some(split) if !matches!(damage, Damage::Unreadable(_)) => {
                let written = write_split(staging.path(), stored.file, split)?;
                rename(&staging.path().join(&written.file), &path)?;
                manifest.files.insert(name.clone(), written);
                repaired.push(name);
            }
            _ => lost = lost.or(Some(DatasetError::damaged(&path, damage))),
        }
    }
    if !repaired.is_empty() {
        // Another version of the format's library may have written a file of another size.
        write_manifest(staging.path(), &manifest)?;
        rename(&staging.path().join(MANIFEST_FILE), &folder.join(MANIFEST_FILE))?;
        sync_folder(&folder)?;
    }
    match lost {
        Some(error) => Err(error.into()),
        None if repaired.is_empty() => Ok(Outcome::AlreadyThere(manifest)),
        None => Ok(Outcome::Repaired(manifest, repaired)),
    }
}

/// Whether a stored dataset has these classes and splits, and perhaps sets that were added later.
fn holds(manifest: &Manifest, classes: &[String], splits: &[NewSplit]) -> bool {
    let is_stored = |split: &NewSplit| {
        manifest.files.get(&split.name).is_some_and(|stored| stored.checksum == split.as_split().checksum())
    };
    manifest.classes == classes && splits.iter().all(is_stored)
}

fn describe(
    name: &DatasetName,
    classes: &[String],
    splits: &[NewSplit],
    files: BTreeMap<String, SplitFile>,
) -> Result<Manifest, ImportError> {
    let mut manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        name: name.to_string(),
        classes: classes.to_vec(),
        height: splits.first().map_or(0, |split| split.height),
        width: splits.first().map_or(0, |split| split.width),
        eval_sets: files.keys().filter(|split| ![TRAIN, TEST].contains(&split.as_str())).cloned().collect(),
        files,
        checksum: String::new(),
    };
    manifest.checksum = manifest.checksum_for(None)?;
    Ok(manifest)
}

fn write_split(folder: &Path, file: String, split: &NewSplit) -> Result<SplitFile, ImportError> {
    let count = split.labels.len();
    let labels: Vec<u8> = split.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let encode = |source| ImportError::Encode { split: split.name.clone(), source };
    let shape = vec![count, CHANNELS, split.height, split.width];
    let tensors = [
        (IMAGES, TensorView::new(Dtype::U8, shape, &split.images).map_err(encode)?),
        (LABELS, TensorView::new(Dtype::I64, vec![count], &labels).map_err(encode)?),
    ];
    let bytes = safetensors::serialize(tensors, None).map_err(encode)?;
    write_synced(&folder.join(&file), &bytes)?;
    Ok(SplitFile {
        file,
        count,
        checksum: split.as_split().checksum(),
        bytes: bytes.len() as u64,
        source: split.source.clone(),
    })
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), ImportError> {
    let path = folder.join(MANIFEST_FILE);
    let text = serde_json::to_string_pretty(manifest);
    let text = text.map_err(|error| ImportError::write(&path, error.into()))?;
    write_synced(&path, format!("{text}\n").as_bytes())?;
    sync_folder(folder)
}

/// Makes the staged folder the dataset, in place of one that may be there.
fn swap_in(staging: TempDir, root: &Path, name: &DatasetName) -> Result<(), ImportError> {
    let target = root.join(name.as_str());
    if target.exists() {
        match renameat_with(CWD, staging.path(), CWD, &target, RenameFlags::EXCHANGE) {
            // The staging folder is the old dataset now, and goes when it is dropped.
            Ok(()) => return sync_folder(root),
            // Network file systems can't exchange. The old one is moved away first; whoever dies between the two
            // renames has no dataset of that name, never half of one.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let retired = staging_folder(root)?;
                rename(&target, &retired.path().join(name.as_str()))?;
                rename(staging.path(), &target)?;
                return sync_folder(root);
            }
            Err(error) => return Err(ImportError::write(&target, error.into())),
        }
    }
    rename(staging.path(), &target)?;
    sync_folder(root)
}

/// Waits until no other import writes here, and removes what dead ones left.
fn lock(root: &Path) -> Result<File, ImportError> {
    fs::create_dir_all(root).map_err(|error| ImportError::write(root, error))?;
    let path = root.join(LOCK_FILE);
    let unwritable = |error| ImportError::write(&path, error);
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(unwritable)?;
    lock.lock().map_err(unwritable)?;
    remove_leftovers(root).map_err(|error| ImportError::write(root, error))?;
    Ok(lock)
}

fn remove_leftovers(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(STAGING_PREFIX.as_bytes()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A new folder beside the datasets, which is removed when it is dropped under its own name.
fn staging_folder(root: &Path) -> Result<TempDir, ImportError> {
    // As open as the umask allows, not for this user alone: it becomes a dataset, and those may be shared.
    let permissions = Permissions::from_mode(0o777);
    let folder = tempfile::Builder::new().prefix(STAGING_PREFIX).permissions(permissions).tempdir_in(root);
    folder.map_err(|error| ImportError::write(root, error))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| ImportError::write(path, error))
}

fn rename(from: &Path, to: &Path) -> Result<(), ImportError> {
    fs::rename(from, to).map_err(|error| ImportError::write(to, error))
}

/// A rename survives a power cut only when the folder that holds the name is on disk.
fn sync_folder(folder: &Path) -> Result<(), ImportError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| ImportError::write(folder, error))
}
