//! Single keys: which are known, and what may stand behind them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::error::{Findings, SpecProblem};
use super::expansion::MOST_TRIALS;
use super::source::Span;
use super::tree::{Entry, Node};
use crate::recipe::schema::{self, nearest};

/// The known entries of a map.
pub(super) fn read_map<'n>(
    entry: &'n Entry,
    known: &[&str],
    findings: &mut Findings,
) -> Option<Vec<&'n Entry>> {
    let Some(entries) = entry.node.map() else {
        let message = format!("`{}` must be a map of {}", entry.key, quoted(known));
        findings.push(SpecProblem::new(&entry.key_span, message));
        return None;
    };
    Some(known_entries(entries, known, findings))
}

/// Those of the entries whose keys are known; each other one is a finding.
pub(super) fn known_entries<'n>(
    entries: &'n [Entry],
    known: &[&str],
    findings: &mut Findings,
) -> Vec<&'n Entry> {
    let mut found = Vec::new();
    for entry in entries {
        match check_key(&entry.key, known, &entry.key_span) {
            Ok(()) => found.push(entry),
            Err(problem) => findings.push(problem),
        }
    }
    found
}

fn check_key(key: &str, known: &[&str], span: &Span) -> Result<(), SpecProblem> {
    if known.contains(&key) {
        return Ok(());
    }
    let problem = SpecProblem::new(span, format!("unknown key `{key}`"));
    Err(if schema::find(key).is_some() {
        problem.help(format!("`{key}` is a parameter: write it under `parameters`"))
    } else if let Some(near) = nearest(key, known.iter().copied()) {
        problem.help(format!("did you mean `{near}`?"))
    } else {
        problem.help(format!("known keys: {}", quoted(known)))
    })
}

pub(super) fn read_integer(
    entry: &Entry,
    range: RangeInclusive<i64>,
    findings: &mut Findings,
) -> Option<i64> {
    let number = entry.node.value().and_then(|value| value.as_i64()).filter(|number| range.contains(number));
    if number.is_none() {
        let message =
            format!("`{}` must be a whole number from {} to {}", entry.key, range.start(), range.end());
        findings.push(SpecProblem::new(&entry.node.span, message));
    }
    number
}

/// One of a few words, by its place among them.
pub(super) fn read_word(entry: &Entry, words: &[&str], findings: &mut Findings) -> Option<usize> {
    let written = entry.node.text();
    let place = words.iter().position(|word| Some(*word) == written);
    if place.is_none() {
        let near = written.and_then(|written| nearest(written, words.iter().copied()));
        let near = near.map(|near| format!("did you mean `{near}`?"));
        let message = format!("`{}` must be one of {}", entry.key, quoted(words));
        findings.push(SpecProblem::new(&entry.node.span, message).help_if(near));
    }
    place
}

/// `n` means 0 … n − 1.
pub(super) fn read_seeds(node: &Node) -> Result<Vec<u64>, SpecProblem> {
    let wrong = |node: &Node| {
        SpecProblem::new(&node.span, "`seeds` must be a number of seeds or a list of them")
            .help("write `seeds: 3` for the seeds 0, 1 and 2, or `seeds: [0, 1, 2]`")
    };
    let Some(items) = node.list() else {
        let count = node.value().and_then(|value| value.as_u64()).ok_or_else(|| wrong(node))?;
        if count == 0 || count > MOST_TRIALS {
            let message = format!("the number of `seeds` must be from 1 to {MOST_TRIALS}");
            return Err(SpecProblem::new(&node.span, message));
        }
        return Ok((0..count).collect());
    };
    if items.is_empty() {
        return Err(SpecProblem::new(&node.span, "`seeds` is an empty list"));
    }
    let mut first_at = BTreeMap::new();
    let mut seeds = Vec::new();
    for item in items {
        let seed = item.value().and_then(|value| value.as_u64()).ok_or_else(|| wrong(item))?;
        if let Some(first) = first_at.insert(seed, &item.span) {
            return Err(SpecProblem::new(&item.span, format!("the seed {seed} is listed twice"))
                .and_at(first, "first here"));
        }
        seeds.push(seed);
    }
    Ok(seeds)
}

pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
