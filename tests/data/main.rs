//! Importing, opening and verifying datasets.
#![cfg(feature = "coordinator")]
#![expect(clippy::unwrap_used, reason = "clippy allows it in tests, but not in what they call")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use sweep::dataset::import::{AddSetRequest, Existing, ImportError, ImportRequest, Outcome, add_set, import};
use sweep::dataset::{Dataset, DatasetError, Manifest, verify};
use tempfile::TempDir;

mod images;
mod numpy;
mod stored;

/// Files by path, such as `cat/1.png`.
type Tree = BTreeMap<String, Vec<u8>>;

/// An empty place for inputs, with an empty folder `datasets` in it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("datasets")
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn write_tree(&self, name: &str, tree: &Tree) -> PathBuf {
        for (path, bytes) in tree {
            self.write(&format!("{name}/{path}"), bytes);
        }
        self.path(name)
    }

    fn request(&self, train: PathBuf, test: PathBuf) -> ImportRequest {
        let name = "tiny".parse().unwrap();
        ImportRequest { name, train, test, eval_sets: BTreeMap::new(), existing: Existing::Keep }
    }

    /// Imports the dataset `tiny` from two classes of two images each.
    fn import_tiny(&self) -> Manifest {
        let (train, test) = (self.write_tree("train", &tree(0)), self.write_tree("test", &tree(100)));
        imported(import(&self.root(), &self.request(train, test)))
    }

    fn npy_request(&self, images: &[u8], labels: &[u8]) -> AddSetRequest {
        AddSetRequest {
            dataset: "tiny".parse().unwrap(),
            set: "extra".parse().unwrap(),
            images: self.write("images.npy", images),
            labels: self.write("labels.npy", labels),
            existing: Existing::Keep,
            source: None,
        }
    }

    /// What lies in the folder of datasets, but for the lock.
    fn stored(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root()) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".lock");
        names.sort();
        names
    }
}

fn imported(outcome: Result<Outcome, ImportError>) -> Manifest {
    match outcome.unwrap() {
        Outcome::Imported(manifest) => manifest,
        other => panic!("it was there already: {other:?}"),
    }
}

fn png(width: u32, height: u32, colour: u8) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([colour, x as u8, y as u8]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Images of 3 × 2 pixels whose red tells them apart.
fn tree(colour: u8) -> Tree {
    let names = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"];
    (colour..).zip(names).map(|(colour, name)| (name.to_owned(), png(3, 2, colour))).collect()
}

fn tar<'a>(entries: impl IntoIterator<Item = (&'a String, &'a Vec<u8>)>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in entries {
        append(&mut archive, path, tar::EntryType::Regular, bytes);
    }
    archive.into_inner().unwrap()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    // Not `append_data`, which refuses the unusual paths that some tests need.
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header.set_cksum();
    archive.append(&header, bytes).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_with_order("False", descr, shape, data)
}

fn npy_with_order(fortran_order: &str, descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

/// Two images of the size of `tiny`'s.
fn npy_images() -> Vec<u8> {
    npy("|u1", "(2, 2, 3, 3)", &(0..36).collect::<Vec<u8>>())
}

fn npy_labels() -> Vec<u8> {
    npy("<i4", "(2,)", &[1, 0, 0, 0, 0, 0, 0, 0])
}
