//! The answers of `sweep data`, for people and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::{Listing, Verified};
use crate::dataset::fetch::Fetched;
use crate::dataset::import::Outcome;
use crate::dataset::{DamagedFile, DatasetError, Manifest, TEST, TRAIN};

/// Version of the documents that `--json` prints.
const JSON_SCHEMA_VERSION: u32 = 1;
/// As much of a checksum as people compare.
const SHORT_CHECKSUM: usize = 12;
const NO_DATASETS: &str = "no datasets; `sweep data fetch` and `sweep data import` make some";

#[derive(Clone, Copy)]
pub(super) enum Format {
    Human,
    Json,
}

pub(super) fn outcome(outcome: &Outcome, format: Format, out: &mut dyn Write) -> Result<(), io::Error> {
    if let Format::Json = format {
        return json(&OutcomeJson::from(outcome), out);
    }
    let (verb, manifest) = match outcome {
        Outcome::Imported(manifest) => ("imported".to_owned(), manifest),
        Outcome::AlreadyThere(manifest) => ("already imported".to_owned(), manifest),
        Outcome::Repaired(manifest, splits) => {
            (format!("was damaged, repaired {}", splits.join(", ")), manifest)
        }
    };
    write!(
        out,
        "{verb}: {} ({} train and {} test images of {} classes, {}x{} pixels",
        manifest.name,
        count(manifest, TRAIN),
        count(manifest, TEST),
        manifest.classes.len(),
        manifest.width,
        manifest.height,
    )?;
    match manifest.eval_sets.is_empty() {
        true => writeln!(out, ")"),
        false => writeln!(out, "; extra evaluation sets: {})", describe_sets(manifest)),
    }
}

pub(super) fn fetched(fetched: &Fetched, format: Format, out: &mut dyn Write) -> Result<(), io::Error> {
    match fetched {
        Fetched::Imported(imported) => outcome(imported, format, out),
        Fetched::AlreadyThere(manifest) => outcome(&Outcome::AlreadyThere(manifest.clone()), format, out),
    }
}

pub(super) fn list(listing: &Listing, format: Format, out: &mut dyn Write) -> Result<(), io::Error> {
    match format {
        Format::Json => json(&ListJson::from(listing), out),
        Format::Human if listing.manifests.is_empty() && listing.unreadable.is_empty() => {
            writeln!(out, "{NO_DATASETS}")
        }
        Format::Human => {
            writeln!(out, "{}", list_table(&listing.manifests).trim_fmt())?;
            for (_, error) in &listing.unreadable {
                writeln!(out, "{error}")?;
            }
            Ok(())
        }
    }
}

fn list_table(manifests: &[Manifest]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["dataset", "classes", "size", "train", "test", "extra evaluation sets", "checksum"]);
    for manifest in manifests {
        let number = |number: usize| Cell::new(number).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(&manifest.name),
            number(manifest.classes.len()),
            Cell::new(format!("{}x{}", manifest.width, manifest.height)),
            number(count(manifest, TRAIN)),
            number(count(manifest, TEST)),
            Cell::new(describe_sets(manifest)),
            Cell::new(manifest.checksum.get(..SHORT_CHECKSUM).unwrap_or(&manifest.checksum)),
        ]);
    }
    table
}

pub(super) fn verified(verified: &[Verified], format: Format, out: &mut dyn Write) -> Result<(), io::Error> {
    if let Format::Json = format {
        return json(&VerifyJson::from(verified), out);
    }
    if verified.is_empty() {
        writeln!(out, "{NO_DATASETS}")?;
    }
    for Verified { name, damaged } in verified {
        if damaged.is_empty() {
            writeln!(out, "{name}: ok")?;
        }
        for file in damaged {
            writeln!(out, "{name}: {} {}", file.path.display(), file.damage)?;
        }
    }
    Ok(())
}

fn count(manifest: &Manifest, split: &str) -> usize {
    manifest.files.get(split).map_or(0, |stored| stored.count)
}

fn describe_sets(manifest: &Manifest) -> String {
    let describe = |set: &String| format!("{set} ({})", count(manifest, set));
    manifest.eval_sets.iter().map(describe).collect::<Vec<_>>().join(", ")
}

fn json(document: &impl Serialize, out: &mut dyn Write) -> Result<(), io::Error> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}

#[derive(Serialize)]
struct ListJson<'a> {
    schema_version: u32,
    datasets: Vec<DatasetJson<'a>>,
    unreadable: Vec<UnreadableJson<'a>>,
}

#[derive(Serialize)]
struct DatasetJson<'a> {
    name: &'a str,
    classes: &'a [String],
    height: usize,
    width: usize,
    /// Number of images by split.
    images: BTreeMap<&'a str, usize>,
    eval_sets: &'a [String],
    checksum: &'a str,
}

#[derive(Serialize)]
struct UnreadableJson<'a> {
    name: &'a str,
    error: String,
}

impl<'a> From<&'a Manifest> for DatasetJson<'a> {
    fn from(manifest: &'a Manifest) -> DatasetJson<'a> {
        DatasetJson {
            name: &manifest.name,
            classes: &manifest.classes,
            height: manifest.height,
            width: manifest.width,
            images: manifest.files.iter().map(|(split, stored)| (split.as_str(), stored.count)).collect(),
            eval_sets: &manifest.eval_sets,
            checksum: &manifest.checksum,
        }
    }
}

/// Of `fetch` and `import`.
#[derive(Serialize)]
struct OutcomeJson<'a> {
    schema_version: u32,
    outcome: &'static str,
    /// The files that were damaged and are whole now.
    repaired: &'a [String],
    dataset: DatasetJson<'a>,
}

impl<'a> From<&'a Outcome> for OutcomeJson<'a> {
    fn from(outcome: &'a Outcome) -> OutcomeJson<'a> {
        let (word, repaired, manifest): (_, &[String], _) = match outcome {
            Outcome::Imported(manifest) => ("imported", &[], manifest),
            Outcome::AlreadyThere(manifest) => ("already_imported", &[], manifest),
            Outcome::Repaired(manifest, splits) => ("repaired", splits, manifest),
        };
        OutcomeJson { schema_version: JSON_SCHEMA_VERSION, outcome: word, repaired, dataset: manifest.into() }
    }
}

impl<'a> From<&'a Listing> for ListJson<'a> {
    fn from(listing: &'a Listing) -> ListJson<'a> {
        let unreadable =
            |(name, error): &'a (String, DatasetError)| UnreadableJson { name, error: error.to_string() };
        ListJson {
            schema_version: JSON_SCHEMA_VERSION,
            datasets: listing.manifests.iter().map(Into::into).collect(),
            unreadable: listing.unreadable.iter().map(unreadable).collect(),
        }
    }
}

#[derive(Serialize)]
struct VerifyJson<'a> {
    schema_version: u32,
    datasets: Vec<VerifiedJson<'a>>,
}

#[derive(Serialize)]
struct VerifiedJson<'a> {
    name: &'a str,
    is_whole: bool,
    damaged: Vec<DamagedJson>,
}

#[derive(Serialize)]
struct DamagedJson {
    path: String,
    damage: String,
}

impl<'a> From<&'a [Verified]> for VerifyJson<'a> {
    fn from(verified: &'a [Verified]) -> VerifyJson<'a> {
        let damaged = |file: &DamagedFile| DamagedJson {
            path: file.path.display().to_string(),
            damage: file.damage.to_string(),
        };
        let dataset = |verified: &'a Verified| VerifiedJson {
            name: &verified.name,
            is_whole: verified.damaged.is_empty(),
            damaged: verified.damaged.iter().map(damaged).collect(),
        };
        VerifyJson { schema_version: JSON_SCHEMA_VERSION, datasets: verified.iter().map(dataset).collect() }
    }
}
