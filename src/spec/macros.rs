//! W&B's macros in a command: items that stand for one or several arguments, such as `${args}`.

use serde_json::Value;

use crate::vocabulary::Parameters;

/// What W&B runs where a spec has a `program` and no `command`.
pub(super) const DEFAULT_COMMAND: &[&str] = &["${env}", "${interpreter}", "${program}", "${args}"];

/// Macros that are the same in every trial, and what they stand for; `${program}` is the third.
const CONSTANTS: &[(&str, &str)] = &[("${env}", "/usr/bin/env"), ("${interpreter}", "python")];
/// Macros for a trial's parameters.
const OF_PARAMETERS: &[&str] = &["${args}", "${args_no_hyphens}", "${args_no_boolean_flags}", "${args_json}"];
const PROGRAM: &str = "${program}";

/// What is wrong with a macro, and how to mend it.
pub(super) struct WrongMacro {
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// The item with macros filled in that are the same in every trial. An item that is no macro as a whole stays as it is.
pub(super) fn settle(item: &str, program: Option<&str>) -> Result<String, WrongMacro> {
    let is_macro = item.starts_with("${") && item.ends_with('}') && !item[2..].contains("${");
    if !is_macro || OF_PARAMETERS.contains(&item) {
        return Ok(item.to_owned());
    }
    if let Some((_, text)) = CONSTANTS.iter().find(|(name, _)| *name == item) {
        return Ok((*text).to_owned());
    }
    let wrong = |message: String, help| Err(WrongMacro { message, help });
    match (item, program) {
        (PROGRAM, Some(program)) => Ok(program.to_owned()),
        (PROGRAM, None) => {
            wrong("`${program}` needs the key `program`".to_owned(), "add `program: train.py`")
        }
        ("${args_json_file}", _) => wrong(
            "`${args_json_file}` is not available".to_owned(),
            "read the environment variable `SWEEP_PARAMS`, which has the same JSON, or write `${args_json}`",
        ),
        _ if item.starts_with("${envvar:") => wrong(
            format!("`{item}` is not available: where the program runs is not known here"),
            "read the variable in the program, which inherits the worker's environment",
        ),
        _ => wrong(
            format!("unknown macro `{item}`"),
            "there are `${env}`, `${interpreter}`, `${program}`, `${args}`, `${args_no_hyphens}`, \
             `${args_no_boolean_flags}` and `${args_json}`",
        ),
    }
}

/// Whether an item stands for parameters.
pub(super) fn is_of_parameters(item: &str) -> bool {
    OF_PARAMETERS.contains(&item)
}

/// The arguments that such an item stands for, parameters by name.
pub(super) fn expand(item: &str, parameters: &Parameters) -> Vec<String> {
    let each = |one: &dyn Fn(&String, &Value) -> Option<String>| {
        parameters.iter().filter_map(|(name, value)| one(name, value)).collect()
    };
    match item {
        "${args_no_hyphens}" => each(&|name, value| Some(format!("{name}={}", show(value)))),
        "${args_no_boolean_flags}" => each(&|name, value| match value {
            Value::Bool(flag) => flag.then(|| format!("--{name}")),
            value => Some(format!("--{name}={}", show(value))),
        }),
        "${args_json}" => vec![serde_json::Value::from_iter(parameters.clone()).to_string()],
        _ => each(&|name, value| Some(format!("--{name}={}", show(value)))),
    }
}

/// As W&B's Python writes it: texts bare, truth with a capital letter.
fn show(value: &Value) -> String {
    match value {
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
