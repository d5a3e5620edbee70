//! What a random search draws from: W&B's distributions.

use serde_json::Value;

use super::decimal::Decimal;
use super::draws::Draw;

/// A distribution, and the step to which what is drawn is rounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    pub shape: Shape,
    /// `q`: a drawn X becomes round(X ÷ q) × q, exactly in decimal; half-way cases go to the even multiple.
    pub step: Option<Decimal>,
}

/// How what is drawn is distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Whole numbers, both ends included.
    Integers {
        least: i64,
        most: i64,
    },
    /// Uniform between two ends.
    Uniform {
        from: f64,
        to: f64,
    },
    /// The logarithm is uniform between those of the ends, which are positive.
    LogUniform {
        from: f64,
        to: f64,
    },
    Normal {
        mean: f64,
        deviation: f64,
    },
    /// The natural logarithm is normal.
    LogNormal {
        mean: f64,
        deviation: f64,
    },
}

impl Distribution {
    pub(super) fn of(shape: Shape) -> Distribution {
        Distribution { shape, step: None }
    }

    /// One value; `None` where it is no finite number or has too many digits.
    pub(super) fn value(&self, draw: &mut Draw) -> Option<Value> {
        let number = match self.shape {
            Shape::Integers { least, most } => {
                let offset = match most.abs_diff(least).checked_add(1) {
                    Some(count) => draw.below(count),
                    None => draw.word(),
                };
                return Some(least.wrapping_add_unsigned(offset).into());
            }
            // Rounding must not lead out of the ends.
            Shape::Uniform { from, to } => (from + draw.unit() * (to - from)).clamp(from, to),
            Shape::LogUniform { from, to } => {
                let (low, high) = (libm::log(from), libm::log(to));
                libm::exp(low + draw.unit() * (high - low)).clamp(from, to)
            }
            Shape::Normal { mean, deviation } => mean + deviation * draw.normal(),
            Shape::LogNormal { mean, deviation } => libm::exp(mean + deviation * draw.normal()),
        };
        self.rounded(number)
    }

    /// The least and the greatest value; `None` where there are none.
    pub(super) fn ends(&self) -> Option<[Value; 2]> {
        match self.shape {
            Shape::Integers { least, most } => Some([least.into(), most.into()]),
            Shape::Uniform { from, to } | Shape::LogUniform { from, to } => {
                Some([self.rounded(from)?, self.rounded(to)?])
            }
            Shape::Normal { .. } | Shape::LogNormal { .. } => None,
        }
    }

    /// Whether all its values are whole numbers.
    pub(super) fn is_whole(&self) -> bool {
        let is_whole_step = || {
            self.step
                .and_then(Decimal::value)
                .is_some_and(|step| step.as_f64().is_some_and(|q| q.fract() == 0.0))
        };
        matches!(self.shape, Shape::Integers { .. }) || is_whole_step()
    }

    fn rounded(&self, number: f64) -> Option<Value> {
        let Some(step) = self.step else {
            // Adding zero turns −0.0, which is written otherwise, into 0.0.
            return serde_json::Number::from_f64(number + 0.0).map(Value::Number);
        };
        let multiple = (number / step.as_f64()).round_ties_even();
        // Beyond it floating point has no whole numbers of its own.
        const MOST: f64 = 9_007_199_254_740_992.0;
        if multiple.is_nan() || multiple.abs() > MOST {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2⁵³")]
        let multiple = multiple as i64;
        step.times(multiple.into())?.value()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::draws::draw;
    use super::*;

    fn values(distribution: &Distribution) -> Vec<Value> {
        (0..2000).map(|index| distribution.value(&mut draw(1, "x", index)).unwrap()).collect()
    }

    fn numbers(distribution: &Distribution) -> Vec<f64> {
        values(distribution).iter().map(|value| value.as_f64().unwrap()).collect()
    }

    fn share_below(distribution: &Distribution, limit: f64) -> f64 {
        numbers(distribution).iter().filter(|number| **number < limit).count() as f64 / 2000.0
    }

    fn with_step(shape: Shape, step: &str) -> Distribution {
        Distribution { shape, step: Decimal::parse(step) }
    }

    #[test]
    fn half_of_what_is_drawn_lies_below_the_median() {
        for (shape, median) in [
            (Shape::Uniform { from: -1.0, to: 3.0 }, 1.0),
            (Shape::LogUniform { from: 1e-4, to: 1.0 }, 1e-2),
            (Shape::Normal { mean: 5.0, deviation: 0.1 }, 5.0),
            (Shape::LogNormal { mean: 2.0, deviation: 0.5 }, 2_f64.exp()),
            (Shape::Integers { least: 0, most: 9 }, 5.0),
        ] {
            let share = share_below(&Distribution::of(shape), median);
            assert!((share - 0.5).abs() < 0.05, "{shape:?}: {share}");
        }
    }

    #[test]
    fn nothing_lies_outside_the_ends_and_both_ends_of_integers_are_drawn() {
        let distribution = Distribution::of(Shape::LogUniform { from: 0.1, to: 0.3 });
        assert!(numbers(&distribution).iter().all(|number| (0.1..=0.3).contains(number)));
        let dice = values(&Distribution::of(Shape::Integers { least: -2, most: 1 }));
        for side in [-2, -1, 0, 1] {
            assert!(dice.contains(&json!(side)));
        }
        assert!(!dice.contains(&json!(2)) && !dice.contains(&json!(-3)));
        let all = Distribution::of(Shape::Integers { least: i64::MIN, most: i64::MAX });
        assert!(values(&all).iter().any(|value| value.as_i64() < Some(0)));
    }

    #[test]
    fn rounded_values_are_multiples_as_one_would_write_them() {
        let tenths = values(&with_step(Shape::Uniform { from: 0.0, to: 1.0 }, "0.1"));
        assert!(tenths.contains(&json!(0.3)) && tenths.iter().all(|value| value.to_string().len() == 3));
        let wholes = with_step(Shape::LogUniform { from: 32.0, to: 256.0 }, "8");
        assert!(values(&wholes).iter().all(|value| value.as_i64().is_some_and(|number| number % 8 == 0)));
        assert_eq!(wholes.ends(), Some([json!(32), json!(256)]));
        assert!(wholes.is_whole());
    }
}
