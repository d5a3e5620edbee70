//! What of a sweep's results a command looks at: the options that `results` and `analyze` share.

use super::access::Access;
use super::choice::SweepArg;
use super::{CliError, Context};
use crate::protocol::http::{ResultsQuery, ResultsResponse, TrialResult, TrialState};
use crate::recipe::metrics::find_metric;
use crate::report::{TableOrigin, View, ViewError, ViewOptions, facts};
use crate::spec::{SelectError, TrialSelector};
use crate::vocabulary::{EpochChoice, Goal, TrialNumber};

#[derive(Debug, clap::Args)]
pub(super) struct LookingArgs {
    /// The sweep's id or name, or `last`.
    sweep: SweepArg,
    /// These metrics, the first of which ranks, instead of the sweep's own and all others.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    metric: Vec<String>,
    /// Which way the first metric is better, where that is not known.
    #[arg(long, value_name = "GOAL", value_enum)]
    goal: Option<GoalArg>,
    /// Only trials for which this holds: `mask_ratio=0.5`, `seed=0-2`, `state=succeeded` (docs/SELECTORS.md).
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// Of which epoch the numbers are: `last`, a number, or `best`, which selects on the data that it is evaluated on.
    #[arg(long, value_name = "EPOCH", default_value_t)]
    epoch: EpochChoice,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum GoalArg {
    Maximize,
    Minimize,
}

/// What was found.
pub(super) struct Found {
    pub(super) results: ResultsResponse,
    pub(super) origin: TableOrigin,
    /// Trials that have a result and are left out for it.
    dropped: Vec<TrialResult>,
}

impl LookingArgs {
    /// Asks for the results and leaves out the trials that are not meant.
    pub(super) async fn find(&self, access: &Access) -> Result<Found, CliError> {
        let selector = TrialSelector::parse(&self.conditions)?;
        let sweep = self.sweep.find(access).await?;
        let query = self.query();
        let mut results = access.results_at(sweep, &query).await?;
        let dropped = if selector.is_all() { Vec::new() } else { leave_out(&selector, &mut results)? };
        if let EpochChoice::At(epoch) = self.epoch {
            self.check_epoch(epoch, &results, access).await?;
        }
        let best_by = match self.epoch {
            EpochChoice::Best => query.best_by(results.metric.as_ref()),
            EpochChoice::Last | EpochChoice::At(_) => None,
        };
        let origin = TableOrigin {
            sweep: results.sweep,
            name: results.name.clone(),
            epoch: self.epoch.to_string(),
            best_by,
            selected: Some(self.conditions.join(" ")).filter(|_| !selector.is_all()),
        };
        Ok(Found { results, origin, dropped })
    }

    fn query(&self) -> ResultsQuery {
        let metric = self.metric.first().filter(|_| self.epoch == EpochChoice::Best).cloned();
        let known = metric.as_deref().and_then(find_metric).and_then(|metric| metric.better);
        let goal = metric.as_ref().and_then(|_| self.goal().or(known));
        ResultsQuery { epoch: self.epoch, metric, goal }
    }

    fn goal(&self) -> Option<Goal> {
        self.goal.map(|goal| match goal {
            GoalArg::Maximize => Goal::Maximize,
            GoalArg::Minimize => Goal::Minimize,
        })
    }

    /// Says after which epochs there are numbers, where there are none after this one.
    async fn check_epoch(
        &self,
        epoch: u32,
        results: &ResultsResponse,
        access: &Access,
    ) -> Result<(), CliError> {
        let ranking = self.metric.first().or(results.metric.as_ref().map(|metric| &metric.name));
        let has_it = |metrics: &crate::vocabulary::Metrics| match ranking {
            Some(metric) => metrics.contains_key(metric),
            None => !metrics.is_empty(),
        };
        let mut succeeded = results.trials.iter().filter(|trial| !trial.state.is_live());
        let Some(first) = succeeded.next().map(|trial| trial.trial) else { return Ok(()) };
        if results.trials.iter().any(|trial| has_it(&trial.metrics)) {
            return Ok(());
        }
        let what = ranking.map_or_else(|| "nothing".to_owned(), |metric| format!("no `{metric}`"));
        let there = epochs(access, results, first, has_it).await;
        Err(CliError::usage(format!("after epoch {epoch} {what} was reported{there}")))
    }

    pub(super) fn options(&self, found: &Found) -> ViewOptions {
        ViewOptions {
            metrics: self.metric.clone(),
            goal: self.goal(),
            dropped: found.dropped.clone(),
            ..ViewOptions::default()
        }
    }
}

/// Leaves out the trials that are not meant. Returns those that have a result and are left out for it alone.
fn leave_out(
    selector: &TrialSelector,
    results: &mut ResultsResponse,
) -> Result<Vec<TrialResult>, SelectError> {
    let facts = facts(results);
    let selected = selector.select(&facts)?;
    let whatever_it_reported = selector.without_metrics(&facts)?.select(&facts)?;
    let trials = std::mem::take(&mut results.trials);
    let (kept, left_out): (Vec<_>, Vec<_>) =
        trials.into_iter().partition(|trial| selected.contains(&trial.trial));
    results.trials = kept;
    let is_dropped = |trial: &TrialResult| {
        trial.state == TrialState::Succeeded && whatever_it_reported.contains(&trial.trial)
    };
    Ok(left_out.into_iter().filter(is_dropped).collect())
}

/// `; it was after epochs 5, 10, 15`, of a trial that is like the others.
async fn epochs(
    access: &Access,
    results: &ResultsResponse,
    trial: TrialNumber,
    has_it: impl Fn(&crate::vocabulary::Metrics) -> bool,
) -> String {
    const MOST: usize = 12;
    let Ok(history) = access.history(results.sweep, trial).await else { return String::new() };
    let reports = history.reports.iter().filter(|report| has_it(&report.metrics));
    let mut epochs: Vec<String> = reports.map(|report| report.epoch.to_string()).collect();
    if epochs.is_empty() {
        return String::new();
    }
    if epochs.len() > MOST {
        let last = epochs.split_off(epochs.len() - 1);
        epochs.truncate(MOST - 2);
        epochs.push("…".to_owned());
        epochs.extend(last);
    }
    format!("; in trial {trial} it was after epochs {}", epochs.join(", "))
}

/// Says what is doubtful about the results that are shown.
pub(super) fn warn(view: &View<'_>, context: &Context) {
    view.warnings().iter().for_each(|warning| context.output.warn(warning));
}

impl From<ViewError> for CliError {
    fn from(error: ViewError) -> CliError {
        CliError::Usage(error.into())
    }
}
