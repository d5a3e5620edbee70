use std::path::PathBuf;

use crate::protocol::http::{PROTOCOL, Problem};
use crate::vocabulary::CheckpointHash;

/// Why a call to the coordinator has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address can't be one of a coordinator.
    #[error("`{url}` is no coordinator's address (expected `http://HOST:PORT`)")]
    BadAddress { url: String },
    /// The token can't be sent as a header.
    #[error(
        "the token holds characters that no token has; it is the one line of the coordinator's token file"
    )]
    BadToken,
    /// The HTTP client itself could not be set up.
    #[error("can't set up an HTTP client")]
    Setup(#[source] reqwest::Error),
    /// Nobody says where the coordinator is.
    #[error("no coordinator is announced in `{}`; start one there with `sweep serve`", file.display())]
    Unannounced { file: PathBuf },
    /// It is elsewhere than it was; the answer came from somebody else, or from its end.
    #[error("the coordinator has moved to {url}")]
    Moved { url: String },
    /// Nobody answered, or the connection broke before the answer was complete.
    #[error("can't reach the coordinator at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// Nothing came for too long.
    #[error("the coordinator at {url} fell silent")]
    Silent { url: String },
    /// A file of this host can't be read or written.
    #[error("can't transfer `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// What came is not what its name says.
    #[error(
        "what came as artifact `{hash}` has the BLAKE3 hash `{found}`; the coordinator's copy is damaged"
    )]
    Damaged { hash: CheckpointHash, found: String },
    /// The coordinator answered that it won't.
    #[error("{}", describe(.problem))]
    Refused { status: u16, problem: Box<Problem> },
    /// The answer is not what this program's version understands.
    #[error("the coordinator at {url} gave an answer that is none: {what}")]
    Garbled { url: String, what: String },
    /// The coordinator is of another build.
    #[error(
        "the coordinator at {url} speaks protocol {protocol}, this program ({}) protocol {PROTOCOL} (start both from one build of sweep)",
        env!("CARGO_PKG_VERSION")
    )]
    OtherProtocol { url: String, protocol: u32 },
}

impl ClientError {
    /// Whether the same call may succeed later, with nothing changed on this side.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Unannounced { .. }
            | ClientError::Moved { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Silent { .. } => true,
            // Its own faults, a busy coordinator, and a proxy that waits for one.
            ClientError::Refused { status, .. } => matches!(*status, 408 | 429 | 500..=599),
            ClientError::BadAddress { .. }
            | ClientError::BadToken
            | ClientError::Setup(_)
            | ClientError::File { .. }
            | ClientError::Damaged { .. }
            | ClientError::Garbled { .. }
            | ClientError::OtherProtocol { .. } => false,
        }
    }
}

fn describe(problem: &Problem) -> String {
    match &problem.help {
        Some(help) => format!("{} ({help})", problem.detail),
        None => problem.detail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> ClientError {
        ClientError::Refused { status, problem: Box::new(Problem::new(status, "x", "no")) }
    }

    #[test]
    fn faults_of_the_coordinator_are_worth_another_try_and_refusals_are_not() {
        assert!(refused(503).is_transient());
        assert!(refused(429).is_transient());
        assert!(!refused(400).is_transient());
        assert!(!refused(401).is_transient());
        assert!(!ClientError::BadToken.is_transient());
    }
}
