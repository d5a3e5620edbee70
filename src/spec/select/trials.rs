use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::Value;

use super::grammar::{self, Parts, Relation, Test, Word};
use super::numbers::{Numbers, one_limit};
use super::{MOST_NAMED, SelectError, WrittenValue, did_you_mean, listed, one_of, show};
use crate::spec::space::is_same;
use crate::vocabulary::{FailureReason, Metrics, Parameters, TrialNumber, TrialState};

/// Names that conditions know beside those of parameters and metrics.
const NAMES: [&str; 4] = ["trial", "seed", "state", "reason"];

/// In front of a name: a parameter or a metric that is called like something else.
const PREFIXES: [&str; 2] = ["parameters.", "metrics."];

/// Any failure for want of memory, the host's or a GPU's.
const OUT_OF_MEMORY: &str = "oom";

/// What can be known of a trial when it is selected.
#[derive(Debug, Clone, Copy)]
pub struct TrialFacts<'t> {
    pub number: TrialNumber,
    pub seed: u64,
    pub state: TrialState,
    /// Why it failed.
    pub reason: Option<FailureReason>,
    pub parameters: &'t Parameters,
    pub metrics: &'t Metrics,
}

/// Selects trials of one sweep: those that are named, as far as all conditions hold for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrialSelector {
    named: Vec<Named>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
enum Named {
    All,
    /// The one with the highest number.
    Last,
    Range(RangeInclusive<i64>),
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    subject: Subject,
    relation: Relation,
}

#[derive(Debug, Clone, PartialEq)]
enum Subject {
    Trial(Numbers),
    Seed(Numbers),
    State(BTreeSet<TrialState>),
    Reason(Vec<Reason>),
    /// What the name means depends on the sweep.
    Quantity(Kind, Test),
}

/// A failure's reason, or several with something in common.
#[derive(Debug, Clone, PartialEq)]
enum Reason {
    OutOfMemory,
    Kind(&'static str),
    Exactly(FailureReason),
}

/// What a name that is not ours can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Parameter,
    Metric,
    Either,
}

impl TrialSelector {
    /// Reads what was typed; none means all trials.
    ///
    /// # Errors
    /// When it can't be meant, whatever the sweep.
    pub fn parse(texts: &[impl AsRef<str>]) -> Result<TrialSelector, SelectError> {
        let Parts { words, tests } = grammar::parse(texts)?;
        let named = words.iter().map(read_named).collect::<Result<_, _>>()?;
        let conditions = tests.into_iter().map(read_condition).collect::<Result<_, _>>()?;
        Ok(TrialSelector { named, conditions })
    }

    /// With one more condition: the state is one of these.
    #[must_use]
    pub fn and_state(mut self, states: impl IntoIterator<Item = TrialState>) -> TrialSelector {
        let subject = Subject::State(states.into_iter().collect());
        self.conditions.push(Condition { subject, relation: Relation::Equal });
        self
    }

    /// Whether it selects every trial of any sweep.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.conditions.is_empty() && (self.named.is_empty() || self.named.contains(&Named::All))
    }

    /// The numbers, where it consists of nothing else and so can be known without looking.
    #[must_use]
    pub fn numbers(&self) -> Option<BTreeSet<TrialNumber>> {
        let number = |named: &Named| match named {
            Named::Range(range) if range.start() == range.end() => Some(TrialNumber(*range.start())),
            _ => None,
        };
        let is_plain = self.conditions.is_empty() && !self.named.is_empty();
        is_plain.then(|| self.named.iter().map(number).collect()).flatten()
    }

    /// Without the conditions on what trials reported.
    ///
    /// # Errors
    /// As for [`TrialSelector::select`].
    pub fn without_metrics(&self, trials: &[TrialFacts<'_>]) -> Result<TrialSelector, SelectError> {
        let mut selector = TrialSelector { named: self.named.clone(), conditions: Vec::new() };
        for condition in &self.conditions {
            let is_metric = match &condition.subject {
                Subject::Quantity(kind, test) => Quantity::find(test, *kind, trials)?.is_metric,
                Subject::Trial(_) | Subject::Seed(_) | Subject::State(_) | Subject::Reason(_) => false,
            };
            if !is_metric {
                selector.conditions.push(condition.clone());
            }
        }
        Ok(selector)
    }

    /// The trials that it selects, by number.
    ///
    /// # Errors
    /// When it names what no trial of the sweep is or has.
    pub fn select(&self, trials: &[TrialFacts<'_>]) -> Result<BTreeSet<TrialNumber>, SelectError> {
        let ranges = self.ranges(trials)?;
        let mut quantities = Vec::new();
        for condition in &self.conditions {
            quantities.push(match &condition.subject {
                Subject::Quantity(kind, test) => Some(Quantity::find(test, *kind, trials)?),
                _ => None,
            });
        }
        let is_named =
            |number: i64| self.named.is_empty() || ranges.iter().any(|range| range.contains(&number));
        let fits = |trial: &&TrialFacts<'_>| {
            is_named(trial.number.0)
                && self.conditions.iter().zip(&quantities).all(|(condition, quantity)| match quantity {
                    Some(quantity) => quantity.holds(condition.relation, trial),
                    None => condition.holds(trial),
                })
        };
        Ok(trials.iter().filter(fits).map(|trial| trial.number).collect())
    }

    fn ranges(&self, trials: &[TrialFacts<'_>]) -> Result<Vec<RangeInclusive<i64>>, SelectError> {
        let numbers: BTreeSet<i64> = trials.iter().map(|trial| trial.number.0).collect();
        let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else { return Ok(vec![]) };
        let range = |named: &Named| match named {
            Named::All => Ok(first..=last),
            Named::Last => Ok(last..=last),
            Named::Range(range) if numbers.range(range.clone()).next().is_some() => Ok(range.clone()),
            Named::Range(range) => {
                let missing = match (range.start(), range.end()) {
                    (one, other) if one == other => format!("there is no trial {one}"),
                    (one, other) => format!("there are no trials {one}-{other}"),
                };
                Err(SelectError::new(missing).help(format!("the numbers go from {first} to {last}")))
            }
        };
        self.named.iter().map(range).collect()
    }
}

impl FromStr for TrialSelector {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<TrialSelector, SelectError> {
        TrialSelector::parse(&[text])
    }
}

fn read_named(word: &Word) -> Result<Named, SelectError> {
    match word.text.as_str() {
        "all" => return Ok(Named::All),
        "last" => return Ok(Named::Last),
        _ => {}
    }
    match grammar::range(&word.text) {
        Some(range) if matches!(&range, Ok(range) if *range.start() < 1) => {
            Err(SelectError::new(format!("`{}` names no trial", word.text)).help("numbers count from 1"))
        }
        Some(range) => range.map(Named::Range),
        None => Err(no_trial(&word.text)),
    }
}

fn no_trial(word: &str) -> SelectError {
    let meant = if word.parse::<TrialState>().is_ok() {
        format!("did you mean `state={word}`?")
    } else if word == OUT_OF_MEMORY || FailureReason::KINDS.contains(&word) {
        format!("did you mean `reason={word}`?")
    } else {
        did_you_mean(
            word,
            ["all", "last"],
            "trials are named by numbers as in `1,3,5-8`, by `all` or `last`, and by conditions as in `state=failed`",
        )
    };
    SelectError::new(format!("`{word}` names no trial")).help(meant)
}

fn read_condition(test: Test) -> Result<Condition, SelectError> {
    let relation = test.relation;
    let texts = || test.values.iter().map(|value| value.text.as_str());
    let subject = match test.name.as_str() {
        "trial" => Subject::Trial(Numbers::read(&test)?),
        "seed" => Subject::Seed(Numbers::read(&test)?),
        "state" => {
            let names = TrialState::ALL.map(TrialState::name);
            let states: Result<_, _> = texts().map(|text| one_of("state of a trial", text, names)).collect();
            Subject::State(states?)
        }
        "reason" => Subject::Reason(texts().map(read_reason).collect::<Result<_, _>>()?),
        name => {
            let is = |prefix| name.starts_with(prefix);
            let kind = match PREFIXES.map(is) {
                [true, _] => Kind::Parameter,
                [false, true] => Kind::Metric,
                [false, false] => Kind::Either,
            };
            if relation.is_order() {
                one_limit(&test)?;
            }
            return Ok(Condition { relation, subject: Subject::Quantity(kind, test) });
        }
    };
    if relation.is_order() && matches!(subject, Subject::State(_) | Subject::Reason(_)) {
        let name = &test.name;
        let error = SelectError::new(format!("`{name}` has no order, so nothing is `{}`", relation.text()));
        return Err(error.help(format!("write `{name}=…` or `{name}!=…`")));
    }
    Ok(Condition { subject, relation })
}

fn read_reason(word: &str) -> Result<Reason, SelectError> {
    if word == OUT_OF_MEMORY {
        return Ok(Reason::OutOfMemory);
    }
    if let Some(kind) = FailureReason::KINDS.into_iter().find(|kind| *kind == word) {
        return Ok(Reason::Kind(kind));
    }
    let known = FailureReason::KINDS.into_iter().chain([OUT_OF_MEMORY]);
    one_of("reason for a failure", word, known).map(Reason::Exactly)
}

impl Reason {
    fn fits(&self, reason: FailureReason) -> bool {
        match self {
            Reason::OutOfMemory => matches!(reason, FailureReason::GpuOom | FailureReason::HostOom),
            Reason::Kind(kind) => reason.kind() == *kind,
            Reason::Exactly(exactly) => reason == *exactly,
        }
    }
}

impl Condition {
    /// Of all but quantities.
    fn holds(&self, trial: &TrialFacts<'_>) -> bool {
        let among = |is_one: bool| is_one == (self.relation == Relation::Equal);
        match &self.subject {
            Subject::Trial(numbers) => numbers.hold(trial.number.0),
            Subject::Seed(numbers) => numbers.hold(i64::try_from(trial.seed).unwrap_or(i64::MAX)),
            Subject::State(states) => among(states.contains(&trial.state)),
            Subject::Reason(reasons) => {
                among(trial.reason.is_some_and(|reason| reasons.iter().any(|one| one.fits(reason))))
            }
            Subject::Quantity(..) => false,
        }
    }
}

/// A parameter or a metric that trials of the sweep have, and what it is compared with.
struct Quantity<'c> {
    name: &'c str,
    is_metric: bool,
    wanted: Vec<WrittenValue>,
}

impl<'c> Quantity<'c> {
    fn find(test: &'c Test, kind: Kind, trials: &[TrialFacts<'_>]) -> Result<Quantity<'c>, SelectError> {
        let name = PREFIXES.iter().find_map(|prefix| test.name.strip_prefix(prefix)).unwrap_or(&test.name);
        let is_parameter = trials.iter().any(|trial| trial.parameters.contains_key(name));
        let is_reported = || trials.iter().any(|trial| trial.metrics.contains_key(name));
        let is_metric = match kind {
            Kind::Parameter | Kind::Either if is_parameter => false,
            Kind::Metric | Kind::Either if is_reported() => true,
            _ => return Err(unknown(name, kind, trials)),
        };
        let wanted = test.values.iter().map(|word| WrittenValue::of(name, word)).collect::<Result<_, _>>()?;
        let quantity = Quantity { name, is_metric, wanted };
        quantity.check(test.relation, trials)?;
        Ok(quantity)
    }

    /// A value that no trial has was hardly meant.
    fn check(&self, relation: Relation, trials: &[TrialFacts<'_>]) -> Result<(), SelectError> {
        if relation.is_order() || self.is_metric {
            let none = self.wanted.iter().find(|wanted| !wanted.value.is_number());
            return none.map_or(Ok(()), |none| {
                let (name, text) = (self.name, none.text());
                let error = format!("`{name}` is compared with a number, and `{text}` is none");
                Err(SelectError::new(error).help(format!("write `{name}{}0.5`", relation.text())))
            });
        }
        let values = || trials.iter().filter_map(|trial| trial.parameters.get(self.name));
        let never = self.wanted.iter().find(|wanted| !values().any(|value| wanted.is(value)));
        never.map_or(Ok(()), |never| {
            let mut there: Vec<&Value> = Vec::new();
            for value in values() {
                if !there.iter().any(|known| is_same(known, value)) {
                    there.push(value);
                    if there.len() > MOST_NAMED {
                        break;
                    }
                }
            }
            let there = listed(there.into_iter().map(show));
            let message = format!("`{}` is never `{}` in this sweep", self.name, never.text());
            Err(SelectError::new(message).help(format!("its values are {there}")))
        })
    }

    fn holds(&self, relation: Relation, trial: &TrialFacts<'_>) -> bool {
        let reported;
        let value = if self.is_metric {
            reported = trial.metrics.get(self.name).map(|value| Value::from(*value));
            reported.as_ref()
        } else {
            trial.parameters.get(self.name)
        };
        let is_one = || value.is_some_and(|value| self.wanted.iter().any(|wanted| wanted.is(value)));
        match relation {
            Relation::Equal => is_one(),
            Relation::NotEqual => !is_one(),
            order => value.and_then(Value::as_f64).is_some_and(|value| {
                let limit = self.wanted.first().and_then(|wanted| wanted.value.as_f64());
                limit.is_some_and(|limit| order.holds(&value, &limit))
            }),
        }
    }
}

fn unknown(name: &str, kind: Kind, trials: &[TrialFacts<'_>]) -> SelectError {
    let mut parameters = BTreeSet::new();
    let mut metrics = BTreeSet::new();
    for trial in trials {
        parameters.extend(trial.parameters.keys().map(String::as_str));
        metrics.extend(trial.metrics.keys().map(String::as_str));
    }
    let (what, known): (&str, BTreeSet<&str>) = match kind {
        Kind::Parameter => ("parameter", parameters),
        Kind::Metric => ("metric", metrics),
        Kind::Either => ("parameter or metric", parameters.into_iter().chain(metrics).chain(NAMES).collect()),
    };
    let all = match known.is_empty() {
        true => "it has none".to_owned(),
        false => format!("there are {}", listed(known.iter().map(|name| (*name).to_owned()))),
    };
    SelectError::new(format!("the sweep has no {what} `{name}`")).help(did_you_mean(name, known, &all))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Trial n has seed n mod 2 and one of three ratios; 3 has failed, 4 runs, the others have succeeded.
    fn selected(text: &str) -> Result<Vec<i64>, String> {
        let ratios = [json!(0.5), json!(0.75), json!(0.5), json!(0.95)];
        let parameters: Vec<Parameters> = (0..4)
            .map(|at| {
                Parameters::from([
                    ("mask_ratio".to_owned(), ratios[at].clone()),
                    ("mask_mode".to_owned(), if at == 0 { "sgf" } else { "s" }.into()),
                    ("lr_steps".to_owned(), json!([25, 35])),
                ])
            })
            .collect();
        let metrics: Vec<Metrics> =
            (0..4).map(|at| Metrics::from([("top1".to_owned(), 90.0 + f64::from(at))])).collect();
        let facts: Vec<_> = (0..4_i32)
            .map(|at| {
                let place = usize::try_from(at).unwrap();
                let state = match at {
                    2 => TrialState::Failed,
                    3 => TrialState::Running,
                    _ => TrialState::Succeeded,
                };
                TrialFacts {
                    // Number 4 is a gap.
                    number: TrialNumber(i64::from(if at == 3 { 5 } else { at + 1 })),
                    seed: u64::try_from(at % 2).unwrap(),
                    state,
                    reason: (at == 2).then_some(FailureReason::GpuOom),
                    parameters: &parameters[place],
                    metrics: &metrics[place],
                }
            })
            .collect();
        let selector = TrialSelector::parse(&[text]).map_err(|error| error.to_string())?;
        let selected = selector.select(&facts).map_err(|error| error.to_string())?;
        Ok(selected.into_iter().map(|number| number.0).collect())
    }

    #[test]
    fn numbers_are_united_and_conditions_all_have_to_hold() {
        for (text, expected) in [
            ("", &[1, 2, 3, 5][..]),
            ("all", &[1, 2, 3, 5]),
            ("last", &[5]),
            ("1,3-5", &[1, 3, 5]),
            ("1 last", &[1, 5]),
            ("state=failed", &[3]),
            ("state=failed,running", &[3, 5]),
            ("state!=succeeded", &[3, 5]),
            ("reason=oom", &[3]),
            ("reason=gpu_oom,exit", &[3]),
            ("reason=exit:1", &[]),
            ("reason!=oom", &[1, 2, 5]),
            ("seed=0", &[1, 3]),
            ("seed=1-4 trial<3", &[2]),
            ("mask_ratio=0.5", &[1, 3]),
            ("mask_ratio=.50", &[1, 3]),
            ("mask_ratio!=0.5", &[2, 5]),
            ("mask_ratio>=0.75", &[2, 5]),
            ("mask_ratio=0.5,0.95 state=succeeded,running", &[1, 5]),
            ("1-2 mask_ratio=0.5", &[1]),
            // An alias of the trainer's own.
            ("mask_mode=sgd", &[1]),
            ("lr_steps=[25, 35]", &[1, 2, 3, 5]),
            ("top1>91", &[3, 5]),
            ("metrics.top1<=90 parameters.mask_mode='sgf'", &[1]),
        ] {
            assert_eq!(selected(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_meant_says_what_can() {
        for (text, said) in [
            ("failed", "`failed` names no trial; did you mean `state=failed`?"),
            ("nan", "did you mean `reason=nan`?"),
            ("lst", "did you mean `last`?"),
            ("1,x", "`x` names no trial; trials are named by numbers as in `1,3,5-8`"),
            ("0", "numbers count from 1"),
            ("4", "there is no trial 4; the numbers go from 1 to 5"),
            ("7-9", "there are no trials 7-9; the numbers go from 1 to 5"),
            ("9-7", "the range `9-7` is empty"),
            ("state=faild", "`faild` is no state of a trial; did you mean `failed`?"),
            ("state=done", "it can be `queued`, `running`, `succeeded`, `failed`, `cancelled`"),
            ("state<failed", "`state` has no order"),
            ("reason=node_los", "did you mean `node_lost`?"),
            ("seed=a", "`seed` is a whole number, and `a` is none"),
            (
                "seed<1-3",
                "`seed<` takes one number, and `1-3` are several; write `seed<1`, or `seed=1-3` for just these",
            ),
            (
                "trial>=1,3",
                "`trial>=` takes one number, and `1,3` are several; write `trial>=1`, or `trial=1,3`",
            ),
            (
                "mask_ration=0.5",
                "the sweep has no parameter or metric `mask_ration`; did you mean `mask_ratio`?",
            ),
            ("metrics.top_1>3", "the sweep has no metric `top_1`; did you mean `top1`?"),
            (
                "mask_ratio=0.55",
                "`mask_ratio` is never `0.55` in this sweep; its values are `0.5`, `0.75`, `0.95`",
            ),
            (
                "mask_ratio<0.5,0.7",
                "`mask_ratio<` takes one number, and `0.5,0.7` are several; write `mask_ratio<0.5`",
            ),
            ("mask_ratio<wide", "`mask_ratio` is compared with a number, and `wide` is none"),
            ("top1<=90-92", "`top1` is compared with a number, and `90-92` is none; write `top1<=0.5`"),
            ("mask_ratio=.inf", "`.inf` is not a finite number"),
        ] {
            let error = selected(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_needs_no_look_at_the_trials_is_known() {
        let parse = |text: &str| text.parse::<TrialSelector>().unwrap();
        for text in ["", "all", "3 all"] {
            assert!(parse(text).is_all(), "{text}");
        }
        assert!(!parse("last").is_all() && !parse("state=failed").is_all());
        assert_eq!(parse("3,1").numbers(), Some(BTreeSet::from([TrialNumber(1), TrialNumber(3)])));
        for text in ["", "1-3", "last", "1 state=failed"] {
            assert_eq!(parse(text).numbers(), None, "{text}");
        }
    }

    #[test]
    fn a_state_can_be_added() {
        let selector = TrialSelector::default().and_state([TrialState::Failed]);
        assert_eq!(selector, "state=failed".parse().unwrap());
    }
}
