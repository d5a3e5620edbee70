//! What the page knows, as the JSON that its script draws.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::super::View;
use super::super::analysis::Analysis;
use super::super::failures::{Cause, causes};
use super::super::json::AnalysisDocument;
use super::super::provenance::TableOrigin;
use super::tree::{Block, blocks};
use crate::protocol::http::{SubmitRequest, TrialState};
use crate::protocol::insight::{CurvesResponse, StagesResponse, SweepProgress};
use crate::protocol::trial::TrialRecord;
use crate::recipe::Recipe;
use crate::recipe::metrics::find_metric;
use crate::vocabulary::{Goal, Parameters, Timestamp};

/// Numbers in curves beyond which no more trials are shown: a few megabytes.
const MOST_POINTS: usize = 400_000;

/// What failed for one reason is shown with so many trials.
const MOST_TRIALS_NAMED: usize = 12;

/// All that a page is made of.
pub struct PageParts<'a> {
    pub view: &'a View<'a>,
    pub origin: &'a TableOrigin,
    pub progress: &'a SweepProgress,
    /// Of trials of the first configurations.
    pub curves: &'a CurvesResponse,
    pub stages: &'a StagesResponse,
    /// How the sweep was asked for.
    pub request: &'a SubmitRequest,
    /// How the numbers of the best trial came about, where one has succeeded.
    pub record: Option<&'a TrialRecord>,
    pub made_at: Timestamp,
    pub version: &'a str,
}

/// A page's numbers and texts.
#[derive(Debug, Serialize)]
pub struct PageDocument<'a> {
    sweep: i64,
    name: &'a str,
    version: &'a str,
    /// Milliseconds since 1970.
    made_at: i64,
    /// Of which epoch the numbers are.
    epoch: &'a str,
    selected: Option<&'a str>,
    trials: Counts,
    epochs: Epochs,
    parameters: &'a [String],
    metrics: Vec<MetricEntry<'a>>,
    /// Best first.
    configurations: Vec<ConfigurationEntry<'a>>,
    curves: Vec<TrialEntry<'a>>,
    analysis: AnalysisDocument,
    warnings: Vec<String>,
    stages: Vec<Block>,
    stages_left_out: u64,
    /// Most frequent first.
    failures: Vec<FailureEntry<'a>>,
    /// Trials that failed of other causes.
    failures_left_out: usize,
    provenance: Provenance<'a>,
}

#[derive(Debug, Serialize)]
struct Counts {
    total: usize,
    queued: usize,
    running: usize,
    succeeded: usize,
    failed: usize,
    cancelled: usize,
}

#[derive(Debug, Serialize)]
struct Epochs {
    done: u64,
    shared: u64,
    unshared: u64,
}

#[derive(Debug, Serialize)]
struct MetricEntry<'a> {
    name: &'a str,
    /// `maximize`, `minimize`, or unknown.
    goal: Option<Goal>,
    /// In a sentence, where it is one of the built-in trainer's.
    about: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct ConfigurationEntry<'a> {
    hash: &'a str,
    /// In the order of `parameters`; null where one does not apply.
    values: Vec<Option<&'a Value>>,
    seeds: usize,
    n: usize,
    trials: String,
    /// For each metric mean, deviation and n; null where there is none.
    results: Vec<Option<(f64, Option<f64>, usize)>>,
    /// The epoch after which the method starts, where it has a start.
    start: Option<u32>,
}

#[derive(Debug, Serialize)]
struct TrialEntry<'a> {
    trial: i64,
    /// Place of its configuration.
    configuration: usize,
    /// As text: a script's numbers end at 2^53.
    seed: String,
    state: TrialState,
    /// By metric, epochs and values.
    curves: BTreeMap<&'a str, (&'a [u32], Vec<f64>)>,
}

#[derive(Debug, Serialize)]
struct FailureEntry<'a> {
    reason: String,
    message: &'a str,
    count: usize,
    trials: Vec<i64>,
    log: &'a str,
}

#[derive(Debug, Serialize)]
struct Provenance<'a> {
    source: &'a str,
    spec: &'a str,
    bases: Vec<(&'a str, &'a str)>,
    overrides: &'a [String],
    working_directory: &'a str,
    /// Name and value.
    record: Vec<(&'static str, String)>,
}

impl<'a> PageDocument<'a> {
    #[must_use]
    pub fn new(parts: &PageParts<'a>) -> PageDocument<'a> {
        let PageParts { view, origin, progress, curves, stages, request, record, made_at, version } = *parts;
        let results = view.results;
        let mut place_of: BTreeMap<i64, (usize, u64, TrialState)> = BTreeMap::new();
        for (place, configuration) in view.configurations.iter().enumerate() {
            for trial in &configuration.trials {
                place_of.insert(trial.trial.0, (place, trial.seed, trial.state));
            }
        }
        let (stages, stages_left_out) = blocks(&stages.stages);
        let (causes, failures_left_out) = causes(&results.trials);
        PageDocument {
            sweep: results.sweep.0,
            name: &results.name,
            version,
            made_at: made_at.0,
            epoch: &origin.epoch,
            selected: origin.selected.as_deref(),
            trials: counts(view),
            epochs: Epochs {
                done: progress.epochs_done,
                shared: progress.epochs_shared,
                unshared: progress.epochs_unshared,
            },
            parameters: &results.swept,
            metrics: view
                .metrics
                .iter()
                .map(|metric| MetricEntry {
                    name: &metric.name,
                    goal: metric.goal,
                    about: find_metric(&metric.name).map(|known| known.doc),
                })
                .collect(),
            configurations: configurations(view),
            curves: trial_entries(view, curves, &place_of),
            analysis: AnalysisDocument::new(Analysis::of_effects(view), origin.clone()),
            warnings: view.warnings(),
            stages,
            stages_left_out,
            failures: failures(&causes),
            failures_left_out,
            provenance: Provenance {
                source: &request.source_name,
                spec: &request.spec,
                bases: request.bases.iter().map(|base| (base.name.as_str(), base.text.as_str())).collect(),
                overrides: &request.overrides,
                working_directory: &request.working_directory,
                record: record.map(facts).unwrap_or_default(),
            },
        }
    }

    pub(super) fn name(&self) -> &str {
        self.name
    }
}

fn counts(view: &View<'_>) -> Counts {
    let of = |state| view.results.trials.iter().filter(|trial| trial.state == state).count();
    Counts {
        total: view.results.trials.len(),
        queued: of(TrialState::Queued),
        running: of(TrialState::Running),
        succeeded: of(TrialState::Succeeded),
        failed: of(TrialState::Failed),
        cancelled: of(TrialState::Cancelled),
    }
}

fn configurations<'a>(view: &'a View<'a>) -> Vec<ConfigurationEntry<'a>> {
    let entry = |configuration: &'a super::super::Configuration<'a>| ConfigurationEntry {
        hash: &configuration.hash,
        values: view.results.swept.iter().map(|name| configuration.parameters.get(name)).collect(),
        seeds: configuration.trials.len(),
        n: configuration.n(),
        trials: configuration.counted_trials(),
        results: view
            .metrics
            .iter()
            .map(|metric| {
                let spread = configuration.metrics.get(metric.name.as_str())?;
                // The mean of numbers near the largest there are is none.
                spread.mean.is_finite().then_some(())?;
                Some((short(spread.mean), spread.std.map(short), spread.n))
            })
            .collect(),
        start: method_start(configuration.parameters),
    };
    view.configurations.iter().map(entry).collect()
}

/// The epoch after which a method of the built-in trainer starts that teaches itself; a program's parameters make no recipe.
fn method_start(parameters: &Parameters) -> Option<u32> {
    let recipe = Recipe::try_from(parameters).ok()?;
    let start = recipe.self_teaching()?.first_event();
    (start < recipe.epochs).then_some(start)
}

fn trial_entries<'a>(
    view: &View<'_>,
    curves: &'a CurvesResponse,
    place_of: &BTreeMap<i64, (usize, u64, TrialState)>,
) -> Vec<TrialEntry<'a>> {
    let is_shown = |name: &str| view.metrics.iter().any(|metric| metric.name == name);
    let entry = |trial: &'a crate::protocol::insight::TrialCurves| {
        let (configuration, seed, state) = *place_of.get(&trial.trial.0)?;
        let curves = trial.metrics.iter().filter(|(name, _)| is_shown(name)).map(|(name, curve)| {
            let values = curve.values.iter().copied().map(short).collect();
            (name.as_str(), (curve.epochs.as_slice(), values))
        });
        let curves: BTreeMap<_, _> = curves.collect();
        let is_empty = curves.is_empty();
        (!is_empty).then(|| TrialEntry {
            trial: trial.trial.0,
            configuration,
            seed: seed.to_string(),
            state,
            curves,
        })
    };
    let mut entries: Vec<TrialEntry<'a>> = curves.trials.iter().filter_map(entry).collect();
    entries.sort_by_key(|entry| (entry.configuration, entry.trial));
    let mut points = 0;
    entries.retain(|entry| {
        points += entry.curves.values().map(|(epochs, _)| epochs.len()).sum::<usize>();
        points <= MOST_POINTS
    });
    entries
}

fn failures<'a>(causes: &[Cause<'a>]) -> Vec<FailureEntry<'a>> {
    let entry = |cause: &Cause<'a>| FailureEntry {
        reason: cause.failure.reason.to_string(),
        message: &cause.failure.message,
        count: cause.trials.len(),
        trials: cause.trials.iter().take(MOST_TRIALS_NAMED).copied().collect(),
        log: &cause.failure.log_tail,
    };
    causes.iter().map(entry).collect()
}

fn facts(record: &TrialRecord) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if !record.device.is_empty() {
        facts.push(("device", record.device.clone()));
    }
    if !record.cpu_capability.is_empty() {
        facts.push(("instruction set", record.cpu_capability.clone()));
    }
    if record.numerics_version > 0 {
        facts.push(("numerics version", record.numerics_version.to_string()));
        let exact = if record.is_deterministic { "yes" } else { "no" };
        facts.push(("deterministic", exact.to_owned()));
    }
    if !record.weights_hash.is_empty() {
        facts.push(("final weights (BLAKE3)", record.weights_hash.clone()));
    }
    let libraries: Vec<String> =
        record.libraries.iter().map(|(name, version)| format!("{name} {version}")).collect();
    if !libraries.is_empty() {
        facts.push(("libraries", libraries.join(", ")));
    }
    facts
}

/// Eight digits: more than any picture shows, and half as long.
fn short(value: f64) -> f64 {
    format!("{value:.7e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::{Failure, ResultsResponse};
    use crate::protocol::insight::{Curve, TrialCurves};
    use crate::report::fixtures::grid;
    use crate::vocabulary::{FailureReason, SweepId, TrialNumber};

    fn results() -> ResultsResponse {
        let mut results = grid(&[1.0, 2.0], &[0.5], 2, &[("top1", &|a, _, seed| 40.0 * a + seed / 3.0)]);
        results.name = "<b>kd</b>".to_owned();
        let failed = &mut results.trials[1];
        failed.state = TrialState::Failed;
        failed.failure = Some(Failure {
            reason: FailureReason::Exit(3),
            message: "it broke".to_owned(),
            log_tail: "</script>".to_owned(),
        });
        results
    }

    #[test]
    fn a_document_has_all_that_pictures_show() {
        let results = results();
        let view = View::usual(&results);
        let curve = |values: Vec<f64>| Curve { epochs: vec![1, 2], values };
        let trial = |number, value| TrialCurves {
            trial: TrialNumber(number),
            metrics: [("top1", curve(vec![1.0, value])), ("seconds", curve(vec![1.0, 1.0]))]
                .map(|(name, curve)| (name.to_owned(), curve))
                .into(),
        };
        let progress = SweepProgress {
            sweep: SweepId(1),
            metric: None,
            epochs: 6,
            epochs_done: 5,
            epochs_shared: 6,
            epochs_unshared: 8,
            jobs_left: 0,
            seconds_left: None,
            seconds_done: None,
            best: None,
            failed: vec![],
            recent_failures: vec![],
        };
        let record = TrialRecord { device: "cpu".to_owned(), numerics_version: 4, ..TrialRecord::default() };
        let origin = TableOrigin::of_last_epoch(&results);
        let curves = CurvesResponse { trials: vec![trial(1, 2.0), trial(3, 1.0 / 3.0)] };
        let request = SubmitRequest { spec: "seeds: 2".to_owned(), ..SubmitRequest::default() };
        let stages = StagesResponse::default();
        let document = PageDocument::new(&PageParts {
            view: &view,
            origin: &origin,
            progress: &progress,
            curves: &curves,
            stages: &stages,
            request: &request,
            record: Some(&record),
            made_at: Timestamp(0),
            version: "1",
        });
        insta::assert_json_snapshot!(document);
        let page = super::super::page(&document).unwrap();
        assert!(page.contains("<title>&lt;b&gt;kd&lt;/b&gt; · sweep</title>"));
        assert!(!page.contains("<b>kd"));
    }

    #[test]
    fn a_method_that_teaches_itself_has_a_start_and_others_have_none() {
        let start = |text: &str| {
            let spec = crate::spec::parse("s.yaml", text, &[]).unwrap();
            method_start(&spec.trial(TrialNumber(1)).unwrap().parameters)
        };
        let kd = "parameters: {method: kd, loss_weight: 1, teacher: ema, ema_ratio: 0.5, epochs: 50, method_start: 25, method_every: 10}";
        assert_eq!(start(kd), Some(30));
        assert_eq!(start("parameters: {method: ce}"), None);
        assert_eq!(start("command: [run]\nparameters: {method: kd, method_start: 25}"), None);
    }
}
