//! One parameter: a scalar is fixed, a list is swept, a map is one of W&B's forms or a range (`forms`). A map with
//! `parameters` in it holds further ones, whose names begin with its own and a point.

use std::collections::BTreeMap;

use serde_json::Value;

use super::conditions::Match;
use super::distribution::Distribution;
use super::error::{Findings, SpecProblem};
use super::forms::read_form;
use super::source::Span;
use super::space::{Axis, Choices, Search};
use super::tree::{Entry, Node};

/// An axis that still knows where it was written.
#[derive(Debug)]
pub(super) struct Draft {
    /// One, or several that move together and have equally many values.
    pub(super) columns: Vec<Column>,
    /// Probabilities of the values, in place of equal ones.
    pub(super) weights: Option<Vec<f64>>,
    pub(super) when: Vec<Match>,
    /// The innermost `if` around it.
    pub(super) when_span: Option<Span>,
}

/// One parameter of an axis.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) name_span: Span,
    pub(super) values: Values,
}

/// What is written behind a parameter's name.
#[derive(Debug)]
pub(super) enum Values {
    /// At least one.
    Listed(Vec<(Value, Span)>),
    Drawn(Distribution, Span),
}

/// How parameters are to be read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'r> {
    /// Whether the single values of a parameter are lists.
    pub(super) is_list: &'r dyn Fn(&str) -> bool,
    /// Unknown where there is a finding about it.
    pub(super) search: Option<Search>,
}

impl Column {
    pub(super) fn listed(&self) -> &[(Value, Span)] {
        match &self.values {
            Values::Listed(values) => values,
            Values::Drawn(..) => &[],
        }
    }
}

impl Draft {
    pub(super) fn is_swept(&self) -> bool {
        self.columns.iter().any(|column| column.listed().len() != 1)
    }

    pub(super) fn to_axis(&self) -> Axis {
        let names = self.columns.iter().map(|column| column.name.clone()).collect();
        let when = self.when.iter().map(Match::to_condition).collect();
        Axis { names, when, choices: self.choices() }
    }

    fn choices(&self) -> Choices {
        if let [Column { values: Values::Drawn(distribution, _), .. }] = self.columns.as_slice() {
            return Choices::Drawn(distribution.clone());
        }
        let length = self.columns.iter().map(|column| column.listed().len()).min().unwrap_or(0);
        let row = |place: usize| self.columns.iter().map(|column| column.listed()[place].0.clone()).collect();
        let rows = (0..length).map(row).collect();
        match &self.weights {
            Some(weights) => Choices::Weighted(rows, weights.clone()),
            None => Choices::Listed(rows),
        }
    }

    /// Reports rows that the axis has twice, by their canonical form.
    pub(super) fn check_distinct(&self, findings: &mut Findings) {
        let mut first_at = BTreeMap::new();
        let Choices::Listed(rows) = self.choices() else { return };
        for (place, row) in rows.iter().enumerate() {
            let Some(first) = first_at.insert(Value::from(row.clone()).to_string(), place) else { continue };
            let [column, ..] = self.columns.as_slice() else { return };
            let ((_, first), (_, span)) = (&column.listed()[first], &column.listed()[place]);
            let message = match self.columns.len() {
                1 => format!("`{}` has the value `{}` twice", column.name, span.text()),
                _ => "these values stand together twice".to_owned(),
            };
            findings.push(
                SpecProblem::new(span, message)
                    .and_at(first, "first here")
                    .help("remove one of them; to repeat a configuration, add `seeds`"),
            );
        }
    }
}

/// A parameter's name and what stands behind it, out of whatever maps it was nested in.
pub(super) struct Written<'n> {
    pub(super) name: String,
    pub(super) name_span: &'n Span,
    pub(super) node: &'n Node,
}

/// The parameters in a map, those in nested `parameters` too.
pub(super) fn flatten<'n>(entries: &'n [Entry], findings: &mut Findings) -> Vec<Written<'n>> {
    let mut flat = Vec::new();
    flatten_into(&mut flat, "", entries, findings);
    flat
}

fn flatten_into<'n>(
    flat: &mut Vec<Written<'n>>,
    prefix: &str,
    entries: &'n [Entry],
    findings: &mut Findings,
) {
    for entry in entries {
        let name = format!("{prefix}{}", entry.key);
        let inner = entry.node.map().and_then(|form| form.iter().find(|part| part.key == "parameters"));
        let Some(inner) = inner else {
            flat.push(Written { name, name_span: &entry.key_span, node: &entry.node });
            continue;
        };
        let others = entry.node.map().unwrap_or_default().iter().filter(|part| part.key != "parameters");
        for other in others {
            let message = format!("`{}` has no effect beside `parameters`", other.key);
            findings.push(SpecProblem::new(&other.key_span, message).help("remove one of them"));
        }
        match inner.node.map() {
            Some(parameters) => flatten_into(flat, &format!("{name}."), parameters, findings),
            None => findings
                .push(SpecProblem::new(&inner.key_span, format!("`parameters` of `{name}` must be a map"))),
        }
    }
}

/// The axes in the order of the text; one with a finding is left out.
pub(super) fn read_axes(
    parameters: &[Written<'_>],
    reader: Reader<'_>,
    findings: &mut Findings,
) -> Vec<Draft> {
    let mut axes = Vec::new();
    for parameter in parameters {
        match read_parameter(parameter, reader) {
            Ok((column, weights)) => {
                axes.push(Draft { columns: vec![column], weights, when: vec![], when_span: None });
            }
            Err(problem) => findings.push(problem),
        }
    }
    axes
}

/// A parameter and, where they are written, the probabilities of its values.
pub(super) fn read_parameter(
    parameter: &Written<'_>,
    reader: Reader<'_>,
) -> Result<(Column, Option<Vec<f64>>), SpecProblem> {
    let (values, weights) = match parameter.node.map() {
        Some(form) => read_form(parameter, form, reader)?,
        None => (read_values(parameter, alternatives(parameter, (reader.is_list)(&parameter.name))?)?, None),
    };
    let column = Column { name: parameter.name.clone(), name_span: parameter.name_span.clone(), values };
    Ok((column, weights))
}

/// Each of the nodes as one value.
pub(super) fn read_values(parameter: &Written<'_>, nodes: &[Node]) -> Result<Values, SpecProblem> {
    let name = &parameter.name;
    if nodes.is_empty() {
        return Err(SpecProblem::new(&parameter.node.span, format!("`{name}` is an empty list"))
            .help("a list is swept: give it at least one value, or remove the parameter"));
    }
    let value = |node: &Node| match node.value() {
        Some(value) => Ok((value, node.span.clone())),
        None => Err(SpecProblem::new(&node.span, format!("`{name}` has no value here"))
            .help("write a number, a text, `true` or `false`; quotes make a text of anything")),
    };
    Ok(Values::Listed(nodes.iter().map(value).collect::<Result<_, _>>()?))
}

/// The nodes of which each is one value, of a parameter that is no map.
pub(super) fn alternatives<'n>(parameter: &Written<'n>, is_list: bool) -> Result<&'n [Node], SpecProblem> {
    let node = parameter.node;
    let Some(items) = node.list() else { return Ok(std::slice::from_ref(node)) };
    let lists = items.iter().filter(|item| item.list().is_some()).count();
    match (is_list, lists) {
        (false, _) => Ok(items),
        // A flat list is one value of a parameter whose values are lists.
        (true, 0) => Ok(std::slice::from_ref(node)),
        (true, lists) if lists == items.len() => Ok(items),
        (true, _) => {
            Err(SpecProblem::new(&node.span, format!("`{}` mixes values and lists", parameter.name))
                .help("write one list for one value, or a list of lists to sweep it"))
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
        spec.space.axes.last().unwrap().rows().iter().map(|row| row[0].clone()).collect()
    }

    #[test]
    fn the_forms_of_wandb_say_the_same_as_scalars_and_lists() {
        assert_eq!(values("{lr: {value: 0.2}}"), values("{lr: 0.2}"));
        assert_eq!(values("{lr: {values: [0.2, 1]}}"), values("{lr: [0.2, 1]}"));
        assert_eq!(values("{lr: {distribution: categorical, values: [0.2, 1]}}"), values("{lr: [0.2, 1]}"));
        assert_eq!(values("{lr: {distribution: constant, value: 1}}"), values("{lr: 1}"));
        assert_eq!(values("{width: {min: 8, max: 11}}"), values("{width: [8, 9, 10, 11]}"));
    }

    #[test]
    fn a_range_has_its_end_where_a_step_hits_it() {
        assert_eq!(
            values("{lr: {range: [0.1, 0.9, 0.1]}}"),
            values("{lr: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]}")
        );
        assert_eq!(values("{width: {range: [8, 20, 5]}}"), [json!(8), json!(13), json!(18)]);
        assert_eq!(values("{width: {range: [8, 10]}}"), [json!(8), json!(9), json!(10)]);
    }

    #[test]
    fn a_flat_list_is_one_value_of_a_parameter_whose_values_are_lists() {
        assert_eq!(values("{lr_steps: [10, 20]}"), [json!([10, 20])]);
        assert_eq!(values("{lr_steps: [[10, 20], []]}"), [json!([10, 20]), json!([])]);
        assert_eq!(values("{lr_steps: {values: [[10], [20]]}}"), [json!([10]), json!([20])]);
        assert_eq!(values("{eval_sets: [shifted]}"), [json!(["shifted"])]);
    }

    #[test]
    fn nested_parameters_have_names_with_points() {
        let text = "command: [run]\nparameters: {a: 1, opt: {parameters: {lr: {values: [1, 2]}, x: {parameters: {y: 3}}}}}";
        let spec = parse("a.yaml", text, &[]).unwrap();
        let names: Vec<_> = spec.space.axes.iter().map(|axis| axis.names[0].as_str()).collect();
        assert_eq!(names, ["a", "opt.lr", "opt.x.y"]);
        assert_eq!(spec.number_count(), 2);
    }

    #[test]
    fn quotes_make_a_text_of_anything() {
        let spec = parse("a.yaml", "command: [run]\nparameters: {a: ['1', 1, \"true\", !!str 2, yes]}", &[])
            .unwrap();
        let values: Vec<_> = spec.space.axes[0].rows().iter().map(|row| row[0].clone()).collect();
        assert_eq!(values, [json!("1"), json!(1), json!("true"), json!("2"), json!("yes")]);
    }
}
