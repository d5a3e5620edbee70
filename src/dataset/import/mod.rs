//! Import: from folders or archives of images, or numpy arrays, to a dataset.
//!
//! All input is read and checked before the first byte is written, and what is written becomes visible by renaming
//! it when it is whole. The result depends on the images, not on how they came: a folder and an archive of it, in any
//! order, give the same checksum.
//! Start with [`import`] and [`add_set`]; `source` finds the images, `decode` reads them, `publish` writes.

mod archive;
mod binary;
mod decode;
mod error;
mod folder;
mod npy;
mod publish;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::{ImportError, Problem};

use super::split::{CHANNELS, Split};
use super::{DatasetName, Manifest, SetName, TEST, TRAIN};
use decode::ReferenceSize;
use source::ClassFolders;

/// Largest input of one split, stored or decoded: it is held in memory. All of CIFAR-10 has 150 MB.
const MAX_SPLIT_BYTES: u64 = 8 << 30;

/// A dataset to make from images that lie in one folder per class.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    pub name: DatasetName,
    /// A folder or an archive, as are those below.
    pub train: PathBuf,
    pub test: PathBuf,
    pub eval_sets: BTreeMap<SetName, PathBuf>,
    pub existing: Existing,
}

/// An extra evaluation set to add to a dataset, as CIFAR-10.1 is published.
#[derive(Debug, Clone)]
pub struct AddSetRequest {
    pub dataset: DatasetName,
    pub set: SetName,
    /// A `.npy` file, u8 `[N, H, W, 3]`.
    pub images: PathBuf,
    /// A `.npy` file, u8, i32 or i64 `[N]`.
    pub labels: PathBuf,
    pub existing: Existing,
    /// What the manifest says of where it comes from, if not the files' names.
    pub source: Option<String>,
}

/// A dataset to make from an archive of CIFAR's binary version.
#[derive(Debug, Clone)]
pub struct BinaryRequest {
    pub name: DatasetName,
    pub archive: PathBuf,
    pub format: BinaryFormat,
    pub existing: Existing,
    /// What the manifest says of where it comes from.
    pub source: String,
}

/// What an archive of CIFAR's binary version holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryFormat {
    Cifar10,
    /// With its 100 fine classes.
    Cifar100,
}

/// What to do with other contents under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Keep,
    Replace,
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Imported(Manifest),
    /// The same images and labels were there; nothing was written.
    AlreadyThere(Manifest),
    /// The same images and labels were to be there, but files of these splits were damaged; now they are whole.
    Repaired(Manifest, Vec<String>),
}

/// One split in memory, checked and ready to be written.
struct NewSplit {
    name: String,
    /// `[count, 3, height, width]`.
    images: Vec<u8>,
    labels: Vec<i64>,
    height: usize,
    width: usize,
    source: String,
}

impl NewSplit {
    fn as_split(&self) -> Split<'_> {
        let labels = self.labels.clone();
        Split { images: &self.images, count: labels.len(), labels, height: self.height, width: self.width }
    }
}

/// Makes the dataset of `request` in the folder `root`.
///
/// Contents that are there already, extra evaluation sets beside them included, are left alone, but for damaged files:
/// those are written again.
///
/// # Errors
/// When an input is not what it should be, other contents have that name, or nothing can be written.
pub fn import(root: &Path, request: &ImportRequest) -> Result<Outcome, ImportError> {
    let train = source::read(&request.train, TRAIN)?;
    let size = decode::size_of_first(&train)?;
    let classes = train.classes.clone();
    let mut splits = vec![decode_split(TRAIN, &train, &size)?];
    drop(train);

    let extra = request.eval_sets.iter().map(|(set, path)| (set.as_str(), path));
    for (name, path) in [(TEST, &request.test)].into_iter().chain(extra) {
        let folders = source::read(path, name)?;
        folders.require_classes(&classes, &request.train)?;
        splits.push(decode_split(name, &folders, &size)?);
    }
    publish::dataset(root, &request.name, &classes, &splits, request.existing)
}

/// Makes the dataset of `request` in the folder `root`, with the images in the publisher's order.
///
/// # Errors
/// When the archive is not what it should be, other contents have that name, or nothing can be written.
pub fn import_binary(root: &Path, request: &BinaryRequest) -> Result<Outcome, ImportError> {
    let (classes, splits) = binary::read(&request.archive, request.format, &request.source)?;
    publish::dataset(root, &request.name, &classes, &splits, request.existing)
}

/// Adds the set of `request` to a dataset in the folder `root`.
///
/// # Errors
/// When there is no such dataset, an input is not what it should be, the set is there with other contents, or nothing
/// can be written.
pub fn add_set(root: &Path, request: &AddSetRequest) -> Result<Outcome, ImportError> {
    let manifest = Manifest::read(root, request.dataset.as_str())?;
    let mut split = npy::read(&request.images, &request.labels, &request.set, &manifest)?;
    split.source = request.source.clone().unwrap_or(split.source);
    publish::set(root, &request.dataset, &split, request.existing)
}

fn decode_split(name: &str, folders: &ClassFolders, size: &ReferenceSize) -> Result<NewSplit, ImportError> {
    Ok(NewSplit {
        name: name.to_owned(),
        images: decode::all(folders, size)?,
        labels: folders.images.iter().map(|image| image.label).collect(),
        height: size.height,
        width: size.width,
        source: folders.source.clone(),
    })
}

/// Bytes that `count` images take, if a split may be as large.
fn image_bytes(count: usize, height: usize, width: usize) -> Option<usize> {
    let bytes = [CHANNELS, height, width].into_iter().try_fold(count, usize::checked_mul)?;
    (bytes as u64 <= MAX_SPLIT_BYTES).then_some(bytes)
}
