//! What one attempt may use, on its way from a spec through the table to the agent that enforces it.

use serde::{Deserialize, Serialize};

use super::wire::millis;
use crate::protocol::http::Limits;
use crate::spec::{Spec, Trainer};

/// The part of a spec's `resources` that all jobs of a sweep have in common. The table holds it as JSON: fields are only
/// ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gpus: Option<u32>,
    /// CPUs of a program; nothing where it is the built-in trainer's, or was stored before this was said here: then the job
    /// says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cpus: Option<u32>,
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

impl From<&Spec> for Resources {
    fn from(spec: &Spec) -> Resources {
        let resources = &spec.resources;
        Resources {
            gpus: resources.gpus,
            cpus: (spec.trainer != Trainer::Resnet).then_some(resources.cpus),
            memory_bytes: resources.memory_bytes,
            time_millis: resources.time.map(millis),
            stall_millis: resources.stall_timeout.map(millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> String {
        let spec = crate::spec::parse("s.yaml", text, &[]).unwrap();
        serde_json::to_string(&Resources::from(&spec)).unwrap()
    }

    #[test]
    fn what_a_spec_says_comes_back_from_the_table() {
        let text = "command: [run]\nresources: {gpus: 2, cpus: 3, memory: 8G, time: 90s, stall_timeout: 1m}";
        let read: Resources = serde_json::from_str(&stored(text)).unwrap();
        let limits =
            Limits { time_millis: Some(90_000), stall_millis: Some(60_000), memory_bytes: Some(8 << 30) };
        assert_eq!((read.gpus, read.cpus, read.limits()), (Some(2), Some(3), limits));
    }

    #[test]
    fn a_spec_without_resources_limits_nothing() {
        let bare = stored("parameters: {}");
        assert_eq!(bare, "{}");
        assert!(serde_json::from_str::<Resources>(&bare).unwrap().limits().is_unlimited());
        assert_eq!(stored("command: [run]"), r#"{"cpus":1}"#, "so that submitting it again takes more back");
    }
}
