//! Command specs: arguments in which `{{name}}` stands for a parameter, and W&B's macros. Whatever a value holds, an
//! argument stays one argument: nothing is split and no shell sees it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::axes::{Draft, Values};
use super::check::wrong_draw;
use super::conditions::link;
use super::error::{Findings, SpecProblem};
use super::groups::Drafts;
use super::macros::{self, DEFAULT_COMMAND};
use super::space::Search;
use super::template::Argument;
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
    #[error("argument `{argument}` can't be filled in: there is no `{name}`")]
    Fill { argument: String, name: String },
}

/// A command that was parsed once, for trials in any number.
#[derive(Debug, Clone)]
pub struct CommandTemplate(Vec<(String, Item)>);

#[derive(Debug, Clone)]
enum Item {
    One(Argument),
    /// W&B's macro for all parameters.
    Parameters,
}

impl CommandTemplate {
    /// # Errors
    /// The first argument that is no template. [`super::parse`] has refused it.
    pub fn parse(command: &[String]) -> Result<CommandTemplate, RenderError> {
        let item = |text: &String| {
            if macros::is_of_parameters(text) {
                return Ok((text.clone(), Item::Parameters));
            }
            let parsed = Argument::parse(text);
            let argument = parsed.map_err(|reason| RenderError::Syntax { argument: text.clone(), reason })?;
            Ok((text.clone(), Item::One(argument)))
        };
        command.iter().map(item).collect::<Result<_, _>>().map(CommandTemplate)
    }

    /// The arguments that are the same in every trial, with their places.
    pub fn constants(&self) -> impl Iterator<Item = (usize, &str)> {
        let items = self.0.iter().enumerate();
        items.filter_map(|(at, (text, item))| match item {
            Item::One(_) if !text.contains("{{") => Some((at, text.as_str())),
            Item::One(_) | Item::Parameters => None,
        })
    }

    /// The program and arguments of one trial.
    ///
    /// # Errors
    /// The first argument that names something unknown: a parameter that doesn't exist in this configuration, unless it
    /// only stands in a condition. [`super::parse`] has refused what is unknown in all of them.
    pub fn render(
        &self,
        parameters: &Parameters,
        seed: u64,
        trial: TrialNumber,
    ) -> Result<Vec<String>, RenderError> {
        let (seed, trial) = (Value::from(seed), Value::from(trial.0));
        let value = |name: &str| {
            parameters.get(name).or(match name {
                "seed" => Some(&seed),
                "trial" => Some(&trial),
                _ => None,
            })
        };
        let mut rendered = Vec::with_capacity(self.0.len());
        for (text, item) in &self.0 {
            match item {
                Item::Parameters => rendered.extend(macros::expand(text, parameters)),
                Item::One(argument) => {
                    let filled = argument.fill(&value);
                    let filled = filled.map_err(|name| RenderError::Fill { argument: text.clone(), name })?;
                    if !(filled.is_empty() && argument.is_optional()) {
                        rendered.push(filled);
                    }
                }
            }
        }
        Ok(rendered)
    }
}

/// The program and arguments of one trial; for many trials, [`CommandTemplate`] parses once.
///
/// # Errors
/// The first argument that is no template or that names something unknown.
pub fn render_command(
    command: &[String],
    parameters: &Parameters,
    seed: u64,
    trial: TrialNumber,
) -> Result<Vec<String>, RenderError> {
    CommandTemplate::parse(command)?.render(parameters, seed, trial)
}

/// The written command: a list of texts, numbers as they are written; W&B's macros that are the same in every trial are
/// filled in. What is no text is a finding and left out. Without a `command`, W&B's for the `program`.
pub(super) fn read(command: Option<&Entry>, program: Option<&Entry>, findings: &mut Findings) -> Vec<String> {
    let program = program.and_then(|entry| {
        let text = entry.node.scalar().map(|scalar| scalar.text.as_str()).filter(|text| !text.is_empty());
        if text.is_none() {
            findings.push(SpecProblem::new(&entry.node.span, "`program` must be the name of a file"));
        }
        text
    });
    let Some(entry) = command else {
        return DEFAULT_COMMAND.iter().filter_map(|item| macros::settle(item, program).ok()).collect();
    };
    let items = entry.node.list().filter(|items| !items.is_empty());
    let Some(items) = items else {
        findings.push(
            SpecProblem::new(&entry.node.span, "`command` must be a list: the program, then its arguments")
                .help("write `command: [python, train.py, \"--lr={{lr}}\"]`"),
        );
        return Vec::new();
    };
    let mut read = Vec::new();
    for item in items {
        // The operating system ends an argument at a zero byte.
        let Some(scalar) = item.scalar().filter(|scalar| !scalar.text.contains('\0')) else {
            findings.push(SpecProblem::new(&item.span, "an argument must be a text"));
            continue;
        };
        match macros::settle(&scalar.text, program) {
            Ok(argument) => read.push(argument),
            Err(wrong) => findings.push(SpecProblem::new(&item.span, wrong.message).help(wrong.help)),
        }
    }
    if items.first().and_then(|item| item.scalar()).is_some_and(|first| macros::is_of_parameters(&first.text))
    {
        let problem = SpecProblem::new(&items[0].span, "a command must begin with the program to run");
        findings.push(problem.help("write it before the parameters"));
    }
    read
}

/// Checks names and values of the parameters, and that every name in the command is one of them.
pub(super) fn check(
    command: Option<&Entry>,
    mut drafts: Drafts,
    search: Option<Search>,
    findings: &mut Findings,
) -> Drafts {
    for axis in &drafts.axes {
        check_axis(axis, search, findings);
    }
    let written: BTreeSet<String> = drafts.names.iter().cloned().collect();
    link(&mut drafts, findings);
    let items = command.and_then(|entry| entry.node.list()).unwrap_or_default();
    for item in items {
        let argument = item.scalar().map_or("", |scalar| scalar.text.as_str());
        match Argument::parse(argument) {
            Ok(parsed) => {
                for name in parsed.names() {
                    findings.extend(
                        unknown_name(name, &written)
                            .map(|(message, help)| SpecProblem::new(&item.span, message).help(help)),
                    );
                }
            }
            Err(reason) => {
                let message = format!("argument `{argument}` is not a template: {reason}");
                findings.push(SpecProblem::new(&item.span, message));
            }
        }
    }
    drafts
}

/// Refuses arguments that name parameters which don't exist in every trial.
pub(super) fn check_absent(command: Option<&Entry>, absent: &BTreeSet<String>, findings: &mut Findings) {
    for item in command.and_then(|entry| entry.node.list()).unwrap_or_default() {
        let Some(Ok(argument)) = item.scalar().map(|scalar| Argument::parse(&scalar.text)) else { continue };
        if let Some(name) = argument.required_names().into_iter().find(|name| absent.contains(*name)) {
            findings.push(
                SpecProblem::new(&item.span, format!("`{{{{{name}}}}}` does not exist in every trial")).help(format!(
                    "write `{{{{#if {name}}}}}--{name}={{{{{name}}}}}{{{{/if}}}}`, which is left out where it comes out empty, \
                     or `${{args}}` for all parameters that exist"
                )),
            );
        }
    }
}

fn unknown_name(name: &str, written: &BTreeSet<String>) -> Option<(String, String)> {
    if written.contains(name) || BUILT_IN.contains(&name) {
        return None;
    }
    let known: Vec<&str> = written.iter().map(String::as_str).chain(BUILT_IN.iter().copied()).collect();
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `{{{{{near}}}}}`?"),
        None => format!("add `{name}` under `parameters`"),
    };
    Some((format!("`{{{{{name}}}}}` is not a parameter"), help))
}

fn check_axis(axis: &Draft, search: Option<Search>, findings: &mut Findings) {
    for column in &axis.columns {
        let name = &column.name;
        if !is_name(name) {
            let message = format!("`{name}` can't be the name of a parameter");
            let help = "a name has letters, digits, `_`, `.` and `-`, and begins with a letter or `_`";
            findings.push(SpecProblem::new(&column.name_span, message).help(help));
        }
        if let Values::Drawn(distribution, span) = &column.values {
            findings.extend(wrong_draw(name, distribution, span, search, |_| true));
        }
        for (value, span) in column.listed() {
            if value.is_array() {
                let message = format!("a value of `{name}` must be a number, a text, `true` or `false`");
                findings.push(SpecProblem::new(span, message));
            }
        }
    }
    axis.check_distinct(findings);
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
    fn a_condition_that_comes_out_empty_is_no_argument() {
        let command =
            ["run", "{{#if fast}}--fast{{/if}}", "{{#if r}}--r={{r}}{{/if}}", "x{{#if r}}y{{/if}}", "{{e}}"];
        assert_eq!(
            render(&command, json!({"fast": false, "e": ""})),
            Ok(["run", "x", ""].map(str::to_owned).to_vec())
        );
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

    #[test]
    fn macros_stand_for_all_parameters_as_wandb_writes_them() {
        let parameters = json!({"lr": 0.1, "deep": true, "wide": false, "name": "a b"});
        let rendered = |item: &str| render(&["run", item], parameters.clone()).unwrap()[1..].to_vec();
        assert_eq!(rendered("${args}"), ["--deep=True", "--lr=0.1", "--name=a b", "--wide=False"]);
        assert_eq!(rendered("${args_no_hyphens}"), ["deep=True", "lr=0.1", "name=a b", "wide=False"]);
        assert_eq!(rendered("${args_no_boolean_flags}"), ["--deep", "--lr=0.1", "--name=a b"]);
        assert_eq!(rendered("${args_json}"), [r#"{"deep":true,"lr":0.1,"name":"a b","wide":false}"#]);
        assert_eq!(rendered("--x=${args}"), ["--x=${args}"]);
    }

    #[test]
    fn a_value_that_looks_like_a_macro_is_a_value() {
        assert_eq!(render(&["{{x}}"], json!({"x": "${args}"})), Ok(vec!["${args}".to_owned()]));
    }
}
