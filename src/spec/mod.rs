//! A spec: YAML text and overrides → [`Spec`], the validated sweep, and its trials.
//!
//! [`parse`] reads the text into a tree that knows its lines (`yaml`, `tree`), puts the overrides into that tree
//! (`overrides`), reads the keys (`document`, `keys`) and the axes (`axes`), and checks the parameters over all combinations
//! (`check`, for the built-in trainer by `recipe::schema`; `command`, for programs). All problems are found in
//! one go and point at their place ([`SpecError`]). `expansion` numbers the trials.
//!
//! Pure: whoever calls has read the file. A [`Spec`] that exists needs no further checks.

mod axes;
mod check;
mod command;
mod document;
mod error;
mod expansion;
mod keys;
mod overrides;
mod scalar;
mod source;
mod tree;
mod weights;
mod yaml;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod wrong_specs;

pub use command::{RenderError, render_command};
pub use document::{parse, parse_finding};
pub use error::{Colour, SpecError, SpecProblem};
pub use expansion::{Axis, MOST_TRIALS, Spec, Trainer, Trial};
pub use weights::{FindWeights, MissingWeights, Weights};
