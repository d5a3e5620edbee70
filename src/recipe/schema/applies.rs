use super::complete::settled;
use super::problem::{Problem, Setting};
use super::{Condition, Is, PARAMETERS, Parameter, find};
use crate::vocabulary::Parameters;

/// Parameters that are weighed against others, beside those in conditions: they can contradict one another
/// (`contradictions`) or be spellings of the same ([`super::canonical`]).
const WEIGHED: &[&str] = &[
    "epochs",
    "lr_steps",
    "warmup_epochs",
    "method_start",
    "method_every",
    "inv_mode",
    "mask_multi",
    "precision",
];

/// Whether the value of this parameter can make another one required or idle, contradict another one, or say the same
/// as another value.
#[must_use]
pub fn decides(name: &str) -> bool {
    let conditions = PARAMETERS.iter().flat_map(|parameter| parameter.applies).copied().flatten();
    WEIGHED.contains(&name) || conditions.into_iter().any(|condition| condition.parameter == name)
}

/// Whether the value of `decider` can change whether `parameter` has an effect.
#[must_use]
pub fn influences(decider: &str, parameter: &Parameter) -> bool {
    parameter.applies.iter().copied().flatten().any(|condition| {
        // Steps act or not by the number of epochs.
        let is_named = condition.parameter == decider || condition.is == Is::BeforeEnd && decider == "epochs";
        is_named || find(condition.parameter).is_some_and(|condition| influences(decider, condition))
    })
}

/// The written parameters that have no effect, each with what it is idle under. Unknown names are passed over.
#[must_use]
pub fn without_effect(parameters: &Parameters) -> Vec<Problem> {
    let settled = settled(parameters);
    let written = parameters.keys().filter_map(|name| find(name));
    written
        .filter_map(|parameter| {
            let under = obstacle(parameter, &settled)?;
            // What the user reads is what the user wrote, or the default, and not what was made of it.
            let value = find(under.name)?.value_in(parameters).unwrap_or(under.value);
            Some(Problem::NoEffect { name: parameter.name, under: Setting { value, ..under } })
        })
        .collect()
}

/// What keeps `parameter` from having an effect; `None` where it has one.
pub(super) fn obstacle(parameter: &Parameter, parameters: &Parameters) -> Option<Setting> {
    unmet(parameter.applies, parameters)
}

/// The setting that keeps each of these groups of conditions from holding; `None` where one of them holds.
#[must_use]
pub fn unmet(groups: &[&[Condition]], parameters: &Parameters) -> Option<Setting> {
    let mut obstacles = groups.iter().map(|group| group.iter().find_map(|c| obstacle_to(c, parameters)));
    let first = obstacles.next()??;
    // One group without an obstacle is enough.
    if obstacles.any(|obstacle| obstacle.is_none()) { None } else { Some(first) }
}

/// What keeps `condition` from holding. Where the deciding parameter is idle itself, it is what that one is idle
/// under: under `method: ce` nobody wants to read about `teacher`.
fn obstacle_to(condition: &Condition, parameters: &Parameters) -> Option<Setting> {
    let decider = find(condition.parameter)?;
    if let Some(obstacle) = obstacle(decider, parameters) {
        return Some(obstacle);
    }
    let value = decider.value_in(parameters).unwrap_or_default();
    (!condition.holds_for(&value)).then_some(Setting { name: decider.name, value })
}

/// The setting that makes `parameter` apply, preferably one that is written and not a default; `None` where it
/// doesn't apply or always does.
pub(super) fn ground(parameter: &Parameter, parameters: &Parameters) -> Option<Setting> {
    let group =
        parameter.applies.iter().find(|group| group.iter().all(|c| obstacle_to(c, parameters).is_none()))?;
    let deciders: Vec<_> = group.iter().filter_map(|condition| find(condition.parameter)).collect();
    let written = deciders.iter().find(|decider| parameters.contains_key(decider.name));
    if let Some(decider) = written {
        return Some(Setting { name: decider.name, value: decider.value_in(parameters)? });
    }
    let decider = deciders.first()?;
    ground(decider, parameters)
        .or_else(|| Some(Setting { name: decider.name, value: decider.value_in(parameters)? }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn idle(parameters: serde_json::Value) -> Vec<String> {
        let parameters: Parameters = serde_json::from_value(parameters).unwrap();
        without_effect(&parameters).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_idle_parameter_is_explained_by_the_setting_at_the_root() {
        assert_eq!(
            idle(json!({"ema_ratio": 0.5, "method": "kd"})),
            ["`ema_ratio` has no effect under `teacher: frozen`"]
        );
        assert_eq!(idle(json!({"ema_ratio": 0.5})), ["`ema_ratio` has no effect under `method: ce`"]);
        assert_eq!(
            idle(json!({"lr_gamma": 0.5, "lr_steps": []})),
            ["`lr_gamma` has no effect under `lr_steps: []`"]
        );
    }

    #[test]
    fn a_factor_of_steps_that_never_come_has_no_effect() {
        let under = |steps: &str| vec![format!("`lr_gamma` has no effect under `lr_steps: {steps}`")];
        assert_eq!(idle(json!({"lr_gamma": 0.5, "lr_steps": [50, 60]})), under("[50,60]"));
        assert_eq!(idle(json!({"lr_gamma": 0.5, "epochs": 25})), under("[25,35]"));
        assert!(idle(json!({"lr_gamma": 0.5, "epochs": 26})).is_empty());
    }

    #[test]
    fn one_of_several_grounds_is_enough_to_have_an_effect() {
        assert!(idle(json!({"method": "kd", "eval_weights": "average", "ema_ratio": 0.5})).is_empty());
        assert!(idle(json!({"method": "kd", "teacher": "anne", "ema_ratio": 0.5})).is_empty());
    }

    #[test]
    fn only_parameters_that_can_change_the_picture_decide() {
        assert!(decides("method") && decides("lr_steps") && decides("method_every"));
        assert!(!decides("mask_ratio") && !decides("loss_weight"));
        let influences = |decider: &str, name: &str| influences(decider, find(name).unwrap());
        assert!(influences("method", "ema_ratio") && influences("epochs", "lr_gamma"));
        assert!(!influences("mask_mode", "ema_ratio") && !influences("epochs", "lr_steps"));
    }
}
