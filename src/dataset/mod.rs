//! Imported datasets on disk: one folder each, `$XDG_DATA_HOME/sweep/datasets/NAME/`, with a manifest and one
//! safetensors file per split (`train`, `test`, and any extra evaluation sets).
//!
//! Reading is always compiled, because the trainer does it; [`import`] is the only writer (`fetch` brings it what publishers have). A dataset appears under
//! its name when it is whole, and its manifest names whole files only, so a reader never meets half of one.
//! Every read is checked against the manifest's checksums. Nothing here knows what a dataset is used for.
//! Start with [`Manifest`], which describes a dataset; [`Dataset`] holds its images.

mod error;
#[cfg(feature = "coordinator")]
pub mod fetch;
#[cfg(feature = "coordinator")]
pub mod import;
mod manifest;
mod name;
mod open;
mod split;
mod verify;

use std::path::{Path, PathBuf};

pub use error::{Damage, DatasetError};
pub use manifest::{Manifest, SCHEMA_VERSION, SplitFile};
pub use name::{DatasetName, ParseNameError, SetName};
pub use open::Dataset;
pub use split::Split;
pub use verify::{DamagedFile, verify};

/// Name of the split that is trained on.
pub const TRAIN: &str = "train";
/// Name of the split that every trial is evaluated on.
pub const TEST: &str = "test";

/// The folder in which datasets lie, from the values of `XDG_DATA_HOME` and `HOME`; `None` where neither helps.
///
/// The XDG base directory specification asks that a relative `XDG_DATA_HOME` be ignored; an empty one is relative.
#[must_use]
pub fn datasets_root(xdg_data_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let data_home = match xdg_data_home.filter(|path| path.is_absolute()) {
        Some(path) => path.to_owned(),
        None => home.filter(|path| path.is_absolute())?.join(".local/share"),
    };
    Some(data_home.join("sweep/datasets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_lie_in_the_xdg_data_home_or_else_below_home() {
        let root = |xdg: &str, home: &str| {
            let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
            datasets_root(path(xdg).as_deref(), path(home).as_deref())
        };
        assert_eq!(root("/data", "/home/a"), Some("/data/sweep/datasets".into()));
        assert_eq!(root("", "/home/a"), Some("/home/a/.local/share/sweep/datasets".into()));
        assert_eq!(root("data", "/home/a"), Some("/home/a/.local/share/sweep/datasets".into()));
        assert_eq!(root("", ""), None);
    }
}
