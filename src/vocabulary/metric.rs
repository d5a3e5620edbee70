use std::collections::BTreeMap;

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
