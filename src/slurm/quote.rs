//! How a value is written so that it stays one value: as a word of a shell, and as an option in a `#SBATCH` line, which Slurm
//! reads by rules of its own.

use std::fmt::Write as _;

/// Slurm reads a line of options into a buffer of 8 KiB.
const LONGEST_OPTION: usize = 8000;

/// A value that can't stand in a `#SBATCH` line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("`--{name}` of sbatch can't hold a line break or another control character: `{}`", value.escape_debug())]
    Control { name: String, value: String },
    #[error("`--{name}` of sbatch is longer than {LONGEST_OPTION} bytes")]
    Long { name: String },
}

/// The value as one word for bash, whatever is in it. It is always one line, so that it can't end a comment either.
#[must_use]
pub(super) fn shell_word(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+:,./-".contains(c);
    // `a=b` in front of a command would be an assignment; an option or a path is none.
    let may_have_equals = value.starts_with(['-', '/']);
    if !value.is_empty() && value.chars().all(|c| is_plain(c) || (c == '=' && may_have_equals)) {
        return value.to_owned();
    }
    if !value.chars().any(char::is_control) {
        // In single quotes shellcheck takes these for something that was to be expanded.
        return match value.contains(['$', '`']) {
            true => format!("\"{}\"", escape(value, &['\\', '"', '$', '`'])),
            false => format!("'{}'", value.replace('\'', r"'\''")),
        };
    }
    let mut word = "$'".to_owned();
    for c in value.chars() {
        match c {
            '\n' => word += r"\n",
            '\t' => word += r"\t",
            '\'' | '\\' => word.extend(['\\', c]),
            c if c.is_control() => {
                for byte in c.to_string().bytes() {
                    let _writes_to_a_string = write!(word, r"\x{byte:02x}");
                }
            }
            c => word.push(c),
        }
    }
    word + "'"
}

/// With a backslash before each of these.
fn escape(value: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if special.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// `#SBATCH --name=value`, or without the value where there is none.
///
/// # Errors
/// When Slurm has no way to write the value.
pub(super) fn directive(name: &str, value: Option<&str>) -> Result<String, OptionError> {
    let Some(value) = value else { return Ok(format!("#SBATCH --{name}")) };
    if value.chars().any(char::is_control) {
        return Err(OptionError::Control { name: name.to_owned(), value: value.to_owned() });
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+:=,./-()[]".contains(c);
    let value = match !value.is_empty() && value.chars().all(is_plain) {
        true => value.to_owned(),
        false => format!("\"{}\"", escape(value, &['\\', '"'])),
    };
    if value.len() > LONGEST_OPTION {
        return Err(OptionError::Long { name: name.to_owned() });
    }
    Ok(format!("#SBATCH --{name}={value}"))
}

/// A path in which Slurm replaces nothing; `%` begins its own patterns.
#[must_use]
pub(super) fn literal_path(path: &str) -> String {
    path.replace('%', "%%")
}

/// A text as part of a line that people read: what would break the line is a space.
#[must_use]
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_words_stay_as_they_are() {
        assert_eq!(shell_word("/opt/a-b_c.d/sweep"), "/opt/a-b_c.d/sweep");
        assert_eq!(shell_word("--lr=0.1"), "--lr=0.1");
        assert_eq!(shell_word("lr=0.1"), "'lr=0.1'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("it's x"), r"'it'\''s x'");
        assert_eq!(shell_word("it's $(x) `y` \"\\"), r#""it's \$(x) \`y\` \"\\""#);
        assert_eq!(shell_word("a\nb'\\\u{1}"), r"$'a\nb\'\\\x01'");
    }

    /// What bash makes of words.
    fn words_of(line: &str) -> Vec<Vec<u8>> {
        let script = format!("printf '%s\\0' {line}");
        let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut words: Vec<Vec<u8>> = output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        words.pop();
        words
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn bash_reads_back_every_word(words in prop::collection::vec("[^\u{0}]{0,12}|[ '\"$(`\\\\\n\r\t!*~{}#&;|<>=-]{0,6}", 1..4)) {
            let line = words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ");
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            let expected: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
            prop_assert_eq!(words_of(&line), expected);
        }
    }

    #[test]
    fn an_option_is_quoted_as_slurm_reads_it() {
        let line = |value| directive("comment", Some(value)).unwrap();
        assert_eq!(line("gpu:a100:2"), "#SBATCH --comment=gpu:a100:2");
        assert_eq!(line("a b"), "#SBATCH --comment=\"a b\"");
        assert_eq!(line(r#"say "hi" \o/ #1"#), r##"#SBATCH --comment="say \"hi\" \\o/ #1""##);
        assert_eq!(line(""), "#SBATCH --comment=\"\"");
        assert_eq!(directive("exclusive", None).unwrap(), "#SBATCH --exclusive");
    }

    #[test]
    fn what_slurm_has_no_spelling_for_is_refused() {
        let error = directive("comment", Some("a\nb")).unwrap_err();
        assert_eq!(
            error.to_string(),
            r"`--comment` of sbatch can't hold a line break or another control character: `a\nb`"
        );
        assert!(matches!(directive("comment", Some(&"x".repeat(9000))), Err(OptionError::Long { .. })));
    }

    #[test]
    fn a_path_has_no_patterns() {
        assert_eq!(literal_path("/home/100%_%j"), "/home/100%%_%%j");
    }
}
