use std::io;
use std::path::{Path, PathBuf};

use super::super::DatasetError;

/// Why a dataset was not imported. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An input is not what it should be. `file` is its path; in an archive, `ARCHIVE: PATH`.
    #[error("{file} {problem}")]
    Input { file: String, problem: Problem },
    #[error("{what} is there with other contents; replace it with `--replace`, or choose another name")]
    Exists { what: String },
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error("{} can't be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the images of `{split}` can't be stored: {source}")]
    Encode { split: String, source: safetensors::SafeTensorError },
}

/// What is wrong with an input: the rest of a sentence that begins with the file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
    #[error("is neither a regular file nor a folder")]
    NotAFile,
    #[error("is nested too deeply: expected one folder per class")]
    TooDeep,
    #[error("has a name with a control character, with `..`, or that is not UTF-8")]
    Name,
    #[error("is no tar archive, or a damaged one: {0}")]
    Archive(String),
    #[error("ends before its end-of-archive mark: it is truncated, or no tar archive")]
    TruncatedArchive,
    #[error("has no file `{0}`, as the publisher's archive has")]
    MissingFile(String),
    #[error(
        "has {bytes} bytes, which are not one or more records of {record}: it is truncated, or of another format"
    )]
    Records { bytes: usize, record: usize },
    #[error("is in the archive twice")]
    Twice,
    #[error("is {bytes} bytes long; at most {limit} are allowed")]
    FileTooLarge { bytes: u64, limit: u64 },
    #[error("has more than {limit} files")]
    TooManyFiles { limit: usize },
    #[error("is too large: more than {limit} bytes of images")]
    TooLarge { limit: u64 },

    #[error("holds no images; expected one folder per class with JPEG or PNG files")]
    NoImages,
    #[error("is a class without images")]
    EmptyClass,
    #[error("does not lie in a class folder: expected `{expected}`")]
    OutsideClasses { expected: String },
    #[error("has no class `{class}`, unlike {train}")]
    MissingClass { class: String, train: String },
    #[error("has a class `{class}`, unlike {train}")]
    UnknownClass { class: String, train: String },

    #[error("is neither a JPEG nor a PNG image")]
    NotAnImage,
    #[error("ends too early: the image is truncated")]
    TruncatedImage,
    #[error("can't be decoded: {0}")]
    Undecodable(image::ImageError),
    #[error("has {0}; expected RGB or grey with 8 bits per channel")]
    PixelFormat(String),
    #[error("is {width}x{height} pixels; at most {limit}x{limit} are allowed")]
    ImageTooLarge { width: usize, height: usize, limit: usize },
    #[error("is {width}x{height} pixels, but {other} is {other_width}x{other_height}")]
    OtherSize { width: usize, height: usize, other: String, other_width: usize, other_height: usize },

    #[error("is no numpy array file, or one whose header is damaged")]
    NotNpy,
    #[error("holds {found}; expected {expected}")]
    ArrayType { found: String, expected: String },
    #[error("has {found} bytes of array data; its header announces {expected}")]
    ArrayLength { found: usize, expected: usize },
    #[error("has {labels} labels for the {count} images of {images}")]
    LabelCount { labels: usize, count: usize, images: String },
    #[error("has label {label} at index {index}; the dataset's {classes} classes are 0 to {}", classes - 1)]
    LabelOutOfRange { label: i64, index: usize, classes: usize },
}

impl ImportError {
    pub(super) fn input(file: impl Into<String>, problem: Problem) -> ImportError {
        ImportError::Input { file: file.into(), problem }
    }

    /// For an input that the user named.
    pub(super) fn at(path: &Path, problem: Problem) -> ImportError {
        ImportError::input(path.display().to_string(), problem)
    }

    pub(super) fn write(path: &Path, source: io::Error) -> ImportError {
        ImportError::Write { path: path.to_owned(), source }
    }
}
