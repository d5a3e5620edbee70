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
    pub available: Available,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// Which values a parameter takes. Its `Display` reads on after "it must be" and names what is available.
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
    /// `true` or `false`.
    Flag,
    /// The name of something stored: it becomes part of a path, so it may not be one.
    Name,
    /// Any text but the empty one.
    Text,
    /// Values of one kind; the order counts.
    List(&'static Kind),
}

/// One word of a [`Kind::Choice`].
#[derive(Debug)]
pub struct Word {
    pub name: &'static str,
    /// Another spelling that means the same; never canonical.
    pub alias: Option<&'static str>,
    /// Whether this version of the trainer can do it.
    pub is_available: bool,
    pub doc: &'static str,
}

/// How much of a parameter's kind this version of the trainer can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Available {
    /// Every value, but for the words that say otherwise.
    Everything,
    /// The default and nothing else.
    DefaultOnly,
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
#[derive(Debug)]
pub enum Is {
    OneOf(&'static [&'static str]),
    Flag(bool),
    /// A list with at least one entry.
    NotEmpty,
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
        matches!(self.kind, Kind::List(_))
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
            Is::Flag(flag) => value.as_bool() == Some(flag),
            Is::NotEmpty => value.as_array().is_some_and(|items| !items.is_empty()),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is ", self.parameter)?;
        match self.is {
            Is::OneOf(words) => f.write_str(&alternatives(words)),
            Is::Flag(flag) => write!(f, "`{flag}`"),
            Is::NotEmpty => f.write_str("not empty"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Integer { least, most } => write!(f, "a whole number from {least} to {most}"),
            Kind::IntegerOf(numbers) => f.write_str(&alternatives(numbers)),
            Kind::Number(from, to) => write_number_kind(f, from, to),
            Kind::Choice(words) => {
                let available = words.iter().filter(|word| word.is_available);
                f.write_str(&alternatives(&available.map(|word| word.name).collect::<Vec<_>>()))
            }
            Kind::Flag => f.write_str("`true` or `false`"),
            Kind::Name => f.write_str("a name of letters, digits, `.`, `_` and `-`"),
            Kind::Text => f.write_str("a text"),
            Kind::List(kind) => write!(f, "a list in which each entry is {kind}"),
        }
    }
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
