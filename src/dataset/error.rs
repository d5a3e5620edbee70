use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{MANIFEST_FILE, SCHEMA_VERSION};

/// Why a dataset can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error(
        "no dataset `{name}` in {}{}; make it with {}`sweep data import {name} --train DIR|TAR --test DIR|TAR`",
        root.display(), others("there are", name, known), by_fetching(name)
    )]
    NotFound { name: String, root: PathBuf, known: Vec<String> },
    #[error("dataset `{dataset}` has no set `{set}`{}", others("it has", set, known))]
    UnknownSet { dataset: String, set: String, known: Vec<String> },
    #[error("{} can't be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is damaged: it {damage}; import the same images again{}", path.display(), with_replace(path))]
    Damaged { path: PathBuf, damage: Damage },
    #[error(
        "{} has schema version {found}, but this `sweep` knows only {SCHEMA_VERSION}: use a newer one",
        path.display()
    )]
    NewerSchema { path: PathBuf, found: u32 },
}

/// What is wrong with a file that only `import` writes; the rest of a sentence that begins with the file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error("is missing")]
    Missing,
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
    #[error("is no manifest: {0}")]
    NotAManifest(serde_json::Error),
    #[error("contradicts itself: {0}")]
    Inconsistent(&'static str),
    #[error("is no safetensors file: {0}")]
    NotTensors(safetensors::SafeTensorError),
    #[error("has `{tensor}` of another type or shape than a dataset's")]
    WrongTensor { tensor: &'static str },
    #[error("has other contents than its manifest says: checksum {found} instead of {expected}")]
    Checksum { expected: String, found: String },
}

impl DatasetError {
    pub(super) fn read(path: &Path, source: io::Error) -> DatasetError {
        DatasetError::Read { path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &Path, damage: Damage) -> DatasetError {
        match damage {
            // Importing again would not help here.
            Damage::Unreadable(source) => DatasetError::read(path, source),
            damage => DatasetError::Damaged { path: path.to_owned(), damage },
        }
    }
}

/// Files of images are repaired by an import; without its manifest nobody knows what a folder holds.
fn with_replace(damaged: &Path) -> &'static str {
    if damaged.ends_with(MANIFEST_FILE) { " with `--replace`" } else { "" }
}

/// What its publisher has need not be imported from files.
fn by_fetching(name: &str) -> String {
    let is_published = ["cifar10", "cifar100"].contains(&name);
    if is_published { format!("`sweep data fetch {name}` or ") } else { String::new() }
}

/// ` (there are: a, b; did you mean `a`?)`, or ` (there are: none)`.
fn others(introduction: &str, wanted: &str, known: &[String]) -> String {
    let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let mut text = format!(" ({introduction}: {list}");
    if let Some(nearest) = nearest(wanted, known) {
        // Writing to a string can't fail.
        let _ = write!(text, "; did you mean `{nearest}`?");
    }
    text.push(')');
    text
}

/// The known name that `wanted` is probably a slip of: at most a third of its letters may differ.
fn nearest<'a>(wanted: &str, known: &'a [String]) -> Option<&'a String> {
    let allowed = wanted.chars().count() / 3;
    let distance = |name: &&String| strsim::damerau_levenshtein(wanted, name);
    known.iter().min_by_key(distance).filter(|name| distance(name) <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_dataset_is_told_with_those_there_are_and_the_way_to_make_it() {
        let known = vec!["cifar10-sample".to_owned(), "svhn".to_owned()];
        let error = DatasetError::NotFound { name: "cifar10_sample".to_owned(), root: "/d".into(), known };
        assert_eq!(
            error.to_string(),
            "no dataset `cifar10_sample` in /d (there are: cifar10-sample, svhn; did you mean \
             `cifar10-sample`?); make it with `sweep data import cifar10_sample --train DIR|TAR --test DIR|TAR`"
        );
    }

    #[test]
    fn a_far_name_is_not_offered() {
        let error = DatasetError::UnknownSet {
            dataset: "cifar10".to_owned(),
            set: "imagenet".to_owned(),
            known: vec!["train".to_owned(), "test".to_owned()],
        };
        assert_eq!(error.to_string(), "dataset `cifar10` has no set `imagenet` (it has: train, test)");
    }
}
