//! A spec: YAML text and overrides → [`Spec`], the validated sweep, and its trials. `docs/SPEC.md` describes the language.
//!
//! [`parse`] reads the text into a tree that knows its lines (`yaml`, `tree`), puts bases and overrides into that tree
//! (`base`, `overrides`, `target`), reads the keys (`document`, `keys`, `code`, `search`, `metric`, `settings`, `stages`) and the parameters (`groups`,
//! `axes`, `forms`, `conditions`), and checks them, for the built-in trainer by `recipe::schema` one by one (`check`) and over
//! all combinations (`together`), for programs against the command (`command`); then the whole (`extent`, `census`). All problems are found in one go and
//! point at their place ([`SpecError`]). `space` and `expansion` number the trials;
//! `json_schema` tells editors what can be written. `code_paths` finds out which code of the trainer trials run. `select` reads what names trials and sweeps on the command line.
//!
//! Pure: whoever calls has read the files. A [`Spec`] that exists needs no further checks.

mod axes;
mod base;
mod census;
mod check;
mod code;
mod code_paths;
mod command;
mod conditions;
mod decimal;
mod distribution;
mod document;
mod draws;
mod error;
mod expansion;
mod extent;
mod forms;
mod groups;
mod json_schema;
mod keys;
mod macros;
mod metric;
mod override_values;
mod overrides;
mod place;
mod scalar;
mod search;
mod select;
mod selector;
mod settings;
mod source;
mod space;
mod stages;
mod target;
mod template;
mod together;
mod tree;
mod weights;
mod yaml;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod wrong_spaces;
#[cfg(test)]
mod wrong_specs;

pub use base::{FindBase, MOST_BASES, base_of};
pub use code::Code;
pub use code_paths::{CodePath, code_paths, differing};
pub use command::{CommandTemplate, RenderError, render_command};
pub use distribution::{Distribution, Shape};
pub use document::{parse, parse_finding};
pub use error::{Colour, SpecError, SpecProblem};
pub use expansion::{MOST_TRIALS, Spec, Trainer, Trial};
pub use json_schema::json_schema;
pub use select::{SelectError, SweepFacts, SweepSelector, TrialFacts, TrialSelector, WrittenValue};
pub use selector::{Selector, SweepName};
pub use settings::{Keep, Order, Resources, SeedOrder};
pub use space::{Axis, Choices, Condition, Search, Space};
pub use stages::{Stage, Until};
pub use weights::{FindWeights, MissingWeights, Weights};
