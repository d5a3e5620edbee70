//! Text into names, numbers and conditions; nothing here knows what they mean.
//!
//!     SELECTOR = PART { (" " | ",") PART }
//!     PART     = WORD | NAME RELATION WORD { "," WORD }
//!     RELATION = "=" | "!=" | "<" | "<=" | ">" | ">="
//!
//! Quotes and brackets keep together what is in them. A word behind a comma belongs to the condition before it.

use std::ops::RangeInclusive;

use super::SelectError;

/// What one selector is made of, in the order in which it was written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parts {
    /// Words that stand by themselves.
    pub(super) words: Vec<Word>,
    pub(super) tests: Vec<Test>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    /// In quotes it is a text, whatever it looks like.
    pub(super) is_quoted: bool,
}

/// `name=value,value`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) relation: Relation,
    /// At least one.
    pub(super) values: Vec<Word>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

const RELATIONS: [(&str, Relation); 6] = [
    ("!=", Relation::NotEqual),
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("=", Relation::Equal),
    ("<", Relation::Less),
    (">", Relation::Greater),
];

impl Relation {
    pub(super) fn text(self) -> &'static str {
        RELATIONS.iter().find(|(_, relation)| *relation == self).map_or("=", |(text, _)| text)
    }

    /// Whether `one` stands in this relation to `other`.
    pub(super) fn holds<T: PartialOrd>(self, one: &T, other: &T) -> bool {
        match self {
            Relation::Equal => one == other,
            Relation::NotEqual => one != other,
            Relation::Less => one < other,
            Relation::AtMost => one <= other,
            Relation::Greater => one > other,
            Relation::AtLeast => one >= other,
        }
    }

    /// Whether it asks for order, and so for one number.
    pub(super) fn is_order(self) -> bool {
        !matches!(self, Relation::Equal | Relation::NotEqual)
    }
}

/// Takes several texts apart, as if they were one.
pub(super) fn parse(texts: &[impl AsRef<str>]) -> Result<Parts, SelectError> {
    let mut parts = Parts::default();
    for text in texts {
        let mut scanner = Scanner { rest: text.as_ref() };
        let mut is_listing_values = false;
        loop {
            let is_behind_comma = scanner.skip_separators();
            if scanner.rest.is_empty() {
                break;
            }
            let word = scanner.word(Stop::AtRelations)?;
            match (scanner.relation(), parts.tests.last_mut()) {
                (Some(relation), _) => {
                    parts.tests.push(scanner.test(&word.text, relation)?);
                    is_listing_values = true;
                }
                (None, Some(test)) if is_behind_comma && is_listing_values => test.values.push(word),
                (None, _) => {
                    parts.words.push(word);
                    is_listing_values = false;
                }
            }
        }
    }
    Ok(parts)
}

/// Words between commas, as they stand within brackets.
pub(super) fn items(text: &str) -> Result<Vec<Word>, SelectError> {
    let mut scanner = Scanner { rest: text };
    let mut words = Vec::new();
    loop {
        scanner.skip_separators();
        if scanner.rest.is_empty() {
            return Ok(words);
        }
        words.push(scanner.word(Stop::AtSeparators)?);
    }
}

/// `5` and `5-8`; nothing where it is something else.
pub(super) fn range(text: &str) -> Option<Result<RangeInclusive<i64>, SelectError>> {
    let number = |text: &str| text.parse::<i64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    if let Some(only) = number(text) {
        return Some(Ok(only..=only));
    }
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        let turned = SelectError::new(format!("the range `{text}` is empty"));
        return Some(Err(turned.help(format!("write `{last}-{first}`"))));
    }
    Some(Ok(first..=last))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    AtSeparators,
    AtRelations,
}

struct Scanner<'t> {
    rest: &'t str,
}

impl Scanner<'_> {
    /// Skips blanks and commas; says whether there was a comma.
    fn skip_separators(&mut self) -> bool {
        let rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let skipped = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        skipped.contains(',')
    }

    /// The next word, up to what ends it outside of quotes and brackets.
    fn word(&mut self, stop: Stop) -> Result<Word, SelectError> {
        let (whole, mut text) = (self.rest, String::new());
        let (mut quote, mut depth, mut is_quoted) = (None, 0_u32, false);
        let mut end = whole.len();
        for (at, c) in whole.char_indices() {
            match (quote, c) {
                (Some(open), _) if c == open => quote = None,
                (Some(_), _) => text.push(c),
                // In brackets they stay, for whoever reads the list.
                (None, '"' | '\'') if depth == 0 => (quote, is_quoted) = (Some(c), true),
                (None, '[') => (depth, text) = (depth + 1, text + "["),
                (None, ']') if depth > 0 => (depth, text) = (depth - 1, text + "]"),
                (None, _) if depth == 0 && ends(&whole[at..], stop) => {
                    end = at;
                    break;
                }
                (None, _) => text.push(c),
            }
        }
        if quote.is_some() || depth > 0 {
            let what = if depth > 0 { "bracket" } else { "quote" };
            return Err(SelectError::new(format!("the {what} in `{whole}` is not closed")));
        }
        self.rest = &whole[end..];
        Ok(Word { text, is_quoted })
    }

    fn relation(&mut self) -> Option<Relation> {
        let rest = self.rest.trim_start();
        let (text, relation) = RELATIONS.iter().find(|(text, _)| rest.starts_with(text))?;
        self.rest = &rest[text.len()..];
        Some(*relation)
    }

    /// The condition whose name and relation were read.
    fn test(&mut self, name: &str, relation: Relation) -> Result<Test, SelectError> {
        let shown = format!("{name}{}", relation.text());
        if name.is_empty() {
            return Err(SelectError::new(format!("there is no name before `{shown}`")));
        }
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Err(SelectError::new(format!("there is no value behind `{shown}`")));
        }
        Ok(Test { name: name.to_owned(), relation, values: vec![self.word(Stop::AtSeparators)?] })
    }
}

fn ends(rest: &str, stop: Stop) -> bool {
    let is_separator = rest.starts_with(|c: char| c.is_whitespace() || c == ',');
    is_separator || stop == Stop::AtRelations && RELATIONS.iter().any(|(text, _)| rest.starts_with(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let Parts { words, tests } = parse(&[text]).unwrap();
        let words = words.into_iter().map(|word| word.text);
        let tests = tests.into_iter().map(|test| {
            let values: Vec<_> = test.values.into_iter().map(|value| value.text).collect();
            format!("({} {} {})", test.name, test.relation.text(), values.join("|"))
        });
        words.chain(tests).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commas_list_values_and_blanks_begin_anew() {
        for (text, parts) in [
            ("1,3,5-8", "1 3 5-8"),
            ("1 3, 5-8", "1 3 5-8"),
            ("state=failed", "(state = failed)"),
            ("state=failed,cancelled x=1", "(state = failed|cancelled) (x = 1)"),
            ("state=failed,x=1,2", "(state = failed) (x = 1|2)"),
            ("1,3 state = failed , cancelled", "1 3 (state = failed|cancelled)"),
            ("x!=1 y>=2 z<3 w<=4 v>5", "(x != 1) (y >= 2) (z < 3) (w <= 4) (v > 5)"),
            ("state=failed 3,4", "3 4 (state = failed)"),
            ("lr_steps=[25,35],[20, 40]", "(lr_steps = [25,35]|[20, 40])"),
            ("name='a, b=c' 'd e'", "d e (name = a, b=c)"),
            ("path=a=b", "(path = a=b)"),
            ("  ", ""),
        ] {
            assert_eq!(shown(text), parts, "{text}");
        }
    }

    #[test]
    fn several_texts_are_several_parts() {
        let parts = parse(&["x=1", "2"]).unwrap();
        assert_eq!((parts.words.len(), parts.tests[0].values.len()), (1, 1));
    }

    #[test]
    fn what_is_broken_off_is_refused() {
        for (text, said) in [
            ("x=", "no value behind `x=`"),
            ("x=,1", "no value behind `x=`"),
            ("=1", "no name before `=`"),
            ("x='a", "the quote in `'a` is not closed"),
            ("x=[1,2", "the bracket in `[1,2` is not closed"),
        ] {
            let error = parse(&[text]).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn ranges_count_upward() {
        assert_eq!(range("7"), Some(Ok(7..=7)));
        assert_eq!(range("5-8"), Some(Ok(5..=8)));
        assert_eq!(range("8-5").unwrap().unwrap_err().to_string(), "the range `8-5` is empty; write `5-8`");
        for word in ["-1", "1-", "+1", "1.5", "all", "1-2-3", ""] {
            assert_eq!(range(word), None, "{word}");
        }
    }
}
