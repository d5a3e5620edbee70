//! What came of trying each of a spec's code paths: for people, and as a document.

use serde::Serialize;

use super::table::{lines_of, new_table};
use super::value::{parameter, settings};
use crate::protocol::http::Failure;
use crate::spec::{CodePath, differing};
use crate::vocabulary::{FailureReason, Parameters, TrialNumber};

/// A code path and how its smallest trial ended.
#[derive(Debug)]
pub struct Tried {
    pub path: CodePath,
    pub failure: Option<Failure>,
}

/// One row a code path: the first trial that takes it, how many do, by what it differs, and how it went.
#[must_use]
pub fn smoke_table(tried: &[Tried]) -> String {
    let paths: Vec<_> = tried.iter().map(|tried| tried.path.clone()).collect();
    let names = differing(&paths);
    let mut table = new_table();
    let ends = |first: &[&str], last: &str| {
        let first = first.iter().map(|text| (*text).to_owned());
        first.chain(names.iter().cloned()).chain([last.to_owned()]).collect::<Vec<_>>()
    };
    table.set_header(ends(&["trial", "trials"], "smoke"));
    for Tried { path, failure } in tried {
        let mut row = vec![path.trial.to_string(), path.trials.to_string()];
        row.extend(names.iter().map(|name| parameter(&path.parameters, name)));
        row.push(
            failure
                .as_ref()
                .map_or_else(|| "ok".to_owned(), |failure| format!("failed ({})", failure.reason)),
        );
        table.add_row(row);
    }
    lines_of(&table)
}

/// What failed, with the ends of logs; nothing where all went well.
#[must_use]
pub fn smoke_failures(name: &str, tried: &[Tried]) -> Option<String> {
    let paths: Vec<_> = tried.iter().map(|tried| tried.path.clone()).collect();
    let names = differing(&paths);
    let mut failed = Vec::new();
    for Tried { path, failure } in tried {
        let Some(failure) = failure else { continue };
        let settings = settings(&path.parameters, names.iter().map(String::as_str));
        let what = if settings.is_empty() { String::new() } else { format!(" ({settings})") };
        let tail: String = failure.log_tail.trim_end().lines().map(|line| format!("\n   {line}")).collect();
        failed.push(format!("trial {} of `{name}`{what} fails: {}{tail}", path.trial, failure.message));
    }
    (!failed.is_empty()).then(|| failed.join("\n"))
}

/// `sweep run SPEC --smoke --json`
#[derive(Debug, Serialize)]
pub struct SmokeDocument<'t> {
    schema_version: u32,
    name: &'t str,
    /// How many the spec has.
    trials: u64,
    code_paths: Vec<Entry<'t>>,
}

#[derive(Debug, Serialize)]
struct Entry<'t> {
    /// The first that takes it.
    trial: TrialNumber,
    /// How many do.
    trials: u64,
    /// What the small trial was run with.
    parameters: &'t Parameters,
    works: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureEntry<'t>>,
}

#[derive(Debug, Serialize)]
struct FailureEntry<'t> {
    reason: FailureReason,
    message: &'t str,
    log_tail: &'t str,
}

impl<'t> SmokeDocument<'t> {
    #[must_use]
    pub fn new(name: &'t str, tried: &'t [Tried]) -> SmokeDocument<'t> {
        let entry = |tried: &'t Tried| Entry {
            trial: tried.path.trial,
            trials: tried.path.trials,
            parameters: &tried.path.smoke,
            works: tried.failure.is_none(),
            failure: tried.failure.as_ref().map(|failure| FailureEntry {
                reason: failure.reason,
                message: &failure.message,
                log_tail: &failure.log_tail,
            }),
        };
        SmokeDocument {
            schema_version: 1,
            name,
            trials: tried.iter().map(|tried| tried.path.trials).sum(),
            code_paths: tried.iter().map(entry).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{code_paths, parse};

    fn tried() -> Vec<Tried> {
        let text = "seeds: 2\nparameters: {method: kd, method_start: 25, method_every: 5, loss_weight: [1, 2], aux_loss: [l2, cs]}";
        let paths = code_paths(&parse("s.yaml", text, &[]).unwrap()).unwrap();
        let failure = Failure {
            reason: FailureReason::Nan,
            message: "the training loss is not finite".to_owned(),
            log_tail: "epoch 4\nstep 2: NaN\n".to_owned(),
        };
        let mut failures = vec![None, Some(failure)].into_iter();
        paths.into_iter().map(|path| Tried { path, failure: failures.next().unwrap() }).collect()
    }

    #[test]
    fn every_code_path_has_a_row() {
        insta::assert_snapshot!(smoke_table(&tried()));
    }

    #[test]
    fn what_fails_is_named_with_the_end_of_its_log() {
        insta::assert_snapshot!(smoke_failures("losses", &tried()).unwrap());
        assert_eq!(smoke_failures("losses", &tried()[..1]), None);
    }

    #[test]
    fn the_document_says_what_was_run() {
        let tried = tried();
        let document = serde_json::to_value(SmokeDocument::new("losses", &tried)).unwrap();
        assert_eq!((&document["trials"], &document["code_paths"][0]["works"]), (&8.into(), &true.into()));
        assert_eq!(document["code_paths"][1]["failure"]["reason"], "nan");
        assert_eq!(document["code_paths"][1]["parameters"]["width"], 8);
    }
}
