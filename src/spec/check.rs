//! Checks the parameters of the built-in trainer, one by one and then over all combinations that can differ in what
//! they make of each other.

use std::collections::{BTreeMap, BTreeSet};

use super::axes::{Draft, check_distinct, read_axes};
use super::error::{Findings, SpecProblem};
use super::source::Span;
use super::tree::Entry;
use crate::recipe::schema::{self, Problem};
use crate::vocabulary::Parameters;

/// The most combinations of deciding parameters that are looked at. A study has a few hundred.
const MOST_COMBINATIONS: usize = 20_000;

/// The axes with canonical values; those with findings are left out.
pub(super) fn resnet_axes<'n>(entries: &'n [Entry], findings: &mut Findings) -> Vec<Draft<'n>> {
    let is_list = |name: &str| schema::find(name).is_some_and(schema::Parameter::is_list);
    let drafts = read_axes(entries, is_list, findings);
    let axes: Vec<_> = drafts.into_iter().filter_map(|axis| canonical_values(axis, findings)).collect();
    let written = entries.iter().map(|entry| entry.key.as_str());
    let suspects: BTreeSet<_> =
        written.filter(|name| axes.iter().all(|axis| axis.name != *name)).map(meant).collect();
    // Nothing can be said about what goes together while something that decides about it is in doubt.
    if !suspects.iter().any(|name| schema::decides(name)) {
        check_together(&axes, &suspects, findings);
    }
    axes
}

/// The parameter that a name was probably meant to be.
fn meant(name: &str) -> &str {
    match Problem::unknown(name) {
        Problem::Unknown { nearest: Some(nearest), .. } => nearest,
        _ => name,
    }
}

/// Every value in its canonical form, or `None` and findings.
fn canonical_values<'n>(mut axis: Draft<'n>, findings: &mut Findings) -> Option<Draft<'n>> {
    let Some(parameter) = schema::find(axis.name) else {
        findings.push(at(axis.name_span, &Problem::unknown(axis.name)));
        return None;
    };
    let found_before = findings.len();
    for (value, span) in &mut axis.values {
        match schema::check_value(parameter, value) {
            Ok(canonical) => *value = canonical,
            Err(problem) => findings.push(at(span, &problem)),
        }
    }
    if findings.len() == found_before {
        check_distinct(&axis, findings);
    }
    (findings.len() == found_before).then_some(axis)
}

/// Looks at all combinations; of the `suspects`, which have findings already, none is called missing.
fn check_together(axes: &[Draft<'_>], suspects: &BTreeSet<&str>, findings: &mut Findings) {
    let deciding: Vec<_> = axes.iter().filter(|axis| axis.is_swept() && schema::decides(axis.name)).collect();
    let count = deciding.iter().fold(1_usize, |count, axis| count.saturating_mul(axis.values.len()));
    if let (Some(first), true) = (deciding.first(), count > MOST_COMBINATIONS) {
        let names: Vec<_> = deciding.iter().map(|axis| format!("`{}`", axis.name)).collect();
        let message = format!("{} have more than {MOST_COMBINATIONS} combinations", names.join(", "));
        findings.push(SpecProblem::new(first.name_span, message).help("split the spec into several"));
        return;
    }
    let mut idle = BTreeMap::new();
    let mut clashes = BTreeMap::new();
    for index in 0..count {
        let combination = combination(axes, &deciding, index);
        for problem in schema::without_effect(&combination) {
            idle.entry(problem.parameter().to_owned()).or_insert((problem, 0)).1 += 1;
        }
        for problem in schema::complete(&combination).err().unwrap_or_default() {
            clashes.entry(clash_key(&problem)).or_insert(problem);
        }
    }
    for axis in axes {
        if let Some((problem, times)) = idle.get(axis.name) {
            report_idle(axis, problem, *times == count, findings);
        }
    }
    for problem in clashes.values().filter(|problem| !suspects.contains(problem.parameter())) {
        // Without axes there are only defaults, and those are complete: there is always a cause.
        if let Some(span) = cause(problem, axes).or_else(|| axes.first().map(|axis| axis.name_span)) {
            findings.push(at(span, problem));
        }
    }
}

/// What is missing under several settings is reported once, since adding it once is enough.
fn clash_key(problem: &Problem) -> String {
    match problem {
        Problem::Missing { name, .. } => (*name).to_owned(),
        other => other.to_string(),
    }
}

/// The first value of every axis, but for the deciding ones: their values are the digits of `index`.
fn combination(axes: &[Draft<'_>], deciding: &[&Draft<'_>], mut index: usize) -> Parameters {
    let value = |axis: &Draft<'_>, place: usize| (axis.name.to_owned(), axis.values[place].0.clone());
    let mut parameters: Parameters = axes.iter().map(|axis| value(axis, 0)).collect();
    for axis in deciding {
        parameters.extend([value(axis, index % axis.values.len())]);
        index /= axis.values.len();
    }
    parameters
}

/// A swept parameter must have an effect in every combination, or trials would be the same twice; a fixed one in at
/// least one.
fn report_idle(axis: &Draft<'_>, problem: &Problem, is_always_idle: bool, findings: &mut Findings) {
    let Problem::NoEffect { name, under } = problem else { return };
    if axis.is_swept() {
        let message = format!("`{name}` is swept but has no effect under `{under}`");
        let help = if is_always_idle {
            problem.help()
        } else {
            Some(format!("fix `{name}` to one value, or put `{under}` into a spec of its own"))
        };
        findings.push(SpecProblem::new(axis.name_span, message).help_if(help));
    } else if is_always_idle {
        findings.push(at(axis.name_span, problem));
    }
}

/// Where a problem of several parameters comes from: a missing one from what makes it required.
fn cause<'n>(problem: &Problem, axes: &[Draft<'n>]) -> Option<&'n Span> {
    let axis = |name: &str| axes.iter().find(|axis| axis.name == name);
    let Problem::Missing { under, .. } = problem else {
        return axis(problem.parameter()).map(|axis| axis.name_span);
    };
    let values = &axis(under.name)?.values;
    values.iter().find(|(value, _)| *value == under.value).map(|(_, span)| *span)
}

fn at(span: &Span, problem: &Problem) -> SpecProblem {
    SpecProblem::new(span, problem.to_string()).help_if(problem.help())
}
