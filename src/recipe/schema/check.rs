use std::ops::RangeBounds;

use serde_json::Value;

use super::problem::{Problem, show};
use super::{Available, Kind, Parameter, Word, nearest};

/// The canonical form of one value of `parameter`: whole numbers as integers, all others as floating point,
/// aliases as the words they stand for.
///
/// # Errors
/// The first thing that is wrong with it, whatever the other parameters are.
pub fn check_value(parameter: &Parameter, value: &Value) -> Result<Value, Problem> {
    let canonical = canonical_value(parameter, &parameter.kind, value)?;
    let default = parameter.default.value();
    if parameter.available == Available::DefaultOnly && default.as_ref() != Some(&canonical) {
        return Err(Problem::NotAvailable {
            name: parameter.name,
            value: show(&canonical),
            available: default.iter().map(show).collect(),
        });
    }
    Ok(canonical)
}

fn canonical_value(parameter: &Parameter, kind: &Kind, value: &Value) -> Result<Value, Problem> {
    let wrong_type = || Problem::WrongType { name: parameter.name, value: show(value) };
    let out_of_range = || Problem::OutOfRange { name: parameter.name, value: show(value) };
    match kind {
        Kind::Integer { least, most } => {
            let number = whole_number(value).ok_or_else(wrong_type)?;
            (*least..=*most).contains(&number).then(|| number.into()).ok_or_else(out_of_range)
        }
        Kind::IntegerOf(numbers) => {
            let number = whole_number(value).ok_or_else(wrong_type)?;
            numbers.contains(&number).then(|| number.into()).ok_or_else(out_of_range)
        }
        Kind::Number(from, to) => {
            // Adding zero turns −0.0, which would hash differently, into 0.0.
            let number = value.as_f64().ok_or_else(wrong_type)? + 0.0;
            let is_inside = number.is_finite() && (*from, *to).contains(&number);
            is_inside.then(|| number.into()).ok_or_else(out_of_range)
        }
        Kind::Choice(words) => check_word(parameter, words, value.as_str().ok_or_else(wrong_type)?),
        Kind::Flag => value.is_boolean().then(|| value.clone()).ok_or_else(wrong_type),
        Kind::Name => {
            let name = value.as_str().ok_or_else(wrong_type)?;
            is_name(name).then(|| value.clone()).ok_or_else(out_of_range)
        }
        Kind::Text => {
            let text = value.as_str().ok_or_else(wrong_type)?;
            (!text.is_empty()).then(|| value.clone()).ok_or_else(out_of_range)
        }
        Kind::List(kind) => {
            let items = value.as_array().ok_or_else(wrong_type)?;
            items.iter().map(|item| canonical_value(parameter, kind, item)).collect()
        }
    }
}

/// The value as a whole number; 50.0 is one too.
fn whole_number(value: &Value) -> Option<i64> {
    /// Beyond it not every whole number has a floating-point form.
    const MOST_EXACT: f64 = 9_007_199_254_740_992.0;
    let real = value.as_f64().filter(|real| real.fract() == 0.0 && real.abs() <= MOST_EXACT);
    #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2⁵³")]
    value.as_i64().or_else(|| real.map(|real| real as i64))
}

fn check_word(parameter: &Parameter, words: &[Word], written: &str) -> Result<Value, Problem> {
    let name = parameter.name;
    let word = words.iter().find(|word| word.name == written || word.alias == Some(written));
    match word {
        Some(word) if word.is_available => Ok(word.name.into()),
        Some(_) => {
            let available = words.iter().filter(|word| word.is_available);
            let available = available.map(|word| word.name.to_owned()).collect();
            Err(Problem::NotAvailable { name, value: written.to_owned(), available })
        }
        None => {
            let nearest = nearest(written, words.iter().map(|word| word.name));
            let nearest = words.iter().map(|word| word.name).find(|word| Some(*word) == nearest);
            Err(Problem::UnknownChoice { name, value: written.to_owned(), nearest })
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::find;
    use super::*;

    fn check(name: &str, value: Value) -> Result<Value, String> {
        check_value(find(name).unwrap(), &value).map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_same_number_has_one_form() {
        assert_eq!(check("lr", json!(1)), Ok(json!(1.0)));
        assert_eq!(check("weight_decay", json!(-0.0)).unwrap().to_string(), "0.0");
        assert_eq!(check("epochs", json!(50.0)), Ok(json!(50)));
        assert_eq!(check("lr_steps", json!([25.0, 35])), Ok(json!([25, 35])));
    }

    #[test]
    fn an_alias_becomes_the_word_it_stands_for() {
        assert_eq!(check("mask_mode", json!("sgd")), Ok(json!("sgf")));
    }

    #[test]
    fn open_and_closed_ends_are_kept_apart() {
        assert!(check("mask_ratio", json!(0)).is_err());
        assert!(check("mask_ratio", json!(1)).is_err());
        assert!(check("momentum", json!(0)).is_ok());
        assert!(check("momentum", json!(1)).is_err());
        assert!(check("lr", json!(0)).is_err());
        assert!(check("loss_weight", json!(0)).is_ok());
        assert!(check("lr_gamma", json!(1)).is_ok());
        assert_eq!(check("width", json!(0)), Err("`width: 0` is out of range".to_owned()));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for (name, value) in [
            ("epochs", json!("fifty")),
            ("epochs", json!(1.5)),
            ("lr", json!(true)),
            ("cls_only", json!("no")),
            ("method", json!(1)),
            ("lr_steps", json!(25)),
            ("lr_steps", json!([[25]])),
            ("dataset", json!(null)),
        ] {
            let error = check(name, value.clone()).unwrap_err();
            assert!(error.contains("wrong type"), "{name} {value}: {error}");
        }
    }

    #[test]
    fn a_dataset_cannot_be_a_path() {
        for name in ["../secret", "a/b", "", ".hidden"] {
            assert!(check("dataset", json!(name)).is_err(), "{name}");
        }
        assert!(check("dataset", json!("cifar10.1-v6")).is_ok());
    }

    #[test]
    fn what_is_known_but_not_built_yet_says_so() {
        assert_eq!(
            check("teacher", json!("ema")),
            Err("`teacher: ema` is not available in this version".to_owned())
        );
        assert_eq!(
            check("mask_multi", json!(4)),
            Err("`mask_multi: 4` is not available in this version".to_owned())
        );
        assert!(check("mask_multi", json!(1)).is_ok());
        assert!(check("head_hidden", json!([512])).is_err());
        assert!(check("head_hidden", json!([])).is_ok());
    }

    #[test]
    fn an_unknown_word_offers_the_nearest() {
        let problem = check_value(find("aux_loss").unwrap(), &json!("cs_sofmax")).unwrap_err();
        assert!(problem.help().unwrap().starts_with("did you mean `cs_softmax`? it must be `kd`, `l2`"));
    }
}
