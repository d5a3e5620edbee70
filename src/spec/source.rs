use std::fmt;
use std::sync::Arc;

use miette::{NamedSource, SourceSpan};

/// Name of the source that an override is; its text is the override itself.
const COMMAND_LINE: &str = "command line";

/// Where overrides begin among the sources: behind every file.
const OVERRIDES: usize = 1000;

/// A text that problems point into: the spec file, one that it is based on, or one override.
#[derive(Debug)]
pub(super) struct Source {
    /// Its place among all sources: the file first, then its bases, then the overrides as they were given.
    pub(super) order: usize,
    pub(super) named: NamedSource<String>,
}

/// A stretch of a source, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) source: Arc<Source>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Source {
    /// `order` counts from 0 for the spec itself.
    pub(super) fn file(order: usize, name: &str, text: &str) -> Arc<Source> {
        Arc::new(Source { order, named: NamedSource::new(name, text.to_owned()) })
    }

    pub(super) fn command_line(index: usize, text: &str) -> Arc<Source> {
        Arc::new(Source { order: OVERRIDES + index, named: NamedSource::new(COMMAND_LINE, text.to_owned()) })
    }

    pub(super) fn is_command_line(&self) -> bool {
        self.order >= OVERRIDES
    }

    pub(super) fn text(&self) -> &str {
        self.named.inner()
    }

    pub(super) fn name(&self) -> &str {
        self.named.name()
    }
}

impl Span {
    /// The stretch without the white space at its end, kept inside the source and between characters.
    pub(super) fn new(source: &Arc<Source>, start: usize, end: usize) -> Span {
        let text = source.text();
        let start = text.floor_char_boundary(start);
        let end = text.floor_char_boundary(end).max(start);
        let end = start + text[start..end].trim_end().len();
        Span { source: Arc::clone(source), start, end }
    }

    /// Whether both stand in the same file or override.
    pub(super) fn is_beside(&self, other: &Span) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    pub(super) fn text(&self) -> &str {
        &self.source.text()[self.start..self.end]
    }

    /// The line that it starts on, and how many characters of that line come before it.
    pub(super) fn line(&self) -> (&str, usize) {
        let text = self.source.text();
        let line_start = self.line_start();
        let line_end = text[line_start..].find('\n').map_or(text.len(), |length| line_start + length);
        let line = text[line_start..line_end].trim_end();
        (line, text[line_start..self.start].chars().count())
    }

    pub(super) fn line_start(&self) -> usize {
        self.source.text()[..self.start].rfind('\n').map_or(0, |newline| newline + 1)
    }
}

/// Two spans are the same if they cover the same text, so that a tree can be compared with another one.
impl PartialEq for Span {
    fn eq(&self, other: &Span) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && (self.start, self.end) == (other.start, other.end)
    }
}

impl From<&Span> for SourceSpan {
    fn from(span: &Span) -> SourceSpan {
        (span.start, span.end - span.start).into()
    }
}

/// `sweeps/kd.yaml:9:3`; an override is short enough to find the place by eye.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.source.named.name();
        if name == COMMAND_LINE {
            return f.write_str(name);
        }
        let number = self.source.text()[..self.start].matches('\n').count() + 1;
        let (_, before) = self.line();
        write!(f, "{name}:{number}:{}", before + 1)
    }
}
