use serde_json::Value;

use super::source::Span;

/// A piece of YAML that knows where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the text; no key occurs twice.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    /// As it was written, but for quotes and escapes.
    pub(super) text: String,
    /// What it means in YAML 1.2's core schema.
    pub(super) value: Value,
}

/// One key of a map and what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        if let Shape::Scalar(scalar) = &self.shape { Some(scalar) } else { None }
    }

    pub(super) fn list(&self) -> Option<&[Node]> {
        if let Shape::List(items) = &self.shape { Some(items) } else { None }
    }

    pub(super) fn map(&self) -> Option<&[Entry]> {
        if let Shape::Map(entries) = &self.shape { Some(entries) } else { None }
    }

    pub(super) fn list_mut(&mut self) -> Option<&mut Vec<Node>> {
        if let Shape::List(items) = &mut self.shape { Some(items) } else { None }
    }

    pub(super) fn map_mut(&mut self) -> Option<&mut Vec<Entry>> {
        if let Shape::Map(entries) = &mut self.shape { Some(entries) } else { None }
    }

    /// Its value where it is text.
    pub(super) fn text(&self) -> Option<&str> {
        self.scalar()?.value.as_str()
    }

    /// Scalars and lists as a value; `None` where it is a map, or there is nothing at all (null) inside.
    pub(super) fn value(&self) -> Option<Value> {
        match &self.shape {
            Shape::Map(_) => None,
            Shape::Scalar(_) | Shape::List(_) => self.any_value(),
        }
    }

    /// The same with maps, which within a list select what is meant.
    fn any_value(&self) -> Option<Value> {
        match &self.shape {
            Shape::Scalar(scalar) => Some(scalar.value.clone()).filter(|value| !value.is_null()),
            Shape::List(items) => items.iter().map(Node::any_value).collect(),
            Shape::Map(entries) => {
                let entry = |entry: &Entry| Some((entry.key.clone(), entry.node.any_value()?));
                entries.iter().map(entry).collect::<Option<serde_json::Map<_, _>>>().map(Value::Object)
            }
        }
    }

    /// How many nodes it is, itself included.
    pub(super) fn size(&self) -> usize {
        match &self.shape {
            Shape::Scalar(_) => 1,
            Shape::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Shape::Map(entries) => 1 + entries.iter().map(|entry| entry.node.size()).sum::<usize>(),
        }
    }
}
