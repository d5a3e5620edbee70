//! Command specs: arguments in which `{{name}}` stands for a parameter. Whatever a value holds, an argument stays one
//! argument: nothing is split and no shell sees it.

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{Handlebars, Path, PathSeg, Template, no_escape};
use serde_json::{Map, Value};

use super::axes::{Draft, check_distinct};
use super::error::{Findings, SpecProblem};
use super::tree::Entry;
use crate::recipe::schema::nearest;
use crate::vocabulary::{Parameters, TrialNumber};

/// What every command has beside its parameters; a parameter of the same name takes its place.
const BUILT_IN: &[&str] = &["seed", "trial"];

/// An argument that can't be filled in.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("argument `{argument}` is not a template: {reason}")]
    Syntax { argument: String, reason: String },
    #[error("argument `{argument}` can't be filled in")]
    Fill { argument: String, source: handlebars::RenderError },
}

/// The program and arguments of one trial.
///
/// # Errors
/// The first argument that is no template or that names something unknown. [`super::parse`] has refused both.
pub fn render_command(
    command: &[String],
    parameters: &Parameters,
    seed: u64,
    trial: TrialNumber,
) -> Result<Vec<String>, RenderError> {
    let mut values = Map::new();
    values.insert("seed".to_owned(), seed.into());
    values.insert("trial".to_owned(), trial.0.into());
    values.extend(parameters.clone());
    let values = Value::Object(values);
    command.iter().map(|argument| render_argument(argument, &values)).collect()
}

fn render_argument(argument: &str, values: &Value) -> Result<String, RenderError> {
    let Some(compiled) = compile(argument)? else { return Ok(argument.to_owned()) };
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_escape_fn(no_escape);
    handlebars.register_template("argument", compiled.template);
    handlebars
        .render("argument", values)
        .map_err(|source| RenderError::Fill { argument: argument.to_owned(), source })
}

/// A template and the names in it.
struct Compiled {
    template: Template,
    names: Vec<String>,
}

/// The argument as a template; `None` where there is nothing to fill in, so that no character has a second meaning.
fn compile(argument: &str) -> Result<Option<Compiled>, RenderError> {
    if !argument.contains("{{") {
        return Ok(None);
    }
    let syntax = |reason: String| RenderError::Syntax { argument: argument.to_owned(), reason };
    let mut template = Template::compile(argument).map_err(|error| syntax(error.reason().to_string()))?;
    let mut names = Vec::new();
    let is_simple = bind_names(&mut template, &mut names);
    let reason = "only `{{name}}`, `{{#if name}}` and `{{#unless name}}` can be used";
    is_simple.then_some(Some(Compiled { template, names })).ok_or_else(|| syntax(reason.to_owned()))
}

/// Collects the names in a template and turns each into the name of one value; `false` where the template uses more
/// of the language than names and conditions.
fn bind_names(template: &mut Template, names: &mut Vec<String>) -> bool {
    template.elements.iter_mut().all(|element| match element {
        TemplateElement::RawString(_) | TemplateElement::Comment(_) => true,
        TemplateElement::Expression(expression) | TemplateElement::HtmlExpression(expression) => {
            expression.params.is_empty()
                && expression.hash.is_empty()
                && bind_name(&mut expression.name, names)
        }
        TemplateElement::HelperBlock(block) => bind_condition(block, names),
        _ => false,
    })
}

fn bind_condition(block: &mut HelperTemplate, names: &mut Vec<String>) -> bool {
    let is_condition = matches!(&block.name, Parameter::Name(name) if name == "if" || name == "unless");
    let [condition] = block.params.as_mut_slice() else { return false };
    is_condition
        && block.hash.is_empty()
        && bind_name(condition, names)
        && block.template.as_mut().is_none_or(|template| bind_names(template, names))
        && block.inverse.as_mut().is_none_or(|template| bind_names(template, names))
}

/// Handlebars would take `optimizer.lr` for a value inside a value and `log` for a function. Here both are names of
/// parameters, so the path gets the whole name as its only part, and a spelling that no function has.
fn bind_name(parameter: &mut Parameter, names: &mut Vec<String>) -> bool {
    let name = match parameter {
        Parameter::Name(name) | Parameter::Path(Path::Relative((_, name))) => name.clone(),
        _ => return false,
    };
    let spelling = format!("./{name}");
    *parameter = Parameter::Path(Path::Relative((vec![PathSeg::Named(name.clone())], spelling)));
    names.push(name);
    true
}

/// The written command: a list of texts, numbers as they are written. What is no text is a finding and left out.
pub(super) fn read(entry: &Entry, findings: &mut Findings) -> Vec<String> {
    let items = entry.node.list().filter(|items| !items.is_empty());
    let Some(items) = items else {
        findings.push(
            SpecProblem::new(&entry.node.span, "`command` must be a list: the program, then its arguments")
                .help("write `command: [python, train.py, \"--lr={{lr}}\"]`"),
        );
        return Vec::new();
    };
    let mut command = Vec::new();
    for item in items {
        // The operating system ends an argument at a zero byte.
        match item.scalar().filter(|scalar| !scalar.text.contains('\0')) {
            Some(scalar) => command.push(scalar.text.clone()),
            None => findings.push(SpecProblem::new(&item.span, "an argument must be a text")),
        }
    }
    command
}

/// Checks names and values of the parameters, and that every name in the command is one of them.
pub(super) fn check(command: &Entry, parameters: &[Entry], axes: &[Draft<'_>], findings: &mut Findings) {
    for axis in axes {
        check_axis(axis, findings);
    }
    let known: Vec<_> =
        parameters.iter().map(|entry| entry.key.as_str()).chain(BUILT_IN.iter().copied()).collect();
    for item in command.node.list().unwrap_or_default() {
        let argument = item.scalar().map_or("", |scalar| scalar.text.as_str());
        match compile(argument) {
            Ok(compiled) => {
                let names = compiled.map(|compiled| compiled.names).unwrap_or_default();
                for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
                    let near = nearest(name, known.iter().copied());
                    let near = near.map(|near| format!("did you mean `{{{{{near}}}}}`?"));
                    findings.push(
                        SpecProblem::new(&item.span, format!("`{{{{{name}}}}}` is not a parameter"))
                            .help(format!("add `{name}` under `parameters`"))
                            .help_if(near),
                    );
                }
            }
            Err(error) => findings.push(SpecProblem::new(&item.span, error.to_string())),
        }
    }
}

fn check_axis(axis: &Draft<'_>, findings: &mut Findings) {
    if !is_name(axis.name) {
        let message = format!("`{}` can't be the name of a parameter", axis.name);
        let help = "a name has letters, digits, `_`, `.` and `-`, and begins with a letter or `_`";
        findings.push(SpecProblem::new(axis.name_span, message).help(help));
    }
    for (value, span) in &axis.values {
        if value.is_array() {
            let message = format!("a value of `{}` must be a number, a text, `true` or `false`", axis.name);
            findings.push(SpecProblem::new(span, message));
        }
    }
    check_distinct(axis, findings);
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(arguments: &[&str], parameters: Value) -> Result<Vec<String>, String> {
        let command: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let parameters: Parameters = serde_json::from_value(parameters).unwrap();
        render_command(&command, &parameters, 7, TrialNumber(3)).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_filled_in_as_they_are_written() {
        let rendered = render(
            &["run", "--lr={{lr}}", "{{ n }}/{{flag}}", "{{seed}}-{{trial}}"],
            json!({"lr": 1e-4, "n": 8, "flag": false}),
        );
        assert_eq!(rendered, Ok(["run", "--lr=0.0001", "8/false", "7-3"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_hostile_value_stays_one_argument_and_is_not_filled_in_again() {
        let hostile = "a b; rm -rf / \"$(x)\" <&> {{seed}}";
        assert_eq!(render(&["{{tag}}"], json!({ "tag": hostile })), Ok(vec![hostile.to_owned()]));
    }

    #[test]
    fn names_with_dots_and_names_of_functions_are_plain_names() {
        let parameters = json!({"optimizer": "sgd", "optimizer.lr": 1, "log": "x", "if": "y", "a-b": 2});
        let rendered = render(&["{{optimizer}} {{optimizer.lr}} {{log}} {{if}} {{a-b}}"], parameters);
        assert_eq!(rendered, Ok(vec!["sgd 1 x y 2".to_owned()]));
    }

    #[test]
    fn a_condition_chooses_between_texts() {
        let argument = "{{#if fast.mode}}--fast{{else}}--slow={{n}}{{/if}}";
        assert_eq!(render(&[argument], json!({"fast.mode": true, "n": 1})), Ok(vec!["--fast".to_owned()]));
        assert_eq!(render(&[argument], json!({"fast.mode": false, "n": 1})), Ok(vec!["--slow=1".to_owned()]));
    }

    #[test]
    fn an_argument_without_braces_is_left_alone() {
        let plain = "\\d+ {x} }} \\n <b>";
        assert_eq!(render(&[plain], json!({})), Ok(vec![plain.to_owned()]));
    }

    #[test]
    fn more_of_the_language_than_names_and_conditions_is_refused() {
        for argument in ["{{", "{{> x}}", "{{#each a}}{{/each}}", "{{lookup a b}}", "{{#if a}}", "{{@root}}"]
        {
            let error = render(&[argument], json!({"a": 1, "b": 1})).unwrap_err();
            assert!(error.contains("is not a template"), "{argument}: {error}");
        }
    }

    #[test]
    fn a_name_without_a_value_is_an_error_and_not_an_empty_text() {
        assert!(render(&["{{lr}}"], json!({})).is_err());
    }
}
