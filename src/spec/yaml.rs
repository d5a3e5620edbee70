//! YAML text → [`Node`]s. The scanner is saphyr's; what its events mean is decided here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::error::{Findings, SpecProblem};
use super::scalar::resolve;
use super::source::{Source, Span};
use super::tree::{Entry, Node, Scalar, Shape};

/// No spec that a person writes comes near; a data file given by mistake stops here.
const MOST_BYTES: usize = 1 << 20;
/// Lists in lists of parameters are four deep.
const MOST_DEPTH: usize = 16;
/// Aliases can name each other in a chain that doubles with each link; this is where that ends.
const MOST_NODES: usize = 20_000;

/// Reads `text`, which lies in `source` at the same positions. Duplicate keys are findings; after anything else
/// there is no tree.
pub(super) fn read(source: &Arc<Source>, text: &str, findings: &mut Findings) -> Option<Node> {
    if text.len() > MOST_BYTES {
        let start = Span::new(source, 0, 0);
        findings.push(SpecProblem::new(&start, format!("a spec may have at most {MOST_BYTES} bytes")));
        return None;
    }
    let mut reader = Reader {
        source,
        parser: Parser::new_from_str(text),
        byte_of_character: text.char_indices().map(|(byte, _)| byte).collect(),
        anchors: BTreeMap::new(),
        node_count: 0,
        findings,
    };
    let node = reader.document();
    node.map_err(|problem| findings.push(problem)).ok()
}

struct Reader<'t, 'f> {
    source: &'t Arc<Source>,
    parser: Parser<'t, StrInput<'t>>,
    byte_of_character: Vec<usize>,
    /// What each anchor stands for, by saphyr's number; an anchor is known once its node is complete.
    anchors: BTreeMap<usize, Node>,
    node_count: usize,
    findings: &'f mut Findings,
}

impl<'t> Reader<'t, '_> {
    fn document(&mut self) -> Result<Node, SpecProblem> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Err(self.empty()),
                Event::StreamStart | Event::DocumentStart(_) => {}
                first => {
                    let node = self.node(first, span, 0)?;
                    self.end_of_stream()?;
                    return Ok(node);
                }
            }
        }
    }

    fn end_of_stream(&mut self) -> Result<(), SpecProblem> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentEnd, _) => {}
                (_, span) => {
                    return Err(SpecProblem::new(&span, "a second document begins here").help(
                        "a file holds one spec: remove what follows, or put it into a file of its own",
                    ));
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), SpecProblem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.span(span.start, span.end))),
            Some(Err(error)) => Err(self.not_yaml(&error)),
            // Behind the end of the stream comes nothing, and nothing here asks for it.
            None => Ok((Event::StreamEnd, Span::new(self.source, usize::MAX, usize::MAX))),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, SpecProblem> {
        if depth > MOST_DEPTH {
            return Err(SpecProblem::new(&span, format!("this is nested deeper than {MOST_DEPTH} levels")));
        }
        self.count(1, &span)?;
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(text, style, tag, span)?),
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), &span)?;
                (anchor, self.list(span, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), &span)?;
                (anchor, self.map(span, depth)?)
            }
            Event::Alias(anchor) => return self.alias(anchor, span),
            // The parser's grammar puts no other event where a node begins.
            _ => return Err(SpecProblem::new(&span, "the spec ends too early")),
        };
        // Nodes without an anchor have the number 0.
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, span: Span, depth: usize) -> Result<Node, SpecProblem> {
        let mut items = Vec::new();
        loop {
            let (event, item_span) = self.next()?;
            if event == Event::SequenceEnd {
                let span = Span::new(self.source, span.start, item_span.end);
                return Ok(Node { span, shape: Shape::List(items) });
            }
            items.push(self.node(event, item_span, depth + 1)?);
        }
    }

    fn map(&mut self, span: Span, depth: usize) -> Result<Node, SpecProblem> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, key_span) = self.next()?;
            if event == Event::MappingEnd {
                let span = Span::new(self.source, span.start, key_span.end);
                return Ok(Node { span, shape: Shape::Map(entries) });
            }
            let key = self.node(event, key_span, depth + 1)?;
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            let Shape::Scalar(Scalar { text, .. }) = key.shape else {
                return Err(SpecProblem::new(&key.span, "a key must be a single word")
                    .help("quote a text that begins with `{` or `[`"));
            };
            match entries.iter().find(|entry| entry.key == text) {
                Some(first) => self.findings.push(
                    SpecProblem::new(&key.span, format!("duplicate key `{text}`"))
                        .and_at(&first.key_span, "first written here")
                        .help("remove one of them"),
                ),
                None => entries.push(Entry { key: text, key_span: key.span, node }),
            }
        }
    }

    /// A copy of what the anchor stands for; problems with it are shown where it is used.
    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, SpecProblem> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(SpecProblem::new(
                &span,
                format!("`{}` stands for something around itself", span.text()),
            ));
        };
        let copy = Node { span: span.clone(), shape: node.shape.clone() };
        self.count(copy.size(), &span)?;
        Ok(copy)
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), SpecProblem> {
        self.node_count += nodes;
        if self.node_count > MOST_NODES {
            return Err(SpecProblem::new(span, format!("the spec has more than {MOST_NODES} values")));
        }
        Ok(())
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        Span::new(self.source, self.byte(start), self.byte(end))
    }

    fn byte(&self, marker: Marker) -> usize {
        self.byte_of_character.get(marker.index()).copied().unwrap_or(usize::MAX)
    }

    fn empty(&self) -> SpecProblem {
        SpecProblem::new(&Span::new(self.source, 0, 0), "the spec is empty")
            .help("begin with `parameters:`, or with `command:` to run a program")
    }

    fn not_yaml(&self, error: &ScanError) -> SpecProblem {
        let span = self.span(*error.marker(), *error.marker());
        if let Some(tab) = self.indenting_tab(&span) {
            return SpecProblem::new(&tab, "not valid YAML: this line is indented with a tab")
                .help("indent with spaces");
        }
        let problem = SpecProblem::new(&span, format!("not valid YAML: {}", error.info()));
        if span.line().0.contains("{{") {
            return problem.help("quote arguments with braces in them: `\"{{name}}\"`");
        }
        problem
    }

    /// The first tab in the indentation of the line of `span`, or of the next one: the scanner may stop before it.
    fn indenting_tab(&self, span: &Span) -> Option<Span> {
        let mut line_start = span.line_start();
        for line in self.source.text()[line_start..].split_inclusive('\n').take(2) {
            let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
            if let Some(tab) = line[..indentation].find('\t') {
                return Some(Span::new(self.source, line_start + tab, line_start + tab));
            }
            line_start += line.len();
        }
        None
    }
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<Cow<'_, Tag>>,
    span: Span,
) -> Result<Node, SpecProblem> {
    let is_text_tag = tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if !is_text_tag {
        refuse_tag(tag.as_deref(), &span)?;
    }
    let is_text = is_text_tag || style != ScalarStyle::Plain;
    let value = if is_text { Ok(text.as_ref().into()) } else { resolve(&text) };
    let value = value.map_err(|reason| SpecProblem::new(&span, format!("`{text}` {reason}")))?;
    Ok(Node { span, shape: Shape::Scalar(Scalar { text: text.into_owned(), value }) })
}

fn refuse_tag(tag: Option<&Tag>, span: &Span) -> Result<(), SpecProblem> {
    match tag {
        None => Ok(()),
        Some(tag) => Err(SpecProblem::new(span, format!("the tag `{tag}` has no meaning in a spec"))
            .help("remove it; quotes make a text of anything")),
    }
}
