//! `mask_ratio=0.9,0.5 seeds=5 ~momentum`: overrides as Hydra writes them, put into the tree before it is read.

use super::command::is_name;
use super::error::{Findings, SpecProblem};
use super::override_values::{no_value, read_values};
use super::place::{Change, change_parameter, replace_or_append};
use super::source::{Source, Span};
use super::target::{PARAMETERS, Target, misread_key};
use super::tree::{Entry, Node, Shape};

/// What W&B calls a key of the document; overriding that key overrides it too.
const WANDB_WORDS: &[(&str, &str)] = &[("search", "method"), ("count", "run_cap")];

/// Puts each override in the place of what it overrides, or behind the last one.
pub(super) fn apply(document: &mut Vec<Entry>, overrides: &[String], findings: &mut Findings) {
    let mut given: Vec<(Target, Span)> = Vec::new();
    for (index, text) in overrides.iter().enumerate() {
        let read = match read_override(index, text) {
            Ok(read) => read,
            Err(problems) => {
                findings.extend(problems);
                continue;
            }
        };
        let target = match read.verb {
            Verb::Remove => Target::to_remove(&read.key),
            Verb::Set | Verb::Add => Target::to_set(&read.key),
        };
        let earlier = given.iter().find(|(earlier, _)| *earlier == target);
        if let Some((_, span)) = earlier {
            findings.push(
                SpecProblem::new(&read.key_span, format!("`{}` is overridden twice", read.key))
                    .and_at(span, "first here")
                    .help("write several values as `name=value,value`"),
            );
            continue;
        }
        given.push((target.clone(), read.key_span.clone()));
        findings.extend(place(document, target, read).err());
    }
}

/// What an override does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// `a=1`, also `++a=1`: whether there is an `a` or not.
    Set,
    /// `+a=1`: there is none yet.
    Add,
    /// `~a`
    Remove,
}

/// One override; the node of a removal is the whole of it.
struct Override {
    verb: Verb,
    key: String,
    key_span: Span,
    node: Node,
}

fn read_override(index: usize, text: &str) -> Result<Override, Vec<SpecProblem>> {
    let source = Source::command_line(index, text);
    let whole = Span::new(&source, 0, text.len());
    let not_one =
        |help: &str| vec![SpecProblem::new(&whole, format!("`{text}` is not an override")).help(help)];
    let (verb, bare) = match text.as_bytes() {
        [b'~', ..] => (Verb::Remove, &text[1..]),
        [b'+', b'+', ..] => (Verb::Set, &text[2..]),
        [b'+', ..] => (Verb::Add, &text[1..]),
        _ => (Verb::Set, text),
    };
    let mark = text.len() - bare.len();
    if verb == Verb::Remove {
        if !is_name(bare) {
            return Err(not_one("write `~name` to take a parameter away"));
        }
        let node = Node { span: whole.clone(), shape: Shape::Map(vec![]) };
        return Ok(Override { verb, key: bare.to_owned(), key_span: whole, node });
    }
    let Some((key, value)) = bare.split_once('=').filter(|(key, _)| is_name(key)) else {
        return Err(not_one("write `name=value` or `name=value,value`"));
    };
    if value.trim().is_empty() {
        return Err(no_value(&whole));
    }
    let value_start = mark + key.len() + 1;
    let node = read_values(&source, value_start)?;
    let key_span = Span::new(&source, mark, mark + key.len());
    Ok(Override { verb, key: key.to_owned(), key_span, node })
}

fn place(document: &mut Vec<Entry>, target: Target, read: Override) -> Result<(), SpecProblem> {
    let Override { verb, key, key_span, node } = read;
    let missing = SpecProblem::new(&key_span, format!("there is no `{key}` that could be taken away"));
    let present = SpecProblem::new(&key_span, format!("`{key}` is there already"))
        .help(format!("write `{key}=…` to change it, without the `+`"));
    match target {
        Target::Document(key) => {
            for (_, word) in WANDB_WORDS.iter().filter(|(ours, _)| *ours == key) {
                document.retain(|entry| entry.key != *word);
            }
            change_map(document, Entry { key, key_span, node }, verb, missing, present)
        }
        Target::Map(map, key) => {
            let Some(entries) = map_in(document, map, &key_span) else { return Ok(()) };
            change_map(entries, Entry { key, key_span, node }, verb, missing, present)
        }
        Target::Parameter(name) => {
            let misread = misread_key(&key, &key_span);
            let entry = Entry { key: name, key_span, node };
            match verb {
                Verb::Remove => {
                    let is_removed = change_parameter(document, &entry.key, &Change::Remove);
                    if is_removed { Ok(()) } else { Err(misread.unwrap_or(missing)) }
                }
                // Nothing is added in the place of something.
                Verb::Add if change_parameter(&mut document.clone(), &entry.key, &Change::Remove) => {
                    Err(present)
                }
                _ if change_parameter(document, &entry.key, &Change::Set(&entry)) => Ok(()),
                _ => {
                    if let Some(misread) = misread {
                        return Err(misread);
                    }
                    if let Some(entries) = map_in(document, PARAMETERS, &entry.key_span) {
                        entries.push(entry);
                    }
                    Ok(())
                }
            }
        }
    }
}

fn change_map(
    entries: &mut Vec<Entry>,
    entry: Entry,
    verb: Verb,
    missing: SpecProblem,
    present: SpecProblem,
) -> Result<(), SpecProblem> {
    let existing = entries.iter().position(|existing| existing.key == entry.key);
    match (verb, existing) {
        (Verb::Remove, None) => return Err(missing),
        (Verb::Remove, Some(at)) => {
            entries.remove(at);
        }
        (Verb::Add, Some(_)) => return Err(present),
        (Verb::Add | Verb::Set, _) => replace_or_append(entries, entry),
    }
    Ok(())
}

/// The entries of this map of the document, which is made if there is none; `None` where something else than a map was
/// written, of which reading the document says so.
fn map_in<'d>(document: &'d mut Vec<Entry>, map: &str, span: &Span) -> Option<&'d mut Vec<Entry>> {
    let at = document.iter().position(|existing| existing.key == map).unwrap_or_else(|| {
        let node = Node { span: span.clone(), shape: Shape::Map(vec![]) };
        document.push(Entry { key: map.to_owned(), key_span: span.clone(), node });
        document.len() - 1
    });
    let node = &mut document[at].node;
    // `parameters:` with nothing behind it is an empty map, here as where the document is read.
    if node.scalar().is_some_and(|scalar| scalar.value.is_null()) {
        node.shape = Shape::Map(Vec::new());
    }
    node.map_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Spec, parse};

    #[test]
    fn an_override_under_empty_parameters_is_not_lost() {
        let spec = parse("s.yaml", "command: [run]\nparameters:\n", &["lr=1,2".to_owned()]).unwrap();
        assert_eq!(spec.number_count(), 2);
    }

    fn with(overrides: &[&str]) -> Spec {
        let text = "command: [run]\nparameters:\n  lr: [1, 2]\n  tag: x\n";
        let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
        parse("dir/base.yaml", text, &overrides).unwrap()
    }

    fn axes(spec: &Spec) -> Vec<(&str, Value)> {
        let first = |row: &Vec<Value>| row[0].clone();
        let values = |axis: &super::super::Axis| axis.rows().iter().map(first).collect::<Vec<_>>();
        spec.space.axes.iter().map(|axis| (axis.names[0].as_str(), json!(values(axis)))).collect()
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
        assert_eq!(
            (spec.name.as_str(), spec.retries, spec.resources.cpus, spec.seeds.len()),
            ("other", 0, 2, 3)
        );
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

    #[test]
    fn a_range_leaves_its_end_out_and_a_choice_lists() {
        let spec = with(&["lr=range(0,5)", "tag=choice(x, 'y,z')", "n=range(1,2,0.25)", "m=range(3)"]);
        let expected = [
            ("lr", json!([0, 1, 2, 3, 4])),
            ("tag", json!(["x", "y,z"])),
            ("n", json!([1.0, 1.25, 1.5, 1.75])),
            ("m", json!([0, 1, 2])),
        ];
        assert_eq!(axes(&spec), expected);
        assert_eq!(axes(&with(&["tag=f(x)"]))[1], ("tag", json!(["f(x)"])));
    }

    #[test]
    fn a_tilde_takes_away_and_a_plus_adds() {
        assert_eq!(axes(&with(&["~lr"])), [("tag", json!(["x"]))]);
        assert_eq!(
            axes(&with(&["+n=1", "++lr=3"]))[..],
            [("lr", json!([3])), ("tag", json!(["x"])), ("n", json!([1]))]
        );
        assert_eq!(with(&["seeds=2"]).seeds, with(&["+seeds=2"]).seeds);
    }

    #[test]
    fn a_search_is_overridden_with_its_words_in_wandbs_files() {
        let overrides =
            ["search=random", "count=7", "search_seed=3", "priority=-5", "order=balanced", "seed_order=last"];
        let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let spec =
            parse("s.yaml", "program: a.py\nmethod: grid\nparameters: {a: [1, 2]}", &overrides).unwrap();
        assert_eq!((spec.number_count(), spec.priority), (7, -5));
        assert_eq!(
            (spec.order, spec.seed_order),
            (super::super::Order::Balanced, super::super::SeedOrder::Last)
        );
    }

    #[test]
    fn what_an_override_leaves_without_effect_is_no_mistake() {
        let text = "command: [run]\nparameters: {t: [a, b], x: [1, 2]}\nwhen: [{if: {t: b}, parameters: {r: [1, 2]}}]\nexclude: [{t: b, x: \
                    1}]";
        let spec = parse("s.yaml", text, &["t=a".to_owned()]).unwrap();
        assert_eq!((spec.number_count(), spec.swept()), (2, vec!["x"]));
        assert!(spec.space.exclude.is_empty());
        assert!(parse("s.yaml", &text.replace("[a, b]", "a"), &[]).is_err());
    }

    #[test]
    fn parameters_are_overridden_where_they_are_written() {
        let text = "command: [run]\nparameters: {t: [a, b], opt: {parameters: {lr: 1}}}\nzip: [{x: [1, 2], y: [3, 4]}]\n\
                    when: [{if: {t: a}, parameters: {r: 1}}, {if: {t: b}, parameters: {r: 2}}]";
        let spec = |overrides: &[&str]| {
            let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
            parse("s.yaml", text, &overrides).unwrap()
        };
        let names = |spec: &Spec| spec.space.axes.iter().map(|axis| axis.names.join("+")).collect::<Vec<_>>();
        assert_eq!(names(&spec(&["opt.lr=1,2", "r=5,6", "x=7,8"])), ["t", "opt.lr", "x+y", "r", "r"]);
        assert_eq!(spec(&["r=5,6"]).count_trials(), 8);
        // One value moves no longer.
        assert_eq!(names(&spec(&["x=7"])), ["t", "opt.lr", "x", "y", "r", "r"]);
        assert_eq!(names(&spec(&["~zip", "~when"])), ["t", "opt.lr"]);
        assert_eq!(names(&spec(&["~x", "~opt.lr"])), ["t", "y", "r", "r"]);
    }
}
