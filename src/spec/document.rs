use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::axes::Reader;
use super::base::{FindBase, inherit};
use super::check::{self, space_of};
use super::code::{Code, read_code};
use super::error::{Findings, SpecError, SpecProblem};
use super::expansion::{Spec, Trainer};
use super::extent::check_extent;
use super::groups::{Drafts, Sections, read_sections};
use super::keys::{known_entries, read_integer, read_seeds, read_word};
use super::metric::read_metric;
use super::search::read_search;
use super::select::is_selector_of_sweeps;
use super::settings::{KEEPS, Keep, ORDERS, Order, Resources, SEED_ORDERS, SeedOrder, read_resources};
use super::source::{Source, Span};
use super::space::{Search, Space};
use super::stages::{Stage, read_stages};
use super::tree::Entry;
use super::weights::FindWeights;
use super::{command, overrides, yaml};
use crate::recipe::schema::{self, Parameter};
use crate::vocabulary::{HIGHEST_PRIORITY, Metric};

/// Keys of a spec.
pub(super) const KEYS: &[&str] = &[
    "base",
    "name",
    "description",
    "trainer",
    "command",
    "code",
    "search",
    "count",
    "search_seed",
    "metric",
    "seeds",
    "parameters",
    "zip",
    "when",
    "exclude",
    "retries",
    "priority",
    "resources",
    "order",
    "seed_order",
    "keep",
    "stages",
];
/// Keys of W&B's sweep files beside these. The last two say where W&B keeps its results, and nothing here.
pub(super) const WANDB_KEYS: &[&str] =
    &["method", "program", "run_cap", "early_terminate", "project", "entity"];
/// What fails more often than that will not succeed.
const MOST_RETRIES: i64 = 100;

/// Most characters of a sweep's name: it stands in tables and in file names.
const MOST_NAME_LENGTH: usize = 100;

/// The spec in `text`, with `overrides` (`name=value,value`) put in. `source_name` is the path that errors name.
/// Weights that it names are not looked up; it has no base.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(source_name: &str, text: &str, overrides: &[String]) -> Result<Spec, SpecError> {
    parse_finding(source_name, text, overrides, &|named| Ok(vec![named.unfound()]), &|_| None)
}

/// The same, with whatever names weights replaced by what `find_weights` gives for it, and bases read by `find_base`.
///
/// # Errors
/// Everything that is wrong with it, weights and bases that are not found included.
pub fn parse_finding(
    source_name: &str,
    text: &str,
    overrides: &[String],
    find_weights: &FindWeights<'_>,
    find_base: &FindBase<'_>,
) -> Result<Spec, SpecError> {
    let mut findings = Findings::default();
    let source = Source::file(0, source_name, text.strip_prefix('\u{feff}').unwrap_or(text));
    let entries = read(&source, overrides, find_base, &mut findings);
    let spec = entries.and_then(|entries| {
        let document = Document::new(&source, &entries, &mut findings);
        document.spec(source_name, find_weights, &mut findings)
    });
    findings.conclude(spec)
}

/// The document's entries, with those of its bases and the overrides put in.
fn read(
    source: &Arc<Source>,
    overrides: &[String],
    find_base: &FindBase<'_>,
    findings: &mut Findings,
) -> Option<Vec<Entry>> {
    let root = yaml::read(source, source.text(), findings)?;
    let Some(entries) = root.map() else {
        let problem = SpecProblem::new(&root.span, "a spec must be a map of keys");
        findings.push(problem.help("begin with `parameters:`, or with `command:` to run a program"));
        return None;
    };
    let found_before = findings.len();
    let mut entries = inherit(source, entries.to_vec(), find_base, findings);
    // Without its base a spec lacks much, about which nothing needs to be said.
    if findings.len() > found_before && root.map()?.iter().any(|entry| entry.key == "base") {
        let is_whole =
            entries.iter().any(|entry| ["trainer", "command", "parameters"].contains(&entry.key.as_str()));
        if !is_whole {
            return None;
        }
    }
    overrides::apply(&mut entries, overrides, findings);
    Some(entries)
}

/// The known keys of a spec.
pub(super) struct Document<'n> {
    source: &'n Arc<Source>,
    entries: BTreeMap<&'n str, &'n Entry>,
}

impl<'n> Document<'n> {
    fn new(source: &'n Arc<Source>, entries: &'n [Entry], findings: &mut Findings) -> Document<'n> {
        let known = known_entries(entries, &[KEYS, WANDB_KEYS].concat(), findings);
        let entries = known.into_iter().map(|entry| (entry.key.as_str(), entry)).collect();
        Document { source, entries }
    }

    pub(super) fn source(&self) -> &'n Arc<Source> {
        self.source
    }

    pub(super) fn find(&self, key: &str) -> Option<&'n Entry> {
        self.entries.get(key).copied()
    }

    fn spec(
        &self,
        source_name: &str,
        find_weights: &FindWeights<'_>,
        findings: &mut Findings,
    ) -> Option<Spec> {
        let name = self.name(source_name, findings);
        let description = self.text("description", findings);
        let trainer = self.trainer(findings);
        let code = self.code(trainer.as_ref(), findings);
        let search = read_search(self, findings);
        let metric = read_metric(self, trainer.as_ref(), findings);
        let seeds = self.seeds(findings);
        let retries = self.integer("retries", 0..=MOST_RETRIES, findings).unwrap_or(1);
        let priority = self.integer("priority", -HIGHEST_PRIORITY..=HIGHEST_PRIORITY, findings).unwrap_or(0);
        let resources = self.resources(trainer.as_ref(), findings);
        let order = self.word("order", ORDERS, [Order::Listed, Order::Shuffled, Order::Balanced], findings);
        let seed_order =
            self.word("seed_order", SEED_ORDERS, [SeedOrder::Interleaved, SeedOrder::Last], findings);
        let keep = self.word("keep", KEEPS, [Keep::Last, Keep::Best, Keep::All, Keep::None], findings);
        if keep == Keep::Best && metric.is_none() && self.find("metric").is_none() {
            findings.extend(self.find("keep").map(best_of_nothing));
        }
        self.refuse_early_end(findings);
        let parameters = self.parameters(findings);
        let (drafts, space) =
            self.space(trainer.as_ref()?, parameters, search, metric.as_ref(), find_weights, findings);
        let stages = self.stages(trainer.as_ref(), &space, findings);
        let mut spec = Spec {
            name,
            description,
            trainer: trainer?,
            code,
            metric,
            seeds,
            space,
            retries: u32::try_from(retries).ok()?,
            priority: i32::try_from(priority).ok()?,
            resources,
            order,
            seed_order,
            keep,
            stages,
        };
        if findings.len() == 0 {
            check_extent(self, &mut spec, &drafts, findings);
        }
        Some(spec)
    }

    /// The parameters and what is said about them together.
    fn space(
        &self,
        trainer: &Trainer,
        parameters: &[Entry],
        search: Option<Search>,
        metric: Option<&Metric>,
        find_weights: &FindWeights<'_>,
        findings: &mut Findings,
    ) -> (Drafts, Space) {
        let sections = Sections {
            parameters,
            zip: self.find("zip"),
            when: self.find("when"),
            exclude: self.find("exclude"),
        };
        let is_resnet = *trainer == Trainer::Resnet;
        let is_list = |name: &str| is_resnet && schema::find(name).is_some_and(Parameter::is_list);
        let found_before = findings.len();
        let drafts = read_sections(sections, Reader { is_list: &is_list, search }, findings);
        let drafts = match trainer {
            Trainer::Resnet => check::resnet(drafts, search, find_weights, findings),
            Trainer::Command(_) => command::check(self.find("command"), drafts, search, findings),
        };
        let space = space_of(&drafts, search.unwrap_or(Search::Grid));
        if let (true, Some(metric), Some(entry)) = (is_resnet, metric, self.find("metric"))
            && findings.len() == found_before
        {
            findings.extend(check::unreported_metric(metric, &entry.node.span, &space));
        }
        (drafts, space)
    }

    fn name(&self, source_name: &str, findings: &mut Findings) -> String {
        let written = self.text("name", findings);
        if let (Some(name), Some(entry)) = (&written, self.find("name")) {
            let length = name.chars().count();
            if length == 0 || length > MOST_NAME_LENGTH || name.chars().any(char::is_control) {
                let message = format!("a name has 1 to {MOST_NAME_LENGTH} characters, all printable");
                findings.push(SpecProblem::new(&entry.node.span, message));
            }
        }
        let name = written.or_else(|| name_of_file(source_name)).unwrap_or_else(|| "sweep".to_owned());
        if is_selector_of_sweeps(&name) {
            let entry = self.find("name");
            let span = entry.map_or_else(|| Span::new(self.source, 0, 0), |entry| entry.node.span.clone());
            let message = format!(
                "`{name}` can't be a sweep's name: on the command line it means sweeps by their ids, or others"
            );
            let help = match entry {
                Some(_) => format!(
                    "name it `{name}-sweep`, say; `last`, `all`, and ids as in `12` and `3-5` are taken"
                ),
                None => format!("that is the file's name; give the spec another, `name: {name}-sweep` say"),
            };
            findings.push(SpecProblem::new(&span, message).help(help));
        }
        name
    }

    /// What runs the trials; `None` after a finding that leaves it open.
    fn trainer(&self, findings: &mut Findings) -> Option<Trainer> {
        let (command, program) = (self.find("command"), self.find("program"));
        match (self.find("trainer"), command.or(program)) {
            (None, None) if ["parameters", "zip", "when"].iter().any(|key| self.find(key).is_some()) => {
                Some(Trainer::Resnet)
            }
            (None, None) => {
                findings.push(
                    SpecProblem::new(&Span::new(self.source, 0, 0), "the spec says nothing to run")
                        .help("add `parameters:` for the built-in trainer, or `command:` to run a program"),
                );
                None
            }
            (Some(trainer), None) => read_trainer(trainer, findings),
            (None, Some(_)) => Some(Trainer::Command(command::read(command, program, findings))),
            (Some(trainer), Some(other)) => {
                let message = format!("`trainer` and `{}` exclude each other", other.key);
                findings.push(
                    SpecProblem::new(&other.key_span, message)
                        .and_at(&trainer.key_span, "the other one")
                        .help("remove one of them"),
                );
                None
            }
        }
    }

    fn code(&self, trainer: Option<&Trainer>, findings: &mut Findings) -> Code {
        let Some(entry) = self.find("code") else { return Code::Named };
        if trainer == Some(&Trainer::Resnet) {
            let problem = SpecProblem::new(&entry.key_span, "`code` has no effect on the built-in trainer");
            findings.push(problem.help("remove it; it is for specs with a `command`"));
            return Code::Named;
        }
        read_code(entry).unwrap_or_else(|problem| {
            findings.push(problem);
            Code::Named
        })
    }

    fn seeds(&self, findings: &mut Findings) -> Vec<u64> {
        let Some(entry) = self.find("seeds") else { return vec![0] };
        read_seeds(&entry.node).unwrap_or_else(|problem| {
            findings.push(problem);
            vec![0]
        })
    }

    fn resources(&self, trainer: Option<&Trainer>, findings: &mut Findings) -> Resources {
        let is_built_in = trainer == Some(&Trainer::Resnet);
        self.find("resources").map(|entry| read_resources(entry, is_built_in, findings)).unwrap_or_default()
    }

    fn stages(&self, trainer: Option<&Trainer>, space: &Space, findings: &mut Findings) -> Vec<Stage> {
        let Some(entry) = self.find("stages") else { return Vec::new() };
        if trainer == Some(&Trainer::Resnet) {
            let problem = SpecProblem::new(&entry.key_span, "`stages` has no effect on the built-in trainer");
            findings.push(problem.help("remove it: which epochs trials can share is known"));
            return Vec::new();
        }
        // Names are looked for among the parameters that are right.
        if findings.len() > 0 { Vec::new() } else { read_stages(entry, space, findings) }
    }

    /// W&B's key for ending trials early.
    fn refuse_early_end(&self, findings: &mut Findings) {
        if let Some(entry) = self.find("early_terminate") {
            let message = "`early_terminate` is not available: every trial runs to its end";
            findings.push(SpecProblem::new(&entry.key_span, message).help("remove it"));
        }
    }

    fn parameters(&self, findings: &mut Findings) -> &'n [Entry] {
        let Some(entry) = self.find("parameters") else { return &[] };
        let is_empty = entry.node.scalar().is_some_and(|scalar| scalar.value.is_null());
        entry.node.map().unwrap_or_else(|| {
            if !is_empty {
                let problem = SpecProblem::new(&entry.key_span, "`parameters` must be a map");
                findings
                    .push(problem.help("write `name: value` or `name: [value, value]` on lines below it"));
            }
            &[]
        })
    }

    fn text(&self, key: &str, findings: &mut Findings) -> Option<String> {
        let entry = self.find(key)?;
        // A name such as 2024 means the text of it.
        let scalar = entry.node.scalar().filter(|scalar| !scalar.value.is_null());
        if scalar.is_none() {
            findings.push(SpecProblem::new(&entry.key_span, format!("`{key}` must be a text")));
        }
        scalar.map(|scalar| scalar.text.clone())
    }

    fn integer(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<i64>,
        findings: &mut Findings,
    ) -> Option<i64> {
        read_integer(self.find(key)?, range, findings)
    }

    /// The meaning of the word behind `key`, or the first one's.
    fn word<T: Copy, const N: usize>(
        &self,
        key: &str,
        words: &[&str],
        meanings: [T; N],
        findings: &mut Findings,
    ) -> T {
        let place = self.find(key).and_then(|entry| read_word(entry, words, findings));
        meanings[place.unwrap_or(0)]
    }
}

/// What a file's name can give to a sweep's: nothing that can't be printed, and no more than fits.
fn name_of_file(source_name: &str) -> Option<String> {
    let stem = Path::new(source_name).file_stem()?.to_str()?;
    let name: String = stem.chars().filter(|c| !c.is_control()).take(MOST_NAME_LENGTH).collect();
    Some(name).filter(|name| !name.is_empty())
}

fn best_of_nothing(keep: &Entry) -> SpecProblem {
    SpecProblem::new(&keep.node.span, "`keep: best` needs a metric by which a checkpoint is best")
        .help("add `metric: {name: .., goal: ..}`, or write `keep: all`")
}

fn read_trainer(entry: &Entry, findings: &mut Findings) -> Option<Trainer> {
    if entry.node.text() == Some("resnet") {
        return Some(Trainer::Resnet);
    }
    findings.push(
        SpecProblem::new(&entry.node.span, "`trainer` must be `resnet`")
            .help("to run a program, write `command: [program, argument]` in its place"),
    );
    None
}

#[cfg(test)]
mod tests;
