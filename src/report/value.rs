//! Values and numbers as tables show them.

use std::cmp::Ordering;

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
