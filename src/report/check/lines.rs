//! Tables for machines: by their columns, a line a configuration or a line a cell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::label::Label;
use super::super::records::{
    BEST, BEST_BY, CONFIGURATION, DIFFERENCE, EPOCH, GOAL, MEAN, METRIC, N, OUTSIDE, PUBLISHED, SEEDS, STD,
    STD_SUFFIX, SWEEP, TABLE, TRIALS, WHERE,
};
use super::super::value::bare;
use super::{CheckError, Claim, Shown, Source};
use crate::vocabulary::{Goal, Metric, SweepId};

/// A line by column, as text.
type Line = BTreeMap<String, String>;

/// # Errors
/// When it is no table that was exported.
pub fn claims_in_csv(file: &str, text: &str) -> Result<Vec<Claim>, CheckError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let unreadable =
        |error: csv::Error| CheckError::Unreadable { place: file.to_owned(), what: error.to_string() };
    let head = reader.headers().map_err(unreadable)?.clone();
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let place = format!("{file}:{}", record.position().map_or(0, csv::Position::line));
        let line = head.iter().zip(&record).map(|(name, text)| (name.to_owned(), text.to_owned()));
        lines.push((place, line.collect()));
    }
    claims_in_lines(file, &lines)
}

/// # Errors
/// When it is no table that was exported.
pub fn claims_in_parquet(file: &str, bytes: Vec<u8>) -> Result<Vec<Claim>, CheckError> {
    let lines = super::super::parquet::read(bytes)
        .map_err(|error| CheckError::Unreadable { place: file.to_owned(), what: error.to_string() })?;
    let lines = lines.into_iter().enumerate();
    let lines: Vec<_> = lines.map(|(at, line)| (format!("{file}, row {}", at + 1), line)).collect();
    claims_in_lines(file, &lines)
}

/// All claims of a table, with the marks of each of its lines.
fn claims_in_lines(file: &str, lines: &[(String, Line)]) -> Result<Vec<Claim>, CheckError> {
    let mut claims = Vec::new();
    let mut marked = Vec::new();
    // Of each table, the configurations that the best is one of.
    let mut among: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (place, line) in lines {
        let reader = LineReader::new(file, place, line)?;
        claims.extend(reader.labels());
        claims.extend(reader.numbers()?);
        if let Some(table) = reader.table() {
            among.entry(table.clone()).or_default().push(reader.configuration.clone());
            marked.extend(reader.goal_of_mark().map(|goal| (table, goal, reader)));
        }
    }
    for (table, goal, reader) in marked {
        let among = among.get(&table).cloned().unwrap_or_default();
        let shown = Shown::Best { text: reader.text(MEAN).to_owned(), goal, among };
        claims.push(reader.claim(reader.text(METRIC), shown));
    }
    Ok(claims)
}

/// One line of a table.
struct LineReader<'l> {
    place: &'l str,
    line: &'l Line,
    source: Source,
    configuration: String,
    trials: String,
}

impl<'l> LineReader<'l> {
    fn new(file: &str, place: &'l str, line: &'l Line) -> Result<LineReader<'l>, CheckError> {
        let text = |name: &str| line.get(name).ok_or_else(|| CheckError::NoTable { file: file.to_owned() });
        let best_by = line.get(BEST_BY).filter(|text| !text.is_empty()).map(|text| metric(text, place));
        let sweep = text(SWEEP)?.parse::<SweepId>();
        let source = Source {
            sweep: sweep.map_err(|error| CheckError::Unreadable {
                place: place.to_owned(),
                what: error.to_string(),
            })?,
            epoch: text(EPOCH)?.clone(),
            best_by: best_by.transpose()?,
            selected: line.get(WHERE).filter(|text| !text.is_empty()).cloned(),
        };
        let (configuration, trials) = (text(CONFIGURATION)?.clone(), text(TRIALS)?.clone());
        Ok(LineReader { place, line, source, configuration, trials })
    }

    /// What stands in a column; nothing where there is none.
    fn text(&self, name: &str) -> &'l str {
        self.line.get(name).map_or("", String::as_str)
    }

    fn is_pivot(&self) -> bool {
        self.line.contains_key(METRIC) && self.line.contains_key(MEAN)
    }

    /// Seeds, and whatever may be a parameter: of which there is none that is called so, nothing is said.
    fn labels(&self) -> Vec<Claim> {
        let own = [SWEEP, EPOCH, BEST_BY, WHERE, CONFIGURATION, TRIALS];
        let of_cells = [METRIC, TABLE, GOAL, MEAN, STD, BEST, PUBLISHED, DIFFERENCE, OUTSIDE];
        let is_of_metric = |name: &str| {
            let belongs = |suffix: &str| {
                let metric = name.strip_suffix(suffix);
                metric.is_some_and(|metric| self.line.contains_key(&format!("{metric}{STD_SUFFIX}")))
            };
            let [published, difference, outside] =
                [PUBLISHED, DIFFERENCE, OUTSIDE].map(|suffix| belongs(&format!("_{suffix}")));
            belongs("") || belongs(STD_SUFFIX) || published || difference || outside
        };
        let label = |name: &str| match name {
            SEEDS => Some(Label::AllSeeds),
            N => Some(Label::N),
            name if own.contains(&name) || self.is_pivot() && of_cells.contains(&name) => None,
            name if is_of_metric(name) => None,
            name => Some(Label::Parameter(name.strip_prefix("parameters.").unwrap_or(name).to_owned())),
        };
        let claim = |(name, text): (&String, &String)| {
            let of = label(name)?;
            Some(self.claim(name, Shown::Label { of, text: text.clone(), above: None }))
        };
        self.line.iter().filter_map(claim).collect()
    }

    fn numbers(&self) -> Result<Vec<Claim>, CheckError> {
        if self.is_pivot() {
            return Ok(vec![self.number(self.text(METRIC), MEAN, STD, "")?]);
        }
        // A metric is what has a column for its deviation.
        let mut claims = Vec::new();
        for name in self.line.keys() {
            let Some(metric) = name.strip_suffix(STD_SUFFIX) else { continue };
            if self.line.contains_key(metric) {
                let reported = metric.strip_prefix("metrics.").unwrap_or(metric);
                claims.push(self.number(reported, metric, name, &format!("{metric}_"))?);
            }
        }
        Ok(claims)
    }

    /// A mean with all that stands beside it. `prefix`: of the columns with what was published.
    fn number(&self, metric: &str, mean: &str, std: &str, prefix: &str) -> Result<Claim, CheckError> {
        let shown = match self.parse(mean)? {
            None => Shown::Nothing,
            Some(mean) => Shown::Exact {
                mean,
                std: self.parse(std)?,
                difference: self.parse(&format!("{prefix}{DIFFERENCE}"))?,
            },
        };
        let published = self.parse(&format!("{prefix}{PUBLISHED}"))?;
        Ok(Claim { published, ..self.claim(metric, shown) })
    }

    /// The number in a column, where there is one.
    fn parse(&self, name: &str) -> Result<Option<f64>, CheckError> {
        let text = self.text(name);
        let number = (!text.is_empty()).then(|| text.parse::<f64>()).transpose();
        number.map_err(|_| CheckError::Unreadable {
            place: self.place.to_owned(),
            what: format!("`{name}` is `{text}`, which is no number"),
        })
    }

    /// Of which table of several it is a cell.
    fn table(&self) -> Option<String> {
        let table = self.line.get(TABLE).filter(|_| self.is_pivot())?;
        Some(format!("{:?} {table}", self.source))
    }

    /// By which goal it is marked as the best.
    fn goal_of_mark(&self) -> Option<Goal> {
        let is_marked = self.text(BEST).eq_ignore_ascii_case("true");
        serde_json::from_value(self.text(GOAL).into()).ok().filter(|_| is_marked)
    }

    fn claim(&self, column: &str, shown: Shown) -> Claim {
        Claim {
            place: self.place.to_owned(),
            source: self.source.clone(),
            column: column.to_owned(),
            configuration: self.configuration.clone(),
            trials: self.trials.clone(),
            shown,
            published: None,
        }
    }
}

fn metric(text: &str, place: &str) -> Result<Metric, CheckError> {
    let unreadable = || CheckError::Unreadable {
        place: place.to_owned(),
        what: format!("`{text}` is no metric with a goal"),
    };
    let (name, goal) = text.rsplit_once(':').ok_or_else(unreadable)?;
    let goal: Goal = serde_json::from_value(goal.into()).map_err(|_| unreadable())?;
    Ok(Metric { name: name.to_owned(), goal })
}

/// # Errors
/// When it is no document of `sweep results --json`.
pub fn claims_in_json(file: &str, text: &str) -> Result<Vec<Claim>, CheckError> {
    let unreadable = |what: String| CheckError::Unreadable { place: file.to_owned(), what };
    let no_table = || CheckError::NoTable { file: file.to_owned() };
    let document: Value = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    let sweep = document["sweep"].as_i64().and_then(|id| SweepId::try_from(id).ok()).ok_or_else(no_table)?;
    let configurations = document["configurations"].as_array().ok_or_else(no_table)?;
    let best_by = document.get("best_by").filter(|metric| !metric.is_null());
    let best_by = best_by.map(|metric| serde_json::from_value(metric.clone())).transpose();
    let source = Source {
        sweep,
        epoch: document["epoch"].as_str().ok_or_else(no_table)?.to_owned(),
        best_by: best_by.map_err(|error| unreadable(error.to_string()))?,
        selected: document["where"].as_str().map(str::to_owned),
    };
    let document = Document { file, source, document: &document };
    let mut claims = document.claims_of_configurations(configurations).ok_or_else(no_table)?;
    for (at, pivot) in document.document["pivots"].as_array().into_iter().flatten().enumerate() {
        claims.extend(document.claims_of_pivot(at, pivot).ok_or_else(no_table)?);
    }
    Ok(claims)
}

/// A document of `sweep results --json`. What is not as it was written is none.
struct Document<'d> {
    file: &'d str,
    source: Source,
    document: &'d Value,
}

impl Document<'_> {
    fn claims_of_configurations(&self, configurations: &[Value]) -> Option<Vec<Claim>> {
        let means = || configurations.iter().filter_map(|configuration| configuration["mean"].as_object());
        let metrics: BTreeSet<&String> = means().flat_map(|means| means.keys()).collect();
        let mut claims = Vec::new();
        for (at, configuration) in configurations.iter().enumerate() {
            let place = format!("{}, configurations[{at}]", self.file);
            let parameters = configuration["parameters"].as_object().into_iter().flatten();
            let parameters = parameters.map(|(name, value)| (Label::Parameter(name.clone()), value));
            let counts = [(Label::AllSeeds, &configuration["seeds"]), (Label::N, &configuration["n"])];
            for (of, value) in parameters.chain(counts).filter(|(_, value)| !value.is_null()) {
                claims.push(self.label(&place, configuration, of, bare(value))?);
            }
            for name in &metrics {
                let published = &configuration["published"][name.as_str()];
                let shown = match configuration["mean"].get(name.as_str()) {
                    None => Shown::Nothing,
                    Some(mean) => Shown::Exact {
                        mean: mean.as_f64()?,
                        std: configuration["std"][name.as_str()].as_f64(),
                        difference: published["difference"].as_f64(),
                    },
                };
                let claim = self.claim(&place, configuration, name, shown)?;
                claims.push(Claim { published: published["value"].as_f64(), ..claim });
            }
        }
        Some(claims)
    }

    fn claims_of_pivot(&self, at: usize, pivot: &Value) -> Option<Vec<Claim>> {
        let metric = pivot["metric"].as_str()?;
        let goal: Option<Goal> = serde_json::from_value(pivot["goal"].clone()).ok();
        let cells = pivot["cells"].as_array()?;
        let among: Vec<String> =
            cells.iter().filter_map(|cell| cell["configuration"].as_str().map(str::to_owned)).collect();
        let mut claims = Vec::new();
        for (cell_at, cell) in cells.iter().enumerate() {
            let place = format!("{}, pivots[{at}].cells[{cell_at}]", self.file);
            for (names, values) in [("rows", "row"), ("columns", "column")] {
                let names = pivot[names].as_array()?.iter().filter_map(Value::as_str);
                for (name, value) in names.zip(cell[values].as_array()?) {
                    let of = Label::Parameter(name.to_owned());
                    claims.push(self.label(&place, cell, of, bare(value))?);
                }
            }
            let shown = Shown::Exact {
                mean: cell["mean"].as_f64()?,
                std: cell["std"].as_f64(),
                difference: cell["published"]["difference"].as_f64(),
            };
            let claim = self.claim(&place, cell, metric, shown)?;
            claims.push(Claim { published: cell["published"]["value"].as_f64(), ..claim });
            if let Some(goal) = goal.filter(|_| cell["best"] == true) {
                let shown = Shown::Best { text: cell["mean"].to_string(), goal, among: among.clone() };
                claims.push(self.claim(&place, cell, metric, shown)?);
            }
        }
        Some(claims)
    }

    fn label(&self, place: &str, entry: &Value, of: Label, text: String) -> Option<Claim> {
        let name = of.name();
        self.claim(place, entry, &name, Shown::Label { of, text, above: None })
    }

    /// `entry`: what has a configuration and trials.
    fn claim(&self, place: &str, entry: &Value, column: &str, shown: Shown) -> Option<Claim> {
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        Some(Claim {
            place: place.to_owned(),
            source: self.source.clone(),
            column: column.to_owned(),
            configuration: text("configuration")?,
            trials: text("trials")?,
            shown,
            published: None,
        })
    }
}
