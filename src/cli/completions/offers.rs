//! What may stand in an argument, of what is there.

use clap_complete::engine::CompletionCandidate;

use crate::protocol::http::{StatusResponse, SweepStatus, TrialState};
use crate::protocol::listing::{ListedTrial, TrialsResponse};
use crate::vocabulary::{FailureReason, TrialNumber};

/// Nobody reads more, and a shell shows them all.
const MOST: usize = 50;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Sweep,
    Node,
    /// Trials by number or by what they are.
    Trials,
    /// What holds for trials.
    Condition,
    Metric,
    Parameter,
    /// Parameters and metrics.
    Quantity,
    /// These, and the table's own columns.
    Column,
}

/// What is known of the sweep that stands before.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Names {
    /// The first trials by number.
    pub(super) page: TrialsPage,
    /// What one of them has reported.
    pub(super) metrics: Vec<String>,
}

/// Trials of a sweep, and how many there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TrialsPage {
    pub(super) total: u64,
    pub(super) swept: Vec<String>,
    pub(super) trials: Vec<ListedTrial>,
    /// Some of the others.
    pub(super) samples: Vec<ListedTrial>,
    /// The highest number.
    pub(super) last: Option<TrialNumber>,
}

impl From<TrialsResponse> for TrialsPage {
    fn from(TrialsResponse { total, swept, trials, .. }: TrialsResponse) -> TrialsPage {
        TrialsPage { total, swept, last: trials.last().map(|trial| trial.trial), samples: vec![], trials }
    }
}

/// Ids, names that name one sweep and need no quotes, and `last`; the newest first, what has something to do before the rest.
pub(super) fn sweeps(status: &StatusResponse) -> Vec<CompletionCandidate> {
    let is_over = |sweep: &&SweepStatus| sweep.trials.left() == 0;
    let mut all: Vec<&SweepStatus> = status.sweeps.iter().rev().collect();
    all.sort_by_key(is_over);
    let is_only = |name: &str| status.sweeps.iter().filter(|sweep| sweep.name == name).count() == 1;
    let help = |sweep: &SweepStatus, head: String| {
        let done = format!("{}/{} trials", sweep.trials.succeeded, sweep.trials.total);
        format!("{head}, {}, {done}", sweep.state).into()
    };
    let mut candidates = Vec::new();
    for sweep in &all {
        let id = CompletionCandidate::new(sweep.id.to_string());
        candidates.push(id.help(Some(help(sweep, sweep.name.clone()))));
    }
    for sweep in &all {
        if is_plain(&sweep.name) && is_only(&sweep.name) && sweep.name.parse::<i64>().is_err() {
            let name = CompletionCandidate::new(&sweep.name);
            candidates.push(name.help(Some(help(sweep, format!("sweep {}", sweep.id)))));
        }
    }
    if let Some(newest) = status.sweeps.last() {
        candidates
            .push(CompletionCandidate::new("last").help(Some(help(newest, format!("sweep {}", newest.id)))));
    }
    candidates
}

/// Hosts of the workers that are there.
pub(super) fn nodes(status: &StatusResponse) -> Vec<CompletionCandidate> {
    let mut hosts: Vec<&String> = status.workers.iter().map(|worker| &worker.host).collect();
    hosts.sort();
    hosts.dedup();
    // What a worker calls its host goes into the user's shell.
    hosts.into_iter().filter(|host| is_plain(host)).map(CompletionCandidate::new).collect()
}

/// Of one sweep, what continues `typed`.
pub(super) fn of_sweep(asked: Asked, names: &Names, typed: &str) -> Vec<CompletionCandidate> {
    let mut found = match asked {
        Asked::Sweep | Asked::Node => Vec::new(),
        Asked::Trials | Asked::Condition => selectors(asked, names, typed),
        Asked::Metric => listed(&names.metrics, typed),
        Asked::Parameter => listed(&names.page.swept, typed),
        Asked::Quantity => listed(names.page.swept.iter().chain(&names.metrics), typed),
        Asked::Column => {
            let own = ["seeds", "n", "trials", "configuration"].map(str::to_owned);
            listed(names.page.swept.iter().chain(&names.metrics).chain(&own), typed)
        }
    };
    found.truncate(MOST);
    found
}

/// Names behind what was typed up to the last comma or plus: of the last one its beginning is there.
fn listed<'n>(names: impl IntoIterator<Item = &'n String>, typed: &str) -> Vec<CompletionCandidate> {
    let (before, begun) = typed.split_at(typed.rfind([',', '+']).map_or(0, |at| at + 1));
    let fitting = names.into_iter().filter(|name| is_plain(name) && name.starts_with(begun));
    fitting.map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

fn selectors(asked: Asked, names: &Names, typed: &str) -> Vec<CompletionCandidate> {
    if let Some((name, values)) = typed.split_once('=') {
        let all = values_of(name, names);
        let (before, begun) = values.split_at(values.rfind(',').map_or(0, |at| at + 1));
        let fitting = all.iter().filter(|value| is_plain(value) && value.starts_with(begun));
        return fitting.map(|value| CompletionCandidate::new(format!("{name}={before}{value}"))).collect();
    }
    let mut found = Vec::new();
    if asked == Asked::Trials {
        let (before, begun) = typed.split_at(typed.rfind(',').map_or(0, |at| at + 1));
        let numbered = numbered(&names.page, begun).into_iter();
        found.extend(numbered.take(MOST / 2).map(|(number, help)| {
            CompletionCandidate::new(format!("{before}{number}")).help(help.map(Into::into))
        }));
        let words = ["last", "all"].into_iter().filter(|word| word.starts_with(typed));
        found.extend(words.map(CompletionCandidate::new));
    }
    let own = ["state", "reason", "seed"].map(str::to_owned);
    let conditions =
        own.iter().chain(&names.page.swept).filter(|name| is_plain(name) && name.starts_with(typed));
    found.extend(conditions.map(|name| CompletionCandidate::new(format!("{name}="))));
    found
}

/// Trials whose numbers begin so, with what they are where that is known.
fn numbered(page: &TrialsPage, begun: &str) -> Vec<(i64, Option<String>)> {
    let help = |trial: &ListedTrial| {
        let settings = trial.parameters.iter().map(|(name, value)| format!("{name}={value}"));
        format!("{}, {} seed={}", trial.state, settings.collect::<Vec<_>>().join(" "), trial.seed)
    };
    let begins = |number: &i64| number.to_string().starts_with(begun);
    let known = page.trials.iter().filter(|trial| begins(&trial.trial.0));
    let mut found: Vec<(i64, Option<String>)> =
        known.map(|trial| (trial.trial.0, Some(help(trial)))).collect();
    // Of those behind the page nothing is known but that they are there, where no number is left out.
    let (Some(last), Some(of_page)) = (page.last, page.trials.last()) else { return found };
    let has_all = i64::try_from(page.total) == Ok(last.0);
    let (Ok(first), true) = (begun.parse::<i64>(), has_all) else { return found };
    let mut range = (first, first);
    while range.0 <= last.0 && first > 0 {
        let (from, to) = (range.0.max(of_page.trial.0 + 1), range.1.min(last.0));
        found.extend((from..=to).take(MOST).map(|number| (number, None)));
        range = (range.0 * 10, range.1 * 10 + 9);
    }
    found
}

/// What a condition on this name may ask for.
fn values_of(name: &str, names: &Names) -> Vec<String> {
    let mut values: Vec<String> = match name {
        "state" => return TrialState::ALL.iter().map(ToString::to_string).collect(),
        "reason" => {
            return FailureReason::KINDS.iter().chain(&["oom"]).map(|&kind| kind.to_owned()).collect();
        }
        "seed" => names.page.trials.iter().map(|trial| trial.seed.to_string()).collect(),
        name => {
            let value = |trial: &ListedTrial| trial.parameters.get(name).cloned();
            let text =
                |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            names.page.trials.iter().chain(&names.page.samples).filter_map(value).map(text).collect()
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    values.retain(|value| seen.insert(value.clone()));
    values
}

/// Whether it means itself to every shell.
pub(super) fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::http::{SweepState, TrialCounts};
    use crate::vocabulary::SweepId;

    fn shown(found: &[CompletionCandidate]) -> Vec<String> {
        found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn sweeps_are_completed_by_id_and_by_names_that_are_unambiguous() {
        let sweep = |id, name: &str, queued| SweepStatus {
            id: SweepId(id),
            name: name.to_owned(),
            state: if queued > 0 { SweepState::Queued } else { SweepState::Succeeded },
            trials: TrialCounts { total: 4, queued, succeeded: 4 - queued, ..TrialCounts::default() },
            priority: 0,
        };
        let status = StatusResponse {
            sweeps: vec![
                sweep(1, "kd-ema", 2),
                sweep(2, "twice", 0),
                sweep(3, "twice", 0),
                sweep(4, "two words", 0),
            ],
            workers: vec![],
            running: vec![],
            slurm: vec![],
        };
        assert_eq!(shown(&sweeps(&status)), ["1", "4", "3", "2", "kd-ema", "last"]);
        let help = sweeps(&status)[0].get_help().map(ToString::to_string);
        assert_eq!(help.as_deref(), Some("kd-ema, queued, 2/4 trials"));
    }

    /// Trials 1 to `total`, of which the first `listed` are on the page.
    fn names(listed: i64, total: i64) -> Names {
        let trial = |number: i64| ListedTrial {
            trial: TrialNumber(number),
            state: TrialState::Failed,
            seed: u64::try_from(number).unwrap() % 2,
            parameters: serde_json::from_value(
                json!({"lr": 0.5, "mode": if number % 2 == 0 { "a b" } else { "v1" }}),
            )
            .unwrap(),
            epoch: 0,
            last_epoch: 1,
            value: None,
            reason: None,
            message: None,
        };
        Names {
            page: TrialsPage {
                total: u64::try_from(total).unwrap(),
                swept: vec!["lr".to_owned(), "mode".to_owned()],
                trials: (1..=listed).map(trial).collect(),
                samples: vec![],
                last: Some(TrialNumber(total)),
            },
            metrics: vec!["loss".to_owned(), "top1".to_owned()],
        }
    }

    #[test]
    fn trials_are_completed_by_number_and_by_what_they_are() {
        let few = |asked, typed: &str| shown(&of_sweep(asked, &names(3, 3), typed));
        assert_eq!(
            few(Asked::Trials, ""),
            ["1", "2", "3", "last", "all", "state=", "reason=", "seed=", "lr=", "mode="]
        );
        assert_eq!(few(Asked::Trials, "1,3"), ["1,3"]);
        assert_eq!(few(Asked::Trials, "l"), ["last", "lr="]);
        assert_eq!(few(Asked::Condition, "s"), ["state=", "seed="]);
        assert_eq!(few(Asked::Trials, "state=f"), ["state=failed"]);
        assert_eq!(few(Asked::Condition, "state=failed,c"), ["state=failed,cancelled"]);
        assert!(few(Asked::Condition, "reason=").contains(&"reason=oom".to_owned()));
        // What needs quotes is not offered.
        assert_eq!(few(Asked::Condition, "mode="), ["mode=v1"]);
        assert_eq!(few(Asked::Condition, "seed="), ["seed=1", "seed=0"]);
        let help = of_sweep(Asked::Trials, &names(3, 3), "1")[0].get_help().map(ToString::to_string);
        assert_eq!(help.as_deref(), Some("failed, lr=0.5 mode=\"v1\" seed=1"));
    }

    #[test]
    fn of_many_trials_those_are_offered_that_begin_so_and_not_all() {
        let many = |typed: &str| shown(&of_sweep(Asked::Trials, &names(500, 10_000), typed));
        assert!(many("").len() <= MOST);
        assert_eq!(
            many("987"),
            ["987", "9870", "9871", "9872", "9873", "9874", "9875", "9876", "9877", "9878", "9879"]
        );
        assert_eq!(many("10000"), ["10000"]);
        assert_eq!(many("10001"), [""; 0]);
        // Where numbers are left out nobody knows which are there.
        let mut gaps = names(500, 10_000);
        gaps.page.total = 9_999;
        assert_eq!(shown(&of_sweep(Asked::Trials, &gaps, "987")), [""; 0]);
    }

    #[test]
    fn names_of_metrics_and_parameters_are_completed_in_lists_too() {
        let of = |asked, typed: &str| shown(&of_sweep(asked, &names(3, 3), typed));
        assert_eq!(of(Asked::Metric, ""), ["loss", "top1"]);
        assert_eq!(of(Asked::Metric, "loss,t"), ["loss,top1"]);
        assert_eq!(of(Asked::Parameter, "lr+m"), ["lr+mode"]);
        assert_eq!(of(Asked::Quantity, "l"), ["lr", "loss"]);
        assert_eq!(of(Asked::Column, "t"), ["top1", "trials"]);
    }
}
