use comfy_table::Cell;
use serde::Serialize;
use serde_json::Value;

use super::{CliError, Context};
use crate::recipe::schema::{Kind, PARAMETERS, Parameter, Preset, Problem, Word, conditions, find};
use crate::report::{lines_of, new_table};

/// Version of the document that `--json` prints.
const JSON_SCHEMA_VERSION: u32 = 1;

/// Show the parameters of the built-in trainer.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A parameter, for all that is known about it; all if none is named.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let parameters = match &args.name {
        None => PARAMETERS.iter().collect(),
        Some(name) => vec![find(name).ok_or_else(|| unknown(name))?],
    };
    match &parameters[..] {
        _ if args.json => context.output.json(&Document::from(&parameters[..])),
        [parameter] if args.name.is_some() => context.output.data(&description(parameter)),
        _ => context.output.data(&table(&parameters)),
    }
}

fn unknown(name: &str) -> CliError {
    let help = Problem::unknown(name).help();
    CliError::usage(format!(
        "the built-in trainer has no parameter `{name}`; {}",
        help.unwrap_or_else(|| "`sweep params` lists those that it has".to_owned())
    ))
}

fn table(parameters: &[&Parameter]) -> String {
    let mut table = new_table();
    table.set_header(["parameter", "default", "meaning"].map(Cell::new));
    for parameter in parameters {
        table.add_row([parameter.name, &default(parameter), parameter.doc]);
    }
    lines_of(&table)
}

fn description(parameter: &Parameter) -> String {
    let rows = [
        ("values", Some(parameter.kind.to_string())),
        ("default", Some(default(parameter))),
        ("where", conditions(parameter.applies)),
        ("elsewhere", parameter.may_be_idle.then(|| "may be written, and means nothing".to_owned())),
        (
            "identity",
            (!parameter.changes_results)
                .then(|| "no part of a trial's identity: it changes no result".to_owned()),
        ),
    ];
    let rows = rows.into_iter().filter_map(|(label, text)| Some(format!("  {label:<11}{}\n", text?)));
    let words = words(&parameter.kind);
    let width = words.iter().map(|word| word.name.len()).max().unwrap_or(0);
    let words = words.iter().map(|word| {
        let alias = word.alias.map(|alias| format!(" (also `{alias}`)")).unwrap_or_default();
        format!("  {:<width$}  {}{alias}\n", word.name, word.doc)
    });
    let words: String = words.collect();
    let words = if words.is_empty() { words } else { format!("\n{words}") };
    format!("{}\n{}\n\n{}{words}", parameter.name, parameter.doc, rows.collect::<String>())
}

/// The default as a spec would write it.
fn default(parameter: &Parameter) -> String {
    match (&parameter.default, parameter.default.value()) {
        (Preset::Required, _) => "required".to_owned(),
        (_, Some(Value::String(text))) => text,
        (_, Some(value)) => value.to_string(),
        (_, None) => "–".to_owned(),
    }
}

fn words(kind: &Kind) -> &'static [Word] {
    match kind {
        Kind::Choice(words) | Kind::Device(words) => words,
        _ => &[],
    }
}

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    parameters: Vec<ParameterJson>,
}

#[derive(Serialize)]
struct ParameterJson {
    name: &'static str,
    /// What it must be, in words.
    values: String,
    required: bool,
    default: Option<Value>,
    applies_where: Option<String>,
    /// Whether it may stand where it does not apply.
    may_be_idle: bool,
    /// Whether it is part of a trial's identity.
    changes_results: bool,
    choices: Vec<ChoiceJson>,
    description: &'static str,
}

#[derive(Serialize)]
struct ChoiceJson {
    name: &'static str,
    also: Option<&'static str>,
    description: &'static str,
}

impl From<&[&Parameter]> for Document {
    fn from(parameters: &[&Parameter]) -> Document {
        let parameters = parameters.iter().map(|parameter| ParameterJson {
            name: parameter.name,
            values: parameter.kind.to_string(),
            required: matches!(parameter.default, Preset::Required),
            default: parameter.default.value(),
            applies_where: conditions(parameter.applies),
            may_be_idle: parameter.may_be_idle,
            changes_results: parameter.changes_results,
            choices: words(&parameter.kind)
                .iter()
                .map(|word| ChoiceJson { name: word.name, also: word.alias, description: word.doc })
                .collect(),
            description: parameter.doc,
        });
        Document { schema_version: JSON_SCHEMA_VERSION, parameters: parameters.collect() }
    }
}

#[cfg(test)]
mod tests {
    use insta::{assert_json_snapshot, assert_snapshot};

    use super::*;

    #[test]
    fn all_parameters_are_a_table() {
        assert_snapshot!(table(&PARAMETERS.iter().collect::<Vec<_>>()));
    }

    #[test]
    fn one_parameter_is_described() {
        let describe = |name: &str| description(find(name).unwrap());
        let names = ["ema_ratio", "mask_mode", "deterministic", "checkpoint_every", "eval_sets"];
        assert_snapshot!(names.map(describe).join("\n"));
    }

    #[test]
    fn the_document_has_all_that_is_known() {
        let parameters = ["lr_steps", "mask_mode"].map(|name| find(name).unwrap());
        assert_json_snapshot!(Document::from(&parameters[..]));
    }

    #[test]
    fn an_unknown_parameter_is_told_the_nearest() {
        let message = |name: &str| match unknown(name) {
            CliError::Usage(error) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(message("mask_ration").ends_with("did you mean `mask_ratio`?"));
        assert!(message("seed").contains("`seeds: 3`"));
        assert!(message("zzz").contains("`sweep params` lists"));
    }
}
