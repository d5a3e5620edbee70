use crate::client::ClientError;
use crate::coordinator::{CodeError, CoordinatorError, PrepareError};
use crate::spec::SpecError;

/// The code of a problem whose detail is what a wrong spec says of itself.
const BAD_SPEC: &str = "bad_spec";

/// What the program's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0
    Success,
    /// 1: trials failed, or the machine, the disk or the network did.
    WorkFailed,
    /// 2: what was asked for can't be done as it is written.
    Usage,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        std::process::ExitCode::from(match status {
            ExitStatus::Success => 0,
            ExitStatus::WorkFailed => 1,
            ExitStatus::Usage => 2,
        })
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum CliError {
    /// The spec is wrong; says where by itself.
    Spec(Box<SpecError>),
    /// The same as a coordinator elsewhere says it.
    SpecElsewhere(String),
    /// What was asked for can't be done as it is written.
    Usage(anyhow::Error),
    /// It could be done, but was not.
    Failed(anyhow::Error),
    /// Trials failed, or the user stopped the work; all is said already.
    Unsuccessful,
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>) -> CliError {
        CliError::Usage(anyhow::Error::msg(message.into()))
    }

    pub(crate) fn failed(error: impl Into<anyhow::Error>) -> CliError {
        CliError::Failed(error.into())
    }

    /// In one line, for where it is a part of another message.
    pub(super) fn words(&self) -> String {
        match self {
            CliError::Spec(error) => error.to_string(),
            CliError::SpecElsewhere(text) => text.clone(),
            CliError::Usage(error) | CliError::Failed(error) => format!("{error:#}"),
            CliError::Unsuccessful => "it failed".to_owned(),
        }
    }

    pub(super) fn exit_status(&self) -> ExitStatus {
        match self {
            CliError::Spec(_) | CliError::SpecElsewhere(_) | CliError::Usage(_) => ExitStatus::Usage,
            CliError::Failed(_) | CliError::Unsuccessful => ExitStatus::WorkFailed,
        }
    }
}

impl From<PrepareError> for CliError {
    fn from(error: PrepareError) -> CliError {
        match error {
            PrepareError::Spec(error) => CliError::Spec(error),
            // What was asked for is right; the disk is not.
            PrepareError::Weights { .. } | PrepareError::Code(CodeError::Keep { .. }) => {
                CliError::failed(error)
            }
            other => CliError::Usage(other.into()),
        }
    }
}

impl From<CoordinatorError> for CliError {
    fn from(error: CoordinatorError) -> CliError {
        match error {
            CoordinatorError::Prepare(error) => error.into(),
            CoordinatorError::Report(_)
            | CoordinatorError::NoSuchSweep(_)
            | CoordinatorError::NoSuchTrial { .. }
            | CoordinatorError::UnknownTrial { .. }
            | CoordinatorError::NoSuchLog { .. }
            | CoordinatorError::HasEnded { .. }
            | CoordinatorError::NoMetric(_)
            | CoordinatorError::OtherProtocol { .. }
            | CoordinatorError::NoSuchWorker(_) => CliError::Usage(error.into()),
            CoordinatorError::DiskFull | CoordinatorError::File { .. } | CoordinatorError::Store(_) => {
                CliError::Failed(error.into())
            }
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        match error {
            ClientError::Refused { problem, .. } if problem.code == BAD_SPEC => {
                CliError::SpecElsewhere(problem.detail)
            }
            ClientError::Refused { status: 400..=499, .. }
            | ClientError::BadAddress { .. }
            | ClientError::BadToken => CliError::Usage(error.into()),
            _ => CliError::Failed(error.into()),
        }
    }
}
