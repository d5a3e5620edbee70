use std::path::{Path, PathBuf};

use super::access::Access;
use super::looking::{Found, LookingArgs, warn};
use super::written::write_file;
use super::{CliError, Context};
use crate::protocol::http::ResultsResponse;
use crate::report::json::ResultsDocument;
use crate::report::{
    Pivot, PivotError, PivotSpec, References, Sheet, Sort, TableOrigin, View, ViewOptions, latex, markdown,
    notes, pivot_records, pivot_sheets, plain, results_records, results_sheet, write_parquet,
};

/// Show a sweep's results: one row per configuration, mean ± standard deviation over its seeds, best first.
///
/// Only swept parameters are shown. Seeds without a result are said; parameters that change nothing are warned about. Every
/// exported table says where its numbers come from, and `sweep check` holds them against the job table again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    looking: LookingArgs,
    /// These columns: parameters, metrics, `seeds`, `n`, `trials`, `configuration`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    columns: Vec<String>,
    /// In this order: a parameter or a metric, `lr` or `lr:desc`.
    #[arg(long, value_name = "NAME")]
    sort: Option<Sort>,
    /// Only the first N configurations.
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// One table a metric, with one parameter in the rows and another in the columns; `a+b,c` puts two in the rows.
    #[arg(long, value_name = "ROW,COLUMN", conflicts_with = "columns")]
    pivot: Option<PivotSpec>,
    /// Published numbers beside ours, from a CSV file (docs/ANALYSIS.md); its metrics are shown, too.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// How it is written; with `-o` the file's ending says it.
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// Write it to this file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON document with every trial: `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a terminal.
    Table,
    Markdown,
    Latex,
    /// One line a configuration, or with `--pivot` a cell; full precision.
    Csv,
    /// Every trial and every configuration.
    Json,
    /// The same columns as CSV, with types.
    Parquet,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let format = args.format()?;
    let access = Access::open(context).await?;
    let found = args.looking.find(&access).await;
    access.close().await;
    let found = found?;
    let Found { results, origin, .. } = &found;
    let references = args.reference.as_deref().map(|file| read_references(file, results)).transpose()?;
    let published = references.iter().flat_map(References::metrics);
    let options = ViewOptions {
        columns: args.columns.clone(),
        sort: args.sort.clone(),
        top: args.top,
        also: published.map(str::to_owned).collect(),
        ..args.looking.options(&found)
    };
    let view = View::new(results, &options)?;
    let pivot = args.pivot.as_ref().map(|spec| Pivot::new(&view, spec)).transpose()?;
    let exported = Export {
        view: &view,
        origin,
        references: references.as_ref(),
        pivot: pivot.as_ref(),
        width: context.output.width().filter(|_| args.output.is_none()),
    };
    let bytes = exported.render(format)?;
    match &args.output {
        Some(file) => write_file(file, &bytes, context)?,
        None if format == Format::Parquet => context.output.bytes(&bytes)?,
        None => context.output.data(&String::from_utf8_lossy(&bytes))?,
    }
    if format != Format::Table && format != Format::Json {
        // What is no part of a file is said all the same.
        notes(&view).lines().for_each(|line| context.output.note(line));
    }
    warn(&view, context);
    Ok(())
}

impl Args {
    fn format(&self) -> Result<Format, CliError> {
        if self.json {
            return Ok(Format::Json);
        }
        if let Some(format) = self.format {
            return Ok(format);
        }
        let Some(file) = &self.output else { return Ok(Format::Table) };
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("md" | "markdown") => Ok(Format::Markdown),
            Some("tex") => Ok(Format::Latex),
            Some("csv") => Ok(Format::Csv),
            Some("json") => Ok(Format::Json),
            Some("parquet") => Ok(Format::Parquet),
            Some("txt") => Ok(Format::Table),
            _ => Err(CliError::usage(format!(
                "the ending of `{}` says no format; name one with `--format`",
                file.display()
            ))),
        }
    }
}

/// What is shown or written.
struct Export<'a> {
    view: &'a View<'a>,
    origin: &'a TableOrigin,
    references: Option<&'a References>,
    pivot: Option<&'a Pivot>,
    /// Of the terminal that shows it, in characters.
    width: Option<usize>,
}

impl Export<'_> {
    fn render(&self, format: Format) -> Result<Vec<u8>, CliError> {
        let mut sheets = self.sheets();
        if let (Format::Markdown | Format::Latex, Some(first)) = (format, sheets.first_mut()) {
            // Who reads the file sees no warning on a terminal.
            first.preface.extend(self.view.bias());
        }
        let text = match format {
            Format::Table => {
                let tables: Vec<String> = sheets.iter().map(|sheet| plain(sheet, self.width)).collect();
                tables.join("\n") + &notes(self.view)
            }
            Format::Markdown => markdown(&sheets, self.origin),
            Format::Latex => latex(&sheets, self.origin),
            Format::Csv => self.records(&sheets).csv().map_err(CliError::failed)?,
            Format::Parquet => return write_parquet(&self.records(&sheets)).map_err(CliError::failed),
            Format::Json => {
                let mut document = ResultsDocument::new(self.view, self.origin, self.references);
                if let Some(pivot) = self.pivot {
                    document = document.with_pivot(self.view, pivot, &sheets);
                }
                serde_json::to_string_pretty(&document).map_err(CliError::failed)? + "\n"
            }
        };
        Ok(text.into_bytes())
    }

    fn sheets(&self) -> Vec<Sheet> {
        match self.pivot {
            Some(pivot) => pivot_sheets(self.view, pivot, self.references),
            None => vec![results_sheet(self.view, self.references)],
        }
    }

    fn records(&self, sheets: &[Sheet]) -> crate::report::Records {
        match self.pivot {
            Some(pivot) => pivot_records(self.view, pivot, sheets, self.origin),
            None => results_records(self.view, self.references, self.origin),
        }
    }
}

fn read_references(file: &Path, results: &ResultsResponse) -> Result<References, CliError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::usage(format!("`{}` can't be read: {error}", file.display())))?;
    References::read(&file.display().to_string(), &text, results)
        .map_err(|error| CliError::Usage(error.into()))
}

impl From<PivotError> for CliError {
    fn from(error: PivotError) -> CliError {
        CliError::Usage(error.into())
    }
}
