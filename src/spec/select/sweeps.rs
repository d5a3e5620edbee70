use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::grammar::{self, Parts, Relation, Test, Word};
use super::numbers::Numbers;
use super::{SelectError, did_you_mean, listed, one_of};
use crate::vocabulary::{SweepId, SweepState};

/// Names that conditions know.
const NAMES: [&str; 4] = ["id", "name", "state", "priority"];

/// What can be known of a sweep when it is selected.
#[derive(Debug, Clone, Copy)]
pub struct SweepFacts<'s> {
    pub id: SweepId,
    pub name: &'s str,
    pub state: SweepState,
    pub priority: i64,
}

/// Selects sweeps of a job table: by id, by name, and by what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepSelector {
    named: Vec<Named>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
enum Named {
    All,
    /// The one that was submitted last.
    Last,
    Range(RangeInclusive<i64>),
    Called(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    subject: Subject,
    relation: Relation,
}

#[derive(Debug, Clone, PartialEq)]
enum Subject {
    Id(Numbers),
    Name(BTreeSet<String>),
    State(BTreeSet<SweepState>),
    Priority(Numbers),
}

/// Whether a word means sweeps by what they are, so that none can be called so: `last`, `all`, `12`, `3-5`.
#[must_use]
pub(crate) fn is_selector_of_sweeps(word: &str) -> bool {
    let word = word.trim();
    matches!(word, "last" | "all") || grammar::range(word).is_some()
}

impl SweepSelector {
    /// Reads what was typed.
    ///
    /// # Errors
    /// When it can't be meant, whatever sweeps there are.
    pub fn parse(texts: &[impl AsRef<str>]) -> Result<SweepSelector, SelectError> {
        let Parts { words, tests } = grammar::parse(texts)?;
        let named = words.iter().map(read_named).collect::<Result<_, _>>()?;
        let conditions = tests.iter().map(read_condition).collect::<Result<_, _>>()?;
        Ok(SweepSelector { named, conditions })
    }

    /// One sweep by its id, by its name as it is, or `last`.
    ///
    /// # Errors
    /// When it is no id, and no name either.
    pub fn one(text: &str) -> Result<SweepSelector, SelectError> {
        let is_quoted =
            grammar::range(text).is_none_or(|range| range.is_ok_and(|range| range.start() != range.end()));
        let word = Word { text: text.to_owned(), is_quoted: is_quoted && text != "last" };
        match text.trim() {
            "" => Err(SelectError::new("it names no sweep").help("write its id, its name or `last`")),
            _ => Ok(SweepSelector { named: vec![read_named(&word)?], conditions: Vec::new() }),
        }
    }

    /// Whether it names one sweep, which then must be there and is taken as it is.
    #[must_use]
    pub fn is_one(&self) -> bool {
        let is_one = |named: &Named| match named {
            Named::Range(range) => range.start() == range.end(),
            Named::Last | Named::Called(_) => true,
            Named::All => false,
        };
        self.conditions.is_empty() && matches!(self.named.as_slice(), [named] if is_one(named))
    }

    /// The id, where it is nothing else and so can be known without looking.
    #[must_use]
    pub fn id(&self) -> Option<SweepId> {
        match self.named.as_slice() {
            [Named::Range(range)] if self.is_one() => Some(SweepId(*range.start())),
            _ => None,
        }
    }

    /// The sweeps that it selects, by id.
    ///
    /// # Errors
    /// When it names one that there is not, or a name that several have.
    pub fn select(&self, sweeps: &[SweepFacts<'_>]) -> Result<BTreeSet<SweepId>, SelectError> {
        let mut named: BTreeSet<SweepId> = BTreeSet::new();
        for name in &self.named {
            named.extend(find(name, sweeps)?);
        }
        let is_named = |id: &SweepId| self.named.is_empty() || named.contains(id);
        let fits = |sweep: &&SweepFacts<'_>| {
            is_named(&sweep.id) && self.conditions.iter().all(|condition| condition.holds(sweep))
        };
        Ok(sweeps.iter().filter(fits).map(|sweep| sweep.id).collect())
    }
}

fn read_named(word: &Word) -> Result<Named, SelectError> {
    match (word.text.as_str(), word.is_quoted) {
        ("all", false) => Ok(Named::All),
        ("last", false) => Ok(Named::Last),
        (text, false) => match grammar::range(text) {
            Some(range) if matches!(&range, Ok(range) if *range.start() < 1) => {
                Err(SelectError::new(format!("`{text}` names no sweep")).help("ids count from 1"))
            }
            Some(range) => range.map(Named::Range),
            None => Ok(Named::Called(text.to_owned())),
        },
        (text, true) => Ok(Named::Called(text.to_owned())),
    }
}

fn read_condition(test: &Test) -> Result<Condition, SelectError> {
    let Test { name, relation, values } = test;
    let relation = *relation;
    let texts = || values.iter().map(|value| value.text.as_str());
    let subject = match name.as_str() {
        "id" => Subject::Id(Numbers::read(test)?),
        "name" => Subject::Name(texts().map(str::to_owned).collect()),
        "state" => {
            let names = SweepState::ALL.map(SweepState::name);
            Subject::State(
                texts().map(|text| one_of("state of a sweep", text, names)).collect::<Result<_, _>>()?,
            )
        }
        "priority" => Subject::Priority(Numbers::read(test)?),
        unknown => {
            let all = format!("they are by {}", listed(NAMES.map(str::to_owned)));
            let error = SelectError::new(format!("sweeps can't be selected by `{unknown}`"));
            return Err(error.help(did_you_mean(unknown, NAMES, &all)));
        }
    };
    if relation.is_order() && matches!(subject, Subject::Name(_) | Subject::State(_)) {
        let error = SelectError::new(format!("`{name}` has no order, so nothing is `{}`", relation.text()));
        return Err(error.help(format!("write `{name}=…` or `{name}!=…`")));
    }
    Ok(Condition { subject, relation })
}

fn find(named: &Named, sweeps: &[SweepFacts<'_>]) -> Result<Vec<SweepId>, SelectError> {
    let found: Vec<SweepId> = match named {
        Named::All => return Ok(sweeps.iter().map(|sweep| sweep.id).collect()),
        Named::Last => sweeps.iter().map(|sweep| sweep.id).max().into_iter().collect(),
        Named::Range(range) => {
            sweeps.iter().map(|sweep| sweep.id).filter(|id| range.contains(&id.0)).collect()
        }
        Named::Called(name) => {
            sweeps.iter().filter(|sweep| sweep.name == name).map(|sweep| sweep.id).collect()
        }
    };
    match (named, found.as_slice()) {
        (Named::Called(name), [_, .., newest]) => {
            let ids: Vec<String> = found.iter().map(ToString::to_string).collect();
            let error = SelectError::new(format!("several sweeps are called `{name}`: {}", ids.join(", ")));
            Err(error.help(format!("name the one that is meant by its id, such as {newest}")))
        }
        (_, [_, ..]) => Ok(found),
        (Named::Called(name), []) => {
            let names: Vec<&str> = sweeps.iter().map(|sweep| sweep.name).chain(["all", "last"]).collect();
            let near = did_you_mean(name, names, "`sweep status` lists them");
            Err(SelectError::new(format!("there is no sweep `{name}`")).help(near))
        }
        (Named::Range(range), []) if range.start() == range.end() => {
            Err(SelectError::new(format!("there is no sweep {}", range.start())))
        }
        (_, []) => Err(SelectError::new("there is no such sweep").help("`sweep status` lists them")),
    }
}

impl Condition {
    fn holds(&self, sweep: &SweepFacts<'_>) -> bool {
        let among = |is_one: bool| is_one == (self.relation == Relation::Equal);
        match &self.subject {
            Subject::Id(numbers) => numbers.hold(sweep.id.0),
            Subject::Name(names) => among(names.contains(sweep.name)),
            Subject::State(states) => among(states.contains(&sweep.state)),
            Subject::Priority(numbers) => numbers.hold(sweep.priority),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(text: &str) -> Result<Vec<i64>, String> {
        let sweep = |id, name, state, priority| SweepFacts { id: SweepId(id), name, state, priority };
        let sweeps = [
            sweep(1, "kd", SweepState::Succeeded, 0),
            sweep(2, "mask", SweepState::Running, 5),
            sweep(3, "kd", SweepState::Queued, 0),
            sweep(4, "2", SweepState::Queued, -1),
        ];
        let selector = SweepSelector::parse(&[text]).map_err(|error| error.to_string())?;
        let selected = selector.select(&sweeps).map_err(|error| error.to_string())?;
        Ok(selected.into_iter().map(|id| id.0).collect())
    }

    #[test]
    fn sweeps_are_named_by_id_and_name_and_by_what_they_are() {
        for (text, expected) in [
            ("1,3-9", &[1, 3, 4][..]),
            ("all", &[1, 2, 3, 4]),
            ("last", &[4]),
            ("mask", &[2]),
            // An id before a name; in quotes it is a name.
            ("2", &[2]),
            ("'2'", &[4]),
            ("name=kd", &[1, 3]),
            ("name=kd state=queued", &[3]),
            ("state!=succeeded priority>=0", &[2, 3]),
            ("priority=-1,5", &[2, 4]),
            ("id<3", &[1, 2]),
            ("id!=2-3", &[1, 4]),
            ("priority<=-1", &[4]),
            ("priority=1-9", &[2]),
        ] {
            assert_eq!(selected(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_or_several_is_said() {
        for (text, said) in [
            ("kd", "several sweeps are called `kd`: 1, 3; name the one that is meant by its id, such as 3"),
            ("msk", "there is no sweep `msk`; did you mean `mask`?"),
            ("9", "there is no sweep 9"),
            ("0", "ids count from 1"),
            ("7-9", "there is no such sweep"),
            ("state=paued", "did you mean `paused`?"),
            ("stat=queued", "sweeps can't be selected by `stat`; did you mean `state`?"),
            ("name<kd", "`name` has no order, so nothing is `<`; write `name=…` or `name!=…`"),
            (
                "id<1-3",
                "`id<` takes one number, and `1-3` are several; write `id<1`, or `id=1-3` for just these",
            ),
            ("priority>=1-3", "`priority>=` takes one number, and `1-3` are several"),
            ("priority<0,1", "`priority<` takes one number, and `0,1` are several"),
            ("priority=high", "`priority` is a whole number, and `high` is none"),
        ] {
            let error = selected(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn one_sweep_is_told_from_several() {
        let parse = |text: &str| SweepSelector::parse(&[text]).unwrap();
        let one = |text: &str| SweepSelector::one(text).unwrap();
        assert_eq!((one("3"), one("last")), (parse("3"), parse("last")));
        for name in ["all", "a, b=c", "3-4"] {
            assert_eq!(one(name), parse(&format!("'{name}'")), "{name}");
        }
        assert!(SweepSelector::one("").is_err() && SweepSelector::one("0").is_err());
        assert_eq!((parse("3").id(), parse("kd").id(), parse("3-4").id()), (Some(SweepId(3)), None, None));
        assert!(parse("3").is_one() && parse("last").is_one() && parse("kd").is_one());
        assert!(!parse("all").is_one() && !parse("3,4").is_one() && !parse("3 state=queued").is_one());
    }
}
