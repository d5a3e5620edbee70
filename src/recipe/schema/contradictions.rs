use serde_json::Value;

use super::problem::{Problem, show};
use crate::vocabulary::Parameters;

/// Parameters that are each right and can't all hold. `checked` is what was written, `canonical` what was made of it.
pub(super) fn contradictions(checked: &Parameters, canonical: &Parameters) -> impl Iterator<Item = Problem> {
    let found = [
        unordered_steps(checked, canonical),
        warmup_without_end(canonical),
        method_that_never_starts(canonical),
        inverse_of_dropout(checked, canonical),
    ];
    found.into_iter().flatten()
}

/// Looks at what was written, since steps that never come are not among the canonical ones.
fn unordered_steps(checked: &Parameters, canonical: &Parameters) -> Option<Problem> {
    let steps = canonical.get("lr_steps").and(checked.get("lr_steps"))?.as_array()?;
    let is_ascending = steps.is_sorted_by(|a, b| a.as_i64() < b.as_i64());
    (!is_ascending).then(|| Problem::Contradiction {
        name: "lr_steps",
        message: "`lr_steps` are not ascending".to_owned(),
        help: "list the epochs from first to last, each once",
    })
}

fn warmup_without_end(canonical: &Parameters) -> Option<Problem> {
    let (warmup, epochs) = (integer(canonical, "warmup_epochs")?, integer(canonical, "epochs")?);
    (warmup >= epochs).then(|| Problem::Contradiction {
        name: "warmup_epochs",
        message: format!("the warm-up takes {warmup} epochs, but training ends after epoch {epochs}"),
        help: "the warm-up has to end before the last epoch: lower `warmup_epochs`, or raise `epochs`",
    })
}

/// The reference is first taken after the first epoch beyond `method_start` that `method_every` divides, if that
/// lies before the last one (METHOD.md §3).
fn method_that_never_starts(canonical: &Parameters) -> Option<Problem> {
    let (start, every) = (integer(canonical, "method_start")?, integer(canonical, "method_every")?);
    let epochs = integer(canonical, "epochs")?;
    let first = (start / every + 1) * every;
    (first >= epochs).then(|| Problem::Contradiction {
        name: "method_start",
        message: format!("the method would start after epoch {first}, but training ends after epoch {epochs}"),
        help: "the method has to start before the last epoch: lower `method_start` or `method_every`, or raise \
               `epochs`",
    })
}

/// Dropout keeps no record of what it removed as a mask does, so there is nothing to use (METHOD.md §5).
fn inverse_of_dropout(checked: &Parameters, canonical: &Parameters) -> Option<Problem> {
    let mode = canonical.get("mask_mode")?;
    let inverse = checked.get("inv_mode").filter(|inverse| *inverse != "none" && mode == "d")?;
    Some(Problem::Contradiction {
        name: "inv_mode",
        message: format!("`mask_mode: d` has no inverse that `inv_mode: {}` could use", show(inverse)),
        help: "write `inv_mode: none` or leave it out, or put `mask_mode: d` into a spec of its own",
    })
}

fn integer(canonical: &Parameters, name: &str) -> Option<i64> {
    canonical.get(name).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::complete;
    use super::*;

    fn complete_json(parameters: Value) -> Result<Parameters, Vec<String>> {
        complete(&serde_json::from_value(parameters).unwrap())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
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
        assert!(complete_json(json!({"lr_steps": [60, 25]})).is_err());
        assert!(complete_json(json!({"lr_steps": []})).is_ok());
        assert!(complete_json(json!({"lr_steps": [35, 25], "lr_schedule": "cosine"})).is_ok());
    }

    #[test]
    fn a_warm_up_ends_before_training_does() {
        assert!(complete_json(json!({"epochs": 5, "warmup_epochs": 4})).is_ok());
        let message = "the warm-up takes 5 epochs, but training ends after epoch 5";
        assert_eq!(complete_json(json!({"epochs": 5, "warmup_epochs": 5})).unwrap_err(), [message]);
    }

    #[test]
    fn dropout_has_no_inverse() {
        let dropout = |inverse: &str| {
            complete_json(json!({"method": "mask", "method_start": 1, "method_every": 1, "loss_weight": 1,
                "mask_ratio": 0.5, "mask_mode": "d", "inv_mode": inverse}))
        };
        assert!(dropout("none").is_ok());
        let message = "`mask_mode: d` has no inverse that `inv_mode: v2` could use";
        assert_eq!(dropout("v2").unwrap_err(), [message]);
    }
}
