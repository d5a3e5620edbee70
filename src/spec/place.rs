//! Finds a parameter wherever a document has it, to change it there: under `parameters`, in a group under `zip`, or in
//! items under `when`.

use super::tree::{Entry, Node, Shape};

/// What happens to a parameter.
pub(super) enum Change<'c> {
    Set(&'c Entry),
    Remove,
}

/// Changes the parameter in every place; whether there is one. A parameter that moves together with others and gets a
/// single value moves no longer: it goes to `parameters`.
pub(super) fn change_parameter(document: &mut Vec<Entry>, name: &str, change: &Change<'_>) -> bool {
    let mut is_found = false;
    let mut fixed = None;
    for section in document.iter_mut() {
        is_found |= match section.key.as_str() {
            "parameters" => {
                section.node.map_mut().is_some_and(|entries| change_in(entries, "", name, change))
            }
            "when" => change_items(&mut section.node, name, change),
            "zip" => match change {
                Change::Set(entry) if entry.node.list().is_none() => {
                    let was_there = change_groups(&mut section.node, name, &Change::Remove);
                    fixed = was_there.then_some(*entry).or(fixed);
                    was_there
                }
                change => change_groups(&mut section.node, name, change),
            },
            _ => false,
        };
    }
    // A section without a group left is none.
    document.retain(|section| section.key != "zip" || section.node.list() != Some(&[]));
    if let Some(entry) = fixed {
        match document.iter_mut().find(|section| section.key == "parameters") {
            Some(section) => {
                if let Shape::Map(entries) = &mut section.node.shape {
                    replace_or_append(entries, entry.clone());
                }
            }
            None => {
                let node = Node { span: entry.key_span.clone(), shape: Shape::Map(vec![entry.clone()]) };
                document.push(Entry { key: "parameters".to_owned(), key_span: entry.key_span.clone(), node });
            }
        }
    }
    is_found
}

pub(super) fn replace_or_append(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|existing| existing.key == entry.key) {
        Some(existing) => *existing = entry,
        None => entries.push(entry),
    }
}

/// In a map of parameters, of which some may be nested.
fn change_in(entries: &mut Vec<Entry>, prefix: &str, name: &str, change: &Change<'_>) -> bool {
    let mut is_found = false;
    entries.retain_mut(|entry| {
        let own = format!("{prefix}{}", entry.key);
        if own == name {
            is_found = true;
            let Change::Set(new) = change else { return false };
            entry.key_span = new.key_span.clone();
            entry.node = new.node.clone();
            return true;
        }
        let inner =
            entry.node.map_mut().and_then(|form| form.iter_mut().find(|part| part.key == "parameters"));
        if let Some(inner) = inner.and_then(|inner| inner.node.map_mut()) {
            is_found |= change_in(inner, &format!("{own}."), name, change);
        }
        true
    });
    is_found
}

fn change_groups(groups: &mut Node, name: &str, change: &Change<'_>) -> bool {
    let Some(groups) = groups.list_mut() else { return false };
    let mut is_found = false;
    groups.retain_mut(|group| {
        let Some(entries) = group.map_mut() else { return true };
        is_found |= change_in(entries, "", name, change);
        !entries.is_empty()
    });
    is_found
}

fn change_items(items: &mut Node, name: &str, change: &Change<'_>) -> bool {
    let mut is_found = false;
    for part in items.list_mut().into_iter().flatten().filter_map(Node::map_mut).flatten() {
        is_found |= match part.key.as_str() {
            "parameters" => part.node.map_mut().is_some_and(|entries| change_in(entries, "", name, change)),
            "when" => change_items(&mut part.node, name, change),
            _ => false,
        };
    }
    is_found
}
