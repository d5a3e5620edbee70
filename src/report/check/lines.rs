//! Tables for machines: by their columns, a line a configuration or a line a cell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::records::{
    BEST_BY, CONFIGURATION, EPOCH, MEAN, METRIC, STD, STD_SUFFIX, SWEEP, TRIALS, WHERE,
};
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
    let mut claims = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let place = format!("{file}:{}", record.position().map_or(0, csv::Position::line));
        let line = head.iter().zip(&record).map(|(name, text)| (name.to_owned(), text.to_owned()));
        claims.extend(claims_in_line(file, &place, &line.collect())?);
    }
    Ok(claims)
}

/// # Errors
/// When it is no table that was exported.
pub fn claims_in_parquet(file: &str, bytes: Vec<u8>) -> Result<Vec<Claim>, CheckError> {
    let lines = super::super::parquet::read(bytes)
        .map_err(|error| CheckError::Unreadable { place: file.to_owned(), what: error.to_string() })?;
    let mut claims = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        claims.extend(claims_in_line(file, &format!("{file}, row {}", at + 1), line)?);
    }
    Ok(claims)
}

fn claims_in_line(file: &str, place: &str, line: &Line) -> Result<Vec<Claim>, CheckError> {
    let unreadable = |what: String| CheckError::Unreadable { place: place.to_owned(), what };
    let text = |name: &str| line.get(name).ok_or_else(|| CheckError::NoTable { file: file.to_owned() });
    let number = |name: &str, text: &str| {
        text.parse::<f64>().map_err(|_| unreadable(format!("`{name}` is `{text}`, which is no number")))
    };
    let best_by = line.get(BEST_BY).filter(|text| !text.is_empty()).map(|text| metric(text, place));
    let sweep = text(SWEEP)?;
    let source = Source {
        sweep: sweep.parse::<SweepId>().map_err(|error| unreadable(error.to_string()))?,
        epoch: text(EPOCH)?.clone(),
        best_by: best_by.transpose()?,
        selected: line.get(WHERE).filter(|text| !text.is_empty()).cloned(),
    };
    let (configuration, trials) = (text(CONFIGURATION)?, text(TRIALS)?);
    let claim = |metric: &str, shown: Shown| Claim {
        place: place.to_owned(),
        source: source.clone(),
        metric: metric.to_owned(),
        configuration: configuration.clone(),
        trials: trials.clone(),
        shown,
        published: None,
    };
    let shown = |metric: &str, mean: &str, std_name: &str, std: Option<&String>| match mean {
        "" => Ok(Shown::Nothing),
        mean => {
            let std = std.filter(|text| !text.is_empty()).map(|text| number(std_name, text)).transpose()?;
            Ok(Shown::Exact { mean: number(metric, mean)?, std })
        }
    };
    if let (Some(metric), Some(mean)) = (line.get(METRIC), line.get(MEAN)) {
        return Ok(vec![claim(metric, shown(MEAN, mean, STD, line.get(STD))?)]);
    }
    // A metric is what has a column for its deviation.
    let mut claims = Vec::new();
    for (name, std) in line {
        let Some(metric) = name.strip_suffix(STD_SUFFIX) else { continue };
        let Some(mean) = line.get(metric) else { continue };
        let reported = metric.strip_prefix("metrics.").unwrap_or(metric);
        claims.push(claim(reported, shown(metric, mean, name, Some(std))?));
    }
    Ok(claims)
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
    let means = || configurations.iter().filter_map(|configuration| configuration["mean"].as_object());
    let metrics: BTreeSet<&String> = means().flat_map(|means| means.keys()).collect();
    let mut claims = Vec::new();
    for (at, configuration) in configurations.iter().enumerate() {
        let text = |name: &str| configuration[name].as_str().map(str::to_owned).ok_or_else(no_table);
        for name in &metrics {
            let shown = match configuration["mean"].get(name.as_str()) {
                None => Shown::Nothing,
                Some(mean) => Shown::Exact {
                    mean: mean.as_f64().ok_or_else(no_table)?,
                    std: configuration["std"][name.as_str()].as_f64(),
                },
            };
            claims.push(Claim {
                place: format!("{file}, configurations[{at}]"),
                source: source.clone(),
                metric: (*name).clone(),
                configuration: text("configuration")?,
                trials: text("trials")?,
                shown,
                published: None,
            });
        }
    }
    Ok(claims)
}
