//! What an override is about: a key of the document, a key in one of its maps, or a parameter; and names that are none of
//! these, though they look like one.

use super::document::{KEYS, WANDB_KEYS};
use super::error::SpecProblem;
use super::keys::quoted;
use super::source::Span;
use crate::recipe::schema::nearest;

/// Keys of the document that an override reaches by name; every other name is a parameter.
const DOCUMENT_KEYS: &[&str] = &[
    "name",
    "description",
    "search",
    "count",
    "search_seed",
    "seeds",
    "retries",
    "priority",
    "order",
    "seed_order",
    "keep",
    "code",
];
/// Sections of the document that an override can only take away.
const SECTIONS: &[&str] = &["metric", "zip", "when", "exclude", "resources", "stages"];
/// Keys of maps in the document that an override reaches as `map.key`.
const NESTED_KEYS: &[(&str, &str)] = &[
    ("metric", "name"),
    ("metric", "goal"),
    ("resources", "gpus"),
    ("resources", "cpus"),
    ("resources", "memory"),
    ("resources", "time"),
    ("resources", "stall_timeout"),
];
/// W&B's word for `search`; in an override it is always the parameter.
const METHOD: &str = "method";
/// Reaches a parameter that shares its name with a key of the document.
pub(super) const PARAMETERS: &str = "parameters";

/// Where an override goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// This key of the document itself.
    Document(String),
    /// The key in this map of the document.
    Map(&'static str, String),
    Parameter(String),
}

impl Target {
    /// What `name=value` sets.
    pub(super) fn to_set(name: &str) -> Target {
        if DOCUMENT_KEYS.contains(&name) {
            return Target::Document(name.to_owned());
        }
        let nested = NESTED_KEYS.iter().find(|(map, key)| name == format!("{map}.{key}"));
        match (nested, name.strip_prefix("parameters.")) {
            (Some((map, key)), _) => Target::Map(map, (*key).to_owned()),
            (None, Some(parameter)) => Target::Parameter(parameter.to_owned()),
            (None, None) => Target::Parameter(name.to_owned()),
        }
    }

    /// What `~name` takes away.
    pub(super) fn to_remove(name: &str) -> Target {
        if SECTIONS.contains(&name) { Target::Document(name.to_owned()) } else { Target::to_set(name) }
    }
}

/// What is wrong with an override that would make a new parameter of something that was meant to be a key of the document:
/// `resources.tme` for `resources.time`, `metric` for `metric.name`.
pub(super) fn misread_key(name: &str, span: &Span) -> Option<SpecProblem> {
    let (key, inner) = name.split_once('.').map_or((name, None), |(key, inner)| (key, Some(inner)));
    let is_key = KEYS.contains(&key) || WANDB_KEYS.contains(&key) && key != METHOD;
    if !is_key || key == PARAMETERS && inner.is_some() {
        return None;
    }
    let own: Vec<&str> = NESTED_KEYS.iter().filter(|(map, _)| *map == key).map(|(_, own)| *own).collect();
    let message = match inner {
        Some(inner) if !own.is_empty() => format!("`{key}` has no `{inner}`"),
        Some(_) => format!("`{key}` has no keys that an override could change"),
        None => format!("an override can't change `{key}` as a whole"),
    };
    let near = inner.and_then(|inner| nearest(inner, own.iter().copied()));
    let help = match (near, own.first()) {
        (Some(near), _) => format!("did you mean `{key}.{near}`?"),
        (None, Some(first)) => format!("write for instance `{key}.{first}`; it has {};", quoted(&own)),
        (None, None) if SECTIONS.contains(&key) => format!("`~{key}` takes it away;"),
        (None, None) => "change it in the spec, or in one with `base`;".to_owned(),
    };
    let help = format!("{help} for a parameter of this name write `{PARAMETERS}.{name}`");
    Some(SpecProblem::new(span, message).help(help))
}

#[cfg(test)]
mod tests {
    use super::super::settings::RESOURCES;
    use super::*;

    #[test]
    fn every_resource_is_reached() {
        for key in RESOURCES {
            assert!(NESTED_KEYS.contains(&("resources", key)), "{key}");
        }
    }

    #[test]
    fn every_key_is_reached_or_refused() {
        for key in KEYS.iter().filter(|key| !DOCUMENT_KEYS.contains(key)) {
            assert!(
                misread_key(key, &Span::new(&super::super::source::Source::file(0, "", ""), 0, 0)).is_some(),
                "{key}"
            );
        }
    }
}
