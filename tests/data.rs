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

const JPEG: &[u8] = include_bytes!("data/cat.jpg");

/// Does something to a dataset's folder.
type Damaging = fn(&Path);

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
        Outcome::AlreadyThere(_) => panic!("it was there already"),
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

#[test]
fn images_are_read_in_the_order_of_classes_and_file_names() {
    let place = Place::new();
    let manifest = place.import_tiny();
    assert_eq!(manifest.classes, ["cat", "dog"]);
    assert_eq!((manifest.height, manifest.width), (2, 3));

    let dataset = Dataset::open(&place.root(), "tiny").unwrap();
    assert_eq!(dataset.manifest, manifest);
    let test = dataset.split("test").unwrap();
    assert_eq!((test.count, test.height, test.width), (4, 2, 3));
    assert_eq!(test.labels, [0, 0, 1, 1]);
    let second = [101, 101, 101, 101, 101, 101, 0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1];
    assert_eq!(test.images[18..36], second);
    assert!(matches!(dataset.split("shifted"), Err(DatasetError::UnknownSet { .. })));
}

#[test]
fn a_folder_and_an_archive_in_any_order_and_compression_give_the_same_checksum() {
    let expected = Place::new().import_tiny().checksum;
    let prefixed = |prefix: &str, tree: Tree| -> Tree {
        tree.into_iter().map(|(path, bytes)| (format!("{prefix}{path}"), bytes)).collect()
    };
    let backwards = tar(tree(0).iter().rev());
    let deep = tar(&prefixed("./data/images/", tree(0)));
    let mut hidden = tree(0);
    hidden.insert("cat/.1.png".to_owned(), b"not an image".to_vec());
    for archive in [tar(&tree(0)), backwards, deep, tar(&hidden), gzip(&tar(&tree(0))), xz(&tar(&tree(0)))] {
        let place = Place::new();
        let (train, test) = (place.write("train", &archive), place.write("test.bin", &tar(&tree(100))));
        assert_eq!(imported(import(&place.root(), &place.request(train, test))).checksum, expected);
    }
}

#[test]
fn an_archive_with_both_splits_serves_for_both() {
    let place = Place::new();
    let both = tree(0).into_iter().map(|(path, bytes)| (format!("x/train/{path}"), bytes));
    let both = both.chain(tree(100).into_iter().map(|(path, bytes)| (format!("x/test/{path}"), bytes)));
    let archive = place.write("both.tar", &tar(&both.collect::<Tree>()));
    let manifest = imported(import(&place.root(), &place.request(archive.clone(), archive)));
    assert_eq!(manifest.checksum, Place::new().import_tiny().checksum);
}

#[test]
fn jpeg_images_can_be_imported() {
    let place = Place::new();
    let images = Tree::from([("cat/1.jpg".to_owned(), JPEG.to_vec())]);
    let path = place.write_tree("images", &images);
    let manifest = imported(import(&place.root(), &place.request(path.clone(), path)));
    assert_eq!((manifest.height, manifest.width), (32, 32));
}

/// Whatever the bad input, the error is `expected` behind the input's own folder, and nothing is left behind.
fn assert_refused(place: &Place, train: PathBuf, expected: &str) {
    let test = place.write_tree("good", &tree(100));
    let error = import(&place.root(), &place.request(train, test)).unwrap_err();
    let text = error.to_string().replace(&format!("{}/", place.folder.path().display()), "");
    assert!(text.starts_with(expected), "{text:?} does not begin with {expected:?}");
    assert!(matches!(error, ImportError::Input { .. }), "{error:?}");
    assert_eq!(place.stored(), [] as [&str; 0], "after {expected:?}");
}

#[test]
fn a_bad_image_is_refused_by_its_name_in_a_folder_and_in_an_archive() {
    let truncated = |bytes: &[u8]| bytes[..bytes.len() - 1].to_vec();
    let cases = [
        ("cat/2.png", b"text".to_vec(), "is neither a JPEG nor a PNG image"),
        ("cat/2.png", Vec::new(), "is neither a JPEG nor a PNG image"),
        ("cat/2.png", truncated(&png(3, 2, 0)), "ends too early: the image is truncated"),
        ("cat/2.jpg", truncated(JPEG), "ends too early: the image is truncated"),
        ("dog/2.png", png(4, 2, 0), "is 4x2 pixels, but "),
        ("dog/2.png", png(1025, 2, 0), "is 1025x2 pixels; at most 1024x1024 are allowed"),
        ("README", b"text".to_vec(), "does not lie in a class folder: expected `CLASS/FILE`"),
        ("dog/old/1.png", png(3, 2, 0), "does not lie in a class folder: expected `CLASS/FILE`"),
    ];
    for (path, bytes, problem) in cases {
        let mut images = tree(0);
        images.insert(path.to_owned(), bytes);
        let place = Place::new();
        assert_refused(&place, place.write_tree("bad", &images), &format!("bad/{path} {problem}"));
        let place = Place::new();
        assert_refused(&place, place.write("bad.tar", &tar(&images)), &format!("bad.tar: {path} {problem}"));
    }
}

#[test]
fn of_two_bad_images_the_first_is_named() {
    let place = Place::new();
    let mut images = tree(0);
    images.insert("dog/2.png".to_owned(), b"bad".to_vec());
    images.insert("cat/2.png".to_owned(), b"bad".to_vec());
    assert_refused(&place, place.write_tree("bad", &images), "bad/cat/2.png is neither");
}

#[test]
fn an_image_of_another_size_than_the_training_images_is_refused_in_the_test_set() {
    let place = Place::new();
    let train = place.write_tree("train", &tree(0));
    let images = Tree::from([("cat/1.png".to_owned(), png(4, 4, 0)), ("dog/1.png".to_owned(), png(4, 4, 0))]);
    let test = place.write("test.tar", &tar(&images));
    let error = import(&place.root(), &place.request(train, test)).unwrap_err().to_string();
    assert!(error.contains("test.tar: cat/1.png is 4x4 pixels, but "), "{error}");
    assert!(error.ends_with("train/cat/1.png is 3x2"), "{error}");
    assert_eq!(place.stored(), [] as [&str; 0]);
}

#[test]
fn a_class_without_images_is_refused() {
    let place = Place::new();
    let folder = place.write_tree("bad", &tree(0));
    fs::create_dir(folder.join("horse")).unwrap();
    assert_refused(&place, folder, "bad/horse is a class without images");

    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "cat/", tar::EntryType::Directory, b"");
    append(&mut archive, "horse/", tar::EntryType::Directory, b"");
    append(&mut archive, "cat/1.png", tar::EntryType::Regular, &png(3, 2, 0));
    let archive = place.write("bad.tar", &archive.into_inner().unwrap());
    assert_refused(&place, archive, "bad.tar: horse is a class without images");
}

#[test]
fn an_input_without_images_is_refused() {
    let place = Place::new();
    assert_refused(&place, place.path("nowhere"), "nowhere can't be read: No such file");
    fs::create_dir(place.path("empty")).unwrap();
    assert_refused(&place, place.path("empty"), "empty holds no images");
    assert_refused(&place, place.write("empty.tar", &tar(&Tree::new())), "empty.tar holds no images");
}

#[test]
fn classes_of_test_and_training_images_are_the_same() {
    let place = Place::new();
    let train = place.write_tree("train", &tree(0));
    let mut images = tree(0);
    images.insert("horse/1.png".to_owned(), png(3, 2, 0));
    let more = place.write_tree("more", &images);
    images.retain(|path, _| path.starts_with("cat/"));
    let fewer = place.write("fewer.tar", &tar(&images));

    let error = import(&place.root(), &place.request(train.clone(), more)).unwrap_err().to_string();
    assert!(error.contains("more has a class `horse`, unlike "), "{error}");
    let error = import(&place.root(), &place.request(train, fewer)).unwrap_err().to_string();
    assert!(error.contains("fewer.tar has no class `dog`, unlike "), "{error}");
    assert_eq!(place.stored(), [] as [&str; 0]);
}

#[test]
fn a_damaged_archive_is_refused_wherever_it_is_cut_off() {
    let whole = tar(&tree(0));
    let place = Place::new();
    let entry = whole.len() - 1024; // Between the last entry and the end-of-archive mark.
    for length in [1, 511, 512, 1024, 1030, entry] {
        let archive = place.write("bad.tar", &whole[..length]);
        assert_refused(&place, archive, "bad.tar ");
    }
    for compressed in [gzip(&whole), xz(&whole)] {
        for length in [7, compressed.len() / 2, compressed.len() - 1] {
            let archive = place.write("bad.tar", &compressed[..length]);
            assert_refused(&place, archive, "bad.tar is no tar archive, or a damaged one: ");
        }
    }
    for (bytes, problem) in
        [([7; 2000], "numeric field was not a number"), ([b'0'; 2000], "archive header checksum mismatch")]
    {
        let archive = place.write("bad.tar", &bytes);
        assert_refused(&place, archive, &format!("bad.tar is no tar archive, or a damaged one: {problem}"));
    }
}

#[test]
fn links_doubles_and_unusual_names_in_an_archive_are_refused() {
    let cases = [
        ("cat/3.png", tar::EntryType::Symlink, "cat/3.png is neither a regular file nor a folder"),
        ("cat/3.png", tar::EntryType::Link, "cat/3.png is neither a regular file nor a folder"),
        ("cat/3.png", tar::EntryType::Fifo, "cat/3.png is neither a regular file nor a folder"),
        ("cat/1.png", tar::EntryType::Regular, "cat/1.png is in the archive twice"),
        ("cat/../1.png", tar::EntryType::Regular, "cat/../1.png has a name with"),
        ("cat/\n.png", tar::EntryType::Regular, "cat/\\n.png has a name with"),
    ];
    for (path, kind, problem) in cases {
        let mut archive = tar::Builder::new(Vec::new());
        append(&mut archive, "cat/1.png", tar::EntryType::Regular, &png(3, 2, 0));
        append(&mut archive, path, kind, b"");
        let place = Place::new();
        let archive = place.write("bad.tar", &archive.into_inner().unwrap());
        assert_refused(&place, archive, &format!("bad.tar: {problem}"));
    }
}

#[test]
fn the_same_contents_are_imported_once() {
    let place = Place::new();
    let manifest = place.import_tiny();
    let written = fs::metadata(place.root().join("tiny/manifest.json")).unwrap().modified().unwrap();
    let again = place.request(place.write("t.tar", &tar(&tree(0))), place.path("test"));
    assert_eq!(import(&place.root(), &again).unwrap(), Outcome::AlreadyThere(manifest));
    let now = fs::metadata(place.root().join("tiny/manifest.json")).unwrap().modified().unwrap();
    assert_eq!(now, written);
}

#[test]
fn a_set_that_was_added_later_does_not_make_the_contents_others() {
    let place = Place::new();
    place.import_tiny();
    let with_set = imported(add_set(&place.root(), &place.npy_request(&npy_images(), &npy_labels())));
    let again = place.request(place.path("train"), place.path("test"));
    assert_eq!(import(&place.root(), &again).unwrap(), Outcome::AlreadyThere(with_set));
}

#[test]
fn other_contents_are_replaced_only_when_asked() {
    let place = Place::new();
    let before = place.import_tiny();
    let mut request = place.request(place.write_tree("other", &tree(50)), place.path("test"));
    let error = import(&place.root(), &request).unwrap_err();
    assert!(matches!(error, ImportError::Exists { .. }), "{error:?}");
    assert_eq!(Manifest::read(&place.root(), "tiny").unwrap(), before);

    request.existing = Existing::Replace;
    let after = imported(import(&place.root(), &request));
    assert_ne!(after.checksum, before.checksum);
    assert_eq!(Dataset::open(&place.root(), "tiny").unwrap().split("train").unwrap().images[0], 50);
    assert_eq!(place.stored(), ["tiny"]);
}

#[test]
fn a_folder_that_is_no_dataset_is_not_replaced_unasked() {
    let place = Place::new();
    place.write("datasets/tiny/thesis.txt", b"do not lose");
    let request = place.request(place.write_tree("train", &tree(0)), place.write_tree("test", &tree(1)));
    let error = import(&place.root(), &request).unwrap_err();
    assert!(matches!(error, ImportError::Exists { .. }), "{error:?}");
    assert_eq!(fs::read(place.path("datasets/tiny/thesis.txt")).unwrap(), b"do not lose");
}

#[test]
fn a_damaged_dataset_is_mended_by_replacing_it() {
    let place = Place::new();
    let manifest = place.import_tiny();
    place.write("datasets/tiny/manifest.json", b"{");
    let mut request = place.request(place.path("train"), place.path("test"));
    assert!(matches!(
        import(&place.root(), &request),
        Err(ImportError::Dataset(DatasetError::Damaged { .. }))
    ));
    request.existing = Existing::Replace;
    assert_eq!(imported(import(&place.root(), &request)), manifest);
}

#[test]
fn what_an_import_that_was_killed_left_is_ignored_and_removed_by_the_next() {
    let place = Place::new();
    place.write("datasets/.importing-x/train.safetensors", b"half");
    place.write("datasets/.importing-x/manifest.json", b"{}");
    assert_eq!(Manifest::list(&place.root()).unwrap(), [] as [&str; 0]);
    place.import_tiny();
    assert_eq!(place.stored(), ["tiny"]);
}

#[test]
fn imports_at_the_same_time_do_not_disturb_each_other() {
    let place = Place::new();
    let request = place.request(place.write_tree("train", &tree(0)), place.write_tree("test", &tree(1)));
    let root = place.root();
    std::thread::scope(|scope| {
        let imports: Vec<_> = (0..4).map(|_| scope.spawn(|| import(&root, &request).unwrap())).collect();
        let outcomes = imports.into_iter().map(|import| import.join().unwrap());
        assert_eq!(outcomes.filter(|outcome| matches!(outcome, Outcome::Imported(_))).count(), 1);
    });
    assert_eq!(place.stored(), ["tiny"]);
    assert!(verify(&root, "tiny").unwrap().is_empty());
}

#[test]
fn numpy_arrays_become_an_extra_set_and_leave_the_rest_alone() {
    for labels in [
        npy_labels(),
        npy("|u1", "(2,)", &[1, 0]),
        npy("<i8", "(2,)", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        npy("<i4", "(2L,)", &[1, 0, 0, 0, 0, 0, 0, 0]), // As Python 2 wrote it.
    ] {
        let place = Place::new();
        let before = place.import_tiny();
        let manifest = imported(add_set(&place.root(), &place.npy_request(&npy_images(), &labels)));
        assert_eq!(manifest.eval_sets, ["extra"]);
        assert_ne!(manifest.checksum, before.checksum);
        assert_eq!(manifest.checksum_for(Some(&[])).unwrap(), before.checksum);

        let dataset = Dataset::open(&place.root(), "tiny").unwrap();
        let extra = dataset.split("extra").unwrap();
        assert_eq!(extra.labels, [1, 0]);
        assert_eq!(extra.images[..6], [0, 3, 6, 9, 12, 15]); // The red plane of the first image.
        assert_eq!(extra.images[30..36], [20, 23, 26, 29, 32, 35]); // The blue plane of the second.
        assert_eq!(place.stored(), ["tiny"]);
    }
}

#[test]
fn bad_numpy_arrays_are_refused_by_name_and_change_nothing() {
    let place = Place::new();
    let before = place.import_tiny();
    let images = npy_images();
    let data: Vec<u8> = (0..36).collect();
    let cases = [
        (b"text".to_vec(), npy_labels(), "images.npy is no numpy array file"),
        (images[..40].to_vec(), npy_labels(), "images.npy is no numpy array file"),
        (
            images[..images.len() - 1].to_vec(),
            npy_labels(),
            "images.npy has 35 bytes of array data; its header announces 36",
        ),
        (
            [&images[..], b"x"].concat(),
            npy_labels(),
            "images.npy has 37 bytes of array data; its header announces 36",
        ),
        (
            npy("|u1", "(2, 3, 2, 3)", &data),
            npy_labels(),
            "images.npy holds |u1 [2, 3, 2, 3]; expected |u1 [N, 2, 3, 3]",
        ),
        (npy("|u1", "(2, 3, 2)", &data[..12]), npy_labels(), "images.npy holds |u1 [2, 3, 2]; expected"),
        (
            npy("|u1", "(0, 2, 3, 3)", &[]),
            npy("<i4", "(0,)", &[]),
            "images.npy holds |u1 [0, 2, 3, 3]; expected",
        ),
        (npy("<f4", "(2, 2, 3, 3)", &[0; 144]), npy_labels(), "images.npy holds <f4 [2, 2, 3, 3]; expected"),
        (
            npy_with_order("True", "|u1", "(2, 2, 3, 3)", &data),
            npy_labels(),
            "images.npy holds |u1 [2, 2, 3, 3] in Fortran order; expected an array in C order",
        ),
        (npy("|u1", "(9223372036854775807, 2, 3, 3)", &data), npy_labels(), "images.npy "),
        (
            images.clone(),
            npy("<i4", "(1,)", &[0; 4]),
            "labels.npy has 1 labels for the 2 images of images.npy",
        ),
        (
            images.clone(),
            npy("<i4", "(2,)", &[0; 7]),
            "labels.npy has 7 bytes of array data; its header announces 8",
        ),
        (
            images.clone(),
            npy("<i4", "(2,)", &[0, 0, 0, 0, 2, 0, 0, 0]),
            "labels.npy has label 2 at index 1; the dataset's 2 classes are 0 to 1",
        ),
        (images.clone(), npy("<i4", "(2,)", &[0xff; 8]), "labels.npy has label -1 at index 0; "),
        (
            images.clone(),
            npy("<f4", "(2,)", &[0; 8]),
            "labels.npy holds <f4 [2]; expected |u1, <i4 or <i8 [N]",
        ),
        (images.clone(), npy(">i4", "(2,)", &[0; 8]), "labels.npy holds >i4 [2]; expected"),
        (images.clone(), npy("<i4", "(2, 1)", &[0; 8]), "labels.npy holds <i4 [2, 1]; expected"),
    ];
    for (images, labels, expected) in cases {
        let error = add_set(&place.root(), &place.npy_request(&images, &labels)).unwrap_err();
        let text = error.to_string().replace(&format!("{}/", place.folder.path().display()), "");
        assert!(text.starts_with(expected), "{text:?} does not begin with {expected:?}");
        assert_eq!(Manifest::read(&place.root(), "tiny").unwrap(), before, "after {expected:?}");
        assert!(!place.path("datasets/tiny/extra.safetensors").exists(), "after {expected:?}");
    }
}

#[test]
fn a_set_needs_its_dataset() {
    let place = Place::new();
    let error = add_set(&place.root(), &place.npy_request(&npy_images(), &npy_labels())).unwrap_err();
    assert!(matches!(error, ImportError::Dataset(DatasetError::NotFound { .. })), "{error:?}");
}

#[test]
fn a_set_is_added_once_and_replaced_only_when_asked() {
    let place = Place::new();
    place.import_tiny();
    let root = place.root();
    let first = imported(add_set(&root, &place.npy_request(&npy_images(), &npy_labels())));
    let again = add_set(&root, &place.npy_request(&npy_images(), &npy_labels()));
    assert_eq!(again.unwrap(), Outcome::AlreadyThere(first.clone()));

    let mut request = place.npy_request(&npy_images(), &npy("|u1", "(2,)", &[0, 0]));
    assert!(matches!(add_set(&root, &request), Err(ImportError::Exists { .. })));
    assert_eq!(Manifest::read(&root, "tiny").unwrap(), first);

    request.existing = Existing::Replace;
    for round in 0..3 {
        let labels = npy("|u1", "(2,)", &[0, round % 2]);
        request.labels = place.write("labels.npy", &labels);
        imported(add_set(&root, &request));
        let dataset = Dataset::open(&root, "tiny").unwrap();
        assert_eq!(dataset.split("extra").unwrap().labels, [0, i64::from(round % 2)]);
        // The manifest, train, test and one file for the set: the one that was replaced is gone.
        assert_eq!(fs::read_dir(root.join("tiny")).unwrap().count(), 4);
    }
}

#[test]
fn a_set_whose_manifest_was_never_written_is_not_there_and_can_be_added_again() {
    let place = Place::new();
    let before = place.import_tiny();
    place.write("datasets/tiny/extra.safetensors", b"whole, but its import died before the manifest");
    assert_eq!(Manifest::read(&place.root(), "tiny").unwrap(), before);
    assert!(verify(&place.root(), "tiny").unwrap().is_empty());
    imported(add_set(&place.root(), &place.npy_request(&npy_images(), &npy_labels())));
    assert!(verify(&place.root(), "tiny").unwrap().is_empty());
}

#[test]
fn damage_is_found_by_verify_and_by_opening() {
    let damages: [(&str, Damaging); 4] = [
        ("contents", |folder| flip_last_byte(&folder.join("train.safetensors"))),
        ("is missing", |folder| fs::remove_file(folder.join("train.safetensors")).unwrap()),
        ("is no safetensors file", |folder| fs::write(folder.join("train.safetensors"), "x").unwrap()),
        ("is no manifest", |folder| fs::write(folder.join("manifest.json"), "{").unwrap()),
    ];
    for (expected, damage) in damages {
        let place = Place::new();
        place.import_tiny();
        damage(&place.root().join("tiny"));
        let found = verify(&place.root(), "tiny").unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].damage.to_string().contains(expected), "{:?} is not {expected:?}", found[0]);
        let error = Dataset::open(&place.root(), "tiny").unwrap_err();
        assert!(matches!(error, DatasetError::Damaged { .. }), "{error:?}");
    }
}

fn flip_last_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_name_from_a_spec_does_not_leave_the_folder() {
    let place = Place::new();
    place.import_tiny();
    for name in ["../datasets/tiny", "tiny/", "TINY", ""] {
        assert!(matches!(Manifest::read(&place.root(), name), Err(DatasetError::NotFound { .. })), "{name}");
    }
}

/// A change of these pixels, by another version of a decoder, changes every result on the sample.
#[test]
fn the_sample_that_the_repository_ships_has_the_known_contents() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker/assets");
    let place = Place::new();
    let mut request =
        place.request(assets.join("cifar10-sample-train.tar.xz"), assets.join("cifar10-sample-test.tar.xz"));
    let shifted = assets.join("cifar10-sample-shifted.tar.xz");
    request.eval_sets.insert("shifted".parse().unwrap(), shifted);
    let manifest = imported(import(&place.root(), &request));
    let counts: Vec<_> = manifest.files.iter().map(|(split, file)| (split.as_str(), file.count)).collect();
    assert_eq!(counts, [("shifted", 500), ("test", 1000), ("train", 2000)]);
    assert_eq!(manifest.classes.len(), 10);
    insta::assert_snapshot!(manifest.checksum, @"e20a0d5cad51eed5fc6f0dc65f877b98990375ed6621a70874d58f06944679d3");
}
