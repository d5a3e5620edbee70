//! `base: other.yaml`: a spec that says only what is different about it.
//!
//! The base's keys hold where the spec doesn't have them, but for `name`. `parameters` are merged by name: the base's stay
//! in their order, new ones follow. `null` takes away a parameter or a key.

use std::path::Path;

use super::error::{Findings, SpecProblem};
use super::source::{Source, Span};
use super::tree::{Entry, Shape};
use super::yaml;

/// Gives the text of the spec of this name; `None` where there is none. It may read files, which this room must not.
pub type FindBase<'f> = dyn Fn(&str) -> Option<String> + 'f;

/// A longer chain is taken for a circle.
pub const MOST_BASES: usize = 8;
const BASE: &str = "base";
const PARAMETERS: &str = "parameters";

/// The name of the base of a spec, if it has one: a path as it has to be looked for, written in the spec relative to the
/// spec's own. `None` too where the text is no spec.
#[must_use]
pub fn base_of(source_name: &str, text: &str) -> Option<String> {
    let source = Source::file(0, source_name, text.strip_prefix('\u{feff}').unwrap_or(text));
    let root = yaml::read(&source, source.text(), &mut Findings::default())?;
    let base = root.map()?.iter().find(|entry| entry.key == BASE)?;
    base.node.text().map(|written| name_of(source_name, written))
}

/// The entries of a document with those of its bases put in.
pub(super) fn inherit(
    source: &Source,
    entries: Vec<Entry>,
    find_base: &FindBase<'_>,
    findings: &mut Findings,
) -> Vec<Entry> {
    let mut documents = vec![entries];
    let mut names = vec![source.name().to_owned()];
    while let Some(base) = take_base(documents.last_mut()) {
        match read_base(&base, &names, find_base, findings) {
            Ok((name, entries)) => {
                names.push(name);
                documents.push(entries);
            }
            Err(problem) => {
                findings.extend(problem);
                break;
            }
        }
    }
    let mut merged: Option<Vec<Entry>> = None;
    while let Some(document) = documents.pop() {
        merged = Some(match merged {
            None => document,
            Some(base) => merge(base, document, findings),
        });
    }
    merged.unwrap_or_default()
}

fn take_base(document: Option<&mut Vec<Entry>>) -> Option<Entry> {
    let document = document?;
    let at = document.iter().position(|entry| entry.key == BASE)?;
    Some(document.remove(at))
}

type Document = (String, Vec<Entry>);

fn read_base(
    base: &Entry,
    names: &[String],
    find_base: &FindBase<'_>,
    findings: &mut Findings,
) -> Result<Document, Option<SpecProblem>> {
    let problem = |message: String| SpecProblem::new(&base.node.span, message);
    let Some(written) = base.node.text().filter(|written| !written.is_empty()) else {
        return Err(Some(problem("`base` must be the path of another spec".to_owned())));
    };
    let name = name_of(names.last().map_or("", String::as_str), written);
    if names.contains(&name) {
        let message = format!("`{name}` is based on itself");
        return Err(Some(problem(message).help(format!("the chain is {} → {name}", names.join(" → ")))));
    }
    if names.len() > MOST_BASES {
        return Err(Some(problem(format!("there are more than {MOST_BASES} bases behind each other"))));
    }
    let Some(text) = find_base(&name) else {
        let message = format!("there is no spec `{name}` that can be read");
        return Err(Some(problem(message).help("`base` is a path relative to the spec that it stands in")));
    };
    let source = Source::file(names.len(), &name, text.strip_prefix('\u{feff}').unwrap_or(&text));
    let Some(root) = yaml::read(&source, source.text(), findings) else { return Err(None) };
    match root.shape {
        Shape::Map(entries) => Ok((name, entries)),
        _ => Err(Some(SpecProblem::new(&Span::new(&source, 0, 0), "a spec must be a map of keys"))),
    }
}

/// `written` from beside `source_name`.
fn name_of(source_name: &str, written: &str) -> String {
    let beside = Path::new(source_name).parent().unwrap_or(Path::new("")).join(written);
    beside.display().to_string()
}

fn merge(base: Vec<Entry>, document: Vec<Entry>, findings: &mut Findings) -> Vec<Entry> {
    let mut merged: Vec<Entry> = base.into_iter().filter(|entry| entry.key != "name").collect();
    for entry in document {
        let existing = merged.iter_mut().find(|existing| existing.key == entry.key);
        match existing {
            Some(existing) if entry.key == PARAMETERS => merge_parameters(existing, entry, findings),
            Some(_) if is_null(&entry) => merged.retain(|existing| existing.key != entry.key),
            Some(existing) => *existing = entry,
            None => merged.push(entry),
        }
    }
    merged
}

fn merge_parameters(base: &mut Entry, document: Entry, findings: &mut Findings) {
    let (Shape::Map(parameters), Shape::Map(own)) = (&mut base.node.shape, &document.node.shape) else {
        // `parameters:` with nothing behind it says nothing; what is no map is said where the document is read.
        if !is_null(&document) {
            *base = document;
        }
        return;
    };
    for entry in own {
        let existing = parameters.iter().position(|existing| existing.key == entry.key);
        match (existing, is_null(entry)) {
            (Some(at), true) => {
                parameters.remove(at);
            }
            (Some(at), false) => parameters[at] = entry.clone(),
            (None, false) => parameters.push(entry.clone()),
            (None, true) => {
                let message = format!("the base has no parameter `{}` that could be taken away", entry.key);
                findings.push(
                    SpecProblem::new(&entry.key_span, message).help("remove the line, or give it a value"),
                );
            }
        }
    }
    base.key_span = document.key_span;
}

fn is_null(entry: &Entry) -> bool {
    entry.node.scalar().is_some_and(|scalar| scalar.value.is_null())
}

#[cfg(test)]
mod tests {
    use super::super::{Spec, SpecError, parse_finding};
    use super::base_of;

    fn with(text: &str, files: &[(&str, &str)]) -> Result<Spec, SpecError> {
        let find =
            |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned());
        parse_finding("dir/child.yaml", text, &[], &|named| Ok(vec![named.unfound()]), &find)
    }

    fn axes(spec: &Spec) -> Vec<String> {
        let shown = |row: &Vec<serde_json::Value>| row[0].to_string();
        let axis = |axis: &super::super::Axis| {
            format!("{}={}", axis.names[0], axis.rows().iter().map(shown).collect::<Vec<_>>().join(","))
        };
        spec.space.axes.iter().map(axis).collect()
    }

    #[test]
    fn what_the_spec_says_wins_and_new_parameters_follow() {
        let base = "name: base\ncommand: [run]\nseeds: 3\nretries: 7\nparameters: {a: 1, b: [1, 2], c: x}";
        let child = "base: base.yaml\nseeds: 5\nparameters: {d: 4, b: 9, c: null}";
        let spec = with(child, &[("dir/base.yaml", base)]).unwrap();
        assert_eq!(axes(&spec), ["a=1", "b=9", "d=4"]);
        assert_eq!((spec.name.as_str(), spec.seeds.len(), spec.retries), ("child", 5, 7));
    }

    #[test]
    fn bases_have_bases_and_a_null_takes_a_key_away() {
        let files = [
            ("dir/../up.yaml", "base: top.yaml\nparameters: {b: 2}\nseeds: 9"),
            ("dir/../top.yaml", "command: [run]\nparameters: {a: 1}\nretries: 9"),
        ];
        let spec = with("base: ../up.yaml\nretries: null\nparameters:", &files).unwrap();
        assert_eq!(axes(&spec), ["a=1", "b=2"]);
        assert_eq!((spec.seeds.len(), spec.retries), (9, 1));
    }

    #[test]
    fn errors_point_into_the_file_where_the_text_stands() {
        let error = with(
            "base: base.yaml\nparameters: {widht: 8}",
            &[("dir/base.yaml", "parameters:\n  lrr: 0.1\n")],
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("dir/child.yaml:2:14") && error.contains("dir/base.yaml:2:3"), "{error}");
        let broken = with("base: base.yaml", &[("dir/base.yaml", "parameters: [")]).unwrap_err().to_string();
        assert!(broken.contains("dir/base.yaml:1:"), "{broken}");
    }

    #[test]
    fn circles_and_missing_files_are_refused() {
        let circle = with("base: b.yaml", &[("dir/b.yaml", "base: child.yaml")]).unwrap_err().to_string();
        assert!(
            circle.contains("`dir/child.yaml` is based on itself") && circle.contains("dir/b.yaml:1:7"),
            "{circle}"
        );
        let longer = [("dir/./b.yaml", "base: ./b.yaml")];
        let turning = with("base: ./b.yaml", &longer).unwrap_err().to_string();
        assert!(turning.contains("there is no spec") || turning.contains("itself"), "{turning}");
        let missing = with("base: no.yaml\nparameters: {lr: 1}", &[]).unwrap_err().to_string();
        assert!(
            missing.contains("there is no spec `dir/no.yaml`") && missing.contains("dir/child.yaml:1:7"),
            "{missing}"
        );
        let null = with(
            "base: b.yaml\nparameters: {x: null}",
            &[("dir/b.yaml", "command: [run]\nparameters: {a: 1}")],
        );
        assert!(null.unwrap_err().to_string().contains("the base has no parameter `x`"));
    }

    #[test]
    fn the_base_of_a_spec_is_found_beside_it() {
        assert_eq!(base_of("a/b.yaml", "base: c.yaml\n"), Some("a/c.yaml".to_owned()));
        assert_eq!(base_of("b.yaml", "base: /x/c.yaml\n"), Some("/x/c.yaml".to_owned()));
        assert_eq!(base_of("b.yaml", "parameters: [\n"), None);
    }
}
