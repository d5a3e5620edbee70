use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Damage, DatasetError};
use super::name;
use super::{TEST, TRAIN};

/// Version of the layout of `manifest.json` and of the files that it describes.
pub const SCHEMA_VERSION: u32 = 1;

pub(super) const MANIFEST_FILE: &str = "manifest.json";

/// All that is known of a dataset without its images: the contents of its `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema_version: u32,
    pub name: String,
    /// Names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// Height of every image in pixels.
    pub height: usize,
    /// Width of every image in pixels.
    pub width: usize,
    /// Names of the extra evaluation sets, sorted.
    pub eval_sets: Vec<String>,
    /// What each split is stored as: `train`, `test` and every extra evaluation set.
    pub files: BTreeMap<String, SplitFile>,
    /// Names the contents: [`Manifest::checksum_for`] all extra evaluation sets.
    pub checksum: String,
}

/// How one split is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitFile {
    /// Name of the file in the dataset's folder.
    pub file: String,
    /// Number of images.
    pub count: usize,
    /// BLAKE3 of images and labels, in hexadecimal. Not of the file: another version of the format's library may
    /// write another header around the same images, and trials are named by what they were trained on.
    pub checksum: String,
    /// Size of the file.
    pub bytes: u64,
    /// What it was imported from, as it was typed.
    pub source: String,
}

impl Manifest {
    /// Reads and checks the manifest of dataset `name` in the folder `root`, without opening any image.
    ///
    /// # Errors
    /// When there is no such dataset, or its manifest is damaged or of a newer version.
    pub fn read(root: &Path, name: &str) -> Result<Manifest, DatasetError> {
        let path = root.join(name).join(MANIFEST_FILE);
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        // A malformed name might leave the folder; it can't be there, so it is missing like any other.
        let text = if name::is_well_formed(name) { fs::read(&path) } else { Err(missing()) };
        let text = match text {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let known = Manifest::list(root)?;
                return Err(DatasetError::NotFound { name: name.to_owned(), root: root.to_owned(), known });
            }
            Err(error) => return Err(DatasetError::read(&path, error)),
        };
        let manifest = parse(&text, &path)?;
        manifest.check(name).map_err(|damage| DatasetError::damaged(&path, damage))?;
        Ok(manifest)
    }

    /// Names of the datasets in the folder `root`, sorted; none where there is no such folder.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn list(root: &Path) -> Result<Vec<String>, DatasetError> {
        let unreadable = |error| DatasetError::read(root, error);
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name::is_well_formed(&name) && entry.path().join(MANIFEST_FILE).is_file() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Checksum over all that decides a trial's results when it reports on `eval_sets`: classes, `train`, `test` and
    /// those sets; `None` means all that the dataset has. An explicit list keeps its checksum when another set is
    /// added. The order of the list and the dataset's name have no influence.
    ///
    /// # Errors
    /// When the dataset has no set of one of the names.
    pub fn checksum_for(&self, eval_sets: Option<&[String]>) -> Result<String, DatasetError> {
        let mut sets = eval_sets.unwrap_or(&self.eval_sets).to_vec();
        sets.sort();
        sets.dedup();
        if let Some(unknown) = sets.iter().find(|set| !self.eval_sets.contains(set)) {
            let known = self.eval_sets.clone();
            return Err(DatasetError::UnknownSet { dataset: self.name.clone(), set: unknown.clone(), known });
        }
        let mut hasher = blake3::Hasher::new();
        // The length before each part keeps, say, the classes `a`, `b` apart from the one class `ab`.
        let mut add = |part: &str| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        };
        add("sweep dataset 1");
        add(&self.classes.len().to_string());
        self.classes.iter().for_each(|class| add(class));
        for split in [TRAIN, TEST].into_iter().chain(sets.iter().map(String::as_str)) {
            add(split);
            add(&self.file(split)?.checksum);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// How `split` is stored.
    ///
    /// # Errors
    /// When the dataset has no split of that name.
    pub fn file(&self, split: &str) -> Result<&SplitFile, DatasetError> {
        self.files.get(split).ok_or_else(|| DatasetError::UnknownSet {
            dataset: self.name.clone(),
            set: split.to_owned(),
            known: self.files.keys().cloned().collect(),
        })
    }

    /// Where the file of `split` lies when the dataset's folder is in `root`.
    pub(super) fn path(&self, root: &Path, split: &SplitFile) -> PathBuf {
        root.join(&self.name).join(&split.file)
    }

    /// Refuses a manifest that was not written by `import` for the dataset `name`. After this its file names are
    /// plain, so that none of them leaves the folder.
    fn check(&self, name: &str) -> Result<(), Damage> {
        let splits = [TEST, TRAIN].into_iter().chain(self.eval_sets.iter().map(String::as_str));
        let mut splits: Vec<&str> = splits.collect();
        splits.sort_unstable();
        if self.name != name {
            return Err(Damage::Inconsistent("its name is not its folder's"));
        }
        if self.height == 0 || self.width == 0 {
            return Err(Damage::Inconsistent("its images have no pixels"));
        }
        if !self.eval_sets.is_sorted() || !self.files.keys().eq(splits) {
            return Err(Damage::Inconsistent("its files are not those of its splits"));
        }
        if !self.files.iter().all(|(split, stored)| file_names(split).contains(&stored.file)) {
            return Err(Damage::Inconsistent("a file is not called like its split"));
        }
        match self.checksum_for(None) {
            Ok(found) if found == self.checksum => Ok(()),
            Ok(found) => Err(Damage::Checksum { expected: self.checksum.clone(), found }),
            Err(_) => Err(Damage::Inconsistent("its files are not those of its splits")),
        }
    }
}

/// The two names that the file of `split` may have. A set is replaced by writing the one that is not in use and then
/// the manifest, so that at every moment the manifest names a whole file. No set's name contains `~`.
pub(super) fn file_names(split: &str) -> [String; 2] {
    [format!("{split}.safetensors"), format!("{split}~.safetensors")]
}

fn parse(text: &[u8], path: &Path) -> Result<Manifest, DatasetError> {
    #[derive(Deserialize)]
    struct Version {
        schema_version: u32,
    }
    let no_manifest = |error| DatasetError::damaged(path, Damage::NotAManifest(error));
    // The version comes first: a newer manifest need not have the fields of this one.
    let Version { schema_version } = serde_json::from_slice(text).map_err(no_manifest)?;
    if schema_version > SCHEMA_VERSION {
        return Err(DatasetError::NewerSchema { path: path.to_owned(), found: schema_version });
    }
    serde_json::from_slice(text).map_err(no_manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(eval_sets: &[&str]) -> Manifest {
        let file = |split: &str| SplitFile {
            file: format!("{split}.safetensors"),
            count: 2,
            checksum: format!("of {split}"),
            bytes: 100,
            source: "x.tar".to_owned(),
        };
        let splits = [TRAIN, TEST].iter().chain(eval_sets);
        let mut manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            name: "tiny".to_owned(),
            classes: vec!["cat".to_owned(), "dog".to_owned()],
            height: 4,
            width: 4,
            eval_sets: eval_sets.iter().map(|&set| set.to_owned()).collect(),
            files: splits.map(|&split| (split.to_owned(), file(split))).collect(),
            checksum: String::new(),
        };
        manifest.checksum = manifest.checksum_for(None).unwrap();
        manifest
    }

    #[test]
    fn an_explicit_list_of_sets_keeps_its_checksum_when_another_set_is_added() {
        let (before, after) = (manifest(&["shifted"]), manifest(&["cifar10.1", "shifted"]));
        let listed = ["shifted".to_owned()];
        assert_eq!(before.checksum_for(Some(&listed)).unwrap(), after.checksum_for(Some(&listed)).unwrap());
        assert_eq!(before.checksum_for(Some(&[])).unwrap(), after.checksum_for(Some(&[])).unwrap());
        assert_ne!(before.checksum, after.checksum);
    }

    #[test]
    fn the_order_of_the_list_does_not_change_the_checksum() {
        let manifest = manifest(&["a", "b"]);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let all = manifest.checksum_for(None).unwrap();
        assert_eq!(manifest.checksum_for(Some(&names(&["b", "a", "b"]))).unwrap(), all);
    }

    #[test]
    fn classes_and_splits_change_the_checksum_and_the_name_does_not() {
        let original = manifest(&[]);
        let changed = |change: fn(&mut Manifest)| {
            let mut manifest = original.clone();
            change(&mut manifest);
            manifest.checksum_for(None).unwrap() != original.checksum
        };
        assert!(changed(|m| m.classes = vec!["catdog".to_owned()]));
        assert!(changed(|m| m.classes.reverse()));
        assert!(changed(|m| m.files.get_mut(TEST).unwrap().checksum.push('x')));
        assert!(changed(|m| m.files.get_mut(TRAIN).unwrap().checksum.push('x')));
        assert!(!changed(|m| m.name = "other".to_owned()));
        assert!(!changed(|m| m.files.get_mut(TRAIN).unwrap().source = "elsewhere".to_owned()));
    }

    #[test]
    fn an_unknown_set_is_refused_with_those_there_are() {
        let error = manifest(&["shifted"]).checksum_for(Some(&["shiftet".to_owned()])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset `tiny` has no set `shiftet` (it has: shifted; did you mean `shifted`?)"
        );
        assert!(manifest(&[]).checksum_for(Some(&["train".to_owned()])).is_err());
    }

    #[test]
    fn a_manifest_that_was_edited_is_damaged() {
        assert!(manifest(&["shifted"]).check("tiny").is_ok());
        let damaged = |change: fn(&mut Manifest)| {
            let mut manifest = manifest(&["shifted"]);
            change(&mut manifest);
            manifest.check("tiny").is_err()
        };
        assert!(damaged(|m| m.name = "other".to_owned()));
        assert!(damaged(|m| m.classes.reverse()));
        assert!(damaged(|m| m.height = 0));
        assert!(damaged(|m| m.eval_sets.clear()));
        assert!(damaged(|m| m.files.get_mut(TRAIN).unwrap().file = "../train.safetensors".to_owned()));
        assert!(damaged(|m| m.checksum = "0".repeat(64)));
    }

    #[test]
    fn a_newer_schema_is_told_apart_from_damage() {
        let error = parse(br#"{"schema_version": 2, "splits": []}"#, Path::new("m")).unwrap_err();
        assert!(matches!(error, DatasetError::NewerSchema { found: 2, .. }));
        let error = parse(br#"{"schema_version": 1}"#, Path::new("m")).unwrap_err();
        assert!(matches!(error, DatasetError::Damaged { damage: Damage::NotAManifest(_), .. }));
    }
}
