//! Reads CIFAR's binary versions: records of one label (CIFAR-100: a coarse and a fine one) and the three planes of an image.

use std::path::Path;

use super::error::{ImportError, Problem};
use super::source::Listing;
use super::{BinaryFormat, NewSplit, archive};
use crate::dataset::split::CHANNELS;
use crate::dataset::{TEST, TRAIN};

const SIDE: usize = 32;
const IMAGE_BYTES: usize = CHANNELS * SIDE * SIDE;
/// Largest file in an archive: all of CIFAR has 154 MB in one.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// What an archive holds, of either publication.
struct Layout {
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    /// One name a line.
    classes: &'static str,
    /// Bytes before an image; the last one is the label.
    label_bytes: usize,
}

impl BinaryFormat {
    fn layout(self) -> Layout {
        match self {
            BinaryFormat::Cifar10 => Layout {
                folder: "cifar-10-batches-bin",
                train: &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                ],
                test: &["test_batch.bin"],
                classes: "batches.meta.txt",
                label_bytes: 1,
            },
            BinaryFormat::Cifar100 => Layout {
                folder: "cifar-100-binary",
                train: &["train.bin"],
                test: &["test.bin"],
                classes: "fine_label_names.txt",
                label_bytes: 2,
            },
        }
    }
}

/// Classes and both splits of an archive; `source` is what the manifest says of where they come from.
pub(super) fn read(
    path: &Path,
    format: BinaryFormat,
    source: &str,
) -> Result<(Vec<String>, Vec<NewSplit>), ImportError> {
    let mut files = archive::list_files_up_to(path, MAX_FILE_BYTES)?;
    let layout = format.layout();
    let names = take(&mut files, path, &format!("{}/{}", layout.folder, layout.classes))?;
    let names = String::from_utf8(names)
        .map_err(|_| files.error(&format!("{}/{}", layout.folder, layout.classes), Problem::Name))?;
    let classes: Vec<String> =
        names.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let mut splits = Vec::new();
    for (name, parts) in [(TRAIN, layout.train), (TEST, layout.test)] {
        let mut split = NewSplit {
            name: name.to_owned(),
            images: Vec::new(),
            labels: Vec::new(),
            height: SIDE,
            width: SIDE,
            source: source.to_owned(),
        };
        for part in parts {
            let part = format!("{}/{part}", layout.folder);
            let records = take(&mut files, path, &part)?;
            add_records(&mut split, &records, layout.label_bytes, classes.len())
                .map_err(|problem| files.error(&part, problem))?;
        }
        splits.push(split);
    }
    Ok((classes, splits))
}

fn take(files: &mut Listing, archive: &Path, path: &str) -> Result<Vec<u8>, ImportError> {
    files.take(path).ok_or_else(|| ImportError::at(archive, Problem::MissingFile(path.to_owned())))
}

fn add_records(
    split: &mut NewSplit,
    records: &[u8],
    label_bytes: usize,
    classes: usize,
) -> Result<(), Problem> {
    let record = label_bytes + IMAGE_BYTES;
    if records.is_empty() || !records.len().is_multiple_of(record) {
        return Err(Problem::Records { bytes: records.len(), record });
    }
    for record in records.chunks_exact(record) {
        let (labels, planes) = record.split_at(label_bytes);
        let label = labels.last().copied().map(i64::from).unwrap_or_default();
        if usize::try_from(label).is_ok_and(|label| label >= classes) {
            return Err(Problem::LabelOutOfRange { label, index: split.labels.len(), classes });
        }
        split.labels.push(label);
        split.images.extend_from_slice(planes);
    }
    Ok(())
}
