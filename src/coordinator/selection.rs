//! Which trials a spec's selectors select: looked up in the job table when the spec is submitted, and kept with the sweep.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::wire;
use crate::protocol::http::Selected;
use crate::spec::{MissingWeights, Selector, SweepName};
use crate::store::{self, Candidate, Reader, StoreError, SweepRow};
use crate::vocabulary::{Goal, Parameters, TrialNumber, weights_in_state};

/// So many values of a parameter are named where none fits.
const MOST_NAMED: usize = 8;

/// What selectors select, by their text.
#[derive(Debug, Default)]
pub struct Selections(BTreeMap<String, Result<Selection, MissingWeights>>);

/// What one selector selects.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub(super) told: Selected,
    /// The selected trials by the names of their weights, with the datasets that they were trained on.
    pub(super) teachers: BTreeMap<String, (TrialNumber, String)>,
}

impl Selections {
    /// Where there is no job table no selector selects anything.
    #[must_use]
    pub fn without_table(selectors: &[Selector]) -> Selections {
        let missing = |selector: &Selector| match &selector.sweep {
            SweepName::Id(id) => no_such_sweep(&format!("there is no sweep {id}")),
            SweepName::Name(name) => no_such_sweep(&format!("there is no sweep `{name}`")),
        };
        Selections(selectors.iter().map(|selector| (selector.to_string(), Err(missing(selector)))).collect())
    }

    /// Asks the job table.
    pub(super) async fn find(reader: &mut Reader, selectors: &[Selector]) -> Result<Selections, StoreError> {
        let mut selections = Selections::default();
        for selector in selectors {
            let selection = match find_sweep(reader, &selector.sweep).await? {
                Ok(sweep) => select(reader, selector, &sweep).await?,
                Err(missing) => Err(missing),
            };
            selections.0.insert(selector.to_string(), selection);
        }
        Ok(selections)
    }

    /// What this selector selects; nothing where nobody has asked for it.
    pub(super) fn of(&self, selector: &Selector) -> Option<Result<&Selection, MissingWeights>> {
        self.0.get(&selector.to_string()).map(|found| found.as_ref().map_err(Clone::clone))
    }

    pub(super) fn selected(&self) -> impl Iterator<Item = &Selection> {
        self.0.values().flatten()
    }
}

fn missing(message: String, help: &str) -> MissingWeights {
    MissingWeights { message, help: help.to_owned() }
}

fn no_such_sweep(message: &str) -> MissingWeights {
    missing(
        message.to_owned(),
        "`sweep status` lists the sweeps; submit it first, its trials need not be finished",
    )
}

async fn find_sweep(
    reader: &mut Reader,
    name: &SweepName,
) -> Result<Result<SweepRow, MissingWeights>, StoreError> {
    let name = match name {
        SweepName::Id(id) => {
            let found = store::find_sweep(reader, *id).await?;
            return Ok(found.ok_or_else(|| no_such_sweep(&format!("there is no sweep {id}"))));
        }
        SweepName::Name(name) => name,
    };
    let mut called_so: Vec<SweepRow> =
        store::list_sweeps(reader).await?.into_iter().filter(|sweep| sweep.name == *name).collect();
    let ids: Vec<_> = called_so.iter().map(|sweep| sweep.id.to_string()).collect();
    Ok(match (called_so.pop(), called_so.is_empty()) {
        (None, _) => Err(no_such_sweep(&format!("there is no sweep `{name}`"))),
        (Some(only), true) => Ok(only),
        (Some(newest), false) => Err(MissingWeights {
            message: format!("several sweeps are called `{name}`: {}", ids.join(", ")),
            help: format!("name the one that is meant by its id, as in `sweep: {}`", newest.id),
        }),
    })
}

async fn select(
    reader: &mut Reader,
    selector: &Selector,
    sweep: &SweepRow,
) -> Result<Result<Selection, MissingWeights>, StoreError> {
    let mut trials = Vec::new();
    for candidate in store::list_candidates(reader, sweep.id).await? {
        let parameters = wire::parameters(candidate.number, &candidate.parameters)?;
        trials.push((candidate, parameters));
    }
    let is_program = |(candidate, _): &(Candidate, Parameters)| {
        matches!(serde_json::from_str(&candidate.context), Ok(Context::Command { .. }) | Err(_))
    };
    if trials.iter().any(is_program) {
        let message = format!("sweep {} runs a program, whose weights nobody can read here", sweep.id);
        return Ok(Err(missing(message, "only trials of the built-in trainer teach")));
    }
    let mut fitting: Vec<_> = trials
        .iter()
        .filter(|(candidate, parameters)| selector.fits(candidate.number, candidate.seed, parameters))
        .collect();
    if fitting.is_empty() {
        return Ok(Err(nothing_fits(selector, sweep, &trials)));
    }
    // Two trials that end in the same state, as draws that repeat do, are one network.
    let mut states = BTreeSet::new();
    fitting.retain(|(candidate, _)| states.insert(candidate.state));
    if let Some(best) = selector.best {
        let numbers = fitting.iter().map(|(candidate, _)| candidate.number).collect();
        match best_of(reader, sweep, &numbers, best).await? {
            Ok(best) => fitting.retain(|(candidate, _)| best.contains(&candidate.number)),
            Err(missing) => return Ok(Err(missing)),
        }
    }
    Ok(Ok(selection(selector, sweep, &fitting)))
}

fn selection(selector: &Selector, sweep: &SweepRow, fitting: &[&(Candidate, Parameters)]) -> Selection {
    let mut weights: Vec<String> = Vec::new();
    let mut teachers = BTreeMap::new();
    for (candidate, parameters) in fitting {
        let name = weights_in_state(candidate.state);
        let dataset = parameters.get("dataset").and_then(|dataset| dataset.as_str()).unwrap_or_default();
        teachers.insert(name.clone(), (candidate.number, dataset.to_owned()));
        weights.push(name);
    }
    let unfinished = fitting.iter().filter(|(candidate, _)| !candidate.has_succeeded).count();
    let told = Selected {
        selector: selector.to_string(),
        sweep: sweep.id,
        trials: fitting.iter().map(|(candidate, _)| candidate.number).collect(),
        unfinished: super::wire::count(unfinished),
        weights,
    };
    Selection { told, teachers }
}

/// Says what there would be to select.
fn nothing_fits(selector: &Selector, sweep: &SweepRow, trials: &[(Candidate, Parameters)]) -> MissingWeights {
    let mut there: Vec<String> = Vec::new();
    for name in selector.conditions() {
        let values = trials.iter().filter_map(|(_, parameters)| parameters.get(name));
        there.push(match few(values.map(ToString::to_string)) {
            None => format!("no trial there has `{name}`"),
            Some(values) => format!("`{name}` is {values} there"),
        });
    }
    let seeds = few(trials.iter().map(|(candidate, _)| candidate.seed.to_string()));
    let numbers = few(trials.iter().map(|(candidate, _)| candidate.number.to_string()));
    there.extend(seeds.map(|seeds| format!("its seeds are {seeds}")));
    there.extend(numbers.map(|numbers| format!("its trials are {numbers}")));
    MissingWeights {
        message: format!("`{selector}` selects no trial of sweep {} `{}`", sweep.id, sweep.name),
        help: there.join("; "),
    }
}

/// Distinct values in their order, not all of them where they are many; nothing where there is none.
fn few(values: impl Iterator<Item = String>) -> Option<String> {
    let mut distinct: Vec<String> = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
        if distinct.len() > MOST_NAMED {
            distinct.pop();
            distinct.push("…".to_owned());
            break;
        }
    }
    (!distinct.is_empty()).then(|| distinct.join(", "))
}

/// The best of these trials by the sweep's metric; of equal ones those with the lower number.
async fn best_of(
    reader: &mut Reader,
    sweep: &SweepRow,
    among: &BTreeSet<TrialNumber>,
    best: usize,
) -> Result<Result<BTreeSet<TrialNumber>, MissingWeights>, StoreError> {
    let left = sweep.counts.queued + sweep.counts.running;
    if left > 0 {
        let message =
            format!("sweep {} is not finished: nobody knows yet which of its trials are best", sweep.id);
        let help = format!("wait for the {left} trials that are left, or select without `best`");
        return Ok(Err(MissingWeights { message, help }));
    }
    let Some(metric) = &sweep.metric else {
        let message = format!("sweep {} has no metric by which trials could be best", sweep.id);
        return Ok(Err(missing(message, "select by `trials`, `seeds` or `where`")));
    };
    let trials = store::list_trials(reader, sweep.id).await?;
    let succeeded =
        trials.iter().filter(|trial| trial.job_state == "succeeded" && among.contains(&trial.number));
    let mut ranked: Vec<(f64, TrialNumber)> = succeeded
        .filter_map(|trial| Some((*trial.metrics.get(&metric.name)?, trial.number)))
        .map(|(value, number)| (if metric.goal == Goal::Maximize { -value } else { value }, number))
        .collect();
    if ranked.len() < best {
        let message = format!(
            "`best: {best}` is more than the {} selected trials of sweep {} that have succeeded with a `{}`",
            ranked.len(),
            sweep.id,
            metric.name
        );
        return Ok(Err(missing(message, "lower it, or `sweep retry` what failed")));
    }
    ranked.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    Ok(Ok(ranked.into_iter().take(best).map(|(_, number)| number).collect()))
}
