//! Exact decimal numbers, so that 0.1, 0.2 … 0.9 are what they look like, and not what adding 0.1 in binary makes of them.

use serde_json::Value;

use super::scalar::resolve;

/// `mantissa` × 10^−`places`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    mantissa: i128,
    /// Digits behind the point.
    places: u32,
    /// Whether it was written without point and exponent.
    is_whole: bool,
}

/// Digits that a number may have: what is below 10³⁰ leaves room for products in 128 bits.
const MOST_DIGITS: u32 = 30;

impl Decimal {
    /// The number in a plain scalar's text, such as `-1.50` or `1e-4`; `None` if it is none or has too many digits.
    pub(super) fn parse(text: &str) -> Option<Decimal> {
        let is_whole = resolve(text).ok().filter(Value::is_number)?.is_i64();
        if is_whole {
            // Also 0x10, which has no decimal digits.
            let mantissa = i128::from(resolve(text).ok()?.as_i64()?);
            return Some(Decimal { mantissa, places: 0, is_whole });
        }
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let places = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let number = match u32::try_from(places) {
            Ok(places) => Decimal { mantissa, places, is_whole },
            Err(_) => {
                let zeros =
                    u32::try_from(places.unsigned_abs()).ok().filter(|zeros| *zeros <= MOST_DIGITS)?;
                Decimal { mantissa: mantissa.checked_mul(10_i128.pow(zeros))?, places: 0, is_whole }
            }
        };
        (number.places <= MOST_DIGITS && number.mantissa.unsigned_abs() < 10_u128.pow(MOST_DIGITS))
            .then_some(number)
    }

    pub(super) fn as_f64(self) -> f64 {
        self.to_string().parse().expect("digits and a point are a number")
    }

    pub(super) fn is_positive(self) -> bool {
        self.mantissa > 0
    }

    pub(super) fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// `factor` times this number; `None` beyond 128 bits.
    pub(super) fn times(self, factor: i128) -> Option<Decimal> {
        Some(Decimal { mantissa: self.mantissa.checked_mul(factor)?, ..self })
    }

    /// As a value: a whole number where it was written as one.
    pub(super) fn value(self) -> Option<Value> {
        let text = self.to_string();
        resolve(&if self.is_whole || text.contains('.') { text } else { text + ".0" }).ok()
    }

    /// With this many places behind the point.
    fn with_places(self, places: u32) -> Option<Decimal> {
        let factor = 10_i128.checked_pow(places.checked_sub(self.places)?)?;
        Some(Decimal { mantissa: self.mantissa.checked_mul(factor)?, places, ..self })
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places = self.places as usize;
        let digits = format!("{:0>width$}", self.mantissa.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        if places == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{fraction}") }
    }
}

/// Whether the end of a range belongs to it, if a step hits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Included,
    Excluded,
}

/// Why there is no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRange {
    StepIsZero,
    Empty,
    TooLong,
}

/// `start`, `start + step`, … up to `stop`, at most `most` of them.
pub(super) fn range(
    start: Decimal,
    stop: Decimal,
    step: Decimal,
    end: Stop,
    most: u64,
) -> Result<Vec<Value>, NoRange> {
    if step.is_zero() {
        return Err(NoRange::StepIsZero);
    }
    let places = start.places.max(stop.places).max(step.places);
    let is_whole = start.is_whole && step.is_whole;
    let aligned =
        |number: Decimal| number.with_places(places).map(|number| number.mantissa).ok_or(NoRange::TooLong);
    let (first, last, step) = (aligned(start)?, aligned(stop)?, aligned(step)?);
    let distance = last.checked_sub(first).ok_or(NoRange::TooLong)? * step.signum();
    let mut steps = distance.div_euclid(step.abs());
    if end == Stop::Excluded && distance.rem_euclid(step.abs()) == 0 {
        steps -= 1;
    }
    if steps < 0 {
        return Err(NoRange::Empty);
    }
    if steps >= i128::from(most) {
        return Err(NoRange::TooLong);
    }
    let number = |index| Decimal { mantissa: first + index * step, places, is_whole };
    (0..=steps).map(|index| number(index).value().ok_or(NoRange::TooLong)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(start: &str, stop: &str, step: &str, end: Stop) -> Result<Value, NoRange> {
        let number = |text| Decimal::parse(text).unwrap();
        range(number(start), number(stop), number(step), end, 1000).map(|values| json!(values))
    }

    #[test]
    fn a_range_of_decimals_has_the_numbers_that_one_would_write() {
        let tenths = json!([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]);
        let found = values("0.1", "0.9", "0.1", Stop::Included).unwrap();
        assert_eq!(found.to_string(), tenths.to_string());
        assert_eq!(values("1", "2", "0.25", Stop::Included), Ok(json!([1.0, 1.25, 1.5, 1.75, 2.0])));
        assert_eq!(values("1e-4", "3e-4", "1e-4", Stop::Included), Ok(json!([1e-4, 2e-4, 3e-4])));
        assert_eq!(values("1", "0", "-0.5", Stop::Included), Ok(json!([1.0, 0.5, 0.0])));
    }

    #[test]
    fn whole_numbers_stay_whole_and_a_stop_that_is_missed_is_left_out() {
        assert_eq!(values("1", "10", "4", Stop::Included), Ok(json!([1, 5, 9])));
        assert_eq!(values("0", "4", "2", Stop::Included), Ok(json!([0, 2, 4])));
        assert_eq!(values("0", "4", "2", Stop::Excluded), Ok(json!([0, 2])));
        assert_eq!(values("0", "5", "2", Stop::Excluded), Ok(json!([0, 2, 4])));
        assert_eq!(values("1e1", "2e1", "5", Stop::Included), Ok(json!([10.0, 15.0, 20.0])));
        assert_eq!(values("0x10", "18", "1", Stop::Included), Ok(json!([16, 17, 18])));
    }

    #[test]
    fn a_range_that_never_ends_or_begins_is_refused() {
        assert_eq!(values("0", "1", "0", Stop::Included), Err(NoRange::StepIsZero));
        assert_eq!(values("1", "0", "0.1", Stop::Included), Err(NoRange::Empty));
        assert_eq!(values("0", "0", "1", Stop::Excluded), Err(NoRange::Empty));
        assert_eq!(values("0", "1", "0.0001", Stop::Included), Err(NoRange::TooLong));
        assert_eq!(values("1e25", "2", "-1e-25", Stop::Included), Err(NoRange::TooLong));
        assert_eq!(Decimal::parse("1e-300"), None);
        assert_eq!(values("-1e29", "1e29", "1e-9", Stop::Included), Err(NoRange::TooLong));
        for wrong in ["x", "1e-9223372036854775808", "1e9223372036854775807", "1e31"] {
            assert_eq!(Decimal::parse(wrong), None, "{wrong}");
        }
    }
}
