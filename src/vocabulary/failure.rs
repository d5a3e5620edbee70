use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an attempt ended without completing its job. Each has a budget of its own (`lease`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum FailureReason {
    /// The worker was asked to leave and gave the job back.
    Preempted,
    /// The lease expired: the worker or its network is gone.
    NodeLost,
    /// The node can't run the job and another one may: a dataset is missing or damaged there, or its disk is full.
    NodeFault,
    /// A GPU had too little memory.
    GpuOom,
    /// The host had too little memory.
    HostOom,
    /// The job took longer than it may.
    Timeout,
    /// The trial process made no progress for too long.
    Stalled,
    /// A loss was not a finite number.
    Nan,
    /// The job can't be run as it is written; running it again changes nothing.
    BadConfig,
    /// A job that this one needs failed.
    Upstream,
    /// The trial process ended with this exit code.
    Exit(i32),
    /// The trial process was ended by this signal.
    Signal(i32),
}

/// Text that names no failure reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no failure reason")]
pub struct ParseFailureReasonError(String);

impl FailureReason {
    /// What [`FailureReason::kind`] can be.
    pub const KINDS: [&str; 12] = [
        "preempted",
        "node_lost",
        "node_fault",
        "gpu_oom",
        "host_oom",
        "timeout",
        "stalled",
        "nan",
        "bad_config",
        "upstream",
        "exit",
        "signal",
    ];

    /// The reason without its number: what budgets are counted by.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            FailureReason::Preempted => "preempted",
            FailureReason::NodeLost => "node_lost",
            FailureReason::NodeFault => "node_fault",
            FailureReason::GpuOom => "gpu_oom",
            FailureReason::HostOom => "host_oom",
            FailureReason::Timeout => "timeout",
            FailureReason::Stalled => "stalled",
            FailureReason::Nan => "nan",
            FailureReason::BadConfig => "bad_config",
            FailureReason::Upstream => "upstream",
            FailureReason::Exit(_) => "exit",
            FailureReason::Signal(_) => "signal",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureReason::Exit(code) => write!(f, "exit:{code}"),
            FailureReason::Signal(number) => write!(f, "signal:{number}"),
            other => f.write_str(other.kind()),
        }
    }
}

impl FromStr for FailureReason {
    type Err = ParseFailureReasonError;

    fn from_str(text: &str) -> Result<Self, ParseFailureReasonError> {
        let unknown = || ParseFailureReasonError(text.to_owned());
        if let Some((kind, number)) = text.split_once(':') {
            let number = number.parse().map_err(|_| unknown())?;
            return match kind {
                "exit" => Ok(FailureReason::Exit(number)),
                "signal" => Ok(FailureReason::Signal(number)),
                _ => Err(unknown()),
            };
        }
        let plain = [
            FailureReason::Preempted,
            FailureReason::NodeLost,
            FailureReason::NodeFault,
            FailureReason::GpuOom,
            FailureReason::HostOom,
            FailureReason::Timeout,
            FailureReason::Stalled,
            FailureReason::Nan,
            FailureReason::BadConfig,
            FailureReason::Upstream,
        ];
        plain.into_iter().find(|reason| reason.kind() == text).ok_or_else(unknown)
    }
}

impl From<FailureReason> for String {
    fn from(reason: FailureReason) -> String {
        reason.to_string()
    }
}

impl TryFrom<String> for FailureReason {
    type Error = ParseFailureReasonError;
    fn try_from(text: String) -> Result<Self, ParseFailureReasonError> {
        text.parse()
    }
}

#[cfg(feature = "coordinator")]
impl utoipa::ToSchema for FailureReason {
    fn name() -> std::borrow::Cow<'static, str> {
        "FailureReason".into()
    }
}

#[cfg(feature = "coordinator")]
impl utoipa::PartialSchema for FailureReason {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        const TEXT: &str = "^(preempted|node_lost|node_fault|gpu_oom|host_oom|timeout|stalled|nan|bad_config|upstream|exit:-?[0-9]{1,9}|\
                            signal:[0-9]{1,9})$";
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(TEXT))
            .description(Some("Why an attempt ended without completing its job."))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_back_what_it_prints() {
        for text in
            ["preempted", "node_lost", "node_fault", "nan", "bad_config", "upstream", "exit:3", "signal:9"]
        {
            assert_eq!(text.parse::<FailureReason>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn every_reason_has_one_of_the_kinds() {
        for kind in FailureReason::KINDS {
            let text = if matches!(kind, "exit" | "signal") { format!("{kind}:1") } else { kind.to_owned() };
            assert_eq!(text.parse::<FailureReason>().unwrap().kind(), kind);
        }
    }

    #[test]
    fn a_made_up_reason_is_refused() {
        assert!("exit".parse::<FailureReason>().is_err());
        assert!("tired".parse::<FailureReason>().is_err());
    }
}
