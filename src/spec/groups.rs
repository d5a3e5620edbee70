//! The sections beside `parameters`: `zip`, parameters that move together; `when`, parameters that exist under
//! conditions; `exclude`, combinations that are left out.

use super::axes::{Draft, Reader, Values, flatten, read_axes, read_parameter};
use super::conditions::{Match, read_matches};
use super::error::{Findings, SpecProblem};
use super::keys::known_entries;
use super::source::Span;
use super::tree::{Entry, Node};

/// Keys of an item under `when`.
pub(super) const WHEN_KEYS: &[&str] = &["if", "parameters", "when"];

/// The sections of a document that make its space, as far as they are there.
#[derive(Clone, Copy)]
pub(super) struct Sections<'n> {
    pub(super) parameters: &'n [Entry],
    pub(super) zip: Option<&'n Entry>,
    pub(super) when: Option<&'n Entry>,
    pub(super) exclude: Option<&'n Entry>,
}

/// What the sections say.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    /// Those of `parameters`, then of `zip`, then of `when`. One with a finding is left out.
    pub(super) axes: Vec<Draft>,
    pub(super) exclude: Vec<Exclusion>,
    /// The names of all parameters, those with findings too.
    pub(super) names: Vec<String>,
}

/// A combination to leave out, and its place.
#[derive(Debug)]
pub(super) struct Exclusion {
    pub(super) matches: Vec<Match>,
    pub(super) span: Span,
}

pub(super) fn read_sections(sections: Sections<'_>, reader: Reader<'_>, findings: &mut Findings) -> Drafts {
    let parameters = flatten(sections.parameters, findings);
    let mut names: Vec<String> = parameters.iter().map(|written| written.name.clone()).collect();
    let mut axes = read_axes(&parameters, reader, findings);
    if let Some(zip) = sections.zip {
        let groups = zip.node.list().unwrap_or_default().iter().filter_map(Node::map);
        // What is wrong in a group is said when it is read.
        names.extend(
            groups.flat_map(|group| flatten(group, &mut Findings::default())).map(|written| written.name),
        );
        axes.extend(read_zip(zip, reader, findings));
    }
    if let Some(when) = sections.when {
        let conditional = read_when(when, reader, findings);
        names.extend(conditional.names);
        axes.extend(conditional.axes);
    }
    let exclude = sections.exclude.map(|entry| read_exclude(entry, reader, findings)).unwrap_or_default();
    Drafts { axes, exclude, names }
}

/// The groups under `zip`, each an axis.
fn read_zip(entry: &Entry, reader: Reader<'_>, findings: &mut Findings) -> Vec<Draft> {
    let groups = read_list(entry, "write `zip:` and below it `- {a: [1, 2], b: [3, 4]}`", findings);
    groups.iter().filter_map(|group| read_group(group, reader, findings)).collect()
}

fn read_group(node: &Node, reader: Reader<'_>, findings: &mut Findings) -> Option<Draft> {
    let Some(entries) = node.map().filter(|entries| !entries.is_empty()) else {
        let problem =
            SpecProblem::new(&node.span, "a group under `zip` must be a map of parameters and lists");
        findings.push(problem.help("write `- {a: [1, 2], b: [3, 4]}`"));
        return None;
    };
    let found_before = findings.len();
    let mut columns = Vec::new();
    for written in flatten(entries, findings) {
        match read_parameter(&written, reader) {
            Ok((column, None)) if matches!(column.values, Values::Listed(_)) => columns.push(column),
            Ok((column, _)) => {
                let message =
                    format!("`{}` is drawn by chance, which can't move together with another", column.name);
                findings.push(SpecProblem::new(&column.name_span, message).help("list its values"));
            }
            Err(problem) => findings.push(problem),
        }
    }
    let (first, others) = columns.split_first()?;
    for other in others {
        let (one, two) = (first.listed().len(), other.listed().len());
        if one != two {
            let message = format!("`{}` has {two} values, but `{}` has {one}", other.name, first.name);
            findings.push(
                SpecProblem::new(&other.name_span, message)
                    .and_at(&first.name_span, "which it moves with")
                    .help("parameters that move together have equally many values"),
            );
        }
    }
    (findings.len() == found_before).then_some(Draft {
        columns,
        weights: None,
        when: vec![],
        when_span: None,
    })
}

/// The axes under `when`: those of an item, then those of the items inside it, then the next item's.
fn read_when(entry: &Entry, reader: Reader<'_>, findings: &mut Findings) -> Conditional {
    let mut found = Conditional::default();
    read_items(entry, &[], reader, &mut found, findings);
    found
}

/// What stands under `when`.
#[derive(Default)]
struct Conditional {
    axes: Vec<Draft>,
    /// Every name, also of axes with findings.
    names: Vec<String>,
}

fn read_items(
    entry: &Entry,
    around: &[Match],
    reader: Reader<'_>,
    found: &mut Conditional,
    findings: &mut Findings,
) {
    let help = "write `when:` and below it `- {if: {name: value}, parameters: {..}}`";
    for item in read_list(entry, help, findings) {
        let Some(entries) = item.map() else {
            findings.push(SpecProblem::new(&item.span, "an item under `when` must be a map").help(help));
            continue;
        };
        let parts = known_entries(entries, WHEN_KEYS, findings);
        let part = |key: &str| parts.iter().copied().find(|part| part.key == key);
        let parameters = part("parameters").map(|part| (part, part.node.map()));
        if let Some((part, None)) = parameters {
            findings.push(SpecProblem::new(&part.key_span, "`parameters` must be a map"));
        }
        let Some(condition) = part("if") else {
            findings.push(SpecProblem::new(&item.span, "an item under `when` needs an `if`").help(help));
            continue;
        };
        if part("parameters").is_none() && part("when").is_none() {
            findings.push(SpecProblem::new(&condition.key_span, "nothing depends on this `if`").help(help));
        }
        let written = flatten(parameters.and_then(|(_, map)| map).unwrap_or_default(), findings);
        found.names.extend(written.iter().map(|written| written.name.clone()));
        let axes = read_axes(&written, reader, findings);
        let Some(own) = read_matches(&condition.node, "`if`", reader, findings) else { continue };
        let when = [around, &own].concat();
        found.axes.extend(axes.into_iter().map(|axis| under(axis, &when, &condition.key_span)));
        if let Some(inner) = part("when") {
            read_items(inner, &when, reader, found, findings);
        }
    }
}

fn under(axis: Draft, when: &[Match], span: &Span) -> Draft {
    Draft { when: when.to_vec(), when_span: Some(span.clone()), ..axis }
}

fn read_exclude(entry: &Entry, reader: Reader<'_>, findings: &mut Findings) -> Vec<Exclusion> {
    let items = read_list(entry, "write `exclude:` and below it `- {a: 1, b: [2, 3]}`", findings);
    let mut read = |item: &Node| {
        let matches = read_matches(item, "a combination to leave out", reader, findings)?;
        Some(Exclusion { matches, span: item.span.clone() })
    };
    items.iter().filter_map(&mut read).collect()
}

fn read_list<'n>(entry: &'n Entry, help: &str, findings: &mut Findings) -> &'n [Node] {
    entry.node.list().filter(|items| !items.is_empty()).unwrap_or_else(|| {
        let message = format!("`{}` must be a list with at least one item", entry.key);
        findings.push(SpecProblem::new(&entry.key_span, message).help(help));
        &[]
    })
}
