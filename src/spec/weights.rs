//! Trained weights that a spec names as teachers.

use serde_json::Value;

use crate::recipe::schema::{Kind, Parameter, is_content_hash};

/// Trained weights as a spec names them.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'t> {
    /// By the hash of their contents.
    Hash(&'t str),
    /// By the path of a file.
    File(&'t str),
}

/// Gives the content hash of weights; it may read files, which this room must not.
pub type FindWeights<'f> = dyn Fn(Weights<'_>) -> Result<String, MissingWeights> + 'f;

/// Why weights are not found, and how to mend it.
#[derive(Debug)]
pub struct MissingWeights {
    pub message: String,
    pub help: String,
}

impl<'t> Weights<'t> {
    #[must_use]
    pub fn as_str(&self) -> &'t str {
        match self {
            Weights::Hash(text) | Weights::File(text) => text,
        }
    }
}

/// A canonical value with content hashes in the place of files.
pub(super) fn with_hashes(
    parameter: &Parameter,
    value: Value,
    find_weights: &FindWeights<'_>,
) -> Result<Value, MissingWeights> {
    let (Kind::List { of: Kind::Weights, .. }, Value::Array(names)) = (&parameter.kind, &value) else {
        return Ok(value);
    };
    let find = |name: &str| match is_content_hash(name) {
        true => find_weights(Weights::Hash(name)),
        false => find_weights(Weights::File(name)),
    };
    let hashes = names.iter().filter_map(Value::as_str).map(find).collect::<Result<Vec<_>, _>>()?;
    Ok(hashes.into())
}
