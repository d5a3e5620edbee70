//! Values and numbers as tables show them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::configurations::{Configuration, Spread};
use crate::vocabulary::Parameters;

/// Stands where there is no number.
pub(super) const NOTHING: &str = "–";

/// A parameter as it was written in the spec; nothing where it does not apply.
pub(super) fn parameter(parameters: &Parameters, name: &str) -> String {
    parameters.get(name).map(bare).unwrap_or_default()
}

/// Texts bare, all else as JSON.
pub(super) fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Nobody writes a number with more significant digits by hand; such were drawn.
const MOST_DIGITS: usize = 7;
/// So many at least are shown of a drawn number.
const FEWEST_DIGITS: usize = 4;
/// So many tell any two numbers apart.
const ALL_DIGITS: usize = 17;

/// How the values of one parameter are shown beside each other: drawn numbers with as many significant digits as tell them apart,
/// all else as it was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ShortValues(BTreeMap<String, String>);

impl ShortValues {
    pub(super) fn of<'v>(values: impl Iterator<Item = &'v Value>) -> ShortValues {
        let texts: BTreeSet<String> = values.map(bare).collect();
        let is_drawn = |text: &&String| significant_digits(text) > MOST_DIGITS;
        if !texts.iter().any(|text| is_drawn(&text)) {
            return ShortValues::default();
        }
        for digits in FEWEST_DIGITS..ALL_DIGITS {
            let shown = |text: &String| match is_drawn(&text) {
                true => rounded(text, digits).unwrap_or_else(|| text.clone()),
                false => text.clone(),
            };
            let short: BTreeMap<String, String> =
                texts.iter().map(|text| (text.clone(), shown(text))).collect();
            if short.values().collect::<BTreeSet<_>>().len() == texts.len() {
                return ShortValues(short);
            }
        }
        ShortValues::default()
    }

    pub(super) fn show(&self, value: &Value) -> String {
        self.show_text(&bare(value)).to_owned()
    }

    /// Of a value as [`bare`] writes it.
    pub(super) fn show_text<'t>(&'t self, text: &'t str) -> &'t str {
        self.0.get(text).map_or(text, String::as_str)
    }
}

/// Whether this is a number as it may be shown where the other one is meant.
pub(super) fn is_rounded(shown: f64, exact: &str) -> bool {
    let rounds = |digits| rounded(exact, digits).and_then(|text| text.parse::<f64>().ok()) == Some(shown);
    exact.parse() == Ok(shown) || (FEWEST_DIGITS..ALL_DIGITS).any(rounds)
}

/// Of a real number as JSON writes it; of anything else none.
fn significant_digits(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let is_real = text.parse::<f64>().is_ok_and(f64::is_finite) && text.contains(['.', 'e']);
    let digits = mantissa.chars().filter(char::is_ascii_digit).skip_while(|digit| *digit == '0');
    if is_real { digits.count() } else { 0 }
}

fn rounded(text: &str, digits: usize) -> Option<String> {
    let value: f64 = text.parse().ok()?;
    let rounded: f64 = format!("{value:.*e}", digits - 1).parse().ok()?;
    serde_json::Number::from_f64(rounded).map(|number| number.to_string())
}

/// `lr=0.1 width=8`, of those that apply, in one line.
pub(super) fn settings<'n>(parameters: &Parameters, names: impl IntoIterator<Item = &'n str>) -> String {
    let shown = names.into_iter().filter_map(|name| Some(format!("{name}={}", bare(parameters.get(name)?))));
    one_line(&shown.collect::<Vec<_>>().join(" "))
}

/// Line breaks and other control characters as Rust writes them: `\n`.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Numbers by size, texts by alphabet, numbers before texts, and what does not apply last.
pub(super) fn compare(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => bare(one).cmp(&bare(other)),
        },
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// `34.70 ± 1.27`
pub(super) fn spread(spread: Spread, decimals: usize) -> String {
    let Spread { mean, std, .. } = spread;
    match std {
        None => format!("{mean:.decimals$}"),
        Some(std) => format!("{mean:.decimals$} ± {std:.decimals$}"),
    }
}

/// Decimals of a whole column, so that its numbers can be compared at a glance: two, as for percent, and as many more as
/// the column's largest value needs for three digits.
pub(super) fn decimals<'c>(
    metric: &str,
    configurations: impl IntoIterator<Item = &'c Configuration<'c>>,
) -> usize {
    let means = configurations.into_iter().filter_map(|configuration| configuration.mean(metric));
    decimals_of(means.map(f64::abs).fold(0.0, f64::max))
}

/// The same for a number by itself.
#[must_use]
pub fn decimals_of(largest: f64) -> usize {
    let mut decimals = 2;
    while largest > 0.0 && decimals < 12 && largest * 10f64.powi(decimals) < 100.0 {
        decimals += 1;
    }
    usize::try_from(decimals).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drawn_numbers_have_as_many_digits_as_tell_them_apart_and_written_ones_all() {
        let shown = |values: &[Value]| {
            let short = ShortValues::of(values.iter());
            values.iter().map(|value| short.show(value)).collect::<Vec<_>>()
        };
        let drawn =
            [json!(0.001_234_567_890_123_4), json!(0.000_012_349_999_999_9), json!(0.25), json!("none")];
        assert_eq!(shown(&drawn), ["0.001235", "0.00001235", "0.25", "none"]);
        let alike = [json!(0.123_456_789_012_345_6), json!(0.123_456_999_999_999_9)];
        assert_eq!(shown(&alike), ["0.1234568", "0.123457"]);
        // Two that no rounding tells apart keep all of theirs; so do whole numbers and what somebody wrote.
        let near = [json!(0.300_000_000_000_000_04), json!(0.3)];
        assert_eq!(shown(&near), ["0.30000000000000004", "0.3"]);
        let written = [json!(1.234_567), json!(123_456_789_012_i64), json!([0.123_456_789_012])];
        assert_eq!(shown(&written), ["1.234567", "123456789012", "[0.123456789012]"]);
        // What is shown is known again, and nothing else is.
        assert!(
            is_rounded(0.001_235, "0.0012345678901234") && is_rounded(0.001_234_568, "0.0012345678901234")
        );
        assert!(is_rounded(0.12, "0.12000031") && is_rounded(0.5, "0.5"));
        assert!(!is_rounded(0.0012, "0.0012345678901234") && !is_rounded(0.5, "0.45"));
        assert!(!is_rounded(0.001_236, "0.0012345678901234"));
    }

    #[test]
    fn settings_stand_in_one_line() {
        let parameters = serde_json::from_value(json!({"mode": "ü\nnew", "lr": 0.1})).unwrap();
        assert_eq!(settings(&parameters, ["lr", "mode", "gone"]), "lr=0.1 mode=ü\\nnew");
    }

    #[test]
    fn values_are_ordered_as_people_expect() {
        let mut values =
            [Some(json!("b")), Some(json!(10)), None, Some(json!(9.5)), Some(json!("a")), Some(json!([2]))];
        values.sort_by(|one, other| compare(one.as_ref(), other.as_ref()));
        let shown: Vec<String> = values.iter().flatten().map(bare).collect();
        assert_eq!(shown, ["9.5", "10", "[2]", "a", "b"]);
        assert_eq!(values[5], None);
    }
}
