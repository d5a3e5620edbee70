//! Looks at the built-in trainer's parameters over all combinations that can differ in what they make of each other: those
//! of the axes that decide whether others act, stand in conditions, or can say the same as another value.

use std::collections::{BTreeMap, BTreeSet};

use super::axes::{Column, Draft};
use super::check::at;
use super::error::{Findings, SpecProblem};
use super::groups::Drafts;
use super::source::Span;
use super::space::{Axis, Combination, Search, Space};
use crate::recipe::schema::{self, Condition, Is, Parameter, Problem};

/// The most combinations that are looked at. A study has a few hundred.
const MOST_COMBINATIONS: usize = 20_000;

/// Looks at all combinations; of the `suspects`, which have findings already, none is called missing.
pub(super) fn check_together(
    drafts: &Drafts,
    space: &Space,
    suspects: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let axes = &drafts.axes;
    let Some(combinations) = combinations(space, None) else {
        findings.extend(too_many(axes, space));
        return;
    };
    let seen = Seen::look_at(space, &combinations);
    // Parameters about which nothing more is said.
    let mut settled = in_doubt(suspects);
    for (axis_index, axis) in axes.iter().enumerate() {
        for (place, column) in axis.columns.iter().enumerate() {
            let idle =
                seen.idle.get(&(axis_index, place)).filter(|_| !settled.contains(column.name.as_str()));
            let Some((problem, times)) = idle else { continue };
            let is_always_idle = *times == seen.existing[axis_index];
            if let Some(problem) = idle_column(axis, column, problem, is_always_idle) {
                findings.push(problem);
                settled.insert(&column.name);
            }
        }
    }
    let is_in_doubt = suspects.iter().any(|name| schema::decides(name));
    if !is_in_doubt && space.search == Search::Grid {
        report_twins(axes, &combinations, &seen.twins, &mut settled, findings);
    }
    for problem in seen.clashes.values().filter(|problem| !settled.contains(problem.parameter())) {
        if is_in_doubt && matches!(problem, Problem::Contradiction { .. }) {
            continue;
        }
        // Without axes there are only defaults, and those are complete: there is always a cause.
        let first = || axes.first().and_then(|axis| axis.columns.first()).map(|column| &column.name_span);
        if let Some(span) = cause(problem, axes).or_else(first) {
            findings.push(at(span, problem));
        }
    }
}

/// All combinations of the deciding axes, and of `another` parameter's, that are not excluded, of a random search those that
/// are drawn; the other axes stand at their first place. `None` where there are too many.
pub(super) fn combinations(space: &Space, another: Option<&str>) -> Option<Vec<Combination>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for combination in space.combinations(deciding(space, another)) {
        if space.is_excluded(&combination.parameters) {
            continue;
        }
        let is_new = space.search == Search::Grid || seen.insert(format!("{:?}", combination.parameters));
        if is_new {
            found.push(combination);
        }
        if found.len() > MOST_COMBINATIONS {
            return None;
        }
    }
    Some(found)
}

/// Which axes decide, or have `another` parameter.
fn deciding(space: &Space, another: Option<&str>) -> Vec<bool> {
    let conditions = space.axes.iter().map(|axis| &axis.when).chain(&space.exclude);
    let named: BTreeSet<&str> = conditions.flatten().map(|condition| condition.parameter.as_str()).collect();
    let decides = |name: &String| {
        schema::decides(name) || named.contains(name.as_str()) || another == Some(name.as_str())
    };
    let is_deciding =
        |axis: &Axis| axis.is_swept() && (axis.names.len() > 1 || axis.names.iter().any(decides));
    space.axes.iter().map(is_deciding).collect()
}

fn too_many(axes: &[Draft], space: &Space) -> Option<SpecProblem> {
    let deciding = axes.iter().zip(deciding(space, None)).filter(|(_, decides)| *decides);
    let columns: Vec<&Column> = deciding.flat_map(|(axis, _)| &axis.columns).collect();
    let names: Vec<_> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
    let message = format!("{} have more than {MOST_COMBINATIONS} combinations", names.join(", "));
    Some(SpecProblem::new(&columns.first()?.name_span, message).help("split the spec into several"))
}

/// The suspects and all parameters of which nothing can be said while a suspect that decides about them is in doubt.
fn in_doubt<'n>(suspects: &BTreeSet<&'n str>) -> BTreeSet<&'n str> {
    let depends =
        |parameter: &&Parameter| suspects.iter().any(|suspect| schema::influences(suspect, parameter));
    let dependent = schema::PARAMETERS.iter().filter(depends).map(|parameter| parameter.name);
    suspects.iter().copied().chain(dependent).collect()
}

/// What was seen in all combinations.
struct Seen {
    /// By axis and column: what is without effect somewhere, under what, and in how many combinations.
    idle: BTreeMap<(usize, usize), (Problem, usize)>,
    /// For each axis, in how many combinations it exists.
    existing: Vec<usize>,
    clashes: BTreeMap<String, Problem>,
    /// Combinations that have the same canonical parameters: an earlier and a later one.
    twins: Vec<(usize, usize)>,
}

impl Seen {
    fn look_at(space: &Space, combinations: &[Combination]) -> Seen {
        let existing = vec![0; space.axes.len()];
        let mut seen = Seen { idle: BTreeMap::new(), existing, clashes: BTreeMap::new(), twins: Vec::new() };
        let mut first_with = BTreeMap::new();
        for (at, combination) in combinations.iter().enumerate() {
            for (count, exists) in seen.existing.iter_mut().zip(&combination.exists) {
                *count += usize::from(*exists);
            }
            for problem in schema::without_effect(&combination.parameters) {
                if let Some(place) = column_of(problem.parameter(), space, combination) {
                    seen.idle.entry(place).or_insert((problem, 0)).1 += 1;
                }
            }
            match schema::complete(&combination.parameters) {
                Ok(canonical) => {
                    let first = *first_with.entry(format!("{canonical:?}")).or_insert(at);
                    if first < at {
                        seen.twins.push((first, at));
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
}

/// The axis and column that a parameter has its value from in this combination.
fn column_of(name: &str, space: &Space, combination: &Combination) -> Option<(usize, usize)> {
    let existing = space.axes.iter().enumerate().filter(|(at, _)| combination.exists[*at]);
    existing.filter_map(|(at, axis)| Some((at, axis.names.iter().position(|own| own == name)?))).next_back()
}

/// What is missing under several settings is reported once, since adding it once is enough.
fn clash_key(problem: &Problem) -> String {
    match problem {
        Problem::Missing { name, .. } => (*name).to_owned(),
        other => other.to_string(),
    }
}

/// Two values that make the same trial would run once and be counted as two, as if they were seeds.
fn report_twins<'n>(
    axes: &'n [Draft],
    combinations: &[Combination],
    twins: &[(usize, usize)],
    reported: &mut BTreeSet<&'n str>,
    findings: &mut Findings,
) {
    for (first, second) in twins {
        let (first, second) = (&combinations[*first].places, &combinations[*second].places);
        let differing: Vec<_> = (0..axes.len()).filter(|at| first[*at] != second[*at]).collect();
        let mut columns = differing.iter().flat_map(|at| &axes[*at].columns);
        if columns.any(|column| reported.contains(column.name.as_str())) {
            continue;
        }
        let Some(at) = differing.first().copied() else { continue };
        let pair = |column: &'n Column| (&column.listed()[first[at]], &column.listed()[second[at]]);
        let differs = |column: &&Column| pair_differs(column, first[at], second[at]);
        let Some(column) = axes[at].columns.iter().find(differs).or(axes[at].columns.first()) else {
            continue;
        };
        let ((_, one), (_, other)) = pair(column);
        let name = &column.name;
        let message = format!("`{name}: {}` makes the same trial as `{name}: {}`", other.text(), one.text());
        findings.push(SpecProblem::new(other, message).and_at(one, "this one").help("remove one of them"));
        reported.insert(name);
    }
}

fn pair_differs(column: &Column, one: usize, other: usize) -> bool {
    column.listed()[one].0 != column.listed()[other].0
}

/// A swept parameter must have an effect wherever it exists, or trials would be the same twice; a fixed one, or one that
/// moves together with others, somewhere, unless what it asks for holds there anyway.
fn idle_column(
    axis: &Draft,
    column: &Column,
    problem: &Problem,
    is_always_idle: bool,
) -> Option<SpecProblem> {
    let Problem::NoEffect { name, under } = problem else { return None };
    let parameter = schema::find(name)?;
    if axis.is_swept() && axis.columns.len() == 1 {
        let message = format!("`{name}` is swept but has no effect under `{under}`");
        let help = if is_always_idle { problem.help() } else { Some(move_under_when(parameter)) };
        return Some(SpecProblem::new(&column.name_span, message).help_if(help));
    }
    (is_always_idle && !parameter.may_be_idle).then(|| at(&column.name_span, problem))
}

fn move_under_when(parameter: &Parameter) -> String {
    let name = parameter.name;
    let setting = |condition: &Condition| match condition.is {
        Is::OneOf([word, ..]) => Some(format!("{}: {word}", condition.parameter)),
        Is::Flag(flag) => Some(format!("{}: {flag}", condition.parameter)),
        _ => None,
    };
    match parameter.applies.iter().copied().flatten().find_map(setting) {
        Some(setting) => format!(
            "fix it to one value, or move it: `when: [{{if: {{{setting}}}, parameters: {{{name}: [..]}}}}]`"
        ),
        None => "fix it to one value, or move it under `when`".to_owned(),
    }
}

/// Where a problem of several parameters comes from: a missing one from what makes it required.
fn cause<'n>(problem: &Problem, axes: &'n [Draft]) -> Option<&'n Span> {
    let column = |name: &str| axes.iter().flat_map(|axis| &axis.columns).find(|column| column.name == name);
    let Problem::Missing { under, .. } = problem else {
        return column(problem.parameter()).map(|column| &column.name_span);
    };
    let column = column(under.name)?;
    let value = column.listed().iter().find(|(value, _)| *value == under.value);
    Some(value.map_or(&column.name_span, |(_, span)| span))
}
