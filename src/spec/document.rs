use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::axes::{Draft, read_axes};
use super::error::{Findings, SpecError, SpecProblem};
use super::expansion::{MOST_TRIALS, Spec, Trainer};
use super::keys::{known_entries, read_integer, read_map, read_seeds};
use super::source::{Source, Span};
use super::tree::{Entry, Node};
use super::weights::FindWeights;
use super::{check, command, overrides, yaml};
use crate::recipe::metrics::find_metric;
use crate::vocabulary::{Goal, Metric};

/// Keys of a spec.
const KEYS: &[&str] = &[
    "name",
    "description",
    "trainer",
    "command",
    "search",
    "method",
    "metric",
    "seeds",
    "parameters",
    "retries",
    "resources",
];
/// Keys that later versions read.
const LATER_KEYS: &[&str] =
    &["base", "count", "exclude", "keep", "order", "priority", "program", "stages", "when", "zip"];
const LATER_SEARCHES: &[&str] = &["random", "bayes"];
const LATER_RESOURCES: &[&str] = &["gpus", "memory", "time"];

/// Most characters of a sweep's name: it stands in tables and in file names.
const MOST_NAME_LENGTH: usize = 100;

/// The spec in `text`, with `overrides` (`name=value,value`) put in. `source_name` is the path that errors name.
/// Weights that it names are left as they are written.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(source_name: &str, text: &str, overrides: &[String]) -> Result<Spec, SpecError> {
    parse_finding(source_name, text, overrides, &|named| Ok(named.as_str().to_owned()))
}

/// The same, with each name of weights replaced by what `find_weights` gives for it.
///
/// # Errors
/// Everything that is wrong with it, weights that are not found included.
pub fn parse_finding(
    source_name: &str,
    text: &str,
    overrides: &[String],
    find_weights: &FindWeights<'_>,
) -> Result<Spec, SpecError> {
    let mut findings = Findings::default();
    let spec = read(source_name, text, overrides, find_weights, &mut findings);
    findings.conclude(spec)
}

fn read(
    source_name: &str,
    text: &str,
    overrides: &[String],
    find_weights: &FindWeights<'_>,
    findings: &mut Findings,
) -> Option<Spec> {
    let source = Source::file(source_name, text.strip_prefix('\u{feff}').unwrap_or(text));
    let root = yaml::read(&source, source.text(), findings)?;
    let Some(entries) = root.map() else {
        let problem = SpecProblem::new(&root.span, "a spec must be a map of keys");
        findings.push(problem.help("begin with `parameters:`, or with `command:` to run a program"));
        return None;
    };
    let mut entries = entries.to_vec();
    overrides::apply(&mut entries, overrides, findings);
    let document = Document::new(&source, &entries, findings);
    document.spec(source_name, find_weights, findings)
}

/// The known keys of a spec.
struct Document<'n> {
    source: &'n Arc<Source>,
    entries: BTreeMap<&'n str, &'n Entry>,
}

impl<'n> Document<'n> {
    fn new(source: &'n Arc<Source>, entries: &'n [Entry], findings: &mut Findings) -> Document<'n> {
        let known = known_entries(entries, KEYS, LATER_KEYS, findings);
        let entries = known.into_iter().map(|entry| (entry.key.as_str(), entry)).collect();
        Document { source, entries }
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
        self.search(findings);
        let metric = self.metric(trainer.as_ref(), findings);
        let seeds = self.seeds(findings);
        let retries = self.integer("retries", 0..=100, 1, findings);
        let cpus = self.cpus(trainer.as_ref(), findings);
        let parameters = self.parameters(findings);
        let axes = match trainer.as_ref()? {
            Trainer::Resnet => {
                let found_before = findings.len();
                let axes = check::resnet_axes(parameters, find_weights, findings);
                if let (Some(metric), true) = (&metric, findings.len() == found_before) {
                    let place = self.entries.get("metric").map(|entry| &entry.node.span);
                    findings.extend(place.and_then(|place| check::unreported_metric(metric, place, &axes)));
                }
                axes
            }
            Trainer::Command(_) => {
                let axes = read_axes(parameters, |_| false, findings);
                command::check(self.entries.get("command")?, parameters, &axes, findings);
                axes
            }
        };
        let axes: Vec<_> = axes.into_iter().map(Draft::into_axis).collect();
        let spec = Spec { name, description, trainer: trainer?, metric, seeds, axes, retries, cpus };
        self.check_count(&spec, findings);
        Some(spec)
    }

    fn name(&self, source_name: &str, findings: &mut Findings) -> String {
        let written = self.text("name", findings);
        if let (Some(name), Some(entry)) = (&written, self.entries.get("name")) {
            let length = name.chars().count();
            if length == 0 || length > MOST_NAME_LENGTH || name.chars().any(char::is_control) {
                let message = format!("a name has 1 to {MOST_NAME_LENGTH} characters, all printable");
                findings.push(SpecProblem::new(&entry.node.span, message));
            }
        }
        let stem = Path::new(source_name).file_stem().and_then(|stem| stem.to_str());
        written.or_else(|| stem.map(str::to_owned)).unwrap_or_else(|| "sweep".to_owned())
    }

    /// What runs the trials; `None` after a finding that leaves it open.
    fn trainer(&self, findings: &mut Findings) -> Option<Trainer> {
        match (self.entries.get("trainer"), self.entries.get("command")) {
            (None, None) if self.entries.contains_key("parameters") => Some(Trainer::Resnet),
            (None, None) => {
                findings.push(
                    SpecProblem::new(&Span::new(self.source, 0, 0), "the spec says nothing to run")
                        .help("add `parameters:` for the built-in trainer, or `command:` to run a program"),
                );
                None
            }
            (Some(trainer), None) => read_trainer(trainer, findings),
            (None, Some(command)) => Some(Trainer::Command(command::read(command, findings))),
            (Some(trainer), Some(command)) => {
                findings.push(
                    SpecProblem::new(&command.key_span, "`trainer` and `command` exclude each other")
                        .and_at(&trainer.key_span, "the other one")
                        .help("remove one of them"),
                );
                None
            }
        }
    }

    /// `search: grid`, for which W&B writes `method: grid`.
    fn search(&self, findings: &mut Findings) {
        for key in ["search", "method"] {
            let Some(entry) = self.entries.get(key) else { continue };
            let problem = |message: String| SpecProblem::new(&entry.node.span, message);
            match entry.node.text() {
                Some("grid") => {}
                Some(word) if LATER_SEARCHES.contains(&word) => findings.push(
                    problem(format!("`{key}: {word}` is not available in this version"))
                        .help("available: `grid`"),
                ),
                _ if key == "method" => findings.push(
                    problem("`method` at this level names the search".to_owned())
                        .help("write the method to train with under `parameters`"),
                ),
                _ => findings.push(problem("`search` must be `grid`".to_owned())),
            }
        }
    }

    fn metric(&self, trainer: Option<&Trainer>, findings: &mut Findings) -> Option<Metric> {
        let Some(entry) = self.entries.get("metric") else {
            let top1 = Metric { name: "top1".to_owned(), goal: Goal::Maximize };
            return (trainer == Some(&Trainer::Resnet)).then_some(top1);
        };
        let parts = read_map(entry, &["name", "goal"], &[], findings)?;
        let part = |key| parts.iter().find(|part: &&&Entry| part.key == key).map(|part| &part.node);
        let name = part("name").and_then(Node::text).filter(|name| !name.is_empty());
        if let (Some(Trainer::Resnet), Some(name), Some(node)) = (trainer, name, part("name")) {
            // Which way is better is said below; of an unknown metric nobody knows.
            check::known_metric(name, &node.span).map_err(|problem| findings.push(problem)).ok()?;
        }
        let goal = match (part("goal"), part("goal").and_then(Node::text)) {
            (_, Some("maximize")) => Some(Goal::Maximize),
            (_, Some("minimize")) => Some(Goal::Minimize),
            (None, _) if trainer == Some(&Trainer::Resnet) => {
                name.and_then(find_metric).and_then(|metric| metric.better)
            }
            _ => None,
        };
        if name.is_none() || goal.is_none() {
            findings.push(
                SpecProblem::new(&entry.key_span, "`metric` must have a `name` and a `goal`")
                    .help("write `metric: {name: top1, goal: maximize}`; the other goal is `minimize`"),
            );
        }
        Some(Metric { name: name?.to_owned(), goal: goal? })
    }

    fn seeds(&self, findings: &mut Findings) -> Vec<u64> {
        let Some(entry) = self.entries.get("seeds") else { return vec![0] };
        read_seeds(&entry.node).unwrap_or_else(|problem| {
            findings.push(problem);
            vec![0]
        })
    }

    fn cpus(&self, trainer: Option<&Trainer>, findings: &mut Findings) -> u32 {
        let Some(entry) = self.entries.get("resources") else { return 1 };
        let parts = read_map(entry, &["cpus"], LATER_RESOURCES, findings).unwrap_or_default();
        let Some(cpus) = parts.first() else { return 1 };
        if trainer == Some(&Trainer::Resnet) {
            findings.push(
                SpecProblem::new(&cpus.key_span, "`cpus` has no effect on the built-in trainer")
                    .help("write the parameter `threads`"),
            );
        }
        read_integer(cpus, 1..=1024, findings).unwrap_or(1)
    }

    fn parameters(&self, findings: &mut Findings) -> &'n [Entry] {
        let Some(entry) = self.entries.get("parameters") else { return &[] };
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
        let entry = self.entries.get(key)?;
        // A name such as 2024 means the text of it.
        let scalar = entry.node.scalar().filter(|scalar| !scalar.value.is_null());
        if scalar.is_none() {
            findings.push(SpecProblem::new(&entry.key_span, format!("`{key}` must be a text")));
        }
        scalar.map(|scalar| scalar.text.clone())
    }

    fn integer(&self, key: &str, range: RangeInclusive<u32>, default: u32, findings: &mut Findings) -> u32 {
        self.entries.get(key).and_then(|entry| read_integer(entry, range, findings)).unwrap_or(default)
    }

    fn check_count(&self, spec: &Spec, findings: &mut Findings) {
        let count = spec.trial_count();
        if count > MOST_TRIALS {
            let place = self.entries.get("parameters").or_else(|| self.entries.get("seeds"));
            let span = place.map_or_else(|| Span::new(self.source, 0, 0), |entry| entry.key_span.clone());
            let count = if count == u64::MAX { "more than 10^19".to_owned() } else { count.to_string() };
            findings.push(
                SpecProblem::new(&span, format!("the spec has {count} trials, more than {MOST_TRIALS}"))
                    .help("split it into several specs, or sweep fewer values"),
            );
        }
    }
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::vocabulary::TrialNumber;

    fn spec(text: &str) -> Spec {
        parse("sweeps/mskall.yaml", text, &[]).unwrap()
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let spec = spec("parameters:\n");
        assert_eq!((spec.name.as_str(), spec.description), ("mskall", None));
        assert_eq!((spec.trainer, spec.seeds, spec.retries, spec.cpus), (Trainer::Resnet, vec![0], 1, 1));
        assert_eq!(spec.metric, Some(Metric { name: "top1".to_owned(), goal: Goal::Maximize }));
        assert_eq!(parse("a.yaml", "command: [run]", &[]).unwrap().metric, None);
    }

    #[test]
    fn every_key_is_read() {
        let spec = spec(
            "name: 2024\ndescription: one\ncommand: [sleep, 1, \"{{x}}\"]\nsearch: grid\nmethod: grid\n\
             metric: {goal: minimize, name: loss}\nseeds: [7, 3]\nretries: 0\nresources: {cpus: 4}\n\
             parameters: {x: 1}\n",
        );
        assert_eq!((spec.name.as_str(), spec.description.as_deref()), ("2024", Some("one")));
        assert_eq!(spec.trainer, Trainer::Command(["sleep", "1", "{{x}}"].map(str::to_owned).to_vec()));
        assert_eq!(spec.metric, Some(Metric { name: "loss".to_owned(), goal: Goal::Minimize }));
        assert_eq!((spec.seeds, spec.retries, spec.cpus), (vec![7, 3], 0, 4));
    }

    #[test]
    fn a_metric_of_the_built_in_trainer_knows_which_way_is_better() {
        let metric =
            |name: &str| spec(&format!("metric: {{name: {name}}}\nparameters: {{}}")).metric.unwrap();
        assert_eq!(metric("shifted_gap").goal, Goal::Minimize);
        assert_eq!(metric("rankme").goal, Goal::Maximize);
        let probed = spec("metric: {name: lp_top1}\nparameters: {lp: [false, true]}");
        assert_eq!(probed.metric.unwrap().name, "lp_top1");
    }

    #[test]
    fn a_number_of_seeds_counts_from_zero() {
        assert_eq!(spec("seeds: 3\nparameters: {lr: 0.1}").seeds, [0, 1, 2]);
    }

    #[test]
    fn an_anchor_stands_for_its_value() {
        let spec = spec("command: [run]\nparameters: {a: &values [1, 2], b: *values}");
        assert_eq!(spec.axes[1].values, [json!(1), json!(2)]);
    }

    #[test]
    fn a_fixed_parameter_needs_an_effect_in_one_combination_only() {
        let spec = spec(
            "parameters: {method: [ce, kd], method_start: 1, method_every: 1, loss_weight: 1, temperature: 3}",
        );
        let temperatures: Vec<_> = spec.trials().map(|t| t.parameters.get("temperature").cloned()).collect();
        assert_eq!(temperatures, [None, Some(json!(3.0))]);
    }

    #[test]
    fn what_holds_anyway_may_be_written() {
        let on_cpu = spec("parameters: {device: cpu, deterministic: true}");
        assert_eq!(on_cpu.trial(TrialNumber(1)), spec("parameters: {device: cpu}").trial(TrialNumber(1)));
        let mask = "method: mask, method_start: 1, method_every: 1, loss_weight: 1, mask_ratio: 0.5";
        let modes = spec(&format!("parameters: {{{mask}, mask_mode: [s, d], inv_mode: none}}"));
        let inverses: Vec<_> = modes.trials().map(|t| t.parameters.get("inv_mode").cloned()).collect();
        assert_eq!(inverses, [Some(json!("none")), None]);
    }
}
