//! Labels and marks, held against what they should be.

use super::super::configurations::Configuration;
use super::super::label::Label;
use super::super::rank::{Better, by_goal};
use super::super::value::{NOTHING, is_rounded};
use super::numbers::decimals_of_first;
use crate::vocabulary::Goal;

/// A label as it stands there.
pub(super) struct Written<'c> {
    pub(super) text: &'c str,
    /// What stands in the same column above it: an empty cell says the same again.
    pub(super) above: Option<&'c str>,
}

pub(super) fn label_difference(
    label: &Label,
    written: &Written<'_>,
    configuration: &Configuration<'_>,
    all: &[Configuration<'_>],
) -> Option<String> {
    // A column that somebody has added says nothing of what is in the table of jobs.
    if let Label::Parameter(name) = label
        && !all.iter().any(|one| one.parameters.contains_key(name))
    {
        return None;
    }
    let expected = label.text(configuration);
    if agrees(written.text, &expected) {
        return None;
    }
    let is_empty = written.text.trim().is_empty();
    if is_empty && written.above.is_some_and(|above| agrees(above, &expected)) {
        return None;
    }
    let there = if is_empty { "nothing" } else { &format!("`{}`", written.text.trim()) };
    Some(match expected.as_str() {
        "" => format!("{there} stands there, and it does not apply to these trials"),
        expected => format!("{there} stands there; it is {expected}"),
    })
}

/// Whether what stands there is what should: blanks and kinds of dashes don't count, and a drawn number may be rounded.
fn agrees(text: &str, expected: &str) -> bool {
    let (text, expected) = (tidy(text), tidy(expected));
    let is_nothing = |text: &str| text.is_empty() || text == tidy(NOTHING);
    if text == expected || is_nothing(&text) && is_nothing(&expected) {
        return true;
    }
    let (texts, all): (Vec<&str>, Vec<&str>) = (text.split(',').collect(), expected.split(',').collect());
    let is_same = |(text, expected): (&&str, &&str)| {
        text == expected || text.parse().is_ok_and(|number: f64| is_rounded(number, expected))
    };
    texts.len() == all.len() && texts.iter().zip(&all).all(is_same)
}

/// Without blanks, and with one kind of dash.
pub(super) fn tidy(text: &str) -> String {
    let dashes = |c| if matches!(c, '–' | '—' | '−') { '-' } else { c };
    let mut tidy: String = text.chars().filter(|c| !c.is_whitespace()).map(dashes).collect();
    while tidy.contains("--") {
        tidy = tidy.replace("--", "-");
    }
    tidy
}

/// A name above a column may be another one than was written, but not that of another column.
pub(super) fn head_difference(text: &str, own: &str, others: &[String]) -> Option<String> {
    let is_other = |other: &String| tidy(other) == tidy(text);
    (tidy(text) != tidy(own) && others.iter().any(is_other))
        .then(|| format!("`{}` stands above it; it is {own}", text.trim()))
}

/// Whether the cell that is marked is the best of its table. One that looks as good as the best may be marked, too.
pub(super) fn mark_difference(
    text: &str,
    metric: &str,
    goal: Goal,
    marked: &Configuration<'_>,
    among: &[&Configuration<'_>],
) -> Option<String> {
    let own = marked.mean(metric)?;
    let better = Better::of(Some(goal));
    let best = among
        .iter()
        .copied()
        .filter(|other| other.mean(metric).is_some())
        .min_by(|one, other| by_goal(better, one.mean(metric), other.mean(metric)))?;
    let best_mean = best.mean(metric)?;
    let decimals = decimals_of_first(text).unwrap_or(17);
    if format!("{own:.decimals$}") == format!("{best_mean:.decimals$}") {
        return None;
    }
    Some(format!(
        "it is marked as the best of its table, and that is {best_mean} (trials {})",
        best.counted_trials()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_be_set_otherwise_and_a_drawn_number_rounded() {
        for (text, expected) in [
            ("1", "1.0"),
            (" 0.5 ", "0.5"),
            ("2of 3", "2 of 3"),
            ("1–3,7", "1-3,7"),
            ("[25, 35]", "[25,35]"),
            ("0.5,x", "0.5, x"),
            ("", "–"),
            ("--", ""),
            ("−1e-3", "-0.001"),
            ("0.001235", "0.0012345678901234"),
        ] {
            assert!(agrees(text, expected), "{text} {expected}");
        }
        for (text, expected) in [
            ("1.1", "1.0"),
            ("1", "0.95"),
            ("0.0012", "0.0012345678901234"),
            ("3", "2 of 3"),
            ("", "0.5"),
            ("0.5", ""),
            ("1-4", "1-3"),
            ("frozen", "ema"),
        ] {
            assert!(!agrees(text, expected), "{text} {expected}");
        }
    }

    #[test]
    fn a_column_may_be_renamed_but_not_as_another_one() {
        let others = ["top1".to_owned(), "rankme".to_owned()];
        assert_eq!(head_difference("Top-1 (%)", "top1", &others), None);
        assert_eq!(head_difference(" top1", "top1", &others), None);
        let said = head_difference("rankme ", "top1", &others);
        assert_eq!(said.as_deref(), Some("`rankme` stands above it; it is top1"));
    }
}
