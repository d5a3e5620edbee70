//! Images in folders and archives become a dataset, or are refused by name.

use super::*;

const JPEG: &[u8] = include_bytes!("cat.jpg");

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
