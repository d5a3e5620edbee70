use serde_json::Value;

use super::applies::{ground, obstacle};
use super::contradictions::contradictions;
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
    problems.extend(contradictions(&checked, &canonical));
    if problems.is_empty() { Ok(canonical) } else { Err(problems) }
}

/// Fills in the defaults and leaves out what has no effect, for parameters that [`complete`] accepts.
#[must_use]
pub fn canonical(checked: &Parameters) -> Parameters {
    let settled = settled(checked);
    PARAMETERS
        .iter()
        .filter(|parameter| obstacle(parameter, &settled).is_none())
        .filter_map(|parameter| Some((parameter.name.to_owned(), parameter.value_in(&settled)?)))
        .collect()
}

/// What a trial's results depend on: canonical parameters without those that change none, and with one spelling for
/// what is computed in the same way.
#[must_use]
pub fn identifying(canonical: &Parameters) -> Parameters {
    let changes_results = |name: &str| find(name).is_none_or(|parameter| parameter.changes_results);
    let mut identifying = canonical.clone();
    identifying.retain(|name, _| changes_results(name));
    // A vector of constant zeros fills as one constant zero does (METHOD.md §5).
    if identifying.get("mask_mode").is_some_and(|mode| mode == "agf") {
        identifying.insert("mask_mode".to_owned(), "sgf".into());
    }
    identifying
}

/// The parameters with one spelling for values that mean the same under the others.
pub(super) fn settled(checked: &Parameters) -> Parameters {
    let value = |name: &str| find(name).and_then(|parameter| parameter.value_in(checked));
    let mut settled = checked.clone();
    // A step after the last epoch never comes.
    if let (Some(Value::Array(mut steps)), Some(epochs)) = (value("lr_steps"), value("epochs")) {
        steps.retain(|step| step.as_i64() < epochs.as_i64());
        settled.insert("lr_steps".to_owned(), steps.into());
    }
    if value("mask_multi").is_some_and(|masks| masks == 0) {
        settled.insert("mask_multi".to_owned(), 1.into());
    }
    // A CPU has no shorter product.
    if value("precision").is_some_and(|word| word == "tf32")
        && value("device").is_some_and(|word| word == "cpu")
    {
        settled.insert("precision".to_owned(), "fp32".into());
    }
    settled
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
            let value = decider.default.value();
            let is_decided = value.is_some() || condition.holds_for(&Value::Null);
            assert!(is_decided, "{} decides, so it needs a default", decider.name);
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
    fn what_cannot_act_is_dropped_from_the_canonical_form() {
        let same = |a: Value, b: Value| {
            assert_eq!(complete_json(a.clone()).unwrap(), complete_json(b.clone()).unwrap(), "{a} {b}");
        };
        same(json!({"epochs": 30}), json!({"epochs": 30, "lr_steps": [25, 30, 99]}));
        same(json!({"lr_steps": [], "lr_gamma": 0.5}), json!({"lr_steps": [50]}));
        same(json!({"device": "cpu"}), json!({"device": "cpu", "deterministic": true, "precision": "tf32"}));
        same(json!({"device": "cuda"}), json!({"device": "cuda:0"}));
        let masked = |masks: i64, mode: &str, inverse: Option<&str>| {
            let mut written = json!({"method": "mask", "method_start": 1, "method_every": 1, "loss_weight": 1,
                "mask_ratio": 0.5, "mask_mode": mode, "mask_multi": masks});
            if let Some(inverse) = inverse {
                written["inv_mode"] = json!(inverse);
            }
            written
        };
        same(masked(0, "s", Some("v1")), masked(1, "s", Some("v1")));
        same(masked(1, "d", Some("none")), masked(1, "d", None));
        assert!(
            complete_json(json!({"device": "cuda", "precision": "tf32", "deterministic": true}))
                .unwrap()
                .contains_key("deterministic")
        );
    }

    #[test]
    fn identity_leaves_out_what_changes_no_result() {
        let identity = |parameters: Value| identifying(&complete_json(parameters).unwrap());
        assert_eq!(identity(json!({"checkpoint_every": 7})), identity(json!({})));
        assert_ne!(identity(json!({"eval_every": 7})), identity(json!({})));
        let zeros = |mode: &str| {
            identity(json!({"method": "mask", "method_start": 1, "method_every": 1, "loss_weight": 1,
                "mask_ratio": 0.5, "mask_mode": mode, "inv_mode": "v1"}))
        };
        assert_eq!(zeros("agd"), zeros("sgf"));
        assert_ne!(zeros("a"), zeros("s"));
    }

    #[test]
    fn a_seed_is_told_where_seeds_are_written() {
        let problem = Problem::unknown("seed");
        assert!(problem.help().unwrap().contains("`seeds: 3`"));
    }
}
