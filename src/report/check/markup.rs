//! What a reader sees of a cell in LaTeX or Markdown.

/// In what a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Latex,
    Markdown,
}

impl Language {
    /// The text without what surrounds and sets it.
    pub(super) fn plain(self, cell: &str) -> String {
        match self {
            Language::Latex => latex(cell),
            Language::Markdown => markdown(cell),
        }
    }

    pub(super) fn is_bold(self, cell: &str) -> bool {
        let marks: &[&str] = match self {
            Language::Latex => &["\\textbf", "\\bf", "\\mathbf", "\\boldsymbol", "\\bm{"],
            Language::Markdown => &["**", "__", "<b>", "<strong>"],
        };
        marks.iter().any(|mark| cell.contains(mark))
    }

    /// How many columns a cell spans.
    pub(super) fn span(self, cell: &str) -> usize {
        let spanning = cell.trim_start().strip_prefix("\\multicolumn").filter(|_| self == Language::Latex);
        let count = spanning.and_then(|rest| rest.trim_start().strip_prefix('{')?.split('}').next());
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(1)
    }
}

/// Commands whose arguments, the first so many, are not what is read.
const SILENT_ARGUMENTS: [(&str, usize); 12] = [
    ("cellcolor", 1),
    ("rowcolor", 1),
    ("color", 1),
    ("textcolor", 1),
    ("cmidrule", 1),
    ("cline", 1),
    ("vspace", 1),
    ("hspace", 1),
    ("label", 1),
    ("fontsize", 2),
    ("multirow", 2),
    ("multicolumn", 2),
];

fn latex(code: &str) -> String {
    let mut plain = String::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '{' | '}' | '$' => {}
            '~' => plain.push(' '),
            '\\' => rest = command(rest, &mut plain),
            c => plain.push(c),
        }
    }
    plain
}

/// What a command stands for; the code behind it. `code` begins with its name.
fn command<'c>(code: &'c str, plain: &mut String) -> &'c str {
    let name = code.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    if name.is_empty() {
        let Some(c) = code.chars().next() else { return code };
        plain.push(if ",;:!/ ".contains(c) { ' ' } else { c });
        return &code[c.len_utf8()..];
    }
    match name {
        "textbackslash" => plain.push('\\'),
        "textasciitilde" => plain.push('~'),
        "textasciicircum" => plain.push('^'),
        "textendash" => plain.push('–'),
        _ => {}
    }
    let mut rest = code[name.len()..].trim_start_matches('*');
    let silent = SILENT_ARGUMENTS.iter().find(|(silent, _)| *silent == name).map_or(0, |(_, count)| *count);
    for (open, close) in [('[', ']'), ('(', ')')] {
        // Text may stand in parentheses behind a command; options of a rule stand there, too.
        let is_options = open == '[' || name == "cmidrule";
        if let Some(end) = rest.strip_prefix(open).and_then(|rest| rest.find(close)).filter(|_| is_options) {
            rest = &rest[end + 2..];
        }
    }
    // All that stands right behind the beginning of an environment is for it.
    while name == "begin" && rest.starts_with(['{', '[']) {
        rest = if rest.starts_with('{') {
            behind_argument(rest)
        } else {
            rest.split_once(']').map_or("", |(_, rest)| rest)
        };
    }
    for _ in 0..silent {
        rest = behind_argument(rest);
    }
    rest
}

/// Behind one argument in braces, which may have others in it.
fn behind_argument(code: &str) -> &str {
    let trimmed = code.trim_start();
    if !trimmed.starts_with('{') {
        return code;
    }
    let mut depth = 0_usize;
    for (at, c) in trimmed.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return &trimmed[at + 1..],
            '}' => depth -= 1,
            _ => {}
        }
    }
    ""
}

fn markdown(cell: &str) -> String {
    let mut plain = String::new();
    let mut chars = cell.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(char::is_ascii_punctuation) => plain.extend(chars.next()),
            '*' | '_' | '`' | '~' => {}
            // A tag; a sign that is less is written `&lt;`.
            '<' => while chars.next().is_some_and(|c| c != '>') {},
            c => plain.push(c),
        }
    }
    plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::super::labels::tidy;
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in ["x|y_<i>&%--", "$z$ \\ {}", "[25,35]", "a~b^c#d", "*a* `b` –", "&lt; \\_ 50 %", "v1 (s)"]
        {
            let latex = super::super::super::latex::escaped(text);
            assert_eq!(tidy(&Language::Latex.plain(&latex)), tidy(text), "{latex}");
            let markdown = super::super::super::markdown::escaped(text);
            assert_eq!(tidy(&Language::Markdown.plain(&markdown)), tidy(text), "{markdown}");
        }
    }

    #[test]
    fn what_sets_a_text_is_not_read() {
        for code in [
            "\\hline 0.5",
            "\\begin{tabular}[t]{l{2cm}r} \\hline 0.5",
            "\\textbf{0.5}",
            "$0.5$",
            "\\multirow{2}{*}{0.5}",
            "\\cmidrule(lr){2-3} 0.5",
            "\\rowcolor[gray]{0.9} {\\bf 0.5}",
            "\\cellcolor{red!{20}}0.5",
            "\\multicolumn{2}{c}{0.5}",
        ] {
            assert_eq!(Language::Latex.plain(code).trim(), "0.5", "{code}");
        }
        for code in ["**0.5**", "_0.5_", "<b>0.5</b>", "`0.5`"] {
            assert_eq!(Language::Markdown.plain(code), "0.5", "{code}");
        }
        assert_eq!(Language::Latex.span("\\multicolumn{3}{c}{x}"), 3);
        assert_eq!((Language::Latex.span("x"), Language::Markdown.span("\\multicolumn{3}")), (1, 1));
        assert!(Language::Latex.is_bold("{\\bfseries 1}") && Language::Markdown.is_bold("__1__"));
        assert!(!Language::Latex.is_bold("\\emph{1}") && !Language::Markdown.is_bold("*1*"));
    }
}
