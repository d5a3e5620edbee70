use std::fmt;
use std::ops::Bound;

use serde_json::Value;

use crate::vocabulary::Parameters;

/// What is known about one parameter.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    /// Its value where it applies and none is written.
    pub default: Preset,
    /// When it has an effect: where all conditions of at least one of these groups hold.
    pub applies: &'static [&'static [Condition]],
    /// Whether it may stand in a spec where it has no effect: what it asks for holds there anyway.
    pub may_be_idle: bool,
    /// Whether it can change a result. What can't is no part of a trial's identity.
    pub changes_results: bool,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// Which values a parameter takes. Its `Display` reads on after "it must be".
#[derive(Debug)]
pub enum Kind {
    /// A whole number, both ends included.
    Integer { least: i64, most: i64 },
    /// One of a few whole numbers.
    IntegerOf(&'static [i64]),
    /// A finite number between two ends.
    Number(Bound<f64>, Bound<f64>),
    /// One of a few words.
    Choice(&'static [Word]),
    /// One of a few words, or `cuda:N` for the GPU of this number; `cuda` is the canonical form of `cuda:0`.
    Device(&'static [Word]),
    /// `true` or `false`.
    Flag,
    /// The name of something stored: it becomes part of a path, so it may not be one.
    Name,
    /// Trained weights: a `.safetensors` file, the hash of its contents, or the state in which a trial ends. In a spec a map
    /// selects trials.
    Weights,
    /// At least so many values of one kind; the order counts.
    List { of: &'static Kind, least: usize },
    /// At least so many distinct values of one kind; the canonical form is sorted.
    Set { of: &'static Kind, least: usize },
}

/// One word of a [`Kind::Choice`].
#[derive(Debug)]
pub struct Word {
    pub name: &'static str,
    /// Another spelling that means the same; never canonical.
    pub alias: Option<&'static str>,
    pub doc: &'static str,
}

/// A default.
#[derive(Debug)]
pub enum Preset {
    /// There is none: a value has to be written.
    Required,
    /// Leaving the parameter out means something of its own; see its doc.
    Absent,
    Flag(bool),
    Integer(i64),
    Integers(&'static [i64]),
    Number(f64),
    Numbers(&'static [f64]),
    Text(&'static str),
}

/// What a parameter's effect depends on.
#[derive(Debug)]
pub struct Condition {
    /// The parameter that decides. Where that one doesn't apply, the condition doesn't hold.
    pub parameter: &'static str,
    pub is: Is,
}

/// What the deciding parameter has to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Is {
    OneOf(&'static [&'static str]),
    /// Anything else than this word, nothing at all included.
    Not(&'static str),
    Flag(bool),
    /// A list with at least one entry.
    NotEmpty,
    /// A list of epochs of which at least one lies before the last one of training. That is what [`super::canonical`]
    /// leaves of the list, so here it is a list with at least one entry.
    BeforeEnd,
}

impl Parameter {
    /// Its value under `parameters`: what is written there, otherwise its default.
    #[must_use]
    pub fn value_in(&self, parameters: &Parameters) -> Option<Value> {
        parameters.get(self.name).cloned().or_else(|| self.default.value())
    }

    /// Whether its values are lists, so that a list of them is a list of lists.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List { .. } | Kind::Set { .. })
    }
}

impl Preset {
    /// The default as a canonical value.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        match *self {
            Preset::Required | Preset::Absent => None,
            Preset::Flag(flag) => Some(flag.into()),
            Preset::Integer(number) => Some(number.into()),
            Preset::Integers(numbers) => Some(numbers.into()),
            Preset::Number(number) => Some(number.into()),
            Preset::Numbers(numbers) => Some(numbers.into()),
            Preset::Text(text) => Some(text.into()),
        }
    }
}

impl Condition {
    /// Whether `value` of the deciding parameter is as it has to be.
    #[must_use]
    pub fn holds_for(&self, value: &Value) -> bool {
        match self.is {
            Is::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Is::Not(word) => value.as_str() != Some(word),
            Is::Flag(flag) => value.as_bool() == Some(flag),
            Is::NotEmpty | Is::BeforeEnd => value.as_array().is_some_and(|items| !items.is_empty()),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ", self.parameter)?;
        match self.is {
            Is::OneOf(words) => write!(f, "is {}", alternatives(words)),
            Is::Not(word) => write!(f, "is not `{word}`"),
            Is::Flag(flag) => write!(f, "is `{flag}`"),
            Is::NotEmpty => f.write_str("is not empty"),
            Is::BeforeEnd => f.write_str("has an entry below `epochs`"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Integer { least, most } => write!(f, "a whole number from {least} to {most}"),
            Kind::IntegerOf(numbers) => f.write_str(&alternatives(numbers)),
            Kind::Number(from, to) => write_number_kind(f, from, to),
            Kind::Choice(words) => f.write_str(&alternatives(&names(words))),
            Kind::Device(words) => f.write_str(&alternatives(&[names(words), vec!["cuda:N"]].concat())),
            Kind::Flag => f.write_str("`true` or `false`"),
            Kind::Name => f.write_str("a name of letters, digits, `.`, `_` and `-`"),
            Kind::Weights => f.write_str(
                "a `.safetensors` file, the content hash of one, or `{sweep: ..}`, which selects trials of a sweep",
            ),
            Kind::List { of, least: 0 } => write!(f, "a list in which each entry is {of}"),
            Kind::List { of, least } => {
                write!(f, "a list of at least {least}, in which each entry is {of}")
            }
            Kind::Set { of, least: 0 } => write!(f, "a list without repetition, in which each entry is {of}"),
            Kind::Set { of, least } => {
                write!(f, "a list of at least {least}, without repetition, in which each entry is {of}")
            }
        }
    }
}

fn names(words: &[Word]) -> Vec<&'static str> {
    words.iter().map(|word| word.name).collect()
}

fn write_number_kind(f: &mut fmt::Formatter<'_>, from: &Bound<f64>, to: &Bound<f64>) -> fmt::Result {
    let from = match from {
        Bound::Included(least) => Some(format!("at least {least}")),
        Bound::Excluded(limit) => Some(format!("above {limit}")),
        Bound::Unbounded => None,
    };
    let to = match to {
        Bound::Included(most) => Some(format!("at most {most}")),
        Bound::Excluded(limit) => Some(format!("below {limit}")),
        Bound::Unbounded => None,
    };
    let ends: Vec<_> = from.into_iter().chain(to).collect();
    write!(f, "a number {}", ends.join(" and "))
}

/// "`a`, `b` or `c`".
pub(super) fn alternatives<T: fmt::Display>(items: &[T]) -> String {
    let quoted: Vec<_> = items.iter().map(|item| format!("`{item}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}
