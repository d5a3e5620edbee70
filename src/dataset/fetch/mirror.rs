//! Where published files are fetched from instead of the publisher.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::FetchError;
use super::published::PublishedFile;

/// A file or a folder with the published files in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mirror {
    /// By HTTP; the scheme is in lower case. A folder ends in `/`, or is what several files are fetched from.
    Url(String),
    /// On this host.
    Path(PathBuf),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a mirror is the path of a file or folder, or a URL that begins with `http://`, `https://` or `file:///`"
)]
pub struct ParseMirrorError;

/// Where one file lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Url(String),
    File(PathBuf),
}

impl FromStr for Mirror {
    type Err = ParseMirrorError;

    fn from_str(text: &str) -> Result<Mirror, ParseMirrorError> {
        let Some((scheme, rest)) = split_scheme(text) else {
            return if text.is_empty() { Err(ParseMirrorError) } else { Ok(Mirror::Path(text.into())) };
        };
        let authority = rest.strip_prefix("//");
        match (scheme.to_ascii_lowercase().as_str(), authority) {
            (scheme @ ("http" | "https"), Some(rest)) => Ok(Mirror::Url(format!("{scheme}://{rest}"))),
            ("file", None) => Ok(Mirror::Path(rest.into())),
            ("file", Some(rest)) => {
                let (host, _) = rest.split_once('/').ok_or(ParseMirrorError)?;
                let is_here = host.is_empty() || host.eq_ignore_ascii_case("localhost");
                is_here.then(|| Mirror::Path(rest[host.len()..].into())).ok_or(ParseMirrorError)
            }
            _ => Err(ParseMirrorError),
        }
    }
}

/// `https://host/file`: `https` and `//host/file`. A path with a colon in a name, such as `old:cifar.tar.gz`, has no scheme.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (is_scheme && rest.starts_with('/')).then_some((scheme, rest))
}

impl Mirror {
    /// Where `file`, one of `files`, is looked for. Of several files, one stands for the folder in which it lies.
    ///
    /// # Errors
    /// When it is a file, but neither the only one nor one of those that are published.
    pub(super) fn place_of(
        &self,
        file: &PublishedFile,
        files: &[PublishedFile],
    ) -> Result<Place, FetchError> {
        let is_one = files.len() == 1;
        let is_published = |name: &str| files.iter().any(|file| file.name == name);
        match self {
            Mirror::Url(url) if is_one && !url.ends_with('/') => Ok(Place::Url(url.clone())),
            Mirror::Url(url) => {
                let folder = match url.rsplit_once('/') {
                    Some((folder, name)) if is_published(name) => folder,
                    _ => url.trim_end_matches('/'),
                };
                Ok(Place::Url(format!("{folder}/{}", file.name)))
            }
            Mirror::Path(path) if path.is_dir() => Ok(Place::File(path.join(&file.name))),
            Mirror::Path(path) if is_one => Ok(Place::File(path.clone())),
            Mirror::Path(path) if name_of(path).is_some_and(is_published) => {
                Ok(Place::File(path.with_file_name(&file.name)))
            }
            Mirror::Path(path) if path.exists() => {
                let names = files.iter().map(|file| format!("`{}`", file.name)).collect();
                Err(FetchError::OneOfSeveral { path: path.clone(), names })
            }
            Mirror::Path(path) => Ok(Place::File(path.join(&file.name))),
        }
    }
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn url(text: &str) -> Result<Mirror, ParseMirrorError> {
        Ok(Mirror::Url(text.to_owned()))
    }

    fn path(text: &str) -> Result<Mirror, ParseMirrorError> {
        Ok(Mirror::Path(text.into()))
    }

    fn published(names: &[&str]) -> Vec<PublishedFile> {
        let file = |name: &&str| PublishedFile {
            name: (*name).to_owned(),
            url: format!("https://publisher/{name}"),
            bytes: 1,
            sha256: String::new(),
        };
        names.iter().map(file).collect()
    }

    #[test]
    fn schemes_are_read_in_either_case() {
        for (text, expected) in [
            ("https://host/a.tgz", url("https://host/a.tgz")),
            ("HTTP://Host:8000/A/", url("http://Host:8000/A/")),
            ("file:///data/a.tgz", path("/data/a.tgz")),
            ("FILE:///data", path("/data")),
            ("file://localhost/data/a.tgz", path("/data/a.tgz")),
            ("file:/data", path("/data")),
            ("data/a.tgz", path("data/a.tgz")),
            ("old:a.tgz", path("old:a.tgz")),
            ("./old:/a.tgz", path("./old:/a.tgz")),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }

    #[test]
    fn what_nothing_is_fetched_by_is_no_path() {
        for text in ["ftp://host/a.tgz", "S3://bucket/a", "file://host/a", "file://data", "http:/host/a", ""]
        {
            assert_eq!(text.parse::<Mirror>(), Err(ParseMirrorError), "{text}");
        }
    }

    #[test]
    fn of_two_files_either_stands_for_its_folder() {
        let files = published(&["d.npy", "l.npy"]);
        for text in ["https://host/v6/d.npy", "https://host/v6/l.npy", "https://host/v6/", "https://host/v6"]
        {
            let mirror: Mirror = text.parse().unwrap();
            let places: Vec<_> = files.iter().map(|file| mirror.place_of(file, &files).unwrap()).collect();
            let expected = ["d.npy", "l.npy"].map(|name| Place::Url(format!("https://host/v6/{name}")));
            assert_eq!(places, expected, "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other.npy");
        fs::write(&other, "").unwrap();
        for path in [folder.path().join("d.npy"), folder.path().to_owned()] {
            let place = Mirror::Path(path).place_of(&files[1], &files).unwrap();
            assert_eq!(place, Place::File(folder.path().join("l.npy")));
        }
        let said = Mirror::Path(other).place_of(&files[0], &files).unwrap_err().to_string();
        assert!(
            said.ends_with(
                "other.npy is neither `d.npy` nor `l.npy`; name the folder in which these lie, with `--from`"
            ),
            "{said}"
        );
    }
}
