//! Numbers that somebody has published, beside ours: `sweep results --reference FILE`. docs/ANALYSIS.md has the format.

use std::collections::{BTreeMap, BTreeSet};

use super::analysis::student_t;
use super::configurations::{Configuration, Spread};
use super::value::bare;
use super::view::{View, ViewError};
use crate::protocol::http::ResultsResponse;
use crate::recipe::schema;
use crate::recipe::variant::{Variant, averaged_as_run, departures_from};
use crate::spec::{SelectError, WrittenValue};
use crate::vocabulary::Parameters;

/// Columns of a reference file that are no parameters.
const OWN_COLUMNS: [&str; 5] = ["metric", "value", "source", "variant", "uncertainty"];

/// How sure the interval is in which one more seed would lie.
const LEVEL: f64 = 0.95;

/// Parameters that say which method it is. A number of another method is never shown beside ours.
const METHOD_COLUMNS: [&str; 4] = ["method", "teacher", "cls_only", "eval_weights"];

/// Most numbers that are named one by one above a table.
const MOST_NAMED: usize = 4;

/// All that a file has.
#[derive(Debug, Clone, PartialEq)]
pub struct References {
    file: String,
    entries: Vec<Entry>,
    /// The parameters that choose a number for a configuration: those that differ within the file or within our
    /// sweep, and those that say which method it is. What is one value in theirs and another one in ours is the recipe, of which a
    /// difference is said above the table.
    choosing: BTreeSet<String>,
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
    is_run: bool,
}

/// A published number beside one of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Of several runs of one configuration, their mean.
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
    /// With one seed nobody knows how far seeds spread, and of another recipe nobody expects the same number.
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
        let choosing = choosing(&head, &entries, results);
        Ok(References { file: file.to_owned(), entries, choosing })
    }

    /// What its numbers are of, in its order.
    #[must_use]
    pub fn metrics(&self) -> Vec<&str> {
        let mut metrics = Vec::new();
        for entry in &self.entries {
            if !metrics.contains(&entry.metric.as_str()) {
                metrics.push(entry.metric.as_str());
            }
        }
        metrics
    }

    /// What was published of a configuration. Of several lines that fit, those that say most about it; where these are several,
    /// they are runs of it.
    pub(super) fn find(&self, parameters: &Parameters, metric: &str, ours: Spread) -> Option<Published> {
        let runs = self.runs(parameters, metric);
        let first = *runs.first()?;
        #[expect(clippy::cast_precision_loss, reason = "nobody has published 2^53 runs")]
        let n = runs.len() as f64;
        let value = runs.iter().map(|run| run.value).sum::<f64>() / n;
        let uncertainty = runs.iter().map(|run| run.uncertainty).fold(0.0, f64::max);
        let difference = ours.mean - value;
        let is_same_recipe = first.recipe(&self.choosing).all(|wanted| first.holds(parameters, wanted));
        let verdict = match is_same_recipe {
            true => verdict(ours, n, difference, uncertainty),
            false => Verdict::Unknown,
        };
        let sources: Vec<&str> = runs.iter().map(|run| run.source.as_str()).collect();
        Some(Published { value, uncertainty, difference, verdict, source: sources.join("; ") })
    }

    /// The lines of which the mean stands beside ours.
    fn runs(&self, parameters: &Parameters, metric: &str) -> Vec<&Entry> {
        let fits = |entry: &&Entry| entry.metric == metric && entry.fits(parameters, &self.choosing);
        let fitting: Vec<&Entry> = self.entries.iter().filter(fits).collect();
        let most = fitting.iter().map(|entry| entry.parameters.len()).max();
        fitting.into_iter().filter(|entry| Some(entry.parameters.len()) == most).collect()
    }

    /// What has to be said above a table.
    pub(super) fn preface(&self, view: &View<'_>) -> Vec<String> {
        let fits = |entry: &&Entry| {
            let fits = |ours: &Configuration<'_>| entry.fits(ours.parameters, &self.choosing);
            view.configurations.iter().any(fits)
        };
        let (used, unused): (Vec<&Entry>, Vec<&Entry>) = self.entries.iter().partition(|entry| fits(entry));
        let all = self.entries.len();
        let apart = self.apart(view);
        if used.is_empty() {
            let why = if apart.is_empty() { String::new() } else { format!(": {}", apart.join(", ")) };
            return vec![format!(
                "none of the {all} numbers of {} is of a configuration shown here{why}",
                self.file
            )];
        }
        let variants: BTreeSet<&str> = used.iter().filter_map(|entry| entry.variant.as_deref()).collect();
        let variant = match variants.iter().copied().collect::<Vec<_>>()[..] {
            [] => String::new(),
            ref some => format!(" ({})", some.join("; ")),
        };
        let mut lines = vec![format!("beside our numbers: those of {}{variant}", self.file)];
        if !apart.is_empty() {
            lines.push(format!("another recipe than theirs, so that none is marked: {}", apart.join(", ")));
        }
        for text in variants {
            lines.extend(self.mismatch(text, &used, view));
        }
        lines.extend(self.repeated(view));
        if view.configurations.iter().all(|configuration| configuration.n() < 2) {
            lines.push(
                "none is marked as outside the spread of our seeds: with one seed nobody knows it".to_owned(),
            );
        }
        if !unused.is_empty() {
            lines.push(format!(
                "{} of its {all} numbers are of configurations that are not shown here",
                unused.len()
            ));
        }
        lines
    }

    /// The parameters in which no configuration shown is like any of theirs.
    fn apart(&self, view: &View<'_>) -> Vec<String> {
        let mut theirs: BTreeMap<&str, Vec<&WrittenValue>> = BTreeMap::new();
        for (name, wanted) in self.entries.iter().flat_map(|entry| &entry.parameters) {
            theirs.entry(name).or_default().push(wanted);
        }
        let is_met = |name: &str| {
            let agrees = |entry: &Entry, ours: &Configuration<'_>| {
                let wanted = entry.parameters.iter().find(|(found, _)| found == name);
                wanted.is_none_or(|wanted| entry.holds(ours.parameters, wanted))
            };
            self.entries.iter().any(|entry| view.configurations.iter().any(|ours| agrees(entry, ours)))
        };
        let differs = |(name, theirs): (&str, Vec<&WrittenValue>)| {
            let ours = view.configurations.iter().map(|ours| match ours.parameters.get(name) {
                Some(value) => bare(value),
                None => "not set".to_owned(),
            });
            let theirs = theirs.into_iter().map(WrittenValue::text);
            format!("{name} is {} in ours and {} in theirs", either(ours), either(theirs.map(str::to_owned)))
        };
        theirs.into_iter().filter(|(name, _)| !is_met(name)).map(differs).collect()
    }

    /// In what ours are not what the published ones are.
    fn mismatch(&self, text: &str, used: &[&Entry], view: &View<'_>) -> Option<String> {
        let variant: Variant = text.parse().ok()?;
        let mut found: BTreeMap<&str, (Vec<String>, String)> = BTreeMap::new();
        for configuration in &view.configurations {
            let is_beside = |entry: &&Entry| {
                entry.variant.as_deref() == Some(text) && entry.fits(configuration.parameters, &self.choosing)
            };
            if used.iter().any(is_beside) {
                for departure in departures_from(variant, configuration.parameters) {
                    let expected = bare(&departure.expected);
                    let of_name = found.entry(departure.name).or_insert_with(|| (Vec::new(), expected));
                    of_name.0.push(bare(&departure.value));
                }
            }
        }
        let differences: Vec<String> = found
            .into_iter()
            .map(|(name, (ours, theirs))| {
                format!("{name} is {} in ours and {theirs} in theirs", either(ours))
            })
            .collect();
        let differ = format!("not the same thing: theirs are {variant}; {}", differences.join(", "));
        (!differences.is_empty()).then_some(differ)
    }

    /// Where several numbers of one configuration were published.
    fn repeated(&self, view: &View<'_>) -> Option<String> {
        let mut sets: Vec<String> = Vec::new();
        for configuration in &view.configurations {
            for metric in self.metrics() {
                let runs = self.runs(configuration.parameters, metric);
                let values: Vec<String> = runs.iter().map(|run| run.value.to_string()).collect();
                let set = format!("{metric} {}", values.join(", "));
                if runs.len() > 1 && !sets.contains(&set) {
                    sets.push(set);
                }
            }
        }
        let more = sets.len().saturating_sub(MOST_NAMED);
        sets.truncate(MOST_NAMED);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        let said =
            format!("several runs of one configuration stand as their mean: {}{more}", sets.join("; "));
        (!sets.is_empty()).then_some(said)
    }
}

impl Entry {
    /// Whether it is of this configuration, as far as parameters choose.
    fn fits(&self, ours: &Parameters, choosing: &BTreeSet<String>) -> bool {
        let mut chosen = self.parameters.iter().filter(|(name, _)| choosing.contains(name));
        chosen.all(|wanted| self.holds(ours, wanted))
    }

    /// Whether a configuration has this value, or has what as run stands in its place where the number is of that.
    fn holds(&self, ours: &Parameters, (name, wanted): &(String, WrittenValue)) -> bool {
        if self.is_run
            && let Some(value) = averaged_as_run(ours, name)
        {
            return wanted.is(&value);
        }
        ours.get(name).is_some_and(|value| wanted.is(value))
    }

    fn recipe<'e>(
        &'e self,
        choosing: &'e BTreeSet<String>,
    ) -> impl Iterator<Item = &'e (String, WrittenValue)> {
        self.parameters.iter().filter(|(name, _)| !choosing.contains(name))
    }

    fn text_of(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, wanted)| wanted.text())
    }
}

/// Which columns choose among numbers.
fn choosing(head: &csv::StringRecord, entries: &[Entry], results: &ResultsResponse) -> BTreeSet<String> {
    let is_parameter = |name: &&str| !OWN_COLUMNS.contains(name);
    let chooses = |name: &&str| {
        let theirs: BTreeSet<Option<&str>> = entries.iter().map(|entry| entry.text_of(name)).collect();
        let ours: BTreeSet<_> =
            results.trials.iter().map(|trial| trial.parameters.get(*name).map(bare)).collect();
        METHOD_COLUMNS.contains(name) || theirs.len() > 1 || ours.len() > 1
    };
    head.iter().filter(is_parameter).filter(chooses).map(str::to_owned).collect()
}

/// `a or b`, each once.
fn either(texts: impl IntoIterator<Item = String>) -> String {
    const MOST: usize = 6;
    let mut distinct: Vec<String> = Vec::new();
    for text in texts {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    if distinct.len() > MOST {
        distinct.truncate(MOST);
        distinct.push("…".to_owned());
    }
    distinct.join(" or ")
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
    let variant = cell("variant");
    Ok(Entry {
        parameters,
        metric: cell("metric").ok_or("it names no `metric`")?.to_owned(),
        value: number("value")?.ok_or("it has no `value`")?,
        uncertainty,
        source: cell("source").unwrap_or_default().to_owned(),
        variant: variant.map(str::to_owned),
        is_run: variant.is_some_and(|text| text.parse() == Ok(Variant::Run)),
    })
}

/// A published number is the mean of m runs, mostly of one. It could be one of ours where it lies in the interval in which the mean of m
/// more seeds would, mean ± t·s·√(1/m + 1/n), widened by what it may be off itself.
fn verdict(ours: Spread, m: f64, difference: f64, uncertainty: f64) -> Verdict {
    let Spread { n, std: Some(std), .. } = ours else { return Verdict::Unknown };
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 seeds")]
    let n = n as f64;
    let reach = student_t(LEVEL, n - 1.0) * std * (1.0 / m + 1.0 / n).sqrt() + uncertainty;
    if difference.abs() <= reach { Verdict::Inside } else { Verdict::Outside }
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
        assert_eq!(verdict(ours, 1.0, 0.496, 0.0), Verdict::Inside);
        assert_eq!(verdict(ours, 1.0, -0.498, 0.0), Verdict::Outside);
        assert_eq!(verdict(ours, 1.0, -0.498, 0.3), Verdict::Inside, "it was read off a plot");
        assert_eq!(verdict(Spread { n: 1, mean: 90.0, std: None }, 1.0, 9.0, 0.0), Verdict::Unknown);
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
                ONE_SEED,
                "1 of its 2 numbers are of configurations that are not shown here",
            ]
        );
        let same = References::read("kd.csv", &text.replace("as run", "as described"), &results).unwrap();
        assert_eq!(same.preface(&View::usual(&results)).len(), 3);
    }

    const ONE_SEED: &str = "none is marked as outside the spread of our seeds: with one seed nobody knows it";

    /// A trial for each of these parameters, and two seeds of it.
    fn kd(all: &[serde_json::Value]) -> ResultsResponse {
        let mut trials = Vec::new();
        for (number, more) in (1..).zip(all) {
            for seed in 0..2_u32 {
                let mut ours = trial(number, seed.into(), &[], &[("top1", 17.0 + f64::from(seed) / 10.0)]);
                ours.parameters =
                    parameters(json!({"method": "kd", "teacher": "frozen", "eval_weights": "student",
                    "width": 40, "optimizer_at_start": "reset", "teacher_bn": "batch"}));
                ours.parameters.extend(parameters(more.clone()));
                trials.push(ours);
            }
        }
        results(trials)
    }

    /// What stands beside each configuration, and above the table.
    fn beside(text: &str, results: &ResultsResponse) -> (Vec<Option<(f64, Verdict)>>, Vec<String>) {
        let references = References::read("kd.csv", text, results).unwrap();
        let view = View::usual(results);
        let find = |ours: &Configuration<'_>| {
            let found = references.find(ours.parameters, "top1", ours.metrics["top1"])?;
            Some((found.value, found.verdict))
        };
        (view.configurations.iter().map(find).collect(), references.preface(&view))
    }

    #[test]
    fn another_recipe_than_theirs_is_said_and_nothing_is_marked() {
        let text = "method,dataset,width,loss_weight,metric,value,source\nkd,cifar10,40,7,top1,92,t\nkd,cifar10,40,5,top1,91,t\n";
        let ours = |dataset: &str| kd(&[json!({"dataset": dataset, "width": 4, "loss_weight": 7})]);
        let (numbers, said) = beside(text, &ours("tiny"));
        assert_eq!(numbers, [Some((92.0, Verdict::Unknown))]);
        assert_eq!(
            said[1],
            "another recipe than theirs, so that none is marked: dataset is tiny in ours and cifar10 in theirs, width is 4 in \
             ours and 40 in theirs"
        );
        let same = kd(&[json!({"dataset": "cifar10", "loss_weight": 7})]);
        assert_eq!(beside(text, &same).0, [Some((92.0, Verdict::Outside))]);
        // What is swept in ours chooses: beside width 4 stands nothing of width 40.
        let both = kd(&[
            json!({"dataset": "cifar10", "loss_weight": 7}),
            json!({"dataset": "cifar10", "loss_weight": 7, "width": 4}),
        ]);
        assert_eq!(beside(text, &both).0, [Some((92.0, Verdict::Outside)), None]);
        let (numbers, said) = beside(text, &kd(&[json!({"dataset": "cifar10", "loss_weight": 3})]));
        assert_eq!(numbers, [None]);
        assert_eq!(
            said,
            [
                "none of the 2 numbers of kd.csv is of a configuration shown here: loss_weight is 3 in ours and 7 or 5 in theirs"
            ]
        );
    }

    #[test]
    fn a_number_of_another_method_is_not_shown_but_what_as_run_stands_for_ours_is() {
        let text = "teacher,eval_weights,metric,value,source,variant\nfrozen,student,top1,83.9,base,as run\n\
                    frozen,average,top1,80.15,ema,as run\n";
        let values = |more: serde_json::Value| beside(text, &kd(&[more])).0[0].map(|(value, _)| value);
        assert_eq!(values(json!({})), Some(83.9));
        assert_eq!(values(json!({"teacher": "ema"})), Some(80.15), "the study never updates its average");
        assert_eq!(values(json!({"eval_weights": "average"})), Some(80.15));
        assert_eq!(values(json!({"teacher": "ema", "eval_weights": "average"})), None);
        assert_eq!(values(json!({"teacher": "checkpoint"})), None);
        let (_, said) = beside(text, &kd(&[json!({"teacher": "ema"})]));
        assert_eq!(
            said[1],
            "not the same thing: theirs are as run; eval_weights is student in ours and average in theirs, teacher is ema in \
             ours and frozen in theirs"
        );
    }

    #[test]
    fn several_runs_of_one_configuration_stand_as_their_mean() {
        let text = "method,metric,value,source\nkd,top1,17,a\nkd,top1,17.4,b\nce,top1,3,c\n";
        let (numbers, said) = beside(text, &kd(&[json!({})]));
        assert_eq!(numbers, [Some((17.2, Verdict::Inside))]);
        assert_eq!(said[1], "several runs of one configuration stand as their mean: top1 17, 17.4");
        assert_eq!(said[2], "1 of its 3 numbers are of configurations that are not shown here");
        // t(0.975, 1) = 12.706; the mean of two more of two seeds lies within 12.706 · 0.1 · √(1/2 + 1/2) = 1.2706.
        let ours = Spread { n: 2, mean: 90.0, std: Some(0.1) };
        assert_eq!(
            (verdict(ours, 2.0, 1.27, 0.0), verdict(ours, 2.0, 1.28, 0.0)),
            (Verdict::Inside, Verdict::Outside)
        );
    }
}
