//! Checks the parameters of the built-in trainer one by one: names, types, ranges. `together` looks at them together.

use std::collections::BTreeSet;

use serde_json::Value;

use super::axes::{Column, Draft, Values};
use super::conditions::{Match, link};
use super::distribution::Distribution;
use super::draws::draw;
use super::error::{Findings, SpecProblem};
use super::groups::{Drafts, Exclusion};
use super::source::Span;
use super::space::{Combination, Search, Space};
use super::together::{check_together, combinations};
use super::weights::{FindWeights, MissingWeights, take_selectors, with_names};
use crate::recipe::metrics::{PROBES, find_metric, nearest_metric, probe_metrics};
use crate::recipe::schema::{self, Kind, Parameter, Problem, Setting};
use crate::vocabulary::Metric;

/// The drafts with canonical values; what has findings is left out.
pub(super) fn resnet(
    mut drafts: Drafts,
    search: Option<Search>,
    find_weights: &FindWeights<'_>,
    findings: &mut Findings,
) -> Drafts {
    drafts.axes = std::mem::take(&mut drafts.axes)
        .into_iter()
        .filter_map(|axis| canonical_axis(axis, search, find_weights, findings))
        .collect();
    canonical_conditions(&mut drafts, find_weights, findings);
    let in_doubt = link(&mut drafts, findings);
    let suspects: BTreeSet<&str> = in_doubt.iter().map(|name| meant(name)).collect();
    if let Some(search) = search {
        check_together(&drafts, &space_of(&drafts, search), &suspects, findings);
    }
    drafts
}

/// The space that the drafts describe.
pub(super) fn space_of(drafts: &Drafts, search: Search) -> Space {
    let axes = drafts.axes.iter().map(Draft::to_axis).collect();
    let conditions = |exclusion: &Exclusion| exclusion.matches.iter().map(Match::to_condition).collect();
    let exclude = drafts.exclude.iter().map(conditions).collect();
    Space { axes, exclude, search }
}

/// Refuses the name of a metric that the built-in trainer never reports.
pub(super) fn known_metric(name: &str, span: &Span) -> Result<(), SpecProblem> {
    if find_metric(name).is_some() {
        return Ok(());
    }
    let help = "`sweep metrics` lists what the built-in trainer reports";
    let nearest = nearest_metric(name).map(|nearest| format!("did you mean `{nearest}`? {help}"));
    Err(SpecProblem::new(span, format!("unknown metric `{name}`")).help(help).help_if(nearest))
}

/// What is wrong with a metric that no trial reports.
pub(super) fn unreported_metric(metric: &Metric, span: &Span, space: &Space) -> Option<SpecProblem> {
    let name = &metric.name;
    let groups = find_metric(name)?.applies;
    let (mut unmet, mut factors, mut probes) = (Vec::new(), Vec::new(), Vec::new());
    for Combination { parameters, .. } in combinations(space, Some(PROBES))? {
        if let Some(setting) = schema::unmet(groups, &parameters) {
            unmet.push(setting);
            continue;
        }
        // What is no probe's is reported wherever its conditions hold.
        let reported = probe_metrics(name, &parameters).filter(|reported| !reported.contains(name))?;
        factors.push(Setting { name: PROBES, value: schema::find(PROBES)?.value_in(&parameters)? });
        probes.extend(reported);
    }
    if let Some(under) = factors.first() {
        let message = format!("`{name}` is not reported under `{under}`");
        return Some(SpecProblem::new(span, message).help(probes_help(name, probes)));
    }
    let message = format!("`{name}` is not reported under `{}`", unmet.first()?);
    let help = schema::conditions(groups)
        .map(|conditions| format!("rank by another metric; this one is reported where {conditions}"));
    Some(SpecProblem::new(span, message).help_if(help))
}

fn probes_help(name: &str, mut reported: Vec<String>) -> String {
    let nearest = schema::nearest(name, reported.iter().map(String::as_str));
    let nearest = nearest.map(|nearest| format!("did you mean `{nearest}`? ")).unwrap_or_default();
    let mut seen = BTreeSet::new();
    reported.retain(|name| seen.insert(name.clone()));
    let names: Vec<_> = reported.iter().map(|name| format!("`{name}`")).collect();
    format!("{nearest}the probes report {}", names.join(", "))
}

/// The parameter that a name was probably meant to be.
fn meant(name: &str) -> &str {
    match Problem::unknown(name) {
        Problem::Unknown { nearest: Some(nearest), .. } => nearest,
        _ => name,
    }
}

/// Every value in its canonical form, or `None` and findings.
fn canonical_axis(
    mut axis: Draft,
    search: Option<Search>,
    find_weights: &FindWeights<'_>,
    findings: &mut Findings,
) -> Option<Draft> {
    let found_before = findings.len();
    for column in &mut axis.columns {
        canonical_column(column, search, find_weights, findings);
    }
    if findings.len() == found_before {
        axis.check_distinct(findings);
    }
    let is_swept = axis.is_swept();
    for column in axis.columns.iter().filter(|_| is_swept) {
        if schema::find(&column.name).is_some_and(|parameter| !parameter.changes_results) {
            let message = format!("`{}` is swept but changes no result", column.name);
            findings.push(SpecProblem::new(&column.name_span, message).help("fix it to one value"));
        }
    }
    (findings.len() == found_before).then_some(axis)
}

fn canonical_column(
    column: &mut Column,
    search: Option<Search>,
    find_weights: &FindWeights<'_>,
    findings: &mut Findings,
) {
    let Some(parameter) = schema::find(&column.name) else {
        return findings.push(at(&column.name_span, &Problem::unknown(&column.name)));
    };
    match &mut column.values {
        Values::Drawn(distribution, span) => {
            findings.extend(wrong_distribution(parameter, distribution, span));
            let is_right = |value: &_| schema::check_value(parameter, value).is_ok();
            findings.extend(wrong_draw(&column.name, distribution, span, search, is_right));
        }
        Values::Listed(values) => {
            for (value, span) in values {
                match canonical_value(parameter, value, span, find_weights) {
                    Ok(canonical) => *value = canonical,
                    Err(problem) => findings.push(problem),
                }
            }
        }
    }
}

fn wrong_distribution(
    parameter: &Parameter,
    distribution: &Distribution,
    span: &Span,
) -> Option<SpecProblem> {
    let name = parameter.name;
    match parameter.kind {
        Kind::Number(..) => {}
        Kind::Integer { .. } if distribution.is_whole() => {}
        Kind::Integer { .. } => {
            let message = format!("`{name}` must be a whole number, but fractions would be drawn");
            return Some(
                SpecProblem::new(span, message).help("write `distribution: int_uniform`, or a whole `q`"),
            );
        }
        _ => {
            let message = format!("`{name}` can't be drawn from a distribution");
            return Some(SpecProblem::new(span, message).help("list its values: `{values: [..]}`"));
        }
    }
    let ends = distribution.ends()?;
    let problem = ends.iter().find_map(|end| schema::check_value(parameter, end).err())?;
    Some(at(span, &problem))
}

/// A distribution without ends can draw anything, so its draws themselves are looked at. They are the same every time.
pub(super) fn wrong_draw(
    name: &str,
    distribution: &Distribution,
    span: &Span,
    search: Option<Search>,
    is_right: impl Fn(&Value) -> bool,
) -> Option<SpecProblem> {
    let Some(Search::Random { count, seed }) = search.filter(|_| distribution.ends().is_none()) else {
        return None;
    };
    let wrong = (0..count).find_map(|index| {
        let value = distribution.value(&mut draw(seed, name, index));
        (!value.as_ref().is_some_and(&is_right)).then_some(value)
    })?;
    let shown = wrong.map_or_else(|| "what no number holds".to_owned(), |value| format!("`{value}`"));
    let message = format!("among the draws of `{name}` is {shown}, which is out of range");
    Some(
        SpecProblem::new(span, message)
            .help("draw from a distribution with `min` and `max`, or from a narrower one"),
    )
}

/// Conditions are compared with canonical values.
fn canonical_conditions(drafts: &mut Drafts, find_weights: &FindWeights<'_>, findings: &mut Findings) {
    // Axes under one `if` have a copy of its conditions each.
    let mut reported: Vec<Span> = Vec::new();
    let conditions = drafts.axes.iter_mut().flat_map(|axis| &mut axis.when);
    let excluded = drafts.exclude.iter_mut().flat_map(|exclusion| &mut exclusion.matches);
    for condition in conditions.chain(excluded) {
        let Some(parameter) = schema::find(&condition.name) else { continue };
        condition.values.retain_mut(|(value, span)| {
            let problem = match canonical_value(parameter, value, span, find_weights) {
                Ok(canonical) => {
                    *value = canonical;
                    return true;
                }
                Err(problem) => problem,
            };
            if !reported.contains(span) {
                findings.push(problem);
                reported.push(span.clone());
            }
            false
        });
    }
}

fn canonical_value(
    parameter: &Parameter,
    value: &Value,
    span: &Span,
    find_weights: &FindWeights<'_>,
) -> Result<Value, SpecProblem> {
    let missing = |missing: MissingWeights| SpecProblem::new(span, missing.message).help(missing.help);
    let (named, selectors) = take_selectors(parameter, value).map_err(missing)?;
    let canonical = schema::check_value(parameter, &named).map_err(|problem| at(span, &problem))?;
    with_names(parameter, canonical, &selectors, find_weights).map_err(missing)
}

pub(super) fn at(span: &Span, problem: &Problem) -> SpecProblem {
    SpecProblem::new(span, problem.to_string()).help_if(problem.help())
}
