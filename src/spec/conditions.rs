//! Conditions over parameters, in `when` and `exclude`: read, and held against the parameters that they name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::axes::{Column, Draft, Reader, Values, Written, alternatives};
use super::distribution::Shape;
use super::error::{Findings, SpecProblem};
use super::groups::Drafts;
use super::source::Span;
use super::space::{Condition, is_same};
use super::tree::{Entry, Node};
use crate::recipe::schema::nearest;

/// A condition that still knows where it was written.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub(super) name: String,
    pub(super) name_span: Span,
    /// One of them is enough.
    pub(super) values: Vec<(Value, Span)>,
}

impl Match {
    pub(super) fn to_condition(&self) -> Condition {
        let any_of = self.values.iter().map(|(value, _)| value.clone()).collect();
        Condition { parameter: self.name.clone(), any_of }
    }

    /// Whether a parameter that it names is written elsewhere, in an override or another file. Then nobody can be blamed that
    /// it holds no longer.
    pub(super) fn is_overridden(&self, axes: &[Draft]) -> bool {
        let mut columns =
            axes.iter().flat_map(|axis| &axis.columns).filter(|column| column.name == self.name);
        columns.any(|column| !column.name_span.is_beside(&self.name_span))
    }

    fn excludes(&self, other: &Match) -> bool {
        let meets = |value: &Value| other.values.iter().any(|(one, _)| is_same(one, value));
        self.name == other.name && !self.values.iter().any(|(value, _)| meets(value))
    }
}

/// A map of names and values, all of which have to hold; nothing where there is a finding.
pub(super) fn read_matches(
    node: &Node,
    what: &str,
    reader: Reader<'_>,
    findings: &mut Findings,
) -> Option<Vec<Match>> {
    let Some(entries) = node.map().filter(|entries| !entries.is_empty()) else {
        let problem = SpecProblem::new(&node.span, format!("{what} must be a map of parameters and values"));
        findings.push(problem.help("write `{name: value}`, or `{name: [value, value]}` for any of them"));
        return None;
    };
    let mut matches = Vec::new();
    for entry in entries {
        match read_match(entry, reader) {
            Ok(found) => matches.push(found),
            Err(problem) => findings.push(problem),
        }
    }
    (matches.len() == entries.len()).then_some(matches)
}

fn read_match(entry: &Entry, reader: Reader<'_>) -> Result<Match, SpecProblem> {
    let written = Written { name: entry.key.clone(), name_span: &entry.key_span, node: &entry.node };
    let mut values = Vec::new();
    for node in alternatives(&written, (reader.is_list)(&entry.key))? {
        let value = node.value().ok_or_else(|| {
            SpecProblem::new(&node.span, format!("`{}` has no value here", entry.key))
                .help("write a value of the parameter, or a list of them")
        })?;
        values.push((value, node.span.clone()));
    }
    if values.is_empty() {
        return Err(SpecProblem::new(
            &entry.node.span,
            format!("`{}` is an empty list, so nothing fits", entry.key),
        ));
    }
    Ok(Match { name: entry.key.clone(), name_span: entry.key_span.clone(), values })
}

/// Holds the drafts against each other: names that are written twice, and conditions that name nothing, something later, or
/// a value that never is. Leaves out what stands under conditions on parameters with findings; of those nothing more is
/// said. Gives the names that are in doubt.
pub(super) fn link(drafts: &mut Drafts, findings: &mut Findings) -> BTreeSet<String> {
    let has_axis = |name: &&String| {
        drafts.axes.iter().flat_map(|axis| &axis.columns).any(|column| column.name == **name)
    };
    let mut in_doubt: BTreeSet<String> =
        drafts.names.iter().filter(|name| !has_axis(name)).cloned().collect();
    check_names(&drafts.axes, findings);
    check_conditions(drafts, &in_doubt, findings);
    let mut known: BTreeSet<String> = BTreeSet::new();
    drafts.axes.retain(|axis| {
        let names = axis.columns.iter().map(|column| column.name.clone());
        let is_linked = axis.when.iter().all(|condition| known.contains(&condition.name));
        if is_linked {
            known.extend(names)
        } else {
            in_doubt.extend(names)
        }
        is_linked
    });
    drafts
        .exclude
        .retain(|exclusion| exclusion.matches.iter().all(|condition| known.contains(&condition.name)));
    in_doubt
}

/// Reports parameters that are written twice where both can exist.
fn check_names(axes: &[Draft], findings: &mut Findings) {
    for (at, axis) in axes.iter().enumerate() {
        for (place, column) in axis.columns.iter().enumerate() {
            let before = axes[..at].iter().filter(|earlier| !exclude_each_other(earlier, axis));
            let before = before.flat_map(|earlier| &earlier.columns).chain(&axis.columns[..place]);
            let Some(first) = before.into_iter().find(|first| first.name == column.name) else { continue };
            findings.push(
                SpecProblem::new(&column.name_span, format!("`{}` is written twice", column.name))
                    .and_at(&first.name_span, "first here")
                    .help("remove one of them, or put both under `when` with conditions that exclude each other"),
            );
        }
    }
}

fn exclude_each_other(one: &Draft, other: &Draft) -> bool {
    one.when.iter().any(|condition| other.when.iter().any(|against| condition.excludes(against)))
}

fn check_conditions(drafts: &Drafts, in_doubt: &BTreeSet<String>, findings: &mut Findings) {
    let axes = &drafts.axes;
    // Axes under one `if` share its conditions.
    let mut seen: Vec<Span> = Vec::new();
    for (at, axis) in axes.iter().enumerate() {
        for condition in &axis.when {
            if !seen.contains(&condition.name_span) {
                seen.push(condition.name_span.clone());
                findings.extend(wrong_condition(condition, axes, at, in_doubt));
            }
        }
    }
    for condition in drafts.exclude.iter().flat_map(|exclusion| &exclusion.matches) {
        findings.extend(wrong_condition(condition, axes, axes.len(), in_doubt));
    }
}

fn wrong_condition(
    condition: &Match,
    axes: &[Draft],
    before: usize,
    in_doubt: &BTreeSet<String>,
) -> Option<SpecProblem> {
    let Match { name, name_span, values } = condition;
    if in_doubt.contains(name) {
        return None;
    }
    let of_name = |axes: &'_ [Draft]| -> Vec<usize> {
        let has_name = |axis: &Draft| axis.columns.iter().any(|column| column.name == *name);
        axes.iter().enumerate().filter(|(_, axis)| has_name(axis)).map(|(at, _)| at).collect()
    };
    let earlier = of_name(&axes[..before]);
    if earlier.is_empty() {
        let is_later = !of_name(axes).is_empty();
        let known: Vec<&str> =
            axes.iter().flat_map(|axis| &axis.columns).map(|column| column.name.as_str()).collect();
        let near = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
        return Some(match is_later {
            true => SpecProblem::new(name_span, format!("`{name}` is not decided here yet"))
                .help("a condition can name `parameters`, `zip`, and what stands above it under `when`"),
            false => SpecProblem::new(name_span, format!("the spec has no parameter `{name}`"))
                .help(format!("add `{name}` under `parameters`"))
                .help_if(near),
        });
    }
    let columns: Vec<&Column> =
        earlier.iter().flat_map(|at| &axes[*at].columns).filter(|column| column.name == *name).collect();
    if condition.is_overridden(axes) {
        return None;
    }
    let (_, span) = values.iter().find(|(value, _)| !columns.iter().any(|column| can_be(column, value)))?;
    let is_drawn = columns.iter().any(|column| matches!(column.values, Values::Drawn(..)));
    let problem = SpecProblem::new(span, format!("`{name}` is never `{}`", span.text()));
    Some(if is_drawn {
        problem.help(
            "it is drawn; conditions are for values that are listed, and for whole numbers of `int_uniform`",
        )
    } else {
        let listed: Vec<_> = columns
            .iter()
            .flat_map(|column| column.listed())
            .map(|(_, span)| format!("`{}`", span.text()))
            .collect();
        let shown =
            if listed.len() > 12 { format!("{}, …", listed[..12].join(", ")) } else { listed.join(", ") };
        problem.help(format!("its values are {shown}"))
    })
}

fn can_be(column: &Column, value: &Value) -> bool {
    match &column.values {
        Values::Listed(values) => values.iter().any(|(one, _)| is_same(one, value)),
        Values::Drawn(distribution, _) => match distribution.shape {
            // A condition on a real parameter of the built-in trainer has 3.0 where integers are drawn.
            Shape::Integers { least, most } => value.as_f64().is_some_and(|number| {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "near the ends a condition is never met by chance"
                )]
                let is_inside = (least as f64..=most as f64).contains(&number);
                number.fract() == 0.0 && is_inside
            }),
            _ => false,
        },
    }
}
