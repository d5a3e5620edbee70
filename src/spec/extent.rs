//! Looks at a space as a whole: how many trials there are, and what never holds.

use super::census::{Census, census};
use super::command::check_absent;
use super::document::Document;
use super::error::{Findings, SpecProblem};
use super::expansion::{MOST_TRIALS, Spec};
use super::groups::Drafts;
use super::source::Span;
use super::space::Search;

/// Looks at how many trials there are, and at conditions that never hold. What an override or another file has left without
/// effect in a grid is taken out of the space.
pub(super) fn check_extent(
    document: &Document<'_>,
    spec: &mut Spec,
    drafts: &Drafts,
    findings: &mut Findings,
) {
    let place = ["parameters", "zip", "when", "seeds"].iter().find_map(|key| document.find(key));
    let span = place.map_or_else(|| Span::new(document.source(), 0, 0), |entry| entry.key_span.clone());
    let is_numbered = spec.number_count() <= i64::MAX.unsigned_abs();
    let Some(census) = census(&spec.space).filter(|_| is_numbered) else {
        let message = "the spec has more combinations than can be numbered or looked at";
        findings.push(SpecProblem::new(&span, message).help("split it into several specs"));
        return;
    };
    let count = census.configurations.saturating_mul(spec.seeds.len() as u64);
    if count > MOST_TRIALS {
        findings.push(
            SpecProblem::new(&span, format!("the spec has {count} trials, more than {MOST_TRIALS}"))
                .help("split it into several specs, or sweep fewer values"),
        );
    }
    // What a random search draws is known, but no mistake of the spec.
    if spec.space.search == Search::Grid {
        report_idle(drafts, &census, findings);
        report_lost_overrides(drafts, &census, findings);
        let mut exists = census.exists.iter();
        spec.space.axes.retain(|_| exists.next() == Some(&true));
        let mut excludes = census.excludes.iter();
        spec.space.exclude.retain(|_| excludes.next() == Some(&true));
    }
    check_absent(document.find("command"), &census.absent, findings);
    if let (0, Some(entry)) = (count, document.find("exclude")) {
        findings.push(SpecProblem::new(&entry.key_span, "`exclude` leaves no trial"));
    }
}

/// Conditions and exclusions that have no effect.
fn report_idle(drafts: &Drafts, census: &Census, findings: &mut Findings) {
    let mut idle: Vec<&Span> = Vec::new();
    for (axis, exists) in drafts.axes.iter().zip(&census.exists) {
        if let (false, Some(span)) = (exists, &axis.when_span)
            && !idle.contains(&span)
            && !axis.when.iter().any(|condition| condition.is_overridden(&drafts.axes))
        {
            // Axes under one `if` share it.
            idle.push(span);
            findings
                .push(SpecProblem::new(span, "this `if` never holds").help("change it, or remove the item"));
        }
    }
    for (exclusion, _) in drafts.exclude.iter().zip(&census.excludes).filter(|(_, excludes)| !**excludes) {
        if exclusion.matches.iter().any(|condition| condition.is_overridden(&drafts.axes)) {
            continue;
        }
        let problem = SpecProblem::new(&exclusion.span, "this leaves nothing out: no trial is like that");
        findings.push(problem.help("change it, or remove it"));
    }
}

/// Overrides of parameters that no trial has: what was typed is meant, other than what a recipe says for other cases.
fn report_lost_overrides(drafts: &Drafts, census: &Census, findings: &mut Findings) {
    let columns = |wanted: bool| {
        let axes = drafts.axes.iter().zip(&census.exists).filter(move |(_, exists)| **exists == wanted);
        axes.flat_map(|(axis, _)| &axis.columns)
    };
    for lost in columns(false).filter(|column| column.name_span.source.is_command_line()) {
        if columns(true).all(|column| column.name != lost.name) {
            let message =
                format!("`{}` has no effect: no trial meets the conditions under which it counts", lost.name);
            findings.push(
                SpecProblem::new(&lost.name_span, message)
                    .help("leave it out, or choose what it belongs to as well"),
            );
        }
    }
}
