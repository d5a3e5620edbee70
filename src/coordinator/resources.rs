//! What one attempt may use, on its way from a spec through the table to the agent that enforces it.

use serde::{Deserialize, Serialize};

use super::wire::millis;
use crate::protocol::http::Limits;
use crate::spec;

/// The part of a spec's `resources` that all jobs of a sweep have in common. The table holds it as JSON: fields are only
/// ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gpus: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_millis: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stall_millis: Option<u64>,
}

impl Resources {
    pub(super) fn limits(&self) -> Limits {
        let Resources { memory_bytes, time_millis, stall_millis, .. } = *self;
        Limits { time_millis, stall_millis, memory_bytes }
    }
}

impl From<&spec::Resources> for Resources {
    fn from(resources: &spec::Resources) -> Resources {
        Resources {
            gpus: resources.gpus,
            memory_bytes: resources.memory_bytes,
            time_millis: resources.time.map(millis),
            stall_millis: resources.stall_timeout.map(millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_spec_says_comes_back_from_the_table() {
        let spec = spec::Resources {
            gpus: Some(2),
            memory_bytes: Some(8 << 30),
            time: Some(Duration::from_secs(90)),
            stall_timeout: Some(Duration::from_secs(60)),
            ..spec::Resources::default()
        };
        let stored = serde_json::to_string(&Resources::from(&spec)).unwrap();
        let read: Resources = serde_json::from_str(&stored).unwrap();
        let limits =
            Limits { time_millis: Some(90_000), stall_millis: Some(60_000), memory_bytes: Some(8 << 30) };
        assert_eq!((read.gpus, read.limits()), (Some(2), limits));
    }

    #[test]
    fn a_spec_without_resources_limits_nothing() {
        let stored = serde_json::to_string(&Resources::from(&spec::Resources::default())).unwrap();
        assert_eq!(stored, "{}");
        assert!(serde_json::from_str::<Resources>(&stored).unwrap().limits().is_unlimited());
    }
}
