//! Reads numpy's `.npy` files: a header that is a Python dictionary in text, then the elements.
//!
//! The header's few fields are read here: the crate for it multiplies the sides of the shape that it finds without
//! a check, so that a damaged file could end the program.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::super::split::CHANNELS;
use super::super::{Manifest, SetName};
use super::decode::to_planes;
use super::error::{ImportError, Problem};
use super::{MAX_SPLIT_BYTES, NewSplit, image_bytes};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Largest file: a header and as many images as a split may have.
const MAX_FILE_BYTES: u64 = MAX_SPLIT_BYTES + (1 << 16);

/// Reads images and labels that are to be the set `set` of the dataset that `manifest` describes.
pub(super) fn read(
    images: &Path,
    labels: &Path,
    set: &SetName,
    manifest: &Manifest,
) -> Result<NewSplit, ImportError> {
    let array = Array::read(images)?;
    let planes = to_images(&array, manifest).map_err(|problem| ImportError::at(images, problem))?;
    let count = array.header.shape[0];
    let array = Array::read(labels)?;
    let classes =
        to_labels(&array, manifest.classes.len()).map_err(|problem| ImportError::at(labels, problem))?;
    if classes.len() != count {
        let images = images.display().to_string();
        return Err(ImportError::at(labels, Problem::LabelCount { labels: classes.len(), count, images }));
    }
    Ok(NewSplit {
        name: set.as_str().to_owned(),
        images: planes,
        labels: classes,
        height: manifest.height,
        width: manifest.width,
        source: format!("{}, {}", images.display(), labels.display()),
    })
}

/// u8 `[N, H, W, 3]` to `[N, 3, H, W]`.
fn to_images(array: &Array, manifest: &Manifest) -> Result<Vec<u8>, Problem> {
    let (height, width) = (manifest.height, manifest.width);
    let count = match (&array.header.descr[..], &array.header.shape[..]) {
        ("|u1", &[count, h, w, CHANNELS]) if count > 0 && (h, w) == (height, width) => count,
        _ => {
            let expected = format!("|u1 [N, {height}, {width}, {CHANNELS}] with N at least 1");
            return Err(Problem::ArrayType { found: array.header.describe(), expected });
        }
    };
    let too_large = Problem::TooLarge { limit: MAX_SPLIT_BYTES };
    let bytes = image_bytes(count, height, width).ok_or(too_large)?;
    array.require_bytes(bytes)?;

    let mut planes = vec![0; bytes];
    let each = bytes / count;
    for (rgb, planes) in array.data().chunks_exact(each).zip(planes.chunks_exact_mut(each)) {
        to_planes(rgb, planes);
    }
    Ok(planes)
}

/// u8, i32 or i64 `[N]`.
fn to_labels(array: &Array, classes: usize) -> Result<Vec<i64>, Problem> {
    let unexpected =
        || Problem::ArrayType { found: array.header.describe(), expected: "|u1, <i4 or <i8 [N]".to_owned() };
    let &[count] = &array.header.shape[..] else { return Err(unexpected()) };
    let require = |element_bytes: usize| array.require_bytes(count.saturating_mul(element_bytes));
    let data = array.data();
    let labels: Vec<i64> = match &array.header.descr[..] {
        "|u1" => {
            require(1)?;
            data.iter().map(|&label| i64::from(label)).collect()
        }
        "<i4" => {
            require(4)?;
            data.as_chunks().0.iter().map(|&label| i64::from(i32::from_le_bytes(label))).collect()
        }
        "<i8" => {
            require(8)?;
            data.as_chunks().0.iter().map(|&label| i64::from_le_bytes(label)).collect()
        }
        _ => return Err(unexpected()),
    };
    let is_class = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
    match labels.iter().position(|&label| !is_class(label)) {
        None => Ok(labels),
        Some(index) => Err(Problem::LabelOutOfRange { label: labels[index], index, classes }),
    }
}

/// A numpy array file in memory.
struct Array {
    header: Header,
    bytes: Vec<u8>,
    /// Where in `bytes` the elements begin.
    start: usize,
}

/// What the header of a numpy array file says.
struct Header {
    /// Type of an element as numpy spells it, such as `<i4`.
    descr: String,
    is_fortran_order: bool,
    shape: Vec<usize>,
}

impl Array {
    fn read(path: &Path) -> Result<Array, ImportError> {
        let unreadable = |error| ImportError::at(path, Problem::Unreadable(error));
        let mut file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ImportError::at(path, Problem::NotAFile));
        }
        if metadata.len() > MAX_FILE_BYTES {
            let problem = Problem::FileTooLarge { bytes: metadata.len(), limit: MAX_FILE_BYTES };
            return Err(ImportError::at(path, problem));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unreadable)?;

        let header = header_text(&bytes).and_then(|(text, start)| Some((Header::parse(text)?, start)));
        let Some((header, start)) = header else {
            return Err(ImportError::at(path, Problem::NotNpy));
        };
        if header.is_fortran_order && header.shape.len() > 1 {
            let expected = "an array in C order".to_owned();
            return Err(ImportError::at(path, Problem::ArrayType { found: header.describe(), expected }));
        }
        Ok(Array { header, bytes, start })
    }

    /// The elements.
    fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Refuses a file that is longer or shorter than its header says.
    fn require_bytes(&self, expected: usize) -> Result<(), Problem> {
        let found = self.data().len();
        if found == expected { Ok(()) } else { Err(Problem::ArrayLength { found, expected }) }
    }
}

/// The header of a file and where it ends. After the magic come the format's version, 1.0 to 3.0, and the header's
/// length, which is longer in later versions.
fn header_text(bytes: &[u8]) -> Option<(&str, usize)> {
    let (length, start) = match bytes.strip_prefix(MAGIC)? {
        [1, 0, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), MAGIC.len() + 4),
        [2 | 3, 0, a, b, c, d, ..] => {
            (usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?, MAGIC.len() + 6)
        }
        _ => return None,
    };
    let end = start.checked_add(length)?;
    Some((std::str::from_utf8(bytes.get(start..end)?).ok()?, end))
}

impl Header {
    /// Reads `{'descr': '<i4', 'fortran_order': False, 'shape': (2000,), }`, as numpy writes it.
    fn parse(text: &str) -> Option<Header> {
        let field = |name: &str| Some(text.split_once(&format!("'{name}':"))?.1.trim_start());
        let (descr, _) = field("descr")?.strip_prefix('\'')?.split_once('\'')?;
        let is_fortran_order = match field("fortran_order")? {
            value if value.starts_with("False") => false,
            value if value.starts_with("True") => true,
            _ => return None,
        };
        let (sides, _) = field("shape")?.strip_prefix('(')?.split_once(')')?;
        let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
        // Python 2 may have written a number with `L` behind it.
        let shape = sides.map(|side| side.trim_end_matches('L').parse()).collect::<Result<_, _>>();
        Some(Header { descr: descr.to_owned(), is_fortran_order, shape: shape.ok()? })
    }

    fn describe(&self) -> String {
        let order = if self.is_fortran_order { " in Fortran order" } else { "" };
        format!("{} {:?}{order}", self.descr, self.shape)
    }
}
