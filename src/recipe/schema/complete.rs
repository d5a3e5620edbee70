use serde_json::Value;

use super::applies::{ground, obstacle};
use super::problem::Problem;
use super::{PARAMETERS, Preset, check_value, find};
use crate::vocabulary::Parameters;

/// The canonical parameters: values normalised, defaults filled in, what has no effect left out.
///
/// # Errors
/// All that is wrong. Parameters are looked at together only once each is right by itself.
pub fn complete(parameters: &Parameters) -> Result<Parameters, Vec<Problem>> {
    let mut checked = Parameters::new();
    let mut problems = Vec::new();
    for (name, value) in parameters {
        match check_named(name, value) {
            Ok(value) => {
                checked.insert(name.clone(), value);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        problems.extend(missing(&checked));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let canonical = canonical(&checked);
    problems.extend(unordered_steps(&canonical));
    problems.extend(method_that_never_starts(&canonical));
    if problems.is_empty() { Ok(canonical) } else { Err(problems) }
}

/// Fills in the defaults and leaves out what has no effect, for parameters that [`complete`] accepts.
#[must_use]
pub fn canonical(checked: &Parameters) -> Parameters {
    PARAMETERS
        .iter()
        .filter(|parameter| obstacle(parameter, checked).is_none())
        .filter_map(|parameter| Some((parameter.name.to_owned(), parameter.value_in(checked)?)))
        .collect()
}

fn check_named(name: &str, value: &Value) -> Result<Value, Problem> {
    match find(name) {
        Some(parameter) => check_value(parameter, value),
        None => Err(Problem::unknown(name)),
    }
}

fn missing(checked: &Parameters) -> impl Iterator<Item = Problem> {
    PARAMETERS
        .iter()
        .filter(|parameter| matches!(parameter.default, Preset::Required))
        .filter(|parameter| !checked.contains_key(parameter.name))
        .filter_map(|parameter| {
            // What is required nowhere is idle; what is required everywhere has no ground to name: neither is here.
            let under = ground(parameter, checked)?;
            Some(Problem::Missing { name: parameter.name, under })
        })
}

fn unordered_steps(canonical: &Parameters) -> Option<Problem> {
    let steps = canonical.get("lr_steps")?.as_array()?;
    let is_ascending = steps.is_sorted_by(|a, b| a.as_i64() < b.as_i64());
    (!is_ascending).then(|| Problem::Contradiction {
        name: "lr_steps",
        message: "`lr_steps` are not ascending".to_owned(),
        help: "list the epochs from first to last, each once",
    })
}

/// The reference is first taken after the first epoch beyond `method_start` that `method_every` divides, if that
/// lies before the last one (METHOD.md §3).
fn method_that_never_starts(canonical: &Parameters) -> Option<Problem> {
    let integer = |name: &str| canonical.get(name).and_then(Value::as_i64);
    let (start, every, epochs) = (integer("method_start")?, integer("method_every")?, integer("epochs")?);
    let first = (start / every + 1) * every;
    (first >= epochs).then(|| Problem::Contradiction {
        name: "method_start",
        message: format!("the method would start after epoch {first}, but training ends after epoch {epochs}"),
        help: "the method has to start before the last epoch: lower `method_start` or `method_every`, or raise \
               `epochs`",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Condition;
    use super::*;

    fn complete_json(parameters: Value) -> Result<Parameters, Vec<String>> {
        complete(&serde_json::from_value(parameters).unwrap())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn conditions() -> impl Iterator<Item = &'static Condition> {
        PARAMETERS.iter().flat_map(|parameter| parameter.applies.iter().copied().flatten())
    }

    #[test]
    fn nothing_written_is_plain_cross_entropy() {
        let canonical = complete_json(json!({})).unwrap();
        assert_eq!(canonical["method"], json!("ce"));
        assert_eq!(canonical["lr_steps"], json!([25, 35]));
        assert!(!canonical.contains_key("mask_ratio") && !canonical.contains_key("eval_sets"));
    }

    #[test]
    fn completing_twice_changes_nothing() {
        let mask = json!({"method": "mask", "method_start": 1, "method_every": 1, "loss_weight": 1,
            "mask_ratio": 0.5, "mask_mode": "sgd", "inv_mode": "none", "lr_gamma": 1});
        let once = complete_json(mask).unwrap();
        assert_eq!(complete(&once).as_ref(), Ok(&once));
    }

    #[test]
    fn what_has_no_effect_does_not_count() {
        let bare = complete_json(json!({})).unwrap();
        assert_eq!(complete_json(json!({"mask_ratio": 0.5, "temperature": 3})).unwrap(), bare);
    }

    #[test]
    fn every_default_and_every_table_entry_fits_its_own_rules() {
        for parameter in PARAMETERS {
            if let Some(default) = parameter.default.value() {
                assert_eq!(check_value(parameter, &default), Ok(default), "{}", parameter.name);
            }
            assert!(!parameter.doc.is_empty() && !parameter.applies.is_empty(), "{}", parameter.name);
            let twins = PARAMETERS.iter().filter(|other| other.name == parameter.name).count();
            assert_eq!(twins, 1, "{}", parameter.name);
        }
        for condition in conditions() {
            let decider = find(condition.parameter).expect("conditions name parameters");
            assert!(decider.default.value().is_some(), "{} decides, so it has a default", decider.name);
        }
    }

    #[test]
    fn a_required_parameter_is_asked_for_under_what_makes_it_apply() {
        let problems = complete_json(json!({"method": "mask"})).unwrap_err();
        let expected = ["method_start", "method_every", "loss_weight", "mask_ratio", "mask_mode", "inv_mode"]
            .map(|name| format!("`{name}` is required under `method: mask`"));
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_method_that_never_starts_is_a_contradiction() {
        let kd = |start: i64, every: i64, epochs: i64| {
            complete_json(json!({"method": "kd", "loss_weight": 1, "method_start": start,
                "method_every": every, "epochs": epochs}))
        };
        for (start, every, epochs) in
            (0..8).flat_map(|s| (1..5).flat_map(move |v| (1..9).map(move |e| (s, v, e))))
        {
            let starts = (1..epochs).any(|epoch| epoch > start && epoch % every == 0);
            assert_eq!(kd(start, every, epochs).is_ok(), starts, "{start} {every} {epochs}");
        }
        let message = "the method would start after epoch 30, but training ends after epoch 30";
        assert_eq!(kd(25, 5, 30).unwrap_err(), [message]);
    }

    #[test]
    fn steps_that_go_back_are_a_contradiction() {
        assert!(complete_json(json!({"lr_steps": [35, 25]})).is_err());
        assert!(complete_json(json!({"lr_steps": [25, 25]})).is_err());
        assert!(complete_json(json!({"lr_steps": []})).is_ok());
    }

    #[test]
    fn a_seed_is_told_where_seeds_are_written() {
        let problem = Problem::unknown("seed");
        assert!(problem.help().unwrap().contains("`seeds: 3`"));
    }
}
