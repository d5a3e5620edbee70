use std::fs;
use std::path::Path;

use super::error::{ImportError, Problem};
use super::source::Listing;

/// Deepest nesting that is looked into, so that a link to a folder above ends in an error.
const MAX_DEPTH: usize = 16;

/// Reads all files below the folder `root`, following links. Names that begin with a dot are left out.
pub(super) fn list(root: &Path) -> Result<Listing, ImportError> {
    let mut listing = Listing::new(format!("{}/", root.display()));
    list_below(&mut listing, root, "", 0)?;
    Ok(listing)
}

fn list_below(listing: &mut Listing, folder: &Path, prefix: &str, depth: usize) -> Result<(), ImportError> {
    if depth > MAX_DEPTH {
        return Err(ImportError::at(folder, Problem::TooDeep));
    }
    let unreadable = |path: &Path, error| ImportError::at(path, Problem::Unreadable(error));
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).filter(|name| !name.contains(char::is_control));
        let Some(name) = name else { return Err(ImportError::at(&path, Problem::Name)) };
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        let metadata = path.metadata().map_err(|error| unreadable(&path, error))?;
        if metadata.is_dir() {
            list_below(listing, &path, &format!("{name}/"), depth + 1)?;
            listing.folders.insert(name);
        } else if metadata.is_file() {
            listing.admit(&name, metadata.len())?;
            let bytes = fs::read(&path).map_err(|error| unreadable(&path, error))?;
            listing.add(name, bytes)?;
        } else {
            return Err(ImportError::at(&path, Problem::NotAFile));
        }
    }
    Ok(())
}
