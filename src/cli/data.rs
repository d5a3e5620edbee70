//! `sweep data`: fetch, import, list and verify datasets.

mod fetch;
mod print;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::dataset::fetch::{self as fetched, FetchError, FetchRequest, Progress};
use crate::dataset::import::{self, AddSetRequest, Existing, ImportError, ImportRequest};
use crate::dataset::{self, DamagedFile, DatasetError, DatasetName, Manifest, SetName};
pub(super) use fetch::FetchView;
use print::Format;

/// Fetch, import, list and verify datasets
#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Fetch(fetch::FetchArgs),
    Import(ImportArgs),
    List(ListArgs),
    Verify(VerifyArgs),
}

impl Command {
    fn format(&self) -> Format {
        let json = match self {
            Command::Fetch(args) => args.json,
            Command::Import(args) => args.json,
            Command::List(args) => args.json,
            Command::Verify(args) => args.json,
        };
        if json { Format::Json } else { Format::Human }
    }
}

/// Make a dataset from images, or add an extra evaluation set to one
///
/// Images are JPEG or PNG files, RGB or grey with 8 bits per channel, all of one size, in one folder per class. They
/// lie in a folder or in a tar archive, plain or compressed with gzip or xz; where that has folders `train` and
/// `test` with classes in each, the fitting one is taken. Names that begin with a dot are skipped.
///
/// Nothing is stored unless every image is good. Importing the same images again changes nothing.
#[derive(Debug, Parser)]
#[command(override_usage = "sweep data import NAME --train DIR|TAR --test DIR|TAR [--eval SET=DIR|TAR]...
       sweep data import NAME --npy IMAGES.npy LABELS.npy --as SET")]
struct ImportArgs {
    /// Name of the dataset
    #[arg(value_name = "NAME")]
    name: DatasetName,
    /// Images to train on
    #[arg(long, value_name = "DIR|TAR", required_unless_present = "npy", requires = "test")]
    train: Option<PathBuf>,
    /// Images to evaluate on, of the same classes
    #[arg(long, value_name = "DIR|TAR", required_unless_present = "npy", requires = "train")]
    test: Option<PathBuf>,
    /// An extra evaluation set, of the same classes; may be repeated
    #[arg(long, value_name = "SET=DIR|TAR", value_parser = parse_eval_set, requires = "train")]
    eval: Vec<(SetName, PathBuf)>,
    /// Images `[N, H, W, 3]` (u8) and labels `[N]` (u8, i32 or i64) to add to the dataset
    #[arg(
        long, num_args = 2, value_names = ["IMAGES.npy", "LABELS.npy"], requires = "set_name",
        conflicts_with_all = ["train", "test", "eval"]
    )]
    npy: Option<Vec<PathBuf>>,
    /// Name of the extra evaluation set that `--npy` adds
    #[arg(long = "as", value_name = "SET", requires = "npy", conflicts_with_all = ["train", "test", "eval"])]
    set_name: Option<SetName>,
    /// Replace other contents of that name; without `--npy` that includes all extra evaluation sets
    #[arg(long)]
    replace: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Show the imported datasets
#[derive(Debug, Parser)]
struct ListArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Check the files of datasets against their checksums
#[derive(Debug, Parser)]
struct VerifyArgs {
    /// Datasets to check; all if none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Why a data command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DataError {
    #[error("set `{0}` is given twice with `--eval`")]
    SetTwice(SetName),
    #[error("`import` needs `--train` and `--test`, or `--npy` and `--as`")]
    NoSource,
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Name(#[from] dataset::ParseNameError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error("damaged: {}; import the same images again, with `--replace` where it is the manifest", names.join(", "))]
    Damaged { names: Vec<String> },
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

impl DataError {
    /// Whether the arguments or what they name are to be mended, rather than the machine or stored data: exit code 2
    /// instead of 1.
    #[must_use]
    pub(super) fn is_bad_input(&self) -> bool {
        match self {
            DataError::SetTwice(_) | DataError::NoSource | DataError::Name(_) => true,
            DataError::Dataset(error) => is_missing(error),
            DataError::Import(error) | DataError::Fetch(FetchError::Import(error)) => match error {
                ImportError::Dataset(error) => is_missing(error),
                error => matches!(error, ImportError::Input { .. } | ImportError::Exists { .. }),
            },
            // One that the user named; what goes wrong with a download's own file is the disk's matter.
            DataError::Fetch(FetchError::File { source, .. }) => source.kind() == io::ErrorKind::NotFound,
            DataError::Fetch(error) => {
                use FetchError::{OneOfSeveral, OtherContents, OtherSize};
                matches!(error, OneOfSeveral { .. } | OtherSize { .. } | OtherContents { .. })
            }
            DataError::Damaged { .. } | DataError::Output(_) => false,
        }
    }
}

fn is_missing(error: &DatasetError) -> bool {
    matches!(error, DatasetError::NotFound { .. } | DatasetError::UnknownSet { .. })
}

enum Request {
    Fetch(FetchRequest),
    Import(ImportRequest),
    AddSet(AddSetRequest),
    List,
    Verify { names: Vec<String> },
}

/// Does what `args` ask for in the folder `root`, where datasets lie, and prints the answer to `out`; tells `progress` how far
/// a download is.
///
/// # Errors
/// When an input is bad, a dataset is missing or damaged, or something can't be written.
pub(super) fn run(
    args: Args,
    root: &Path,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), DataError> {
    let format = args.command.format();
    match request(args, root)? {
        Request::Fetch(request) => print::fetched(&fetched::fetch(root, &request, progress)?, format, out)?,
        Request::Import(request) => print::outcome(&import::import(root, &request)?, format, out)?,
        Request::AddSet(request) => print::outcome(&import::add_set(root, &request)?, format, out)?,
        Request::List => print::list(&Listing::read(root)?, format, out)?,
        Request::Verify { names } => {
            let verified = verify(root, names)?;
            print::verified(&verified, format, out)?;
            let damaged = verified.into_iter().filter(|verified| !verified.damaged.is_empty());
            let names: Vec<String> = damaged.map(|verified| verified.name).collect();
            if !names.is_empty() {
                return Err(DataError::Damaged { names });
            }
        }
    }
    Ok(())
}

fn request(args: Args, root: &Path) -> Result<Request, DataError> {
    Ok(match args.command {
        Command::Fetch(args) => Request::Fetch(args.into_request(root)?),
        Command::Import(args) => import_request(args)?,
        Command::List(_) => Request::List,
        Command::Verify(args) => Request::Verify { names: args.names },
    })
}

fn import_request(args: ImportArgs) -> Result<Request, DataError> {
    let existing = if args.replace { Existing::Replace } else { Existing::Keep };
    if let (Some(set), Some([images, labels])) = (args.set_name, args.npy.as_deref()) {
        let (images, labels) = (images.clone(), labels.clone());
        return Ok(Request::AddSet(AddSetRequest {
            dataset: args.name,
            set,
            images,
            labels,
            existing,
            source: None,
        }));
    }
    let (Some(train), Some(test)) = (args.train, args.test) else {
        return Err(DataError::NoSource);
    };
    let mut eval_sets = BTreeMap::new();
    for (set, path) in args.eval {
        if eval_sets.insert(set.clone(), path).is_some() {
            return Err(DataError::SetTwice(set));
        }
    }
    Ok(Request::Import(ImportRequest { name: args.name, train, test, eval_sets, existing }))
}

fn parse_eval_set(text: &str) -> Result<(SetName, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected SET=DIR or SET=TAR")?;
    let name = name.parse().map_err(|error: dataset::ParseNameError| error.to_string())?;
    Ok((name, PathBuf::from(path)))
}

/// The datasets that there are, and those whose manifest can't be read.
struct Listing {
    manifests: Vec<Manifest>,
    unreadable: Vec<(String, DatasetError)>,
}

impl Listing {
    fn read(root: &Path) -> Result<Listing, DatasetError> {
        let mut listing = Listing { manifests: Vec::new(), unreadable: Vec::new() };
        for name in Manifest::list(root)? {
            match Manifest::read(root, &name) {
                Ok(manifest) => listing.manifests.push(manifest),
                Err(error) => listing.unreadable.push((name, error)),
            }
        }
        Ok(listing)
    }
}

struct Verified {
    name: String,
    damaged: Vec<DamagedFile>,
}

fn verify(root: &Path, names: Vec<String>) -> Result<Vec<Verified>, DatasetError> {
    let names = if names.is_empty() { Manifest::list(root)? } else { names };
    let verify_one = |name: String| {
        let damaged = dataset::verify(root, &name)?;
        Ok(Verified { name, damaged })
    };
    names.into_iter().map(verify_one).collect()
}

#[cfg(test)]
mod tests;
