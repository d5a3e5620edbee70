//! What is stored: once, whole, replaced only when asked, and found when it is damaged.

use super::*;

/// Does something to a dataset's folder.
type Damaging = fn(&Path);

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
fn importing_the_same_contents_repairs_damaged_files() {
    let damages: [Damaging; 3] = [
        |folder| flip_last_byte(&folder.join("train.safetensors")),
        |folder| fs::remove_file(folder.join("train.safetensors")).unwrap(),
        |folder| fs::write(folder.join("train.safetensors"), "x").unwrap(),
    ];
    for damage in damages {
        let place = Place::new();
        let manifest = place.import_tiny();
        damage(&place.root().join("tiny"));
        let request = place.request(place.path("train"), place.path("test"));
        let repaired = import(&place.root(), &request).unwrap();
        assert_eq!(repaired, Outcome::Repaired(manifest.clone(), vec!["train".to_owned()]));
        assert!(verify(&place.root(), "tiny").unwrap().is_empty());
        assert_eq!(import(&place.root(), &request).unwrap(), Outcome::AlreadyThere(manifest));
        assert_eq!(place.stored(), ["tiny"]);
    }
}

#[test]
fn damage_that_an_import_cannot_repair_is_said() {
    let place = Place::new();
    place.import_tiny();
    let request = place.npy_request(&npy_images(), &npy_labels());
    let with_set = imported(add_set(&place.root(), &request));
    flip_last_byte(&place.root().join("tiny/extra.safetensors"));
    flip_last_byte(&place.root().join("tiny/test.safetensors"));
    let folders = place.request(place.path("train"), place.path("test"));
    let error = import(&place.root(), &folders).unwrap_err();
    assert!(error.to_string().contains("extra.safetensors is damaged"), "{error}");
    // What could be repaired is, and the set is repaired by importing it again.
    assert_eq!(
        add_set(&place.root(), &request).unwrap(),
        Outcome::Repaired(with_set, vec!["extra".to_owned()])
    );
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
