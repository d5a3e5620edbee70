//! `stages` of a command spec: until which epoch which parameters matter, so that trials that agree so far share the work.

use std::collections::BTreeSet;

use super::error::{Findings, SpecProblem};
use super::keys::read_map;
use super::source::Span;
use super::space::{Axis, Choices, Space};
use super::tree::{Entry, Node};
use crate::vocabulary::Parameters;

/// A stretch of epochs, from the one after the stage before to `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub until: Until,
    /// Those that matter in it, beside all that matter in the stages before; `None`: all.
    pub parameters: Option<Vec<String>>,
}

/// The last epoch of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    Epoch(u32),
    /// The value of this parameter, a whole number in every configuration.
    Parameter(String),
}

/// A longer training was meant to be something else.
const MOST_EPOCHS: u32 = 100_000;

pub(super) const STAGE_KEYS: &[&str] = &["until", "parameters"];

impl Until {
    /// The epoch, in a configuration with these parameters; `None` only where they are another spec's.
    #[must_use]
    pub fn epoch(&self, parameters: &Parameters) -> Option<u32> {
        match self {
            Until::Epoch(epoch) => Some(*epoch),
            Until::Parameter(name) => {
                let epoch = parameters.get(name)?.as_u64().and_then(|epoch| u32::try_from(epoch).ok());
                epoch.filter(|epoch| (1..=MOST_EPOCHS).contains(epoch))
            }
        }
    }
}

/// The stages, checked against the space.
pub(super) fn read_stages(entry: &Entry, space: &Space, findings: &mut Findings) -> Vec<Stage> {
    let found_before = findings.len();
    let items = entry.node.list().filter(|items| !items.is_empty()).unwrap_or_else(|| {
        findings.push(
            SpecProblem::new(&entry.key_span, "`stages` must be a list with at least one stage").help(
                "write `stages:` and below it `- {until: 10, parameters: [lr]}` and `- {until: epochs}`",
            ),
        );
        &[]
    });
    let stages: Vec<Stage> =
        items.iter().filter_map(|item| read_stage(entry, item, space, findings)).collect();
    if findings.len() == found_before {
        findings.extend(not_ascending(entry, &stages, space));
        findings.extend(without_stage(entry, &stages, space));
    }
    stages
}

fn read_stage(entry: &Entry, item: &Node, space: &Space, findings: &mut Findings) -> Option<Stage> {
    let whole = Entry { key: "stages".to_owned(), key_span: item.span.clone(), node: item.clone() };
    let parts = read_map(&whole, STAGE_KEYS, findings)?;
    let found_before = findings.len();
    let part = |key: &str| item.map()?.iter().find(|part| part.key == key).map(|part| &part.node);
    let until = part("until").map(|node| read_until(node, space));
    let is_last = entry.node.list().and_then(|items| items.last()) == Some(item);
    let parameters = match part("parameters") {
        Some(node) => Some(read_names(node, space, findings)),
        None if is_last => None,
        None => {
            let problem = SpecProblem::new(&item.span, "only the last stage may leave `parameters` out");
            findings.push(problem.help("list the parameters that matter up to its end"));
            None
        }
    };
    let until = match until {
        Some(Ok(until)) => Some(until),
        Some(Err(problem)) => {
            findings.push(problem);
            None
        }
        None => {
            let problem = SpecProblem::new(&item.span, "a stage needs `until`, the epoch at which it ends");
            findings.push(problem.help("write a number, or the name of a parameter that holds it"));
            None
        }
    };
    (findings.len() == found_before && !parts.is_empty()).then_some(Stage { until: until?, parameters })
}

fn read_until(node: &Node, space: &Space) -> Result<Until, SpecProblem> {
    let wrong = |message: String| Err(SpecProblem::new(&node.span, message));
    if let Some(epoch) = node.value().and_then(|value| value.as_u64()) {
        return match u32::try_from(epoch) {
            Ok(epoch) if (1..=MOST_EPOCHS).contains(&epoch) => Ok(Until::Epoch(epoch)),
            _ => wrong(format!("an epoch must be from 1 to {MOST_EPOCHS}")),
        };
    }
    let Some(name) = node.text() else {
        return wrong("`until` must be an epoch, or the name of a parameter that holds one".to_owned());
    };
    let axes = space.axes.iter().filter(|axis| axis.names.iter().any(|own| own == name));
    let mut is_known = false;
    for axis in axes {
        is_known = true;
        if !axis.when.is_empty() {
            return wrong(format!(
                "`{name}` does not exist in every configuration, so no stage can end there"
            ));
        }
        let until = Until::Parameter(name.to_owned());
        let column = axis.names.iter().position(|own| own == name).unwrap_or(0);
        let is_epoch = |row: &Vec<_>| {
            until
                .epoch(&Parameters::from([(name.to_owned(), row.get(column).cloned().unwrap_or_default())]))
                .is_some()
        };
        let are_epochs = match &axis.choices {
            Choices::Drawn(distribution) => {
                distribution.is_whole()
                    && distribution
                        .ends()
                        .is_some_and(|ends| ends.into_iter().all(|end| is_epoch(&vec![end])))
            }
            _ => axis.rows().iter().all(is_epoch),
        };
        if !are_epochs {
            return wrong(format!("`{name}` is not a whole number from 1 to {MOST_EPOCHS} everywhere"));
        }
    }
    if is_known {
        Ok(Until::Parameter(name.to_owned()))
    } else {
        wrong(format!("the spec has no parameter `{name}`"))
    }
}

fn read_names(node: &Node, space: &Space, findings: &mut Findings) -> Vec<String> {
    let Some(items) = node.list() else {
        findings.push(SpecProblem::new(&node.span, "`parameters` of a stage must be a list of names"));
        return Vec::new();
    };
    let known: Vec<&str> = space.axes.iter().flat_map(|axis| &axis.names).map(String::as_str).collect();
    let mut names = Vec::new();
    for item in items {
        match item.text().filter(|name| known.contains(name)) {
            Some(name) => names.push(name.to_owned()),
            None => {
                let near =
                    item.text().and_then(|name| crate::recipe::schema::nearest(name, known.iter().copied()));
                let message = format!("the spec has no parameter `{}`", item.span.text());
                let near = near.map(|near| format!("did you mean `{near}`?"));
                findings.push(SpecProblem::new(&item.span, message).help_if(near));
            }
        }
    }
    names
}

/// In every configuration a stage ends after the one before.
fn not_ascending(entry: &Entry, stages: &[Stage], space: &Space) -> Option<SpecProblem> {
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for stage in stages {
        if let Until::Parameter(name) = &stage.until {
            named.insert(name);
        }
    }
    named.extend(space.exclude.iter().flatten().map(|condition| condition.parameter.as_str()));
    let moves = |axis: &Axis| axis.names.iter().any(|name| named.contains(name.as_str()));
    let combinations = space.combinations(space.axes.iter().map(moves).collect());
    for combination in combinations.filter(|one| !space.is_excluded(&one.parameters)) {
        let ends: Vec<_> = stages.iter().map(|stage| stage.until.epoch(&combination.parameters)).collect();
        let Some(at) = ends.windows(2).position(|pair| pair[0] >= pair[1]) else { continue };
        let end = |at: usize| ends[at].unwrap_or_default();
        let message =
            format!("a stage would end at epoch {}, the one before it at epoch {}", end(at + 1), end(at));
        return Some(
            SpecProblem::new(place(entry, at + 1), message).help("list the stages from first to last"),
        );
    }
    None
}

/// A swept parameter that matters nowhere would make trials that are the same.
fn without_stage(entry: &Entry, stages: &[Stage], space: &Space) -> Option<SpecProblem> {
    let mut mattering: BTreeSet<&str> = BTreeSet::new();
    for stage in stages {
        mattering.extend(stage.parameters.as_ref()?.iter().map(String::as_str));
        if let Until::Parameter(name) = &stage.until {
            mattering.insert(name);
        }
    }
    let names = space.axes.iter().flat_map(|axis| &axis.names);
    let idle = names.into_iter().find(|name| !mattering.contains(name.as_str()) && space.varies(name))?;
    let message = format!("`{idle}` is swept but matters in no stage");
    Some(
        SpecProblem::new(&entry.key_span, message)
            .help("leave `parameters` out in the last stage, where all of them then matter"),
    )
}

fn place(entry: &Entry, at: usize) -> &Span {
    entry.node.list().and_then(|items| items.get(at)).map_or(&entry.key_span, |item| &item.span)
}
