//! What has changed between the code of two sweeps, for people.

use std::collections::BTreeSet;
use std::path::Path;

use super::archive::Archive;
use super::{Code, keep};
use crate::protocol::http;

/// Names of the files that are not the same in the code of an earlier sweep and in `new`.
pub(in crate::coordinator) fn changes(earlier: &http::Code, new: &Code, artifacts: &Path) -> Vec<String> {
    let (before, now) = (&earlier.files, &new.told.files);
    let names = before.keys().chain(now.keys()).filter(|name| before.get(*name) != now.get(*name));
    let mut changed: BTreeSet<String> = names.cloned().collect();
    if let (Some(before), Some(now)) =
        (archive_of(earlier, None, artifacts), archive_of(&new.told, new.archive.as_deref(), artifacts))
    {
        changed.extend(before.differing(&now).into_iter().map(|path| path.display().to_string()));
    }
    changed.into_iter().collect()
}

fn archive_of(code: &http::Code, bytes: Option<&[u8]>, artifacts: &Path) -> Option<Archive> {
    let kept = code.kept.as_ref()?;
    match bytes {
        Some(bytes) => Archive::read(bytes).ok(),
        None => Archive::read(&keep::read(&kept.hash.parse().ok()?, artifacts)?).ok(),
    }
}
