//! Numbers in the text of a cell, held against the true ones.

use super::plus_minus;

/// The mean alone is enough, or all numbers; whatever is there has to be the true one rounded to its digits.
pub(super) fn text_difference(text: &str, expected: &[f64], mean: f64, std: Option<f64>) -> Option<String> {
    let shown = numbers(text);
    if shown.is_empty() {
        return Some(format!("`{text}` is no number; it is {mean}{}", plus_minus(std)));
    }
    if shown.len() > expected.len() {
        return Some(format!("`{text}` has more numbers than there were; it is {mean}{}", plus_minus(std)));
    }
    let is_right = |(shown, expected): (&Number, &f64)| shown.rounds(*expected);
    if shown.iter().zip(expected).all(is_right) {
        return None;
    }
    let decimals = shown[0].decimals;
    let std = std.map_or_else(String::new, |std| format!(" ± {std:.decimals$}"));
    Some(format!("`{}` stands there; it is {mean:.decimals$}{std}", text.trim()))
}

/// How many decimals the first number of a cell has.
pub(super) fn decimals_of_first(text: &str) -> Option<usize> {
    numbers(text).first().map(|number| number.decimals)
}

/// A number in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Number {
    value: f64,
    decimals: usize,
}

impl Number {
    fn rounds(&self, exact: f64) -> bool {
        let half = 0.5 * 10f64.powi(-i32::try_from(self.decimals).unwrap_or(i32::MAX));
        // A tie may be rounded either way, and a number that was rounded before may be rounded once more.
        (self.value - exact).abs() <= half * 1.01 + 1e-12 * exact.abs()
    }
}

/// All numbers of a cell, without what LaTeX and Markdown put around them.
fn numbers(text: &str) -> Vec<Number> {
    let text: String = text.replace('−', "-").chars().filter(|c| *c != '$').collect();
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at].is_ascii_digit() {
            let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
            let digits = bytes[at..].iter().take_while(|byte| is_digit(byte)).count();
            let number = text[at..at + digits].trim_end_matches('.');
            let is_negative = text[..at].ends_with('-') && !text[..at].ends_with("--");
            if let Ok(value) = number.parse::<f64>() {
                let decimals = number.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                found.push(Number { value: if is_negative { -value } else { value }, decimals });
            }
            at += digits;
        } else if bytes[at] == b'\\' {
            // A command's name may have digits behind it, as in a macro's argument; those count, its letters don't.
            at += 1 + bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        } else {
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_whatever_surrounds_them() {
        let values = |text: &str| numbers(text).iter().map(|number| number.value).collect::<Vec<_>>();
        for (text, expected) in [
            ("91.20 ± 0.15", &[91.2, 0.15][..]),
            ("\\textbf{91.20 $\\pm$ 0.15}", &[91.2, 0.15]),
            ("91.20 $\\pm$ 0.15 (92.29, $-$1.09$^\\dagger$)", &[91.2, 0.15, 92.29, -1.09]),
            ("**91.20 ± 0.15** (92.29, +1.09!)", &[91.2, 0.15, 92.29, 1.09]),
            ("\\cellcolor{red} −3.5", &[-3.5]),
            ("--", &[]),
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
    }

    #[test]
    fn a_rounded_number_is_right_and_another_is_not() {
        let difference = |text: &str| text_difference(text, &[91.2046, 0.1533], 91.2046, Some(0.1533));
        for right in ["91.20 ± 0.15", "91.2 ± 0.2", "91", "\\textbf{91.205} $\\pm$ 0.153", "91.20"] {
            assert_eq!(difference(right), None, "{right}");
        }
        assert_eq!(difference("91.21 ± 0.15").unwrap(), "`91.21 ± 0.15` stands there; it is 91.20 ± 0.15");
        assert!(difference("91.20 ± 0.25").is_some() && difference("best").is_some());
        assert!(difference("91.20 ± 0.15 (3)").unwrap().contains("more numbers"));
    }
}
