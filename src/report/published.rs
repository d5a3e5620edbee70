//! Numbers that somebody has published, beside ours: `sweep results --reference FILE`. docs/ANALYSIS.md has the format.

use std::collections::{BTreeMap, BTreeSet};

use super::analysis::student_t;
use super::configurations::Spread;
use super::value::bare;
use super::view::{View, ViewError};
use crate::protocol::http::ResultsResponse;
use crate::recipe::schema;
use crate::recipe::variant::{Variant, departures_from};
use crate::spec::{SelectError, WrittenValue};
use crate::vocabulary::Parameters;

/// Columns of a reference file that are no parameters.
const OWN_COLUMNS: [&str; 5] = ["metric", "value", "source", "variant", "uncertainty"];

/// How sure the interval is in which one more seed would lie.
const LEVEL: f64 = 0.95;

/// All that a file has.
#[derive(Debug, Clone, PartialEq)]
pub struct References {
    file: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// A configuration has to have all of them.
    parameters: Vec<(String, WrittenValue)>,
    metric: String,
    value: f64,
    uncertainty: f64,
    source: String,
    variant: Option<String>,
}

/// A published number beside one of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    pub value: f64,
    /// How far it may be off by itself, as when it was read off a plot.
    pub uncertainty: f64,
    /// Ours minus this.
    pub difference: f64,
    pub verdict: Verdict,
    pub source: String,
}

/// Whether a run of ours could have given the published number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It lies where one more of our seeds would.
    Inside,
    Outside,
    /// With one seed nobody knows how far seeds spread.
    Unknown,
}

/// What is wrong with a reference file.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error("`{file}` is no CSV file")]
    Csv { file: String, source: csv::Error },
    #[error("`{file}` has no column `{column}`; its columns are parameters and `metric`, `value`, `source`")]
    NoColumn { file: String, column: &'static str },
    #[error("`{file}`, line {line}: {what}")]
    Line { file: String, line: usize, what: String },
    #[error("`{file}`: {source}")]
    Column { file: String, source: ViewError },
    #[error("`{file}` has no numbers")]
    Empty { file: String },
}

impl Published {
    #[must_use]
    pub fn is_outside(&self) -> bool {
        self.verdict == Verdict::Outside
    }
}

impl References {
    /// Reads a file: a line of column names, then a line a number. Lines that begin with `#` are comments.
    ///
    /// # Errors
    /// When a column is missing or names no parameter, or a number is none.
    pub fn read(file: &str, text: &str, results: &ResultsResponse) -> Result<References, ReferenceError> {
        let mut reader =
            csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
        let broken = |source| ReferenceError::Csv { file: file.to_owned(), source };
        let head = reader.headers().map_err(broken)?.clone();
        check_columns(file, &head, results)?;
        let mut entries = Vec::new();
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let line = line_of(text, record.position());
            let entry = read_entry(&head, &record);
            entries.push(entry.map_err(|what| ReferenceError::Line { file: file.to_owned(), line, what })?);
        }
        if entries.is_empty() {
            return Err(ReferenceError::Empty { file: file.to_owned() });
        }
        Ok(References { file: file.to_owned(), entries })
    }

    /// What was published of a configuration. Of several that fit, the one that says most about it.
    pub(super) fn find(&self, parameters: &Parameters, metric: &str, ours: Spread) -> Option<Published> {
        let fitting = self.entries.iter().filter(|entry| entry.metric == metric && entry.fits(parameters));
        // The first of equals.
        let entry = fitting.rev().max_by_key(|entry| entry.parameters.len())?;
        let difference = ours.mean - entry.value;
        Some(Published {
            value: entry.value,
            uncertainty: entry.uncertainty,
            difference,
            verdict: verdict(ours, difference, entry.uncertainty),
            source: entry.source.clone(),
        })
    }

    /// What has to be said above a table.
    pub(super) fn preface(&self, view: &View<'_>) -> Vec<String> {
        let fits = |entry: &&Entry| {
            view.configurations.iter().any(|configuration| entry.fits(configuration.parameters))
        };
        let (used, unused): (Vec<&Entry>, Vec<&Entry>) = self.entries.iter().partition(|entry| fits(entry));
        let variants: BTreeSet<&str> = used.iter().filter_map(|entry| entry.variant.as_deref()).collect();
        let variant = match variants.iter().copied().collect::<Vec<_>>()[..] {
            [] => String::new(),
            ref some => format!(" ({})", some.join("; ")),
        };
        let mut lines = vec![format!("beside our numbers: those of {}{variant}", self.file)];
        for text in variants {
            lines.extend(mismatch(text, &used, view));
        }
        if !unused.is_empty() {
            let all = self.entries.len();
            lines.push(format!(
                "{} of its {all} numbers are of configurations that are not shown here",
                unused.len()
            ));
        }
        lines
    }
}

impl Entry {
    fn fits(&self, parameters: &Parameters) -> bool {
        let is_so = |(name, wanted): &(String, WrittenValue)| {
            parameters.get(name).is_some_and(|value| wanted.is(value))
        };
        self.parameters.iter().all(is_so)
    }
}

/// The line on which a record stands: its position is where the one before ends, and comments and empty lines may follow.
fn line_of(text: &str, position: Option<&csv::Position>) -> usize {
    let begins = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(0);
    let (before, rest) = text.split_at_checked(begins).unwrap_or((text, ""));
    let is_skipped = |line: &&str| line.trim().is_empty() || line.starts_with('#');
    1 + before.matches('\n').count() + rest.lines().take_while(is_skipped).count()
}

fn check_columns(
    file: &str,
    head: &csv::StringRecord,
    results: &ResultsResponse,
) -> Result<(), ReferenceError> {
    for column in &OWN_COLUMNS[..3] {
        if !head.iter().any(|found| found == *column) {
            return Err(ReferenceError::NoColumn { file: file.to_owned(), column });
        }
    }
    let mut known: BTreeSet<&str> = results.swept.iter().map(String::as_str).collect();
    known.extend(results.trials.iter().flat_map(|trial| trial.parameters.keys().map(String::as_str)));
    let is_known =
        |name: &&str| OWN_COLUMNS.contains(name) || known.contains(name) || schema::find(name).is_some();
    match head.iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let source = ViewError::unknown("parameter", name, &known);
            Err(ReferenceError::Column { file: file.to_owned(), source })
        }
    }
}

fn read_entry(head: &csv::StringRecord, record: &csv::StringRecord) -> Result<Entry, String> {
    let cell = |name: &str| {
        let place = head.iter().position(|column| column == name)?;
        record.get(place).filter(|text| !text.is_empty())
    };
    let number = |name: &str| {
        let number = |text: &str| {
            let value = text.parse().ok().filter(|value: &f64| value.is_finite());
            value.ok_or_else(|| format!("`{name}` is `{text}`, which is no number"))
        };
        cell(name).map(number).transpose()
    };
    let mut parameters = Vec::new();
    for (name, text) in head.iter().zip(record) {
        if !OWN_COLUMNS.contains(&name) && !text.is_empty() {
            let value = WrittenValue::read(name, text).map_err(|error: SelectError| error.to_string())?;
            parameters.push((name.to_owned(), value));
        }
    }
    let uncertainty = number("uncertainty")?.unwrap_or(0.0);
    if uncertainty < 0.0 {
        return Err("`uncertainty` is negative".to_owned());
    }
    Ok(Entry {
        parameters,
        metric: cell("metric").ok_or("it names no `metric`")?.to_owned(),
        value: number("value")?.ok_or("it has no `value`")?,
        uncertainty,
        source: cell("source").unwrap_or_default().to_owned(),
        variant: cell("variant").map(str::to_owned),
    })
}

/// A published number is one run's. It could be one of ours where it lies in the interval in which one more seed would,
/// mean ± t·s·√(1 + 1/n), widened by what it may be off itself.
fn verdict(ours: Spread, difference: f64, uncertainty: f64) -> Verdict {
    let Spread { n, std: Some(std), .. } = ours else { return Verdict::Unknown };
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 seeds")]
    let n = n as f64;
    let reach = student_t(LEVEL, n - 1.0) * std * (1.0 + 1.0 / n).sqrt() + uncertainty;
    if difference.abs() <= reach { Verdict::Inside } else { Verdict::Outside }
}

/// In what ours are not what the published ones are.
fn mismatch(text: &str, used: &[&Entry], view: &View<'_>) -> Option<String> {
    let variant: Variant = text.parse().ok()?;
    let mut found: BTreeMap<&str, (BTreeSet<String>, String)> = BTreeMap::new();
    for configuration in &view.configurations {
        let is_beside =
            |entry: &&&Entry| entry.variant.as_deref() == Some(text) && entry.fits(configuration.parameters);
        if used.iter().any(|entry| is_beside(&entry)) {
            for departure in departures_from(variant, configuration.parameters) {
                let expected = bare(&departure.expected);
                let of_name = found.entry(departure.name).or_insert_with(|| (BTreeSet::new(), expected));
                of_name.0.insert(bare(&departure.value));
            }
        }
    }
    let differences: Vec<String> = found
        .into_iter()
        .map(|(name, (ours, theirs))| {
            let ours = ours.into_iter().collect::<Vec<_>>().join(" or ");
            format!("{name} is {ours} in ours and {theirs} in theirs")
        })
        .collect();
    let differ = format!("not the same thing: theirs are {variant}; {}", differences.join(", "));
    (!differences.is_empty()).then_some(differ)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::fixtures::{grid, results, trial};

    fn read(text: &str) -> Result<References, String> {
        let results = grid(&[1.0, 2.0], &[0.5], 2, &[("top1", &|a, _, _| a)]);
        References::read("their.csv", text, &results).map_err(|error| error.to_string())
    }

    fn parameters(value: serde_json::Value) -> Parameters {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_number_is_found_by_the_parameters_that_its_line_names() {
        let references = read(
            "# a comment\na, b, metric, value, source, uncertainty\n1,0.5,top1,90.5,table 1,\n2,,top1,91,plot,0.3\n\
             2,0.5,top1,92,table 2,\n2,,rankme,60,plot,\n",
        )
        .unwrap();
        let ours = Spread { n: 1, mean: 91.0, std: None };
        let find = |a: f64, b: f64, metric: &str| {
            let parameters = parameters(json!({"a": a, "b": b, "width": 8}));
            references.find(&parameters, metric, ours).map(|published| published.value)
        };
        assert_eq!((find(1.0, 0.5, "top1"), find(1.0, 0.4, "top1")), (Some(90.5), None));
        // What says more about a configuration goes before what says less.
        assert_eq!((find(2.0, 0.5, "top1"), find(2.0, 0.4, "top1")), (Some(92.0), Some(91.0)));
        assert_eq!((find(2.0, 0.4, "rankme"), find(2.0, 0.4, "top5")), (Some(60.0), None));
    }

    #[test]
    fn a_number_that_no_seed_of_ours_would_reach_is_outside() {
        // t(0.975, 2) = 4.303; one more of three seeds lies within 4.303 · 0.1 · √(4/3) = 0.4968.
        let ours = Spread { n: 3, mean: 90.0, std: Some(0.1) };
        assert_eq!(verdict(ours, 0.496, 0.0), Verdict::Inside);
        assert_eq!(verdict(ours, -0.498, 0.0), Verdict::Outside);
        assert_eq!(verdict(ours, -0.498, 0.3), Verdict::Inside, "it was read off a plot");
        assert_eq!(verdict(Spread { n: 1, mean: 90.0, std: None }, 9.0, 0.0), Verdict::Unknown);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        for (text, said) in [
            ("a,metric,value\n", "has no column `source`"),
            ("aa,metric,value,source\n", "the sweep has no parameter `aa`; there are `a`, `b`"),
            ("a,metric,value,source\n", "`their.csv` has no numbers"),
            ("a,metric,value,source\n\n1,top1,high,x\n", "line 3: `value` is `high`, which is no number"),
            ("a,metric,value,source\n1,top1,,x\n", "line 2: it has no `value`"),
            ("a,metric,value,source\n1,,3,x\n", "line 2: it names no `metric`"),
            ("a,metric,value,source,uncertainty\n1,top1,3,x,-1\n", "line 2: `uncertainty` is negative"),
            ("a,metric,value,source\n1,top1\n", "`their.csv` is no CSV file"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        // A parameter of the built-in trainer that this sweep does not have is right in a file for several.
        assert!(read("a,method,metric,value,source\n1,kd,top1,3,x\n").is_ok());
    }

    #[test]
    fn another_variant_than_ours_is_said() {
        let mut ours = trial(1, 0, &[("lr", 0.1)], &[("top1", 90.0)]);
        ours.parameters.extend(parameters(json!({"method": "kd", "teacher": "frozen", "optimizer_at_start": "keep",
                                                 "teacher_bn": "running", "ce_weight": 1.0, "eval_weights": "student"})));
        let results = results(vec![ours]);
        let text = "lr,metric,value,source,variant\n0.1,top1,91,t,as run\n0.3,top1,91,t,as run\n";
        let references = References::read("kd.csv", text, &results).unwrap();
        assert_eq!(
            references.preface(&View::usual(&results)),
            [
                "beside our numbers: those of kd.csv (as run)",
                "not the same thing: theirs are as run; optimizer_at_start is keep in ours and reset in theirs, \
                 teacher_bn is running in ours and batch in theirs",
                "1 of its 2 numbers are of configurations that are not shown here",
            ]
        );
        let same = References::read("kd.csv", &text.replace("as run", "as described"), &results).unwrap();
        assert_eq!(same.preface(&View::usual(&results)).len(), 2);
    }
}
