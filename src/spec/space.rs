//! The configurations of a spec: axes, the conditions under which they exist, what is left out; and which
//! configuration has which number.
//!
//! A configuration's index is its place in the full product of all axes, those under conditions included: the first axis
//! varies slowest. Where an axis' conditions don't hold it stands at its first place; its other places are gaps, and so
//! are excluded combinations. In a random search the index is that of the draw.

use std::borrow::Cow;

use serde_json::Value;

use super::distribution::Distribution;
use super::draws::draw;
use crate::vocabulary::Parameters;

/// All configurations of a spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// Fixed parameters too. An axis comes after those that its conditions name.
    pub axes: Vec<Axis>,
    /// A configuration in which all conditions of one of these hold is left out.
    pub exclude: Vec<Vec<Condition>>,
    pub search: Search,
}

/// How configurations are taken from the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// All of them.
    Grid,
    /// So many draws, each from all axes alike; two may be the same.
    Random { count: u64, seed: u64 },
}

/// One parameter, or several that move together, and what they can be.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub names: Vec<String>,
    /// It exists where all of these hold; always if there are none.
    pub when: Vec<Condition>,
    pub choices: Choices,
}

/// What an axis can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Choices {
    /// Rows of one value for each name: one where the axis is fixed, several, all distinct, where it is swept.
    Listed(Vec<Vec<Value>>),
    /// The same with the probability of each; they sum up to 1.
    Weighted(Vec<Vec<Value>>, Vec<f64>),
    /// Anything; only a random search has it, for a single name.
    Drawn(Distribution),
}

/// Holds where a parameter has one of some values; nowhere where it does not exist.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub parameter: String,
    pub any_of: Vec<Value>,
}

/// One combination of places on all axes.
#[derive(Debug)]
pub(super) struct Combination {
    pub(super) index: u64,
    /// The row at which each axis stands.
    pub(super) places: Vec<usize>,
    /// Whether each axis exists.
    pub(super) exists: Vec<bool>,
    /// What the existing axes give.
    pub(super) parameters: Parameters,
}

impl Condition {
    #[must_use]
    pub fn holds(&self, parameters: &Parameters) -> bool {
        let value = parameters.get(&self.parameter);
        value.is_some_and(|value| self.any_of.iter().any(|wanted| is_same(wanted, value)))
    }
}

/// Whether two values are the same; 1 and 1.0 are.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    one == other || one.is_f64() != other.is_f64() && one.is_number() && one.as_f64() == other.as_f64()
}

impl Axis {
    pub(super) fn rows(&self) -> &[Vec<Value>] {
        match &self.choices {
            Choices::Listed(rows) | Choices::Weighted(rows, _) => rows,
            Choices::Drawn(_) => &[],
        }
    }

    pub(super) fn is_swept(&self) -> bool {
        matches!(self.choices, Choices::Drawn(_)) || self.rows().len() > 1
    }

    fn exists(&self, parameters: &Parameters) -> bool {
        self.when.iter().all(|condition| condition.holds(parameters))
    }

    pub fn radix(&self) -> u64 {
        self.rows().len().max(1) as u64
    }

    /// The place and the row of one draw. What is drawn from is named by the axis' names, joined by commas.
    fn draw(&self, seed: u64, index: u64) -> (usize, Cow<'_, [Value]>) {
        let mut draw = draw(seed, &self.names.join(","), index);
        let place = match &self.choices {
            // Parsing has tried the ends, and the values of what has none.
            Choices::Drawn(distribution) => {
                return (0, Cow::Owned(distribution.value(&mut draw).into_iter().collect()));
            }
            Choices::Listed(rows) => usize::try_from(draw.below(rows.len() as u64)).unwrap_or(0),
            Choices::Weighted(rows, weights) => {
                let mut rest = draw.unit();
                let reached = weights.iter().position(|weight| {
                    rest -= weight;
                    rest < 0.0
                });
                // The weights may add up to slightly less than 1; what has none is never drawn.
                let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
                reached.unwrap_or(last).min(rows.len() - 1)
            }
        };
        (place, Cow::Borrowed(&self.rows()[place]))
    }
}

impl Space {
    /// How many indices there are, gaps included; the greatest number where there are more.
    #[must_use]
    pub fn index_count(&self) -> u64 {
        match self.search {
            Search::Grid => self.axes.iter().map(Axis::radix).fold(1, u64::saturating_mul),
            Search::Random { count, .. } => count,
        }
    }

    /// The configuration of this index, as it is written; `None` for a gap or beyond the last.
    #[must_use]
    pub fn configuration(&self, index: u64) -> Option<Parameters> {
        if index >= self.index_count() {
            return None;
        }
        let combination = match self.search {
            Search::Grid => self.combination(self.places(index)?),
            Search::Random { seed, .. } => self.drawn(seed, index, &[]),
        };
        let stands = combination.places.iter().zip(&combination.exists);
        let is_gap =
            self.search == Search::Grid && stands.into_iter().any(|(place, exists)| *place > 0 && !exists);
        let is_left_out = is_gap || self.is_excluded(&combination.parameters);
        (!is_left_out).then_some(combination.parameters)
    }

    /// All configurations with their indices. Gaps cost nothing where conditions make them, a step where `exclude` does.
    pub fn configurations(&self) -> impl Iterator<Item = (u64, Parameters)> {
        let all = self.combinations(vec![true; self.axes.len()]);
        all.filter(|combination| !self.is_excluded(&combination.parameters))
            .map(|combination| (combination.index, combination.parameters))
    }

    /// The combinations of the axes that move, excluded ones too; each other axis stands at its first place, or its first
    /// draw.
    pub(super) fn combinations(&self, moves: Vec<bool>) -> impl Iterator<Item = Combination> {
        let mut next = Some(vec![0; self.axes.len()]);
        let mut index = 0;
        std::iter::from_fn(move || match self.search {
            Search::Grid => {
                let combination = self.combination(next.take()?);
                next = self.successor(&combination, &moves);
                Some(combination)
            }
            Search::Random { count, seed } => {
                let combination = (index < count).then(|| self.drawn(seed, index, &moves));
                index += 1;
                combination
            }
        })
    }

    /// Whether the parameter of this name has more than one value.
    pub(super) fn varies(&self, name: &str) -> bool {
        let mut values: Vec<&Value> = Vec::new();
        for axis in &self.axes {
            let Some(column) = axis.names.iter().position(|own| own == name) else { continue };
            if matches!(axis.choices, Choices::Drawn(_)) {
                return true;
            }
            values.extend(axis.rows().iter().filter_map(|row| row.get(column)));
        }
        values.iter().any(|value| *value != values[0])
    }

    pub(super) fn is_excluded(&self, parameters: &Parameters) -> bool {
        self.exclude.iter().any(|conditions| conditions.iter().all(|condition| condition.holds(parameters)))
    }

    /// The index of a configuration of which `is_row` knows whether an axis stands at a row; whether it is the whole of
    /// it remains to be checked.
    pub(super) fn index_by(&self, is_row: impl Fn(&Axis, &[Value]) -> bool) -> Option<u64> {
        let mut index = 0_u64;
        let mut chosen = Parameters::new();
        for axis in &self.axes {
            let mut place = 0;
            if axis.exists(&chosen) {
                let rows = axis.rows();
                if rows.len() > 1 {
                    place = rows.iter().position(|row| is_row(axis, row))?;
                }
                chosen.extend(axis.names.iter().cloned().zip(rows.get(place)?.iter().cloned()));
            }
            index = index.checked_mul(axis.radix())?.checked_add(place as u64)?;
        }
        Some(index)
    }

    fn places(&self, mut index: u64) -> Option<Vec<usize>> {
        let mut places = vec![0; self.axes.len()];
        for (place, axis) in places.iter_mut().zip(&self.axes).rev() {
            *place = usize::try_from(index % axis.radix()).ok()?;
            index /= axis.radix();
        }
        Some(places)
    }

    /// The places of the next combination that is no gap: what does not exist stays at its first place.
    fn successor(&self, now: &Combination, moves: &[bool]) -> Option<Vec<usize>> {
        let can_move =
            |at: &usize| moves[*at] && now.exists[*at] && now.places[*at] + 1 < self.axes[*at].rows().len();
        let moving = (0..self.axes.len()).rev().find(can_move)?;
        let mut places = now.places.clone();
        places[moving] += 1;
        places[moving + 1..].fill(0);
        Some(places)
    }

    fn combination(&self, places: Vec<usize>) -> Combination {
        let radices = self.axes.iter().map(Axis::radix);
        let index = radices
            .zip(&places)
            .fold(0, |index: u64, (radix, place)| index.saturating_mul(radix).saturating_add(*place as u64));
        let mut parameters = Parameters::new();
        let mut exists = Vec::with_capacity(self.axes.len());
        for (axis, place) in self.axes.iter().zip(&places) {
            exists.push(axis.exists(&parameters));
            if exists.last() == Some(&true)
                && let Some(row) = axis.rows().get(*place)
            {
                parameters.extend(axis.names.iter().cloned().zip(row.iter().cloned()));
            }
        }
        Combination { index, places, exists, parameters }
    }

    /// The draw of this index; axes that don't move show their first. No `moves` means that all do.
    fn drawn(&self, seed: u64, index: u64, moves: &[bool]) -> Combination {
        let mut combination =
            Combination { index, places: vec![], exists: vec![], parameters: Parameters::new() };
        for (at, axis) in self.axes.iter().enumerate() {
            let exists = axis.exists(&combination.parameters);
            let is_moving = moves.get(at).copied().unwrap_or(true);
            let (place, row) = axis.draw(seed, if is_moving { index } else { 0 });
            if exists {
                combination.parameters.extend(axis.names.iter().cloned().zip(row.iter().cloned()));
            }
            combination.places.push(place);
            combination.exists.push(exists);
        }
        combination
    }
}
