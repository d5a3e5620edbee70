use std::ops::RangeInclusive;

use super::SelectError;
use super::grammar::{self, Relation, Test, Word};

/// What a condition asks of a whole number. An order has one limit and never a range: `id<1-3` could mean either end.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Numbers {
    Among(Vec<RangeInclusive<i64>>),
    NotAmong(Vec<RangeInclusive<i64>>),
    Ordered(Relation, i64),
}

impl Numbers {
    /// Reads `trial=1,3,5-8` and `trial<3`.
    pub(super) fn read(test: &Test) -> Result<Numbers, SelectError> {
        let ranges = || test.values.iter().map(|word| read_range(&test.name, word)).collect::<Result<_, _>>();
        match test.relation {
            Relation::Equal => Ok(Numbers::Among(ranges()?)),
            Relation::NotEqual => Ok(Numbers::NotAmong(ranges()?)),
            order => {
                let limit = read_range(&test.name, one_limit(test)?)?;
                match limit.start() == limit.end() {
                    true => Ok(Numbers::Ordered(order, *limit.start())),
                    false => Err(several_limits(test, &limit.start().to_string())),
                }
            }
        }
    }

    pub(super) fn hold(&self, number: i64) -> bool {
        let is_among = |ranges: &[RangeInclusive<i64>]| ranges.iter().any(|range| range.contains(&number));
        match self {
            Numbers::Among(ranges) => is_among(ranges),
            Numbers::NotAmong(ranges) => !is_among(ranges),
            Numbers::Ordered(order, limit) => order.holds(&number, limit),
        }
    }
}

/// The one value of a test that asks for an order.
pub(super) fn one_limit(test: &Test) -> Result<&Word, SelectError> {
    match test.values.as_slice() {
        [limit] => Ok(limit),
        values => Err(several_limits(test, values.first().map_or("", |word| &word.text))),
    }
}

fn several_limits(test: &Test, first: &str) -> SelectError {
    let written: Vec<&str> = test.values.iter().map(|word| word.text.as_str()).collect();
    let (name, relation, written) = (&test.name, test.relation.text(), written.join(","));
    SelectError::new(format!("`{name}{relation}` takes one number, and `{written}` are several"))
        .help(format!("write `{name}{relation}{first}`, or `{name}={written}` for just these"))
}

fn read_range(name: &str, word: &Word) -> Result<RangeInclusive<i64>, SelectError> {
    // No range begins below 0, since its `-` stands between two numbers; a number may.
    let negative = || word.text.parse().ok().filter(|number| *number < 0).map(|number| Ok(number..=number));
    grammar::range(&word.text).or_else(negative).unwrap_or_else(|| {
        let error = SelectError::new(format!("`{name}` is a whole number, and `{}` is none", word.text));
        Err(error.help(format!("write `{name}=1,3,5-8` or `{name}<3`")))
    })
}
