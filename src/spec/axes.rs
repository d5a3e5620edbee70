//! The section `parameters`: a scalar is fixed, a list is swept, `{value: …}` and `{values: […]}` are W&B's forms.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{Findings, SpecProblem};
use super::expansion::Axis;
use super::source::Span;
use super::tree::{Entry, Node};
use crate::recipe::schema::nearest;

/// Keys of W&B's parameter maps that later versions read.
const LATER_FORMS: &[&str] =
    &["distribution", "max", "min", "mu", "parameters", "probabilities", "q", "sigma"];

/// An axis that still knows where it was written. It has at least one value.
#[derive(Debug)]
pub(super) struct Draft<'n> {
    pub(super) name: &'n str,
    pub(super) name_span: &'n Span,
    pub(super) values: Vec<(Value, &'n Span)>,
}

impl Draft<'_> {
    pub(super) fn into_axis(self) -> Axis {
        let values = self.values.into_iter().map(|(value, _)| value).collect();
        Axis { name: self.name.to_owned(), values }
    }

    pub(super) fn is_swept(&self) -> bool {
        self.values.len() > 1
    }
}

/// The axes in the order of the text; one with a finding is left out. `is_list` says whether a parameter's single
/// values are lists.
pub(super) fn read_axes<'n>(
    entries: &'n [Entry],
    is_list: impl Fn(&str) -> bool,
    findings: &mut Findings,
) -> Vec<Draft<'n>> {
    let mut axes = Vec::new();
    for entry in entries {
        match read_axis(entry, is_list(&entry.key)) {
            Ok(axis) => axes.push(axis),
            Err(problem) => findings.push(problem),
        }
    }
    axes
}

fn read_axis(entry: &Entry, is_list: bool) -> Result<Draft<'_>, SpecProblem> {
    let nodes = alternatives(entry, is_list)?;
    if nodes.is_empty() {
        return Err(SpecProblem::new(&entry.node.span, format!("`{}` is an empty list", entry.key))
            .help("a list is swept: give it at least one value, or remove the parameter"));
    }
    let mut values = Vec::new();
    for node in nodes {
        let value = node.value().ok_or_else(|| {
            SpecProblem::new(&node.span, format!("`{}` has no value here", entry.key))
                .help("write a number, a text, `true` or `false`; quotes make a text of anything")
        })?;
        values.push((value, &node.span));
    }
    Ok(Draft { name: &entry.key, name_span: &entry.key_span, values })
}

/// The nodes of which each is one value.
fn alternatives(entry: &Entry, is_list: bool) -> Result<&[Node], SpecProblem> {
    let node = &entry.node;
    if let Some(form) = node.map() {
        return alternatives_in_map(entry, form);
    }
    let Some(items) = node.list() else { return Ok(std::slice::from_ref(node)) };
    let lists = items.iter().filter(|item| item.list().is_some()).count();
    match (is_list, lists) {
        (false, _) => Ok(items),
        // A flat list is one value of a parameter whose values are lists.
        (true, 0) => Ok(std::slice::from_ref(node)),
        (true, lists) if lists == items.len() => Ok(items),
        (true, _) => Err(SpecProblem::new(&node.span, format!("`{}` mixes values and lists", entry.key))
            .help("write one list for one value, or a list of lists to sweep it")),
    }
}

fn alternatives_in_map<'n>(entry: &'n Entry, form: &'n [Entry]) -> Result<&'n [Node], SpecProblem> {
    let is_form = |key: &str| ["value", "values"].contains(&key);
    if let Some(stranger) = form.iter().find(|part| !is_form(&part.key)) {
        let key = &stranger.key;
        let (message, help) = if LATER_FORMS.contains(&key.as_str()) {
            (format!("`{key}` is not available in this version"), None)
        } else {
            let near = nearest(key, ["value", "values"]).map(|near| format!("did you mean `{near}`?"));
            (format!("unknown key `{key}` in parameter `{}`", entry.key), near)
        };
        return Err(SpecProblem::new(&stranger.key_span, message)
            .help("write one value, a list of values, or `{values: [..]}`")
            .help_if(help));
    }
    match form {
        [part] if part.key == "value" => Ok(std::slice::from_ref(&part.node)),
        [part] => part.node.list().ok_or_else(|| {
            SpecProblem::new(&part.node.span, format!("`values` of `{}` must be a list", entry.key))
        }),
        _ => Err(SpecProblem::new(&entry.key_span, format!("`{}` needs `value` or `values`", entry.key))),
    }
}

/// Reports values that an axis has twice, by their canonical form.
pub(super) fn check_distinct(axis: &Draft<'_>, findings: &mut Findings) {
    let mut first_at = BTreeMap::new();
    for (value, span) in &axis.values {
        if let Some(first) = first_at.insert(value.to_string(), *span) {
            findings.push(
                SpecProblem::new(span, format!("`{}` has the value `{}` twice", axis.name, span.text()))
                    .and_at(first, "first here")
                    .help("remove one of them; to repeat a configuration, add `seeds`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::parse;

    /// The values of the last parameter in a spec with these.
    fn values(parameters: &str) -> Vec<Value> {
        let spec = parse("a.yaml", &format!("parameters: {parameters}"), &[]).unwrap();
        spec.axes.last().unwrap().values.clone()
    }

    #[test]
    fn the_forms_of_wandb_say_the_same_as_scalars_and_lists() {
        assert_eq!(values("{lr: {value: 0.2}}"), values("{lr: 0.2}"));
        assert_eq!(values("{lr: {values: [0.2, 1]}}"), values("{lr: [0.2, 1]}"));
    }

    #[test]
    fn a_flat_list_is_one_value_of_a_parameter_whose_values_are_lists() {
        assert_eq!(values("{lr_steps: [10, 20]}"), [json!([10, 20])]);
        assert_eq!(values("{lr_steps: [[10, 20], []]}"), [json!([10, 20]), json!([])]);
        assert_eq!(values("{lr_steps: {values: [[10], [20]]}}"), [json!([10]), json!([20])]);
        assert_eq!(values("{eval_sets: [shifted]}"), [json!(["shifted"])]);
    }

    #[test]
    fn quotes_make_a_text_of_anything() {
        let spec = parse("a.yaml", "command: [run]\nparameters: {a: ['1', 1, \"true\", !!str 2, yes]}", &[]);
        assert_eq!(
            spec.unwrap().axes[0].values,
            [json!("1"), json!(1), json!("true"), json!("2"), json!("yes")]
        );
    }
}
