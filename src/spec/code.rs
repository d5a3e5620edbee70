//! `code` of a command spec: what of a program's code is kept as it is when the spec is submitted.

use std::path::Path;

use super::error::SpecProblem;
use super::tree::Entry;

/// What of a program's code is kept as it is when the spec is submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// The files that the command names.
    Named,
    /// All of this folder: a path from where the spec is submitted.
    Folder(String),
    /// Nothing: trials run what is there when they start.
    Live,
}

/// The word for [`Code::Live`]; a folder of this name is `./live`.
pub(super) const LIVE: &str = "live";

/// # Errors
/// When it is neither that word nor the path of a folder.
pub(super) fn read_code(entry: &Entry) -> Result<Code, SpecProblem> {
    match entry.node.text() {
        Some(LIVE) => Ok(Code::Live),
        Some(written) if !written.is_empty() && !written.contains('\0') => {
            Ok(Code::Folder(from_submission(entry, written)))
        }
        _ => Err(SpecProblem::new(&entry.node.span, "`code` must be a folder, or `live`").help(
            "write `code: .` for the spec's own folder; left out, the files that the command names are kept",
        )),
    }
}

/// A path relative to the file that it stands in, or on the command line to where that is typed.
fn from_submission(entry: &Entry, written: &str) -> String {
    let source = &entry.node.span.source;
    if source.is_command_line() {
        return written.to_owned();
    }
    let beside = Path::new(source.name()).parent().unwrap_or(Path::new("")).join(written);
    beside.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{parse, parse_finding};
    use super::Code;

    fn code(text: &str, overrides: &[&str]) -> Code {
        let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
        parse("sweeps/s.yaml", &format!("command: [run]\n{text}"), &overrides).unwrap().code
    }

    #[test]
    fn a_folder_is_found_from_the_file_in_which_it_is_named() {
        let folder = |path: &str| Code::Folder(path.to_owned());
        assert_eq!(code("", &[]), Code::Named);
        assert_eq!(code("code: live", &[]), Code::Live);
        assert_eq!(code("code: ./live", &[]), folder("sweeps/./live"));
        assert_eq!(code("code: ..", &[]), folder("sweeps/.."));
        assert_eq!(code("code: /src", &[]), folder("/src"));
        assert_eq!(code("code: ..", &["code=src"]), folder("src"));
        assert_eq!(code("code: ..", &["code=live"]), Code::Live);
        let base = |_: &str| Some("command: [run]\ncode: src".to_owned());
        let spec = parse_finding("s.yaml", "base: a/b.yaml", &[], &|named| Ok(vec![named.unfound()]), &base);
        assert_eq!(spec.unwrap().code, folder("a/src"));
    }
}
