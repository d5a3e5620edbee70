use std::fs;

use image::{ImageFormat, RgbImage};
use tempfile::TempDir;

use super::*;

/// A place with images of two classes, and the folder `datasets` beside them.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        for name in ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"] {
            let path = place.path(&format!("images/{name}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::new(3, 2).save_with_format(&path, ImageFormat::Png).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn import_tiny(&self) -> (Result<(), DataError>, String) {
        let images = self.path("images").display().to_string();
        let eval = format!("shifted={images}");
        self.run(&["import", "tiny", "--train", &images, "--test", &images, "--eval", &eval])
    }

    fn run(&self, arguments: &[&str]) -> (Result<(), DataError>, String) {
        let mut out = Vec::new();
        let args = Args::try_parse_from([&["data"], arguments].concat()).unwrap();
        let result = run(args, &self.path("datasets"), &mut out, &mut |_| {});
        (result, String::from_utf8(out).unwrap())
    }
}

#[test]
fn import_and_list_print_what_there_is() {
    let place = Place::new();
    let (result, out) = place.run(&["list"]);
    assert!(result.is_ok());
    assert_eq!(out, "no datasets; `sweep data fetch` and `sweep data import` make some\n");

    let (result, out) = place.import_tiny();
    assert!(result.is_ok(), "{result:?}");
    insta::assert_snapshot!(out, @"imported: tiny (4 train and 4 test images of 2 classes, 3x2 pixels; extra evaluation sets: shifted (4))");
    assert!(place.import_tiny().1.starts_with("already imported: tiny (4 train"));
    let images = place.path("images").display().to_string();
    let (_, document) = place.run(&["import", "small", "--train", &images, "--test", &images, "--json"]);
    insta::assert_snapshot!(document);
    std::fs::remove_dir_all(place.path("datasets/small")).unwrap();

    insta::assert_snapshot!(place.run(&["list"]).1, @r"
    ────────────────────────────────────────────────────────────────────────────────
     dataset   classes   size   train   test   extra evaluation sets   checksum
    ════════════════════════════════════════════════════════════════════════════════
     tiny            2   3x2        4      4   shifted (4)             24d28480e166
    ────────────────────────────────────────────────────────────────────────────────
    ");
    insta::assert_snapshot!(place.run(&["list", "--json"]).1, @r#"
    {
      "schema_version": 1,
      "datasets": [
        {
          "name": "tiny",
          "classes": [
            "cat",
            "dog"
          ],
          "height": 2,
          "width": 3,
          "images": {
            "shifted": 4,
            "test": 4,
            "train": 4
          },
          "eval_sets": [
            "shifted"
          ],
          "checksum": "24d28480e166a9c0db3b838158cb2d94b860e5de87ade3e028cb99d0c795bd0e"
        }
      ],
      "unreadable": []
    }
    "#);
}

#[test]
fn a_dataset_that_can_not_be_read_does_not_hide_the_others() {
    let place = Place::new();
    place.import_tiny().0.unwrap();
    fs::create_dir(place.path("datasets/broken")).unwrap();
    fs::write(place.path("datasets/broken/manifest.json"), "{").unwrap();
    let (result, out) = place.run(&["list"]);
    assert!(result.is_ok(), "{result:?}");
    assert!(out.contains(" tiny "), "{out}");
    assert!(out.contains("broken/manifest.json is damaged"), "{out}");
}

#[test]
fn verify_prints_every_dataset_and_fails_when_one_is_damaged() {
    let place = Place::new();
    place.import_tiny().0.unwrap();
    let (result, out) = place.run(&["verify"]);
    assert!(result.is_ok());
    assert_eq!(out, "tiny: ok\n");

    let file = place.path("datasets/tiny/test.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let (result, out) = place.run(&["verify", "tiny", "--json"]);
    let error = result.unwrap_err();
    assert!(!error.is_bad_input());
    assert_eq!(
        error.to_string(),
        "damaged: tiny; import the same images again, with `--replace` where it is the manifest"
    );
    let out = out.replace(&place.path("datasets").display().to_string(), "ROOT");
    insta::assert_snapshot!(out, @r#"
    {
      "schema_version": 1,
      "datasets": [
        {
          "name": "tiny",
          "is_whole": false,
          "damaged": [
            {
              "path": "ROOT/tiny/test.safetensors",
              "damage": "has other contents than its manifest says: checksum 5feb1859f55513e0b769da12c3c702bffe6e3dcc3856bbc7143d190efbbd14fa instead of d762cb5e406ee842e4607768562acba9f2214345bc2a18474eb10e51f6dd81f7"
            }
          ]
        }
      ]
    }
    "#);

    let error = place.run(&["verify", "tny"]).0.unwrap_err();
    assert!(error.is_bad_input());
    assert!(error.to_string().contains("did you mean `tiny`?"), "{error}");
}

#[test]
fn arguments_that_do_not_fit_together_are_refused() {
    for arguments in [
        &["import", "tiny"][..],
        &["import", "tiny", "--train", "a"],
        &["import", "tiny", "--npy", "a", "b"],
        &["import", "tiny", "--as", "x", "--train", "a", "--test", "b"],
        &["import", "tiny", "--npy", "a", "b", "--as", "x", "--train", "a", "--test", "b"],
        &["import", "Tiny", "--train", "a", "--test", "b"],
        &["import", "tiny", "--train", "a", "--test", "b", "--eval", "test=c"],
        &["import", "tiny", "--train", "a", "--test", "b", "--eval", "c"],
        &["import", "tiny", "--npy", "a", "b", "--as", "train"],
    ] {
        assert!(Args::try_parse_from([&["data"], arguments].concat()).is_err(), "{arguments:?}");
    }
    let (result, _) = Place::new()
        .run(&["import", "tiny", "--train", "a", "--test", "b", "--eval", "x=c", "--eval", "x=d"]);
    let error = result.unwrap_err();
    assert!(error.is_bad_input());
    assert_eq!(error.to_string(), "set `x` is given twice with `--eval`");
}
