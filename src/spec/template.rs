//! One argument of a command as a template: text, `{{name}}`, and `{{#if name}}` or `{{#unless name}}`. Handlebars
//! parses; filling in is done here, since a million trials may be filled in and no more of the language is allowed.

use handlebars::Template;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use serde_json::Value;

/// An argument, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Name(String),
    Condition { name: String, holds: Vec<Part>, holds_not: Vec<Part> },
}

impl Argument {
    /// # Errors
    /// Why it is no template of this kind.
    pub(super) fn parse(text: &str) -> Result<Argument, String> {
        // Where there is nothing to fill in, no character has a second meaning.
        if !text.contains("{{") {
            return Ok(Argument(vec![Part::Text(text.to_owned())]));
        }
        let template = Template::compile(text).map_err(|error| error.reason().to_string())?;
        let parts = parts(&template);
        let reason = "only `{{name}}`, `{{#if name}}` and `{{#unless name}}` can be used";
        parts.map(Argument).ok_or_else(|| reason.to_owned())
    }

    /// The names in it.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        collect_names(&self.0, &mut names);
        names
    }

    /// The names without which it can't be filled in: those that stand in no condition on themselves.
    pub(super) fn required_names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        collect_required(&self.0, &mut Vec::new(), &mut names);
        names
    }

    /// Whether it is one condition as a whole: then it is left out where nothing comes out of it.
    pub(super) fn is_optional(&self) -> bool {
        matches!(self.0.as_slice(), [Part::Condition { .. }])
    }

    /// The text with the values that `value` has for the names.
    ///
    /// # Errors
    /// The name that has none.
    pub(super) fn fill<'v>(&self, value: &impl Fn(&str) -> Option<&'v Value>) -> Result<String, String> {
        let mut filled = String::new();
        fill(&self.0, value, &mut filled)?;
        Ok(filled)
    }
}

/// The parts of a template; `None` where it uses more of the language.
fn parts(template: &Template) -> Option<Vec<Part>> {
    let part = |element: &TemplateElement| match element {
        TemplateElement::RawString(text) => Some(Part::Text(text.clone())),
        TemplateElement::Comment(_) => Some(Part::Text(String::new())),
        TemplateElement::Expression(expression) | TemplateElement::HtmlExpression(expression) => {
            let is_bare = expression.params.is_empty() && expression.hash.is_empty();
            Some(Part::Name(name_in(&expression.name).filter(|_| is_bare)?))
        }
        TemplateElement::HelperBlock(block) => condition(block),
        _ => None,
    };
    template.elements.iter().map(part).collect()
}

fn condition(block: &HelperTemplate) -> Option<Part> {
    let Parameter::Name(word) = &block.name else { return None };
    let [condition] = block.params.as_slice() else { return None };
    let branch = |template: &Option<Template>| template.as_ref().map_or(Some(vec![]), parts);
    let (first, second) = (branch(&block.template)?, branch(&block.inverse)?);
    let name = name_in(condition).filter(|_| block.hash.is_empty())?;
    match word.as_str() {
        "if" => Some(Part::Condition { name, holds: first, holds_not: second }),
        "unless" => Some(Part::Condition { name, holds: second, holds_not: first }),
        _ => None,
    }
}

/// Handlebars takes `optimizer.lr` for a value inside a value. Here it is the name of one parameter.
fn name_in(parameter: &Parameter) -> Option<String> {
    match parameter {
        Parameter::Name(name) | Parameter::Path(handlebars::Path::Relative((_, name))) => Some(name.clone()),
        _ => None,
    }
}

fn collect_names<'p>(parts: &'p [Part], names: &mut Vec<&'p str>) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Name(name) => names.push(name),
            Part::Condition { name, holds, holds_not } => {
                names.push(name);
                collect_names(holds, names);
                collect_names(holds_not, names);
            }
        }
    }
}

fn collect_required<'p>(parts: &'p [Part], given: &mut Vec<&'p str>, names: &mut Vec<&'p str>) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Name(name) if given.contains(&name.as_str()) => {}
            Part::Name(name) => names.push(name),
            Part::Condition { name, holds, holds_not } => {
                given.push(name);
                collect_required(holds, given, names);
                given.pop();
                collect_required(holds_not, given, names);
            }
        }
    }
}

fn fill<'v>(
    parts: &[Part],
    value: &impl Fn(&str) -> Option<&'v Value>,
    filled: &mut String,
) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Name(name) => filled.push_str(&show(value(name).ok_or_else(|| name.clone())?)),
            Part::Condition { name, holds, holds_not } => {
                let chosen = if value(name).is_some_and(is_true) { holds } else { holds_not };
                fill(chosen, value, filled)?;
            }
        }
    }
    Ok(())
}

/// Texts bare, all else as JSON.
fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// As Handlebars has it: neither `false`, 0, empty nor missing.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}
