//! `metric`: what results are ranked by.

use super::check::known_metric;
use super::document::Document;
use super::error::{Findings, SpecProblem};
use super::expansion::Trainer;
use super::keys::read_map;
use super::tree::{Entry, Node};
use crate::recipe::metrics::find_metric;
use crate::vocabulary::{Goal, Metric};

/// What results are ranked by. The built-in trainer has a default, and knows which way is better.
pub(super) fn read_metric(
    document: &Document<'_>,
    trainer: Option<&Trainer>,
    findings: &mut Findings,
) -> Option<Metric> {
    let Some(entry) = document.find("metric") else {
        let top1 = Metric { name: "top1".to_owned(), goal: Goal::Maximize };
        return (trainer == Some(&Trainer::Resnet)).then_some(top1);
    };
    let mut entry = entry.clone();
    if let Some(entries) = entry.node.map_mut() {
        findings.extend(take_target(entries));
    }
    let entry = &entry;
    let parts = read_map(entry, &["name", "goal"], findings)?;
    let part = |key| parts.iter().find(|part: &&&Entry| part.key == key).map(|part| &part.node);
    let name = part("name").and_then(Node::text).filter(|name| !name.is_empty());
    if let (Some(Trainer::Resnet), Some(name), Some(node)) = (trainer, name, part("name")) {
        // Which way is better is said below; of an unknown metric nobody knows.
        known_metric(name, &node.span).map_err(|problem| findings.push(problem)).ok()?;
    }
    let goal = match (part("goal"), part("goal").and_then(Node::text)) {
        (_, Some("maximize")) => Some(Goal::Maximize),
        (_, Some("minimize")) => Some(Goal::Minimize),
        (None, _) if trainer == Some(&Trainer::Resnet) => {
            name.and_then(find_metric).and_then(|metric| metric.better)
        }
        // W&B's default.
        (None, _) if document.find("program").is_some() => Some(Goal::Minimize),
        _ => None,
    };
    if name.is_none() || goal.is_none() {
        findings.push(
            SpecProblem::new(&entry.key_span, "`metric` must have a `name` and a `goal`")
                .help("write `metric: {name: top1, goal: maximize}`; the other goal is `minimize`"),
        );
    }
    Some(Metric { name: name?.to_owned(), goal: goal? })
}

/// Takes W&B's `target` out of a metric.
fn take_target(entries: &mut Vec<Entry>) -> Option<SpecProblem> {
    let at = entries.iter().position(|part| part.key == "target")?;
    let target = entries.remove(at);
    let message = "`target` is not available: all trials run, whatever the others reach";
    Some(SpecProblem::new(&target.key_span, message).help("remove it"))
}
