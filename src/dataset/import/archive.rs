use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Component, Path};

use tar::{Archive, Entry, EntryType};

use super::error::{ImportError, Problem};
use super::source::Listing;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
/// A tar archive ends with at least one block of zeros, and no image does: padding is shorter.
const END_MARK_BYTES: usize = 512;

/// Reads all files in the tar archive `path`, plain or compressed with gzip or xz. Nothing is unpacked to disk.
/// Names that begin with a dot are left out.
pub(super) fn list(path: &Path) -> Result<Listing, ImportError> {
    read(path, Listing::new(format!("{}: ", path.display())))
}

/// The same with files that may be as large as this, each.
pub(super) fn list_files_up_to(path: &Path, bytes: u64) -> Result<Listing, ImportError> {
    read(path, Listing::new(format!("{}: ", path.display())).with_files_up_to(bytes))
}

fn read(path: &Path, mut listing: Listing) -> Result<Listing, ImportError> {
    let damaged = |error| damaged(path, &error);
    let file = decompress(path).map_err(|error| ImportError::at(path, Problem::Unreadable(error)))?;
    let mut archive = Archive::new(EndWatch { inner: file, zeros: 0 });
    for entry in archive.entries().map_err(damaged)? {
        add_entry(&mut listing, path, entry.map_err(damaged)?)?;
    }
    // The rest is zeros in a tar; reading it lets the decompressor check the checksum at its end.
    let mut file = archive.into_inner();
    io::copy(&mut file, &mut io::sink()).map_err(damaged)?;
    if file.zeros < END_MARK_BYTES {
        return Err(ImportError::at(path, Problem::TruncatedArchive));
    }
    Ok(listing)
}

fn add_entry(listing: &mut Listing, path: &Path, mut entry: Entry<'_, impl Read>) -> Result<(), ImportError> {
    let kind = entry.header().entry_type();
    if kind == EntryType::XGlobalHeader {
        return Ok(()); // A comment on the whole archive, as `git archive` writes it.
    }
    let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let name = match entry.path().ok().as_deref().map(plain_name) {
        Some(Name::Plain(name)) => name,
        Some(Name::Hidden) => return Ok(()),
        Some(Name::Unusual) | None => {
            return Err(listing.error(&raw.escape_debug().to_string(), Problem::Name));
        }
    };
    match kind {
        EntryType::Directory => {
            listing.folders.insert(name);
            Ok(())
        }
        EntryType::Regular | EntryType::Continuous => {
            listing.admit(&name, entry.size())?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|error| damaged(path, &error))?;
            listing.add(name, bytes)
        }
        _ => Err(listing.error(&name, Problem::NotAFile)),
    }
}

/// Behind a colon the tar reader quotes what it found, which may be any bytes.
fn damaged(path: &Path, error: &io::Error) -> ImportError {
    let text = error.to_string();
    let reason = text.split(':').next().unwrap_or_default();
    ImportError::at(path, Problem::Archive(reason.to_owned()))
}

enum Name {
    /// Its parts with `/` between them.
    Plain(String),
    Hidden,
    Unusual,
}

fn plain_name(path: &Path) -> Name {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Name::Unusual,
            Component::Normal(part) => match part.to_str() {
                Some(part) if part.contains(char::is_control) => return Name::Unusual,
                Some(part) => parts.push(part),
                None => return Name::Unusual,
            },
        }
    }
    if parts.iter().any(|part| part.starts_with('.')) { Name::Hidden } else { Name::Plain(parts.join("/")) }
}

/// Opens a file and undoes its compression, which is told by its first bytes, not by its name.
fn decompress(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    (&mut file).take(XZ_MAGIC.len() as u64).read_to_end(&mut start)?;
    file.rewind()?;
    let file = BufReader::new(file);
    Ok(if start.starts_with(GZIP_MAGIC) {
        Box::new(flate2::bufread::MultiGzDecoder::new(file))
    } else if start.starts_with(XZ_MAGIC) {
        Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file))
    } else {
        Box::new(file)
    })
}

/// Counts the zeros at the end of what was read: the tar reader takes an end of file between two entries, where an
/// archive may have been cut off, for the end of the archive.
struct EndWatch<R> {
    inner: R,
    zeros: usize,
}

impl<R: Read> Read for EndWatch<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let zeros = buffer[..length].iter().rev().take_while(|&&byte| byte == 0).count();
        self.zeros = if zeros == length { self.zeros.saturating_add(zeros) } else { zeros };
        Ok(length)
    }
}
