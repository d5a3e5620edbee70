//! Whether a configuration is trained as the study describes it or as its code runs (METHOD.md §3).

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::vocabulary::Parameters;

/// The two ways in which the study's experiments can be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    Described,
    Run,
}

/// Text that names neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `as described` nor `as run`")]
pub struct ParseVariantError(String);

/// A parameter of a configuration that is not as it is in a variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Departure {
    pub name: &'static str,
    pub value: Value,
    pub expected: Value,
}

/// What is otherwise in each variant, where it applies: as described, and as run.
fn departures() -> [(&'static str, Value, Value); 4] {
    [
        ("optimizer_at_start", json!("keep"), json!("reset")),
        ("teacher_bn", json!("running"), json!("batch")),
        ("cls_only_grad", json!(false), json!(true)),
        ("ce_weight", json!(1.0), json!(2.0)),
    ]
}

/// Where the parameters are not those of a variant. Empty where they are, and where the variants don't differ, as with
/// cross entropy alone.
#[must_use]
pub fn departures_from(variant: Variant, parameters: &Parameters) -> Vec<Departure> {
    let is_masked = parameters.get("method").is_some_and(|method| method == "mask");
    let mut found = Vec::new();
    for (name, described, run) in departures() {
        // Cross entropy is counted twice in mask runs only.
        let run = if name == "ce_weight" && !is_masked { described.clone() } else { run };
        let expected = if variant == Variant::Described { described } else { run };
        if let Some(value) = parameters.get(name).filter(|value| !is_same(value, &expected)) {
            found.push(Departure { name, value: value.clone(), expected });
        }
    }
    // As run, averaged references are never updated; what is evaluated then is an average of the student.
    let (name, value) = match variant {
        Variant::Described => ("eval_weights", "average"),
        Variant::Run => ("teacher", "ema"),
    };
    let is_so = |found: &&Value| match variant {
        Variant::Described => **found == value,
        Variant::Run => matches!(found.as_str(), Some("ema" | "anne" | "sto")),
    };
    if let Some(value) = parameters.get(name).filter(is_so) {
        let expected = if variant == Variant::Described { "student" } else { "frozen" };
        found.push(Departure { name, value: value.clone(), expected: expected.into() });
        if let (Variant::Run, Some(value)) = (variant, parameters.get("eval_weights"))
            && let Some(expected) = averaged_as_run(parameters, "eval_weights")
        {
            found.push(Departure { name: "eval_weights", value: value.clone(), expected });
        }
    }
    found
}

/// A program's spec may write `2` where the built-in trainer has `2.0`.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|one| Some(one) == other.as_f64())
}

/// What the study's code has for this parameter where a method with an averaged reference is described: a frozen one, and an average
/// of the student that is evaluated. `None` for other parameters, where no averaged reference teaches, and where the
/// average is evaluated already.
#[must_use]
pub fn averaged_as_run(parameters: &Parameters, name: &str) -> Option<Value> {
    let run = match name {
        "teacher" => "frozen",
        "eval_weights" => "average",
        _ => return None,
    };
    let is_averaged = matches!(parameters.get("teacher")?.as_str(), Some("ema" | "anne" | "sto"));
    let is_student = parameters.get("eval_weights").is_none_or(|weights| weights == "student");
    (is_averaged && is_student).then(|| run.into())
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Variant::Described => "as described",
            Variant::Run => "as run",
        })
    }
}

impl FromStr for Variant {
    type Err = ParseVariantError;

    fn from_str(text: &str) -> Result<Variant, ParseVariantError> {
        match text.trim().to_lowercase().replace(['-', '_'], " ").as_str() {
            "as described" | "described" => Ok(Variant::Described),
            "as run" | "run" => Ok(Variant::Run),
            _ => Err(ParseVariantError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(variant: Variant, parameters: Value) -> Vec<&'static str> {
        let parameters: Parameters = serde_json::from_value(parameters).unwrap();
        departures_from(variant, &parameters).iter().map(|departure| departure.name).collect()
    }

    #[test]
    fn cross_entropy_alone_is_the_same_in_both() {
        for variant in [Variant::Described, Variant::Run] {
            assert_eq!(names(variant, json!({"method": "ce", "width": 40})), Vec::<&str>::new());
        }
    }

    #[test]
    fn what_differs_is_named() {
        let described = json!({"method": "kd", "teacher": "ema", "optimizer_at_start": "keep", "teacher_bn": "running",
                               "ce_weight": 1.0, "eval_weights": "student"});
        assert_eq!(names(Variant::Described, described.clone()), Vec::<&str>::new());
        assert_eq!(
            names(Variant::Run, described),
            ["optimizer_at_start", "teacher_bn", "teacher", "eval_weights"]
        );
        let run = json!({"method": "mask", "teacher": "frozen", "optimizer_at_start": "reset", "teacher_bn": "batch",
                         "ce_weight": 2.0, "eval_weights": "average"});
        assert_eq!(names(Variant::Run, run.clone()), Vec::<&str>::new());
        let mut written = run.clone();
        written["ce_weight"] = json!(2);
        assert_eq!(names(Variant::Run, written), Vec::<&str>::new());
        assert_eq!(
            names(Variant::Described, run),
            ["optimizer_at_start", "teacher_bn", "ce_weight", "eval_weights"]
        );
    }

    #[test]
    fn a_variant_reads_back_what_it_prints() {
        for variant in [Variant::Described, Variant::Run] {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
        assert_eq!("as-run".parse(), Ok(Variant::Run));
        assert!("read off the plot".parse::<Variant>().is_err());
    }
}
