//! Numpy arrays become an extra evaluation set.

use super::*;

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
