use serde_json::Value;

use super::SelectError;
use super::grammar::{self, Word};
use crate::recipe::schema;
use crate::spec::scalar::resolve;
use crate::spec::space::is_same;

/// A parameter's value as somebody has written it: a number, a word, `true`, `null`, or a list in brackets.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenValue {
    text: String,
    pub(super) value: Value,
    /// As the built-in trainer would have it, where it has such a parameter.
    canonical: Option<Value>,
}

impl WrittenValue {
    /// Reads a value of the parameter `name`.
    ///
    /// # Errors
    /// When it is a number that nothing can hold, or a list that is not closed.
    pub fn read(name: &str, text: &str) -> Result<WrittenValue, SelectError> {
        WrittenValue::of(name, &Word { text: text.trim().to_owned(), is_quoted: false })
    }

    pub(super) fn of(name: &str, word: &Word) -> Result<WrittenValue, SelectError> {
        let value = read(word)?;
        let canonical = schema::find(name).and_then(|parameter| schema::check_value(parameter, &value).ok());
        Ok(WrittenValue { text: word.text.clone(), value, canonical })
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this value is meant.
    #[must_use]
    pub fn is(&self, value: &Value) -> bool {
        is_same(&self.value, value)
            || self.canonical.as_ref().is_some_and(|canonical| is_same(canonical, value))
            // A program's parameter may be a text that looks like a number.
            || value.as_str() == Some(&self.text)
    }
}

fn read(word: &Word) -> Result<Value, SelectError> {
    let text = word.text.as_str();
    if word.is_quoted {
        return Ok(text.into());
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let items = grammar::items(inside)?;
        return items.iter().map(read).collect::<Result<Vec<_>, _>>().map(Value::from);
    }
    resolve(text).map_err(|why| SelectError::new(format!("`{text}` {why}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_a_spec_would_have_them() {
        let is = |name: &str, text: &str, value: Value| WrittenValue::read(name, text).unwrap().is(&value);
        assert!(is("lr", " 1e-1", json!(0.1)) && is("x", "8", json!(8.0)) && is("x", "007", json!("007")));
        assert!(is("mask_mode", "sgd", json!("sgf")), "an alias of the trainer's own");
        assert!(is("lr_steps", "[25, [35]]", json!([25, [35]])) && is("x", "true", json!(true)));
        assert!(!is("x", "8", json!(9)) && !is("x", "8", json!("8.0")));
        assert!(WrittenValue::read("x", "1e999").is_err());
    }
}
