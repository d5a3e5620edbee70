//! Checks the parameters of the built-in trainer, one by one and then over all combinations that can differ in what
//! they make of each other.

use std::collections::{BTreeMap, BTreeSet};

use super::axes::{Draft, check_distinct, read_axes};
use super::error::{Findings, SpecProblem};
use super::source::Span;
use super::tree::Entry;
use super::weights::{FindWeights, with_hashes};
use crate::recipe::metrics::{find_metric, nearest_metric};
use crate::recipe::schema::{self, Parameter, Problem};
use crate::vocabulary::{Metric, Parameters};

/// The most combinations of deciding parameters that are looked at. A study has a few hundred.
const MOST_COMBINATIONS: usize = 20_000;

/// The axes with canonical values; those with findings are left out.
pub(super) fn resnet_axes<'n>(
    entries: &'n [Entry],
    find_weights: &FindWeights<'_>,
    findings: &mut Findings,
) -> Vec<Draft<'n>> {
    let is_list = |name: &str| schema::find(name).is_some_and(Parameter::is_list);
    let drafts = read_axes(entries, is_list, findings);
    let axes: Vec<_> =
        drafts.into_iter().filter_map(|axis| canonical_values(axis, find_weights, findings)).collect();
    let written = entries.iter().map(|entry| entry.key.as_str());
    let suspects: BTreeSet<_> =
        written.filter(|name| axes.iter().all(|axis| axis.name != *name)).map(meant).collect();
    check_together(&axes, &suspects, findings);
    axes
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
pub(super) fn unreported_metric(metric: &Metric, span: &Span, axes: &[Draft<'_>]) -> Option<SpecProblem> {
    let groups = find_metric(&metric.name)?.applies;
    let deciding = deciding(axes);
    let mut unmet = Vec::new();
    for index in 0..combination_count(&deciding) {
        unmet.push(schema::unmet(groups, &combination(axes, &deciding, index))?);
    }
    let message = format!("`{}` is not reported under `{}`", metric.name, unmet.first()?);
    let conditions = schema::describe(groups);
    Some(
        SpecProblem::new(span, message)
            .help(format!("rank by another metric; this one is reported where {conditions}")),
    )
}

/// The parameter that a name was probably meant to be.
fn meant(name: &str) -> &str {
    match Problem::unknown(name) {
        Problem::Unknown { nearest: Some(nearest), .. } => nearest,
        _ => name,
    }
}

/// Every value in its canonical form, or `None` and findings.
fn canonical_values<'n>(
    mut axis: Draft<'n>,
    find_weights: &FindWeights<'_>,
    findings: &mut Findings,
) -> Option<Draft<'n>> {
    let Some(parameter) = schema::find(axis.name) else {
        findings.push(at(axis.name_span, &Problem::unknown(axis.name)));
        return None;
    };
    let found_before = findings.len();
    for (value, span) in &mut axis.values {
        match schema::check_value(parameter, value) {
            Ok(canonical) => match with_hashes(parameter, canonical, find_weights) {
                Ok(found) => *value = found,
                Err(missing) => findings.push(SpecProblem::new(span, missing.message).help(missing.help)),
            },
            Err(problem) => findings.push(at(span, &problem)),
        }
    }
    if findings.len() == found_before {
        check_distinct(&axis, findings);
    }
    if axis.is_swept() && !parameter.changes_results {
        let message = format!("`{}` is swept but changes no result", axis.name);
        findings.push(SpecProblem::new(axis.name_span, message).help("fix it to one value"));
    }
    (findings.len() == found_before).then_some(axis)
}

/// Looks at all combinations; of the `suspects`, which have findings already, none is called missing.
fn check_together<'n>(axes: &[Draft<'n>], suspects: &BTreeSet<&'n str>, findings: &mut Findings) {
    let deciding = deciding(axes);
    let count = combination_count(&deciding);
    if let (Some(first), true) = (deciding.first(), count > MOST_COMBINATIONS) {
        let names: Vec<_> = deciding.iter().map(|axis| format!("`{}`", axis.name)).collect();
        let message = format!("{} have more than {MOST_COMBINATIONS} combinations", names.join(", "));
        findings.push(SpecProblem::new(first.name_span, message).help("split the spec into several"));
        return;
    }
    let seen = Seen::look_at(axes, &deciding, count);
    // Parameters about which nothing more is said.
    let mut settled = in_doubt(suspects);
    for axis in axes {
        if settled.contains(axis.name) {
            continue;
        }
        let idle = seen.idle.get(axis.name);
        if let Some(problem) = idle.and_then(|(problem, times)| idle_axis(axis, problem, *times == count)) {
            findings.push(problem);
            settled.insert(axis.name);
        }
    }
    let is_in_doubt = suspects.iter().any(|name| schema::decides(name));
    if !is_in_doubt {
        seen.report_twins(&deciding, &mut settled, findings);
    }
    for problem in seen.clashes.values().filter(|problem| !settled.contains(problem.parameter())) {
        if is_in_doubt && matches!(problem, Problem::Contradiction { .. }) {
            continue;
        }
        // Without axes there are only defaults, and those are complete: there is always a cause.
        if let Some(span) = cause(problem, axes).or_else(|| axes.first().map(|axis| axis.name_span)) {
            findings.push(at(span, problem));
        }
    }
}

/// The suspects and all parameters of which nothing can be said while a suspect that decides about them is in doubt.
fn in_doubt<'n>(suspects: &BTreeSet<&'n str>) -> BTreeSet<&'n str> {
    let depends =
        |parameter: &&Parameter| suspects.iter().any(|suspect| schema::influences(suspect, parameter));
    let dependent = schema::PARAMETERS.iter().filter(depends).map(|parameter| parameter.name);
    suspects.iter().copied().chain(dependent).collect()
}

fn deciding<'a, 'n>(axes: &'a [Draft<'n>]) -> Vec<&'a Draft<'n>> {
    axes.iter().filter(|axis| axis.is_swept() && schema::decides(axis.name)).collect()
}

fn combination_count(deciding: &[&Draft<'_>]) -> usize {
    deciding.iter().fold(1_usize, |count, axis| count.saturating_mul(axis.values.len()))
}

/// What was seen in all combinations.
#[derive(Default)]
struct Seen {
    /// For each parameter without effect somewhere: under what, and in how many combinations.
    idle: BTreeMap<String, (Problem, usize)>,
    clashes: BTreeMap<String, Problem>,
    /// Combinations, by index, that have the same canonical parameters: an earlier and a later one.
    twins: Vec<(usize, usize)>,
}

impl Seen {
    fn look_at(axes: &[Draft<'_>], deciding: &[&Draft<'_>], count: usize) -> Seen {
        let mut seen = Seen::default();
        let mut first_with = BTreeMap::new();
        for index in 0..count {
            let combination = combination(axes, deciding, index);
            for problem in schema::without_effect(&combination) {
                seen.idle.entry(problem.parameter().to_owned()).or_insert((problem, 0)).1 += 1;
            }
            match schema::complete(&combination) {
                Ok(canonical) => {
                    let first = *first_with.entry(format!("{canonical:?}")).or_insert(index);
                    if first < index {
                        seen.twins.push((first, index));
                    }
                }
                Err(problems) => {
                    for problem in problems {
                        seen.clashes.entry(clash_key(&problem)).or_insert(problem);
                    }
                }
            }
        }
        seen
    }

    /// Two values that make the same trial would run once and be counted as two, as if they were seeds.
    fn report_twins<'n>(
        &self,
        deciding: &[&Draft<'n>],
        reported: &mut BTreeSet<&'n str>,
        findings: &mut Findings,
    ) {
        for (first, second) in &self.twins {
            let (first, second) = (digits(deciding, *first), digits(deciding, *second));
            let differing: Vec<_> =
                (0..deciding.len()).filter(|place| first[*place] != second[*place]).collect();
            if differing.iter().any(|place| reported.contains(deciding[*place].name)) {
                continue;
            }
            let Some(place) = differing.first().copied() else { continue };
            let axis = deciding[place];
            let ((_, first), (_, second)) = (&axis.values[first[place]], &axis.values[second[place]]);
            let (name, one, other) = (axis.name, first.text(), second.text());
            let message = format!("`{name}: {other}` makes the same trial as `{name}: {one}`");
            findings
                .push(SpecProblem::new(second, message).and_at(first, "this one").help("remove one of them"));
            reported.insert(axis.name);
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
fn combination(axes: &[Draft<'_>], deciding: &[&Draft<'_>], index: usize) -> Parameters {
    let value = |axis: &Draft<'_>, place: usize| (axis.name.to_owned(), axis.values[place].0.clone());
    let mut parameters: Parameters = axes.iter().map(|axis| value(axis, 0)).collect();
    let chosen = deciding.iter().zip(digits(deciding, index));
    parameters.extend(chosen.map(|(axis, place)| value(axis, place)));
    parameters
}

/// Which value of each deciding axis a combination has.
fn digits(deciding: &[&Draft<'_>], mut index: usize) -> Vec<usize> {
    let mut digit = |axis: &&Draft<'_>| {
        let digit = index % axis.values.len();
        index /= axis.values.len();
        digit
    };
    deciding.iter().map(&mut digit).collect()
}

/// A swept parameter must have an effect in every combination, or trials would be the same twice; a fixed one in at
/// least one, unless what it asks for holds there anyway.
fn idle_axis(axis: &Draft<'_>, problem: &Problem, is_always_idle: bool) -> Option<SpecProblem> {
    let Problem::NoEffect { name, under } = problem else { return None };
    if axis.is_swept() {
        let message = format!("`{name}` is swept but has no effect under `{under}`");
        let help = if is_always_idle {
            problem.help()
        } else {
            Some(format!("fix `{name}` to one value, or put `{under}` into a spec of its own"))
        };
        return Some(SpecProblem::new(axis.name_span, message).help_if(help));
    }
    let may_be_idle = schema::find(name).is_some_and(|parameter| parameter.may_be_idle);
    (is_always_idle && !may_be_idle).then(|| at(axis.name_span, problem))
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
