//! `mask_ratio=0.9,0.5 seeds=5`: overrides as Hydra writes them, put into the tree before it is read.

use std::sync::Arc;

use super::command::is_name;
use super::error::{Findings, SpecProblem};
use super::source::{Source, Span};
use super::tree::{Entry, Node, Shape};
use super::yaml;

/// Keys of the document that an override reaches by name; every other name is a parameter.
const DOCUMENT_KEYS: &[&str] = &["name", "description", "seeds", "retries"];
/// Keys of maps in the document that an override reaches as `map.key`.
const NESTED_KEYS: &[(&str, &str)] = &[("metric", "name"), ("metric", "goal"), ("resources", "cpus")];
/// Reaches a parameter that shares its name with a key of the document.
const PARAMETERS: &str = "parameters";

/// Puts each override in the place of what it overrides, or behind the last one.
pub(super) fn apply(document: &mut Vec<Entry>, overrides: &[String], findings: &mut Findings) {
    let mut given: Vec<(Target, Span)> = Vec::new();
    for (index, text) in overrides.iter().enumerate() {
        let entry = match read_override(index, text) {
            Ok(entry) => entry,
            Err(problems) => {
                findings.extend(problems);
                continue;
            }
        };
        let target = target_of(&entry.key);
        let earlier = given.iter().find(|(earlier, _)| *earlier == target);
        if let Some((_, span)) = earlier {
            findings.push(
                SpecProblem::new(&entry.key_span, format!("`{}` is overridden twice", entry.key))
                    .and_at(span, "first here")
                    .help("write several values as `name=value,value`"),
            );
            continue;
        }
        given.push((target.clone(), entry.key_span.clone()));
        place(document, target, entry);
    }
}

fn read_override(index: usize, text: &str) -> Result<Entry, Vec<SpecProblem>> {
    let source = Source::command_line(index, text);
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| is_name(key)) else {
        let whole = Span::new(&source, 0, text.len());
        let problem = SpecProblem::new(&whole, format!("`{text}` is not an override"));
        return Err(vec![problem.help("write `name=value` or `name=value,value`")]);
    };
    if value.trim().is_empty() {
        let whole = Span::new(&source, 0, text.len());
        return Err(vec![SpecProblem::new(&whole, format!("`{text}` gives no value"))]);
    }
    let node = read_values(&source, key.len())?;
    let end = text.trim_end().len();
    if text[..end].ends_with(',') {
        let comma = Span::new(&source, end - 1, end);
        return Err(vec![SpecProblem::new(&comma, "no value behind the comma").help("remove it")]);
    }
    let key_span = Span::new(&source, 0, key.len());
    let span = Span::new(&source, key.len() + 1, text.len());
    let node = match node.shape {
        Shape::List(mut items) if items.len() == 1 => items.remove(0),
        shape => Node { span, shape },
    };
    Ok(Entry { key: key.to_owned(), key_span, node })
}

/// The values behind `name=` as a list in brackets, so that YAML itself knows which commas separate them.
fn read_values(source: &Arc<Source>, name_length: usize) -> Result<Node, Vec<SpecProblem>> {
    let (_, value) = source.text().split_at(name_length + 1);
    // Spaces in the place of the name keep every position as it is in the override.
    let list = |end: &str| format!("{}[{value}{end}", " ".repeat(name_length));
    let mut findings = Findings::default();
    let node = yaml::read(source, &list("]"), &mut findings);
    // With the bracket on a line of its own a comment can't hide it, and one inside the value can't take its place.
    let is_whole = yaml::read(source, &list("\n]"), &mut Findings::default()).is_some();
    match node {
        Some(_) if findings.len() > 0 => Err(findings.into_problems()),
        Some(node) if is_whole => Ok(node),
        Some(_) => {
            let values = Span::new(source, name_length + 1, source.text().len());
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

/// Where an override goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// This key of the document itself.
    Document(String),
    /// The key in this map of the document.
    Map(&'static str, String),
}

fn target_of(key: &str) -> Target {
    if DOCUMENT_KEYS.contains(&key) {
        return Target::Document(key.to_owned());
    }
    let nested = NESTED_KEYS.iter().find(|(map, inner)| key == format!("{map}.{inner}"));
    match (nested, key.strip_prefix("parameters.")) {
        (Some((map, inner)), _) => Target::Map(map, (*inner).to_owned()),
        (None, Some(name)) => Target::Map(PARAMETERS, name.to_owned()),
        (None, None) => Target::Map(PARAMETERS, key.to_owned()),
    }
}

fn place(document: &mut Vec<Entry>, target: Target, entry: Entry) {
    match target {
        Target::Document(_) => replace_or_append(document, entry),
        Target::Map(map, key) => place_in_map(document, map, Entry { key, ..entry }),
    }
}

fn place_in_map(document: &mut Vec<Entry>, map: &str, entry: Entry) {
    let Some(existing) = document.iter_mut().find(|existing| existing.key == map) else {
        let span = entry.key_span.clone();
        let node = Node { span: span.clone(), shape: Shape::Map(vec![entry]) };
        return document.push(Entry { key: map.to_owned(), key_span: span, node });
    };
    // `parameters:` with nothing behind it is an empty map, here as where the document is read.
    if existing.node.scalar().is_some_and(|scalar| scalar.value.is_null()) {
        existing.node.shape = Shape::Map(Vec::new());
    }
    // Where something else than a map was written, reading the document says so.
    if let Shape::Map(entries) = &mut existing.node.shape {
        replace_or_append(entries, entry);
    }
}

fn replace_or_append(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|existing| existing.key == entry.key) {
        Some(existing) => *existing = entry,
        None => entries.push(entry),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Spec, parse};

    #[test]
    fn an_override_under_empty_parameters_is_not_lost() {
        let spec = parse("s.yaml", "command: [run]\nparameters:\n", &["lr=1,2".to_owned()]).unwrap();
        assert_eq!(spec.trial_count(), 2);
    }

    fn with(overrides: &[&str]) -> Spec {
        let text = "command: [run]\nparameters:\n  lr: [1, 2]\n  tag: x\n";
        let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
        parse("dir/base.yaml", text, &overrides).unwrap()
    }

    fn axes(spec: &Spec) -> Vec<(&str, Value)> {
        spec.axes.iter().map(|axis| (axis.name.as_str(), json!(axis.values))).collect()
    }

    #[test]
    fn an_override_takes_the_place_of_its_axis_and_a_new_name_goes_last() {
        let spec = with(&["batch=8,16", "lr=0.1"]);
        assert_eq!(axes(&spec), [("lr", json!([0.1])), ("tag", json!(["x"])), ("batch", json!([8, 16]))]);
    }

    #[test]
    fn commas_inside_brackets_and_quotes_do_not_separate_values() {
        let spec = with(&["tag='a,b',c", "lr=[3,4]"]);
        assert_eq!(axes(&spec), [("lr", json!([3, 4])), ("tag", json!(["a,b", "c"]))]);
    }

    #[test]
    fn keys_of_the_document_are_reached_by_name_and_parameters_by_prefix() {
        let spec = with(&[
            "name=other",
            "seeds=3",
            "retries=0",
            "parameters.name=me",
            "metric.name=loss",
            "metric.goal=minimize",
            "resources.cpus=2",
            "method=kd",
        ]);
        assert_eq!((spec.name.as_str(), spec.retries, spec.cpus, spec.seeds.len()), ("other", 0, 2, 3));
        assert_eq!(spec.metric.as_ref().unwrap().name, "loss");
        assert_eq!(axes(&spec)[2..], [("name", json!(["me"])), ("method", json!(["kd"]))]);
    }

    #[test]
    fn brackets_marks_and_commas_inside_quotes_are_text() {
        let spec = with(&["tag='issue #5','a] #b',\"c,\",x#y ", "lr=[1, 2,]"]);
        assert_eq!(axes(&spec)[1], ("tag", json!(["issue #5", "a] #b", "c,", "x#y"])));
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(axes(&with(&["tag=--x=1"]))[1], ("tag", json!(["--x=1"])));
    }
}
