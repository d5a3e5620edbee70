//! Files and links as one file, always the same for the same contents: a tar archive without times, owners and chance.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

/// No more files are kept: a folder that has more is not code, and every trial gets a copy of all of them.
pub(super) const MOST_FILES: usize = 10_000;

/// All files together. Code is some megabytes.
pub(super) const LARGEST_BYTES: u64 = 64 << 20;

/// The same in words.
pub(super) const LARGEST: &str = "64 MiB";

/// What a file's permissions come down to.
const PLAIN: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;

/// What is kept, by its path from the folder for which a copy stands.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Archive(BTreeMap<PathBuf, Item>);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    File {
        contents: Vec<u8>,
        is_executable: bool,
    },
    /// A relative path that does not lead out of the archive.
    Link(PathBuf),
}

impl Archive {
    pub(super) fn insert(&mut self, path: PathBuf, item: Item) {
        self.0.insert(path, item);
    }

    #[cfg(test)]
    pub(super) fn items(&self) -> impl Iterator<Item = (&Path, &Item)> {
        self.0.iter().map(|(path, item)| (path.as_path(), item))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all files.
    pub(super) fn size_bytes(&self) -> u64 {
        let size = |item: &Item| match item {
            Item::File { contents, .. } => contents.len() as u64,
            Item::Link(_) => 0,
        };
        self.0.values().map(size).sum()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.write().expect("memory takes whatever is written")
    }

    fn write(self) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, item) in self.0 {
            let mut header = Header::new_gnu();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            match item {
                Item::File { contents, is_executable } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(if is_executable { EXECUTABLE } else { PLAIN });
                    header.set_size(contents.len() as u64);
                    tar.append_data(&mut header, path, contents.as_slice())?;
                }
                Item::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(PLAIN);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        tar.into_inner()
    }

    /// What is in an archive.
    pub(super) fn read(bytes: &[u8]) -> io::Result<Archive> {
        let mut archive = Archive::default();
        for entry in tar::Archive::new(bytes).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let item = match entry.link_name()? {
                Some(target) => Item::Link(target.into_owned()),
                None => {
                    let mut contents = Vec::new();
                    io::copy(&mut entry, &mut contents)?;
                    Item::File { contents, is_executable: entry.header().mode()? == EXECUTABLE }
                }
            };
            archive.insert(path, item);
        }
        Ok(archive)
    }

    /// Paths whose contents are not the same in both.
    pub(super) fn differing<'a>(&'a self, other: &'a Archive) -> Vec<&'a Path> {
        let mut paths: Vec<&Path> = self.0.keys().chain(other.0.keys()).map(PathBuf::as_path).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.retain(|path| self.0.get(*path) != other.0.get(*path));
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Archive {
        let mut archive = Archive::default();
        let file = |text: &str, is_executable| Item::File { contents: text.into(), is_executable };
        archive.insert("run.sh".into(), file("#!/bin/sh\n", true));
        // Longer than a tar header's field, with what needs care elsewhere.
        archive.insert(PathBuf::from(format!("{}/<b>\n'ü.py", "d".repeat(150))), file("x", false));
        archive.insert("link".into(), Item::Link("run.sh".into()));
        archive
    }

    #[test]
    fn an_archive_reads_back_and_is_always_the_same() {
        let bytes = sample().into_bytes();
        assert_eq!(Archive::read(&bytes).unwrap(), sample());
        assert_eq!(sample().into_bytes(), bytes);
        assert_eq!(sample().size_bytes(), 11);
    }

    #[test]
    fn what_differs_is_named() {
        let (one, mut other) = (sample(), sample());
        assert_eq!(one.differing(&other), Vec::<&Path>::new());
        other.insert("run.sh".into(), Item::File { contents: "#!/bin/sh\n".into(), is_executable: false });
        other.insert("new".into(), Item::Link("run.sh".into()));
        assert_eq!(one.differing(&other), [Path::new("new"), Path::new("run.sh")]);
    }
}
