//! `mask_ratio=0.9,0.5 seeds=5`: overrides as Hydra writes them, put into the tree before it is read.

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
    let mut given: Vec<(String, Span)> = Vec::new();
    for (index, text) in overrides.iter().enumerate() {
        let Some(entry) = read_override(index, text, findings) else { continue };
        let earlier = given.iter().find(|(key, _)| *key == entry.key);
        if let Some((key, span)) = earlier {
            findings.push(
                SpecProblem::new(&entry.key_span, format!("`{key}` is overridden twice"))
                    .and_at(span, "first here")
                    .help("write several values as `name=value,value`"),
            );
            continue;
        }
        given.push((entry.key.clone(), entry.key_span.clone()));
        place(document, entry);
    }
}

fn read_override(index: usize, text: &str, findings: &mut Findings) -> Option<Entry> {
    let source = Source::command_line(index, text);
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| is_name(key)) else {
        let whole = Span::new(&source, 0, text.len());
        let message = format!("`{text}` is not an override");
        findings.push(SpecProblem::new(&whole, message).help("write `name=value` or `name=value,value`"));
        return None;
    };
    // As a list in brackets, so that YAML itself knows which commas separate values. Spaces in the place of the name
    // keep every position as it is in the override.
    let list = format!("{}[{value}]", " ".repeat(key.len()));
    let node = yaml::read(&source, &list, findings)?;
    let span = Span::new(&source, key.len() + 1, text.len());
    let node = match node.shape {
        Shape::List(mut items) if items.len() == 1 => items.remove(0),
        shape => Node { span, shape },
    };
    if node.list().is_some_and(|_| value.trim().is_empty()) {
        let key_span = Span::new(&source, 0, text.len());
        findings.push(SpecProblem::new(&key_span, format!("`{text}` gives no value")));
        return None;
    }
    Some(Entry { key: key.to_owned(), key_span: Span::new(&source, 0, key.len()), node })
}

fn place(document: &mut Vec<Entry>, entry: Entry) {
    if DOCUMENT_KEYS.contains(&entry.key.as_str()) {
        return replace_or_append(document, entry);
    }
    let nested = NESTED_KEYS.iter().find(|(map, key)| entry.key == format!("{map}.{key}"));
    let (map, key) = match (nested, entry.key.strip_prefix("parameters.")) {
        (Some((map, key)), _) => (*map, (*key).to_owned()),
        (None, Some(name)) => (PARAMETERS, name.to_owned()),
        (None, None) => (PARAMETERS, entry.key.clone()),
    };
    place_in_map(document, map, Entry { key, ..entry });
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
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(axes(&with(&["tag=--x=1"]))[1], ("tag", json!(["--x=1"])));
    }
}
