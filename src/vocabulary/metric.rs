use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Metrics of one report by name. Values are finite: what is not finite is not reported.
pub type Metrics = BTreeMap<String, f64>;

/// Metrics that measure the machine and not the result; left out of every comparison of bits.
pub const VOLATILE_METRICS: &[&str] = &["images_per_second", "seconds"];

/// Whether a metric measures the machine and not the result.
#[must_use]
pub fn is_volatile(metric: &str) -> bool {
    VOLATILE_METRICS.contains(&metric)
}

/// Of which epoch a trial's metrics are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum EpochChoice {
    /// The last value of each.
    #[default]
    Last,
    /// The epoch in which the sweep's metric was best. It selects on the data that it is evaluated on.
    Best,
    /// The state after this one, counted from 1.
    At(u32),
}

/// Text that names no epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no epoch: it can be `last`, `best`, or a number from 1")]
pub struct ParseEpochChoiceError(String);

impl fmt::Display for EpochChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EpochChoice::Last => f.write_str("last"),
            EpochChoice::Best => f.write_str("best"),
            EpochChoice::At(epoch) => epoch.fmt(f),
        }
    }
}

impl FromStr for EpochChoice {
    type Err = ParseEpochChoiceError;

    fn from_str(text: &str) -> Result<EpochChoice, ParseEpochChoiceError> {
        match text {
            "last" => return Ok(EpochChoice::Last),
            "best" => return Ok(EpochChoice::Best),
            _ => {}
        }
        let epoch = text.parse().ok().filter(|epoch| *epoch > 0 && text.bytes().all(|b| b.is_ascii_digit()));
        epoch.map(EpochChoice::At).ok_or_else(|| ParseEpochChoiceError(text.to_owned()))
    }
}

impl From<EpochChoice> for String {
    fn from(epoch: EpochChoice) -> String {
        epoch.to_string()
    }
}

impl TryFrom<String> for EpochChoice {
    type Error = ParseEpochChoiceError;

    fn try_from(text: String) -> Result<EpochChoice, ParseEpochChoiceError> {
        text.parse()
    }
}

#[cfg(feature = "coordinator")]
impl utoipa::ToSchema for EpochChoice {
    fn name() -> std::borrow::Cow<'static, str> {
        "EpochChoice".into()
    }
}

#[cfg(feature = "coordinator")]
impl utoipa::PartialSchema for EpochChoice {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^(last|best|[1-9][0-9]{0,8})$"))
            .description(Some("Of which epoch a trial's metrics are."))
            .into()
    }
}

/// What a sweep is ranked by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
pub struct Metric {
    /// Its name in the reports.
    pub name: String,
    /// Which direction is better.
    pub goal: Goal,
}

/// Which direction of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "coordinator", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// More is better.
    Maximize,
    /// Less is better.
    Minimize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_back_what_it_prints() {
        for epoch in [EpochChoice::Last, EpochChoice::Best, EpochChoice::At(1), EpochChoice::At(u32::MAX)] {
            assert_eq!(epoch.to_string().parse(), Ok(epoch));
        }
        for text in ["", "0", "first", "-1", "+1", "1.5", "4294967296"] {
            assert!(text.parse::<EpochChoice>().is_err(), "{text}");
        }
    }
}
