//! Which configurations are taken: `search`, `count`, `search_seed`, and W&B's words for them.

use super::document::Document;
use super::error::{Findings, SpecProblem};
use super::expansion::MOST_TRIALS;
use super::keys::read_integer;
use super::space::Search;
use super::tree::Entry;

/// The search; `None` after a finding.
pub(super) fn read_search(document: &Document<'_>, findings: &mut Findings) -> Option<Search> {
    let is_random = read_kind(document, findings)?;
    let count = one_of(document, "count", "run_cap", findings);
    let seed = document.find("search_seed");
    if !is_random {
        for idle in count.into_iter().chain(seed) {
            let message = format!("`{}` has no effect under `search: grid`", idle.key);
            findings
                .push(SpecProblem::new(&idle.key_span, message).help("remove it, or write `search: random`"));
        }
        return Some(Search::Grid);
    }
    let Some(count) = count else {
        let place = document.find("search").or_else(|| document.find("method"))?;
        findings.push(
            SpecProblem::new(&place.key_span, "a random search needs a `count`")
                .help("add `count: 100`, the number of configurations to draw"),
        );
        return None;
    };
    let most = i64::try_from(MOST_TRIALS).unwrap_or(i64::MAX);
    let count = read_integer(count, 1..=most, findings);
    let seed = match seed {
        Some(entry) => read_integer(entry, 0..=i64::MAX, findings),
        None => Some(0),
    };
    Some(Search::Random { count: u64::try_from(count?).ok()?, seed: u64::try_from(seed?).ok()? })
}

/// Whether the search is random; `search`, for which W&B writes `method`, may be left out.
fn read_kind(document: &Document<'_>, findings: &mut Findings) -> Option<bool> {
    let Some(entry) = one_of(document, "search", "method", findings) else { return Some(false) };
    let key = &entry.key;
    let problem = |message: String| SpecProblem::new(&entry.node.span, message);
    match entry.node.text() {
        Some("grid") => return Some(false),
        Some("random") => return Some(true),
        Some("bayes") => findings.push(
            problem(format!("`{key}: bayes` is not available"))
                .help("write `search: random` and `count: 100` for draws that don't depend on results, or `search: grid`"),
        ),
        _ if key == "method" => findings.push(
            problem("`method` at this level names the search".to_owned())
                .help("write the method to train with under `parameters`"),
        ),
        _ => findings.push(problem("`search` must be `grid` or `random`".to_owned())),
    }
    None
}

/// The entry of a key, for which W&B has another word.
fn one_of<'n>(document: &Document<'n>, key: &str, other: &str, findings: &mut Findings) -> Option<&'n Entry> {
    let (entry, of_wandb) = (document.find(key), document.find(other));
    if let (Some(entry), Some(of_wandb)) = (entry, of_wandb)
        && entry.node.value() != of_wandb.node.value()
    {
        findings.push(
            SpecProblem::new(
                &of_wandb.key_span,
                format!("`{other}` is W&B's word for `{key}`, which says something else"),
            )
            .and_at(&entry.key_span, "here")
            .help("remove one of them"),
        );
    }
    entry.or(of_wandb)
}
