//! The files that a command names.
//!
//! What a name stands for is decided when the spec is submitted. Only arguments that are the same in every trial are kept: one
//! with a parameter in it may as well name what the trial is to write. Files outside the folder, such as an interpreter
//! that is named by its path, work where they are only.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::CodeError;
use super::archive::{Archive, Item, LARGEST, LARGEST_BYTES};
use crate::plan;
use crate::spec::CommandTemplate;

/// A program larger than this is not a script that somebody is working on; its contents don't count.
const LARGEST_CODE_BYTES: u64 = 16 * 1024 * 1024;

/// BLAKE3 of a file; nothing where there is none, or one too large to be code.
pub(super) fn checksum_of(path: &Path) -> Result<Option<String>, CodeError> {
    let contents = contents_of(path)?;
    Ok(contents.map(|contents| blake3::hash(&contents).to_hex().to_string()))
}

/// The files in `directory` that every trial's command names.
pub(super) fn take(template: &CommandTemplate, directory: &Path) -> Result<Archive, CodeError> {
    let mut archive = Archive::default();
    for (at, argument) in template.constants() {
        // Without a slash the program is looked for on PATH.
        if at == 0 && !argument.contains('/') {
            continue;
        }
        for name in plan::files_named(&[argument.to_owned()]) {
            add(&mut archive, name, directory)?;
        }
    }
    let bytes = archive.size_bytes();
    if bytes > LARGEST_BYTES {
        return Err(CodeError::LargeFiles { bytes, limit: LARGEST.to_owned() });
    }
    Ok(archive)
}

fn add(archive: &mut Archive, name: &str, directory: &Path) -> Result<(), CodeError> {
    let Some(path) = inner_path(name, directory) else { return Ok(()) };
    let whole = directory.join(&path);
    let (Ok(found), Ok(root)) = (whole.canonicalize(), directory.canonicalize()) else { return Ok(()) };
    let Ok(inner) = found.strip_prefix(&root) else { return Ok(()) };
    let Some(contents) = contents_of(&found)? else { return Ok(()) };
    let mode = found.metadata().map_err(|source| CodeError::Read { path: whole.clone(), source })?;
    let is_executable = mode.permissions().mode() & 0o111 != 0;
    let is_link = fs::symlink_metadata(&whole).is_ok_and(|metadata| metadata.is_symlink());
    if is_link {
        // A program may look for others beside the file to which its name leads.
        let up = path.components().skip(1).map(|_| "..");
        let target: PathBuf = up.map(Path::new).chain([inner]).collect();
        archive.insert(path, Item::Link(target));
        archive.insert(inner.to_owned(), Item::File { contents, is_executable });
    } else {
        archive.insert(path, Item::File { contents, is_executable });
    }
    Ok(())
}

/// A name as a path from the folder; nothing where it leads out of it.
fn inner_path(name: &str, directory: &Path) -> Option<PathBuf> {
    let path = Path::new(name);
    let path = if path.is_absolute() { path.strip_prefix(directory).ok()? } else { path };
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => inner.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!inner.as_os_str().is_empty()).then_some(inner)
}

fn contents_of(path: &Path) -> Result<Option<Vec<u8>>, CodeError> {
    let Ok(metadata) = path.metadata() else { return Ok(None) };
    if !metadata.is_file() || metadata.len() > LARGEST_CODE_BYTES {
        return Ok(None);
    }
    let mut contents = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_CODE_BYTES).read_to_end(&mut contents))
        .map_err(|source| CodeError::Read { path: path.to_owned(), source })?;
    Ok(Some(contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_none_of_its_files() {
        let inner = |name: &str| inner_path(name, Path::new("/p")).map(|path| path.display().to_string());
        assert_eq!(inner("./a/./b.py").as_deref(), Some("a/b.py"));
        assert_eq!(inner("/p/a.py").as_deref(), Some("a.py"));
        for name in ["../a.py", "a/../b.py", "/q/a.py", ".", ""] {
            assert_eq!(inner(name), None, "{name}");
        }
    }
}
