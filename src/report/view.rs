//! What of a sweep's results is shown, and in which order: what the options of `sweep results` come to.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::configurations::{Configuration, by_configuration};
use super::dead_knobs::{DeadKnob, dead_knobs};
use super::label::Label;
use super::rank::{Better, by_goal};
use super::survivors::{self, Survivor, survivors};
use super::value;
use crate::protocol::http::{ResultsResponse, TrialResult};
use crate::recipe::metrics::find_metric;
use crate::recipe::schema::nearest;
use crate::vocabulary::{Goal, Metric, is_volatile};

/// Metrics that say how a trial went and not how good it is; they are shown where they are asked for.
const UNRANKED_METRICS: &[&str] = &["lr", "rankme_batch", "top5", "aux_loss", "ce_loss"];

/// Columns that are neither parameters nor metrics.
const OWN_COLUMNS: [&str; 4] = ["seeds", "n", "trials", "configuration"];

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ViewOptions {
    /// Metrics to show; the first one ranks. None: those that are usually shown, ranked by the sweep's own.
    pub metrics: Vec<String>,
    /// Which way the first of them is better, where that is to be decided.
    pub goal: Option<Goal>,
    /// These columns and no others.
    pub columns: Vec<String>,
    pub sort: Option<Sort>,
    /// Only the first so many configurations.
    pub top: Option<usize>,
    /// Trials that have a result and are left out for it, which biases the means over the others.
    pub dropped: Vec<TrialResult>,
    /// Shown besides what is usually shown, where there are numbers of them: metrics of which others have published some.
    pub also: Vec<String>,
}

/// Another order than by rank: `lr`, `lr:desc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    pub column: String,
    pub direction: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Parameters upward, metrics from the best on.
    Usual,
    Ascending,
    Descending,
}

/// What is shown.
#[derive(Debug, Clone)]
pub struct View<'a> {
    pub results: &'a ResultsResponse,
    /// The first one ranks.
    pub metrics: Vec<ShownMetric>,
    pub columns: Vec<Column>,
    /// In the order in which they are shown.
    pub configurations: Vec<Configuration<'a>>,
    /// How many more there are.
    pub left_out: usize,
    /// Parameters that do nothing, also by what is left out.
    pub dead_knobs: Vec<DeadKnob>,
    /// Configurations that are shown with some of their seeds left out for what these reported.
    pub survivors: Vec<Survivor>,
}

/// A metric in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownMetric {
    pub name: String,
    /// Which way it is better; unknown of some.
    pub goal: Option<Goal>,
}

/// A column of the table with a row a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    Label(Label),
    Metric(ShownMetric),
}

/// What is asked for and is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    #[error("the sweep has no {what} `{name}`; {help}")]
    Unknown { what: &'static str, name: String, help: String },
    #[error("`{text}` is no order; write `lr`, `lr:asc` or `lr:desc`")]
    Sort { text: String },
}

impl ViewError {
    /// With the nearest of what there is, or else some of it.
    pub(super) fn unknown(what: &'static str, name: &str, known: &BTreeSet<&str>) -> ViewError {
        const MOST: usize = 12;
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "it has none yet".to_owned(),
            None => {
                let mut names: Vec<String> =
                    known.iter().take(MOST).map(|name| format!("`{name}`")).collect();
                if known.len() > MOST {
                    names.push("…".to_owned());
                }
                format!("there are {}", names.join(", "))
            }
        };
        ViewError::Unknown { what, name: name.to_owned(), help }
    }
}

impl FromStr for Sort {
    type Err = ViewError;

    fn from_str(text: &str) -> Result<Sort, ViewError> {
        let (column, direction) = match text.rsplit_once(':') {
            None => (text, Direction::Usual),
            Some((column, "asc")) => (column, Direction::Ascending),
            Some((column, "desc")) => (column, Direction::Descending),
            Some(_) => return Err(ViewError::Sort { text: text.to_owned() }),
        };
        match column {
            "" => Err(ViewError::Sort { text: text.to_owned() }),
            column => Ok(Sort { column: column.to_owned(), direction }),
        }
    }
}

impl<'a> View<'a> {
    /// # Errors
    /// When a metric, a column or an order is asked for that there is not.
    pub fn new(results: &'a ResultsResponse, options: &ViewOptions) -> Result<View<'a>, ViewError> {
        let known = Known::of(results);
        for metric in &options.metrics {
            known.check_metric(metric)?;
        }
        let mut configurations = by_configuration(results);
        let metrics = metrics(results, options, &configurations);
        let columns = columns(results, options, &metrics, &known)?;
        rank(&mut configurations, metrics.first());
        if let Some(sort) = &options.sort {
            sort_by(&mut configurations, sort, &known, results)?;
        }
        let dead_knobs = dead_knobs(results, &configurations);
        let all = configurations.len();
        configurations.truncate(options.top.unwrap_or(all));
        let survivors = survivors(&options.dropped, &configurations, &results.swept);
        Ok(View {
            results,
            left_out: all - configurations.len(),
            metrics,
            columns,
            configurations,
            dead_knobs,
            survivors,
        })
    }

    /// As it is shown where nothing is asked for.
    #[must_use]
    pub fn usual(results: &'a ResultsResponse) -> View<'a> {
        View::new(results, &ViewOptions::default()).expect("nothing is asked for that could be missing")
    }

    /// # Errors
    /// When no trial has reported it.
    pub fn check_metric(&self, name: &str) -> Result<(), ViewError> {
        Known::of(self.results).check_metric(name)
    }

    /// # Errors
    /// When no trial has it.
    pub fn check_parameter(&self, name: &str) -> Result<(), ViewError> {
        let known = Known::of(self.results).parameters;
        match known.contains(name) {
            true => Ok(()),
            false => Err(ViewError::unknown("parameter", name, &known)),
        }
    }

    /// The same configurations, best first by one metric, whichever are shown.
    ///
    /// # Errors
    /// When no trial has reported it.
    pub fn ranked_by(mut self, metric: &str) -> Result<Vec<Configuration<'a>>, ViewError> {
        self.check_metric(metric)?;
        // Equals stay in the order of their first trials, not in that of the rank before.
        self.configurations
            .sort_by_key(|configuration| configuration.trials.first().map(|trial| trial.trial));
        let shown = ShownMetric { name: metric.to_owned(), goal: goal(self.results.metric.as_ref(), metric) };
        rank(&mut self.configurations, Some(&shown));
        Ok(self.configurations)
    }

    /// What is doubtful about what is shown, a line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let dead = self.dead_knobs.iter().map(ToString::to_string);
        dead.chain(self.bias()).collect()
    }

    /// Which means are biased, since seeds are left out for what they reported; nothing or one line.
    #[must_use]
    pub fn bias(&self) -> Vec<String> {
        survivors::warnings(&self.survivors)
    }

    /// What ranks.
    #[must_use]
    pub fn ranking(&self) -> Option<&ShownMetric> {
        self.metrics.first()
    }
}

/// Names that there are.
struct Known<'a> {
    parameters: BTreeSet<&'a str>,
    metrics: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn of(results: &'a ResultsResponse) -> Known<'a> {
        let mut known = Known { parameters: BTreeSet::new(), metrics: BTreeSet::new() };
        known.parameters.extend(results.swept.iter().map(String::as_str));
        known.metrics.extend(results.metric.iter().map(|metric| metric.name.as_str()));
        for trial in &results.trials {
            known.parameters.extend(trial.parameters.keys().map(String::as_str));
            known.metrics.extend(trial.metrics.keys().map(String::as_str));
        }
        known
    }

    fn check_metric(&self, name: &str) -> Result<(), ViewError> {
        match self.metrics.contains(name) {
            true => Ok(()),
            false => Err(ViewError::unknown("metric", name, &self.metrics)),
        }
    }
}

/// The metrics that are asked for; otherwise the one that ranks first, then accuracies, then the rest by name.
fn metrics(
    results: &ResultsResponse,
    options: &ViewOptions,
    configurations: &[Configuration<'_>],
) -> Vec<ShownMetric> {
    let shown = |name: &str| ShownMetric { name: name.to_owned(), goal: goal(results.metric.as_ref(), name) };
    let mut metrics: Vec<ShownMetric> = options.metrics.iter().map(|name| shown(name)).collect();
    if metrics.is_empty() {
        let ranking = results.metric.as_ref().map(|metric| metric.name.as_str());
        let all: BTreeSet<&str> =
            configurations.iter().flat_map(|configuration| configuration.metrics.keys().copied()).collect();
        let mut names: Vec<&str> = all
            .into_iter()
            .filter(|name| {
                let is_usual = !is_volatile(name) && !UNRANKED_METRICS.contains(name);
                Some(*name) == ranking || is_usual || options.also.iter().any(|also| also == name)
            })
            .collect();
        names.sort_by_key(|name| (Some(*name) != ranking, !name.ends_with("top1"), *name));
        metrics.extend(names.into_iter().map(shown));
    }
    if let (Some(goal), Some(first)) = (options.goal, metrics.first_mut()) {
        first.goal = Some(goal);
    }
    metrics
}

/// Which way a metric is better, if anybody knows: the spec, or the built-in trainer.
fn goal(ranking: Option<&Metric>, name: &str) -> Option<Goal> {
    let of_spec = ranking.filter(|metric| metric.name == name).map(|metric| metric.goal);
    of_spec.or_else(|| find_metric(name)?.better)
}

fn columns(
    results: &ResultsResponse,
    options: &ViewOptions,
    metrics: &[ShownMetric],
    known: &Known<'_>,
) -> Result<Vec<Column>, ViewError> {
    if options.columns.is_empty() {
        let swept = results.swept.iter().cloned().map(Label::Parameter);
        let labels = swept.chain([Label::Seeds]).map(Column::Label);
        return Ok(labels.chain(metrics.iter().cloned().map(Column::Metric)).collect());
    }
    let column = |name: &String| {
        let metric = || ShownMetric { name: name.clone(), goal: goal(results.metric.as_ref(), name) };
        match name.as_str() {
            parameter if known.parameters.contains(parameter) => {
                Ok(Column::Label(Label::Parameter(name.clone())))
            }
            reported if known.metrics.contains(reported) => Ok(Column::Metric(metric())),
            "seeds" => Ok(Column::Label(Label::Seeds)),
            "n" => Ok(Column::Label(Label::N)),
            "trials" => Ok(Column::Label(Label::Trials)),
            "configuration" => Ok(Column::Label(Label::Configuration)),
            _ => {
                let all = known.parameters.iter().chain(&known.metrics).copied().chain(OWN_COLUMNS).collect();
                Err(ViewError::unknown("parameter or metric", name, &all))
            }
        }
    };
    options.columns.iter().map(column).collect()
}

/// Best mean first; equals stay in the order of their first trials.
fn rank(configurations: &mut [Configuration<'_>], metric: Option<&ShownMetric>) {
    let Some(metric) = metric else { return };
    let better = Better::of(metric.goal);
    configurations.sort_by(|a, b| by_goal(better, a.mean(&metric.name), b.mean(&metric.name)));
}

fn sort_by(
    configurations: &mut [Configuration<'_>],
    sort: &Sort,
    known: &Known<'_>,
    results: &ResultsResponse,
) -> Result<(), ViewError> {
    let name = sort.column.as_str();
    if known.parameters.contains(name) {
        configurations.sort_by(|a, b| {
            let (a, b) = (a.parameters.get(name), b.parameters.get(name));
            match sort.direction {
                // What does not apply stays last.
                Direction::Descending if a.is_some() && b.is_some() => value::compare(b, a),
                _ => value::compare(a, b),
            }
        });
        return Ok(());
    }
    if !known.metrics.contains(name) {
        let all = known.parameters.iter().chain(&known.metrics).copied().collect();
        return Err(ViewError::unknown("parameter or metric", name, &all));
    }
    let better = match sort.direction {
        Direction::Usual => Better::of(goal(results.metric.as_ref(), name)),
        Direction::Ascending => Better::Less,
        Direction::Descending => Better::More,
    };
    configurations.sort_by(|a, b| by_goal(better, a.mean(name), b.mean(name)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{results, trial};

    fn demo() -> ResultsResponse {
        results(vec![
            trial(1, 0, &[("lr", 0.1)], &[("top1", 40.0), ("rankme", 9.0), ("x_gap", 3.0), ("lr", 1.0)]),
            trial(2, 0, &[("lr", 0.2)], &[("top1", 50.0), ("rankme", 7.0), ("x_gap", 9.0), ("lr", 1.0)]),
            trial(3, 0, &[("lr", 0.3)], &[("top1", 45.0), ("rankme", 8.0), ("x_gap", 6.0), ("seconds", 1.0)]),
        ])
    }

    fn order(options: &ViewOptions) -> Vec<i64> {
        let results = demo();
        let view = View::new(&results, options).unwrap();
        view.configurations.iter().map(|configuration| configuration.trials[0].trial.0).collect()
    }

    fn sorted(text: &str) -> Vec<i64> {
        order(&ViewOptions { sort: Some(text.parse().unwrap()), ..ViewOptions::default() })
    }

    #[test]
    fn ranked_by_another_metric_they_are_as_if_they_had_been_grouped_for_it() {
        let results = results(vec![
            trial(1, 0, &[("lr", 0.1)], &[("top1", 40.0), ("rankme", 9.0)]),
            trial(2, 0, &[("lr", 0.2)], &[("top1", 50.0), ("rankme", 9.0)]),
            trial(3, 0, &[("lr", 0.3)], &[("top1", 45.0), ("rankme", 10.0)]),
        ]);
        let options = ViewOptions { metrics: vec!["rankme".to_owned()], ..ViewOptions::default() };
        let grouped = View::new(&results, &options).unwrap().configurations;
        // Of equals the first trial's comes first, though another one is better in what ranks else.
        let ranked = View::usual(&results).ranked_by("rankme").unwrap();
        assert_eq!(ranked.iter().map(|one| one.trials[0].trial.0).collect::<Vec<_>>(), [3, 1, 2]);
        assert_eq!(ranked, grouped);
        assert!(View::usual(&results).ranked_by("rankm").is_err());
    }

    #[test]
    fn the_best_comes_first_by_whatever_ranks() {
        assert_eq!(order(&ViewOptions::default()), [2, 3, 1]);
        let by = |name: &str, goal| {
            order(&ViewOptions { metrics: vec![name.to_owned()], goal, ..ViewOptions::default() })
        };
        // A gap is better the smaller it is; that is known of the built-in trainer's metrics.
        assert_eq!((by("rankme", None), by("x_gap", None)), (vec![1, 3, 2], vec![1, 3, 2]));
        assert_eq!(by("rankme", Some(Goal::Minimize)), [2, 3, 1]);
    }

    #[test]
    fn another_order_can_be_asked_for_and_the_first_ones_only() {
        assert_eq!((sorted("lr"), sorted("lr:desc")), (vec![1, 2, 3], vec![3, 2, 1]));
        assert_eq!((sorted("x_gap"), sorted("x_gap:desc")), (vec![1, 3, 2], vec![2, 3, 1]));
        let results = demo();
        let view = View::new(&results, &ViewOptions { top: Some(1), ..ViewOptions::default() }).unwrap();
        assert_eq!((view.configurations.len(), view.left_out), (1, 2));
    }

    #[test]
    fn what_is_usually_shown_is_swept_or_says_how_good_it_is() {
        let results = demo();
        let view = View::usual(&results);
        let names: Vec<&str> = view.metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["top1", "rankme", "x_gap"]);
        let lr = || Column::Label(Label::Parameter("lr".to_owned()));
        assert_eq!(view.columns[..2], [lr(), Column::Label(Label::Seeds)]);
        let also = ViewOptions { also: vec!["lr".to_owned(), "gone".to_owned()], ..ViewOptions::default() };
        let shown = View::new(&results, &also).unwrap().metrics;
        assert_eq!(shown.len(), 4, "others have published some: {shown:?}");
        let options = ViewOptions {
            columns: ["seconds", "n", "lr"].map(str::to_owned).to_vec(),
            ..ViewOptions::default()
        };
        let seconds = ShownMetric { name: "seconds".to_owned(), goal: Some(Goal::Minimize) };
        let asked = View::new(&results, &options).unwrap().columns;
        // A parameter goes before a metric of the same name.
        assert_eq!(asked, [Column::Metric(seconds), Column::Label(Label::N), lr()]);
    }

    #[test]
    fn what_is_not_there_is_told_the_nearest() {
        let results = demo();
        let error = |options: ViewOptions| View::new(&results, &options).unwrap_err().to_string();
        let metrics = |name: &str| ViewOptions { metrics: vec![name.to_owned()], ..ViewOptions::default() };
        assert_eq!(error(metrics("top_1")), "the sweep has no metric `top_1`; did you mean `top1`?");
        let columns = |name: &str| ViewOptions { columns: vec![name.to_owned()], ..ViewOptions::default() };
        assert!(error(columns("seds")).contains("did you mean `seeds`?"));
        assert!(error(columns("abc")).contains("there are `configuration`, `lr`, `n`, `rankme`"));
        let sort = ViewOptions { sort: "rank_me".parse().ok(), ..ViewOptions::default() };
        assert!(error(sort).contains("did you mean `rankme`?"));
        assert!("lr:up".parse::<Sort>().is_err() && ":asc".parse::<Sort>().is_err());
    }
}
