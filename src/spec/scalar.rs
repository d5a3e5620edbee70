use serde_json::{Number, Value};

/// What a plain scalar means in YAML 1.2's core schema: `1e-4` is a number, `yes` is text.
///
/// # Errors
/// A number that no integer or finite floating-point number can hold, with the reason.
pub(super) fn resolve(text: &str) -> Result<Value, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0x").filter(|digits| is_all(digits, |c| c.is_ascii_hexdigit())) {
        return integer(u64::from_str_radix(digits, 16).ok());
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|digits| is_all(digits, |c| c.is_digit(8))) {
        return integer(u64::from_str_radix(digits, 8).ok());
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if is_all(unsigned, |c| c.is_ascii_digit()) {
        return match text.parse::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => integer(text.parse::<u64>().ok()),
        };
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("is not a finite number");
    }
    if is_float(unsigned) {
        // Adding zero turns −0.0, which equals 0.0 but is written otherwise, into 0.0.
        let number = text.parse::<f64>().ok().and_then(|number| Number::from_f64(number + 0.0));
        return number.map(Value::Number).ok_or("is too large for a number");
    }
    Ok(text.into())
}

fn integer(number: Option<u64>) -> Result<Value, &'static str> {
    number.map(Value::from).ok_or("is too large for a whole number")
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, as YAML 1.2.2 §10.3.2 has it.
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| is_all(text, |c| c.is_ascii_digit());
    let is_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && (fraction.is_empty() || is_digits(fraction)),
        None => is_digits(mantissa),
    };
    is_mantissa
        && exponent.is_none_or(|exponent| is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

fn is_all(text: &str, is_right: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(is_right)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_numbers_in_every_spelling_of_the_core_schema() {
        for (text, value) in [
            ("1e-4", json!(1e-4)),
            ("1E4", json!(1e4)),
            (".5", json!(0.5)),
            ("-1.", json!(-1.0)),
            ("+12", json!(12)),
            ("007", json!(7)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
        ] {
            assert_eq!(resolve(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn there_is_one_zero() {
        assert_eq!(resolve("-0.0").unwrap().to_string(), "0.0");
    }

    #[test]
    fn words_that_older_yaml_took_for_something_else_stay_text() {
        for text in ["yes", "no", "on", "off", "1_000", "12:30", "0b1", "e5", ".", "-", "1e", "1.2.3", "none"]
        {
            assert_eq!(resolve(text), Ok(json!(text)));
        }
    }

    #[test]
    fn a_number_that_nothing_holds_is_refused_and_not_rounded() {
        for text in [".inf", "-.INF", ".nan", "1e999", "18446744073709551616", "0x10000000000000000"] {
            assert!(resolve(text).is_err(), "{text}");
        }
    }
}
