//! The built-in trainer's parameters as data: name, kind, range, default, meaning, and when each applies.
//!
//! [`PARAMETERS`] is the one list that spec errors, help, defaults and [`super::Recipe`] are made from. Values go
//! through [`check_value`] one by one; [`complete`] looks at them together and gives the canonical parameters:
//! every applicable parameter with a value, nothing else. Nothing here knows of files, lines or sweeps.

mod applies;
mod check;
mod complete;
mod contradictions;
mod nearest;
mod parameter;
mod problem;
mod table;

pub use applies::{decides, influences, unmet, without_effect};
pub use check::{check_value, is_content_hash};
pub use complete::{canonical, complete, identifying};
pub use nearest::nearest;
pub use parameter::{Condition, Is, Kind, Parameter, Preset, Word};
pub use problem::{Problem, Problems, Setting, conditions};
pub use table::PARAMETERS;

/// The parameter of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}
