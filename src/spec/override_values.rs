//! The values behind `name=` in an override: YAML, separated by commas, or one of Hydra's functions `range` and `choice`.

use std::sync::Arc;

use super::decimal::{Decimal, Stop, range};
use super::error::{Findings, SpecProblem};
use super::expansion::MOST_TRIALS;
use super::forms::no_range;
use super::source::{Source, Span};
use super::tree::{Node, Scalar, Shape};
use super::yaml;

/// The value, or a list of several, that begins at `start` in an override.
pub(super) fn read_values(source: &Arc<Source>, start: usize) -> Result<Node, Vec<SpecProblem>> {
    let text = source.text();
    let end = text.trim_end().len();
    let span = Span::new(source, start, end);
    if let Some((name, inside)) = function(text, start, end) {
        let arguments = read_list(source, inside.clone())?;
        let items = match name {
            "range" => range_values(&arguments, &span).map_err(|problem| vec![problem])?,
            _ => arguments.list().unwrap_or_default().to_vec(),
        };
        return Ok(one_or_list(items, span));
    }
    let node = read_list(source, start..text.len())?;
    if text[..end].ends_with(',') {
        let comma = Span::new(source, end - 1, end);
        return Err(vec![SpecProblem::new(&comma, "no value behind the comma").help("remove it")]);
    }
    let items = node.list().unwrap_or_default().to_vec();
    Ok(one_or_list(items, Span::new(source, start, text.len())))
}

pub(super) fn no_value(whole: &Span) -> Vec<SpecProblem> {
    vec![SpecProblem::new(whole, format!("`{}` gives no value", whole.text()))]
}

fn one_or_list(mut items: Vec<Node>, span: Span) -> Node {
    match items.len() {
        1 => items.remove(0),
        _ => Node { span, shape: Shape::List(items) },
    }
}

/// The name of the function that stands there, and where its arguments do. What looks like another function is text.
fn function(text: &str, start: usize, end: usize) -> Option<(&'static str, std::ops::Range<usize>)> {
    let value = &text[start..end];
    let name = ["range", "choice"].into_iter().find(|name| {
        value.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')) && value.ends_with(')')
    })?;
    Some((name, start + name.len() + 1..end - 1))
}

fn range_values(arguments: &Node, span: &Span) -> Result<Vec<Node>, SpecProblem> {
    let number = |node: &Node| Decimal::parse(&node.scalar().filter(|scalar| scalar.value.is_number())?.text);
    let numbers: Option<Vec<_>> = arguments.list().unwrap_or_default().iter().map(number).collect();
    let numbers = numbers.unwrap_or_default();
    let (zero, one) = (Decimal::parse("0"), Decimal::parse("1"));
    let (start, stop, step) = match (numbers.as_slice(), zero, one) {
        (&[stop], Some(zero), Some(one)) => (zero, stop, one),
        (&[start, stop], _, Some(one)) => (start, stop, one),
        (&[start, stop, step], _, _) => (start, stop, step),
        _ => {
            return Err(SpecProblem::new(span, "a range takes one to three numbers").help(
                "write `name=range(stop)`, `range(start,stop)` or `range(start,stop,step)`; stop is left out",
            ));
        }
    };
    let values = range(start, stop, step, Stop::Excluded, MOST_TRIALS);
    let values = values.map_err(|reason| SpecProblem::new(span, no_range(reason)))?;
    let node = |value: serde_json::Value| {
        let scalar = Scalar { text: value.to_string(), value };
        Node { span: span.clone(), shape: Shape::Scalar(scalar) }
    };
    Ok(values.into_iter().map(node).collect())
}

/// A stretch of an override as a list in brackets, so that YAML itself knows which commas separate the values.
fn read_list(source: &Arc<Source>, inside: std::ops::Range<usize>) -> Result<Node, Vec<SpecProblem>> {
    let (text, value) = (source.text(), &source.text()[inside.clone()]);
    // Spaces in the place of what comes before keep every position as it is in the override.
    let before = " ".repeat(text[..inside.start].chars().count() - 1);
    let list = |end: &str| format!("{before}[{value}{end}");
    let mut findings = Findings::default();
    let node = yaml::read(source, &list("]"), &mut findings);
    // With the bracket on a line of its own a comment can't hide it, and one inside the value can't take its place.
    let is_whole = yaml::read(source, &list("\n]"), &mut Findings::default()).is_some();
    match node {
        Some(_) if findings.len() > 0 => Err(findings.into_problems()),
        Some(node) if is_whole => Ok(node),
        Some(_) => {
            let values = Span::new(source, inside.start, inside.end);
            let problem = SpecProblem::new(&values, "the brackets don't match");
            Err(vec![problem.help("quote a text that has brackets in it")])
        }
        None if is_whole || value.starts_with('#') => {
            Err(comment(source).map_or_else(|| findings.into_problems(), |problem| vec![problem]))
        }
        None => Err(findings.into_problems()),
    }
}

/// Where YAML takes the rest of an override for a comment, nobody meant one.
fn comment(source: &Arc<Source>) -> Option<SpecProblem> {
    let text = source.text();
    let begins = |at: usize| text[..at].ends_with([' ', '\t', '=', ',']);
    let (at, _) = text.match_indices('#').find(|(at, _)| begins(*at))?;
    let problem = SpecProblem::new(&Span::new(source, at, text.len()), "`#` begins a comment here");
    Some(problem.help("quote a text that has ` #` in it, twice because of the shell: `\"name='issue #5'\"`"))
}
