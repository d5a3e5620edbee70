use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::access::Access;
use super::{CliError, Context};
use crate::protocol::http::{ResultsQuery, ResultsResponse};
use crate::report::check::{
    CheckError, Checked, Claim, Shown, Source, Tally, claims_in_csv, claims_in_json, claims_in_parquet,
    claims_in_text, inputs,
};
use crate::report::json::CheckDocument;
use crate::report::{by_configuration, count, counted, facts};
use crate::spec::{SelectError, TrialSelector};

/// Check that what stands in an exported table is still what the job table says: numbers, labels, seeds, marks of the best.
///
/// Reads tables that `sweep results` wrote as LaTeX, Markdown, CSV, JSON or Parquet, and LaTeX files that include them (`\input`,
/// `\include`). Rows may have been moved, restyled and rounded since. Exits 1 where something does not agree.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mut claims = Vec::new();
    for file in &args.files {
        let found = claims_of(file, context)?;
        if found.is_empty() {
            return Err(no_table(file));
        }
        claims.extend(found);
    }
    let access = Access::open(context).await?;
    let checked = check(claims, &access).await;
    access.close().await;
    show(&checked?, args.json, context)
}

fn no_table(file: &Path) -> CliError {
    CliError::Usage(CheckError::NoTable { file: file.display().to_string() }.into())
}

/// Those of a file and of all that it includes.
fn claims_of(file: &Path, context: &Context) -> Result<Vec<Claim>, CliError> {
    let name = file.display().to_string();
    let claims = match file.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => claims_in_csv(&name, &read(file)?),
        Some("json") => claims_in_json(&name, &read(file)?),
        Some("parquet") => {
            let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
            claims_in_parquet(&name, bytes)
        }
        _ => return claims_in_texts(file, context),
    };
    claims.map_err(|error| CliError::Usage(error.into()))
}

fn claims_in_texts(file: &Path, context: &Context) -> Result<Vec<Claim>, CliError> {
    // TeX looks for what is included from where the main file lies.
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    let (mut claims, mut seen, mut left) = (Vec::new(), BTreeSet::new(), vec![file.to_owned()]);
    while let Some(file) = left.pop() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let text = read(&file)?;
        let found = claims_in_text(&file.display().to_string(), &text);
        claims.extend(found.map_err(|error| CliError::Usage(error.into()))?);
        for name in inputs(&text) {
            match included(&folder, &name) {
                Some(included) => left.push(included),
                None => context.output.note(&format!(
                    "note: `{name}`, which `{}` includes, is not there; if it has tables, they are not checked",
                    file.display()
                )),
            }
        }
    }
    Ok(claims)
}

/// A file that is included, if it is there: packages and what TeX makes itself are included too.
fn included(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = folder.join(name);
    let with_ending = folder.join(format!("{name}.tex"));
    [with_ending, plain].into_iter().find(|file| file.is_file())
}

fn read(file: &Path) -> Result<String, CliError> {
    let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    // Text in another encoding has its numbers and notes in ASCII all the same.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(file: &Path, error: &std::io::Error) -> CliError {
    CliError::usage(format!("`{}` can't be read: {error}", file.display()))
}

/// Holds each claim against its sweep, whose results are asked for once an epoch.
async fn check(claims: Vec<Claim>, access: &Access) -> Result<Vec<Checked>, CliError> {
    let known: BTreeSet<_> = access.status().await?.sweeps.iter().map(|sweep| sweep.id).collect();
    let mut results: BTreeMap<String, Result<ResultsResponse, SelectError>> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| known.contains(&claim.source.sweep)) {
        let key = key(&claim.source);
        if let Entry::Vacant(place) = results.entry(key) {
            let all = access.results_at(claim.source.sweep, &query(claim)?).await?;
            place.insert(selected(all, claim));
        }
    }
    let configurations: BTreeMap<&String, _> =
        results.iter().map(|(key, results)| (key, results.as_ref().map(by_configuration))).collect();
    let check = |claim: Claim| {
        let difference = match configurations.get(&key(&claim.source)) {
            Some(Ok(configurations)) => return claim.check(configurations),
            Some(Err(error)) => error.to_string(),
            None => format!("there is no sweep {} in this job table", claim.source.sweep),
        };
        Checked { claim, difference: Some(difference) }
    };
    // An empty cell that is still empty is no number that agrees.
    let counts = |checked: &Checked| checked.difference.is_some() || checked.claim.shown != Shown::Nothing;
    Ok(claims.into_iter().map(check).filter(counts).collect())
}

/// Of a sweep's trials those that a table was made of.
fn selected(mut results: ResultsResponse, claim: &Claim) -> Result<ResultsResponse, SelectError> {
    if let Some(conditions) = &claim.source.selected {
        let selected = conditions.parse::<TrialSelector>()?.select(&facts(&results))?;
        results.trials.retain(|trial| selected.contains(&trial.trial));
    }
    Ok(results)
}

fn key(source: &Source) -> String {
    format!("{source:?}")
}

fn query(claim: &Claim) -> Result<ResultsQuery, CliError> {
    let Source { epoch, best_by, .. } = &claim.source;
    let epoch = epoch.parse().map_err(|error| CliError::usage(format!("{}: {error}", claim.place)))?;
    let metric = best_by.as_ref().map(|metric| metric.name.clone());
    Ok(ResultsQuery { epoch, metric, goal: best_by.as_ref().map(|metric| metric.goal) })
}

fn show(checked: &[Checked], json: bool, context: &Context) -> Result<(), CliError> {
    let differing: Vec<&Checked> = checked.iter().filter(|checked| checked.difference.is_some()).collect();
    if json {
        context.output.json(&CheckDocument::new(checked))?;
    } else {
        for Checked { claim, difference } in &differing {
            let what = difference.as_deref().unwrap_or_default();
            let Claim { place, column, source, .. } = claim;
            let of = match claim.trials.as_str() {
                "" => format!("configuration {}", claim.configuration),
                trials => format!("trials {trials}"),
            };
            context.output.data(&format!("{place}: {column} of sweep {}, {of}: {what}\n", source.sweep))?;
        }
    }
    let [numbers, labels] = Tally::of(checked);
    let all = |tally: Tally, one, many| counted(count(tally.all), one, many);
    let (all_numbers, all_labels) =
        (all(numbers, "number", "numbers"), all(labels, "label or mark", "labels and marks"));
    if differing.is_empty() {
        context.output.note(&format!("{all_numbers}, {all_labels}: all agree"));
        return Ok(());
    }
    context.output.note(&format!(
        "{} of {all_numbers} and {} of {all_labels} don't agree",
        count(numbers.differing),
        count(labels.differing)
    ));
    Err(CliError::Unsuccessful)
}
