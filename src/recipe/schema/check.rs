use std::ops::RangeBounds;

use serde_json::Value;

use super::problem::{Problem, show};
use super::{Kind, Parameter, Word, nearest};
use crate::vocabulary::{CheckpointHash, state_of_weights};

/// The canonical form of one value of `parameter`: whole numbers as integers, all others as floating point,
/// aliases as the words they stand for, sets sorted.
///
/// # Errors
/// The first thing that is wrong with it, whatever the other parameters are.
pub fn check_value(parameter: &Parameter, value: &Value) -> Result<Value, Problem> {
    canonical_value(parameter, &parameter.kind, value)
}

/// Whether `text` has the form of a content hash: BLAKE3 in 64 lower-case hexadecimal digits.
#[must_use]
pub fn is_content_hash(text: &str) -> bool {
    text.parse::<CheckpointHash>().is_ok()
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
        Kind::Device(words) => check_device(parameter, words, value.as_str().ok_or_else(wrong_type)?),
        Kind::Weights => {
            let text = value.as_str().ok_or_else(wrong_type)?;
            let is_weights = is_content_hash(text) || text.ends_with(".safetensors");
            (is_weights || state_of_weights(text).is_some()).then(|| value.clone()).ok_or_else(out_of_range)
        }
        Kind::List { of, least } => {
            let items = value.as_array().ok_or_else(wrong_type)?;
            if items.len() < *least {
                return Err(out_of_range());
            }
            items.iter().map(|item| canonical_value(parameter, of, item)).collect()
        }
        Kind::Set { of, least } => {
            let items = value.as_array().ok_or_else(wrong_type)?;
            if items.len() < *least {
                return Err(out_of_range());
            }
            let items = items.iter().map(|item| canonical_value(parameter, of, item));
            sorted_set(parameter, items.collect::<Result<_, _>>()?)
        }
    }
}

/// The order of a set changes nothing, so it must not make another trial.
fn sorted_set(parameter: &Parameter, mut items: Vec<Value>) -> Result<Value, Problem> {
    items.sort_by(|a, b| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.as_str().cmp(&b.as_str()),
    });
    match items.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Problem::Repetition { name: parameter.name, item: show(&pair[0]) }),
        None => Ok(items.into()),
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
        Some(word) => Ok(word.name.into()),
        None => {
            let nearest = nearest(written, words.iter().map(|word| word.name));
            let nearest = words.iter().map(|word| word.name).find(|word| Some(*word) == nearest);
            Err(Problem::UnknownChoice { name, value: written.to_owned(), nearest })
        }
    }
}

fn check_device(parameter: &Parameter, words: &[Word], written: &str) -> Result<Value, Problem> {
    let digits = written.strip_prefix("cuda:").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse::<u32>().ok()) {
        Some(0) => Ok("cuda".into()),
        Some(number) => Ok(format!("cuda:{number}").into()),
        None => check_word(parameter, words, written),
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
    use crate::vocabulary::{StateHash, weights_in_state};

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
    fn the_first_gpu_has_one_name_and_others_have_numbers() {
        assert_eq!(check("device", json!("cuda:0")), Ok(json!("cuda")));
        assert_eq!(check("device", json!("gpu")), Ok(json!("cuda")));
        assert_eq!(check("device", json!("cuda:07")), Ok(json!("cuda:7")));
        for wrong in ["cuda:", "cuda:+1", "cuda:x", "cuda:99999999999", "tpu", "CUDA"] {
            assert!(check("device", json!(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_set_has_one_form_and_no_repetition() {
        assert_eq!(check("lp_lr_mult", json!([10, 0.1, 3])), Ok(json!([0.1, 3.0, 10.0])));
        assert_eq!(check("lp_lr_mult", json!([1, 1.0])), Err("`lp_lr_mult` lists `1.0` twice".to_owned()));
        assert_eq!(check("lp_lr_mult", json!([])), Err("`lp_lr_mult: []` is out of range".to_owned()));
        assert_eq!(check("eval_sets", json!(["b", "a"])), Ok(json!(["a", "b"])));
        assert_eq!(check("eval_sets", json!([])), Ok(json!([])));
    }

    #[test]
    fn teachers_are_files_of_weights_or_hashes_of_them() {
        let hash = "0123456789abcdef".repeat(4);
        assert_eq!(check("teachers", json!([hash, "a/b.safetensors"])), Ok(json!([hash, "a/b.safetensors"])));
        let state = weights_in_state(StateHash::of(b"trained"));
        assert_eq!(check("teachers", json!([state])), Ok(json!([state])));
        for wrong in [
            json!([]),
            json!([hash.to_uppercase()]),
            json!([&hash[1..]]),
            json!(["model.pt"]),
            json!([format!("state:{hash}")]),
        ] {
            assert!(check("teachers", wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_word_offers_the_nearest() {
        let problem = check_value(find("aux_loss").unwrap(), &json!("cs_sofmax")).unwrap_err();
        assert!(problem.help().unwrap().starts_with("did you mean `cs_softmax`? it must be `kd`, `l2`"));
    }
}
