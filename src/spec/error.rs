use std::fmt;

use miette::{Diagnostic, LabeledSpan, SourceCode};

use super::source::Span;

/// Everything that is wrong with one spec, in the order of its lines.
#[derive(Debug, thiserror::Error)]
pub struct SpecError {
    problems: Vec<SpecProblem>,
}

/// One thing that is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SpecProblem {
    message: String,
    /// The first is where to look; the others are what it clashes with, each with a note.
    places: Vec<(Span, Option<&'static str>)>,
    help: Option<String>,
}

/// Whether a rendered error has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Ansi,
    None,
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<SpecProblem>);

impl Findings {
    pub(super) fn push(&mut self, problem: SpecProblem) {
        self.0.push(problem);
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = SpecProblem>) {
        self.0.extend(problems);
    }

    pub(super) fn into_problems(self) -> Vec<SpecProblem> {
        self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// `value`, if nothing was found.
    pub(super) fn conclude<T>(mut self, value: Option<T>) -> Result<T, SpecError> {
        self.0.sort_by_key(|problem| {
            problem.places.first().map(|(span, _)| (span.source.order, span.start, span.end))
        });
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(SpecError { problems: self.0 }),
        }
    }
}

impl SpecProblem {
    pub(super) fn new(span: &Span, message: impl Into<String>) -> SpecProblem {
        SpecProblem { message: message.into(), places: vec![(span.clone(), None)], help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> SpecProblem {
        self.help = Some(help.into());
        self
    }

    pub(super) fn help_if(mut self, help: Option<String>) -> SpecProblem {
        self.help = help.or(self.help);
        self
    }

    pub(super) fn and_at(mut self, span: &Span, note: &'static str) -> SpecProblem {
        self.places.push((span.clone(), Some(note)));
        self
    }
}

impl SpecError {
    /// The error as the user reads it, one paragraph for each problem.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let paragraphs: Vec<_> = self.problems.iter().map(|problem| problem.render(colour)).collect();
        paragraphs.join("\n")
    }

    /// What is wrong, in the order of the lines.
    #[must_use]
    pub fn problems(&self) -> &[SpecProblem] {
        &self.problems
    }
}

impl SpecProblem {
    fn render(&self, colour: Colour) -> String {
        let mut text = render_text(RED, "error:", &self.message, colour);
        for (span, note) in &self.places {
            text += &render_place(span, *note, colour);
        }
        if let Some(help) = &self.help {
            text += &render_text(CYAN, "help:", help, colour);
        }
        text
    }
}

/// A label and a text, broken between words and indented where it is longer than a line.
fn render_text(code: &str, label: &str, text: &str, colour: Colour) -> String {
    let mut rendered = colour.paint(code, label);
    let mut column = label.len();
    for word in text.split(' ') {
        let length = word.chars().count();
        if column + 1 + length > SCREEN {
            rendered += "\n     ";
            column = 5;
        }
        rendered += &format!(" {word}");
        column += 1 + length;
    }
    rendered + "\n"
}

/// Two lines: where it is beside the line itself, and a mark under the text that is meant.
fn render_place(span: &Span, note: Option<&str>, colour: Colour) -> String {
    let location = format!("   {span}     ");
    let (line, before) = span.line();
    let (excerpt, before) = Excerpt { line, before }.fitted(location.chars().count());
    let marked = span.text().lines().next().unwrap_or_default().chars().count().max(1);
    // A mark never runs past the excerpt, but stands behind it where something is missing at the end of a line.
    let mark = "^".repeat(marked.min(excerpt.chars().count().saturating_sub(before)).max(1));
    let margin = " ".repeat(location.chars().count() + before);
    let note = note.map(|note| format!(" {note}")).unwrap_or_default();
    format!("{location}{excerpt}\n{margin}{}{note}\n", colour.paint(RED, &mark))
}

/// A line and how many of its characters come before the place that is meant.
struct Excerpt<'l> {
    line: &'l str,
    before: usize,
}

impl Excerpt<'_> {
    /// Narrower, an excerpt says nothing: then the terminal wraps it.
    const LEAST: usize = 30;
    /// Characters kept before the place that is meant where the line's start has to go.
    const CONTEXT: usize = 10;

    /// The part of the line that fits beside a location of `taken` columns, without the indentation.
    fn fitted(&self, taken: usize) -> (String, usize) {
        let room = SCREEN.saturating_sub(taken).max(Self::LEAST);
        let indentation = self.line.chars().take_while(|c| c.is_whitespace()).count().min(self.before);
        let length = self.line.chars().count();
        let from = if self.before - indentation + Self::CONTEXT < room || length - indentation <= room {
            indentation
        } else {
            self.before - Self::CONTEXT
        };
        // Control characters could move the cursor or hide text; a tab would shift the mark.
        let excerpt = self.line.chars().skip(from).take(room).map(|c| if c.is_control() { ' ' } else { c });
        (excerpt.collect(), self.before - from)
    }
}

/// Columns of a terminal.
const SCREEN: usize = 80;
const RED: &str = "\x1b[1;31m";
const CYAN: &str = "\x1b[1;36m";
const PLAIN: &str = "\x1b[0m";

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Colour::Ansi => format!("{code}{text}{PLAIN}"),
            Colour::None => text.to_owned(),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Colour::None).trim_end())
    }
}

impl Diagnostic for SpecError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

impl Diagnostic for SpecProblem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.places.first().map(|(span, _)| &span.source.named as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        // Labels count in the one source that `source_code` gives.
        let order = self.places.first()?.0.source.order;
        let places = self.places.iter().filter(move |(span, _)| span.source.order == order);
        Some(Box::new(places.map(|(span, note)| LabeledSpan::new_with_span(note.map(str::to_owned), span))))
    }
}
