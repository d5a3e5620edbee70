use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::coordinator::{ArtifactError, CodeError, CoordinatorError, PrepareError};
use crate::protocol::http::Problem;
use crate::report::ViewError;
use crate::vocabulary::{CheckpointHash, ParseCheckpointHashError};

/// A busy coordinator has usually caught up by then.
pub(super) const RETRY_AFTER_SECONDS: u64 = 1;

/// Everything that is answered instead of a success.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the request shows no valid token")]
    Unauthorized,
    #[error("there is no such route")]
    NoSuchRoute,
    #[error("this route does not take this method")]
    NoSuchMethod,
    #[error("the body can't be read: {}", .0.body_text())]
    Body(#[from] JsonRejection),
    #[error("the body can't be received: {}", .0.body_text())]
    Received(BytesRejection),
    #[error("the body broke off")]
    BrokenBody,
    #[error("the body did not come in time")]
    SlowBody,
    #[error("the coordinator is busy with other requests")]
    Busy,
    #[error("another copy of the job table is being made or sent")]
    OtherCopy,
    #[error("the body can't be read: `{place}` is a list and should be an object")]
    ListForObject { place: String },
    #[error("the request took too long; what it had begun may still be done")]
    TooLong,
    #[error("the address can't be read: {}", .0.body_text())]
    Path(#[from] PathRejection),
    #[error("the address can't be read: {}", .0.body_text())]
    Query(#[from] QueryRejection),
    #[error("`{0}` is not an id")]
    Id(String),
    #[error(transparent)]
    Hash(ParseCheckpointHashError),
    #[error("there is no artifact `{0}`")]
    NoSuchArtifact(CheckpointHash),
    #[error("the artifact has {size_bytes} bytes")]
    NoSuchByte { size_bytes: u64 },
    #[error("a file can't be read")]
    File(#[source] std::io::Error),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

impl ApiError {
    /// The status, and what programs know the problem by.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            ApiError::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            ApiError::NoSuchRoute => (StatusCode::NOT_FOUND, "no_such_route"),
            ApiError::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "no_such_method"),
            ApiError::Body(rejection) => (rejection.status(), "bad_body"),
            ApiError::Received(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                (StatusCode::PAYLOAD_TOO_LARGE, "large_body")
            }
            ApiError::Received(rejection) => (rejection.status(), "bad_body"),
            ApiError::BrokenBody => (StatusCode::BAD_REQUEST, "bad_body"),
            ApiError::SlowBody => (StatusCode::REQUEST_TIMEOUT, "slow_body"),
            ApiError::Busy | ApiError::OtherCopy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            ApiError::ListForObject { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad_body"),
            ApiError::TooLong => (StatusCode::SERVICE_UNAVAILABLE, "too_long"),
            ApiError::Path(_) => (StatusCode::BAD_REQUEST, "bad_path"),
            ApiError::Query(_) => (StatusCode::BAD_REQUEST, "bad_query"),
            ApiError::Id(_) => (StatusCode::BAD_REQUEST, "bad_id"),
            ApiError::Hash(_) => (StatusCode::BAD_REQUEST, "bad_hash"),
            ApiError::NoSuchArtifact(_) => (StatusCode::NOT_FOUND, "no_such_artifact"),
            ApiError::View(_) => (StatusCode::NOT_FOUND, "no_such_metric"),
            ApiError::NoSuchByte { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "no_such_byte"),
            ApiError::Artifact(ArtifactError::OtherContent { .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "other_content")
            }
            ApiError::Artifact(ArtifactError::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, "large_body"),
            ApiError::Artifact(ArtifactError::DiskFull) => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            ApiError::Artifact(ArtifactError::Io { .. }) | ApiError::File(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_error")
            }
            ApiError::Coordinator(error) => kind_of(error),
        }
    }

    fn detail(&self) -> String {
        match self {
            // The store has said so already, once.
            ApiError::Coordinator(error @ CoordinatorError::DiskFull) => error.to_string(),
            // Our own faults are for our log: they may name paths of this host.
            ApiError::Coordinator(error @ (CoordinatorError::Store(_) | CoordinatorError::File { .. })) => {
                internal(error)
            }
            ApiError::Artifact(error @ ArtifactError::Io { .. }) => internal(error),
            ApiError::File(error) => internal(error),
            ApiError::Coordinator(CoordinatorError::Prepare(PrepareError::Spec(error))) => error.to_string(),
            other => other.to_string(),
        }
    }

    fn help(&self) -> Option<&'static str> {
        match self {
            ApiError::Unauthorized => {
                Some("send `Authorization: Bearer TOKEN` with the content of .sweep/token")
            }
            ApiError::NoSuchRoute => Some("`GET /v1/openapi.json` lists the routes"),
            ApiError::NoSuchMethod => Some("the answer's `Allow` names the methods that it takes"),
            ApiError::Body(rejection) if rejection.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Some("send JSON with `Content-Type: application/json`")
            }
            ApiError::Coordinator(CoordinatorError::DiskFull)
            | ApiError::Artifact(ArtifactError::DiskFull) => {
                Some("make room, and the work goes on by itself")
            }
            ApiError::Coordinator(CoordinatorError::OtherProtocol { .. }) => {
                Some("start both from one build of sweep")
            }
            ApiError::Hash(_) => Some("an artifact is named by the BLAKE3 hash of its contents"),
            ApiError::Received(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Some("a body has 16 MiB at most; reports and outcomes may come in several")
            }
            ApiError::Busy | ApiError::TooLong => Some("send it again in a moment"),
            ApiError::OtherCopy => Some("ask again when that is done"),
            ApiError::Body(_)
            | ApiError::ListForObject { .. }
            | ApiError::Received(_)
            | ApiError::BrokenBody
            | ApiError::SlowBody
            | ApiError::Path(_)
            | ApiError::Query(_)
            | ApiError::Id(_)
            | ApiError::NoSuchArtifact(_)
            | ApiError::NoSuchByte { .. }
            | ApiError::View(_)
            | ApiError::File(_)
            | ApiError::Artifact(_)
            | ApiError::Coordinator(_) => None,
        }
    }
}

fn internal(error: &(dyn std::error::Error + 'static)) -> String {
    tracing::error!(error, "a request failed inside");
    "internal error".to_owned()
}

fn kind_of(error: &CoordinatorError) -> (StatusCode, &'static str) {
    match error {
        CoordinatorError::NoSuchSweep(_) => (StatusCode::NOT_FOUND, "no_such_sweep"),
        CoordinatorError::NoSuchTrial { .. } | CoordinatorError::UnknownTrial { .. } => {
            (StatusCode::NOT_FOUND, "no_such_trial")
        }
        CoordinatorError::NoSuchLog { .. } => (StatusCode::NOT_FOUND, "no_such_log"),
        CoordinatorError::HasEnded { .. } => (StatusCode::CONFLICT, "has_ended"),
        CoordinatorError::NoMetric(_) => (StatusCode::CONFLICT, "no_metric"),
        CoordinatorError::NoSuchWorker(_) => (StatusCode::NOT_FOUND, "no_such_worker"),
        CoordinatorError::OtherProtocol { .. } => (StatusCode::CONFLICT, "other_protocol"),
        CoordinatorError::Prepare(PrepareError::Spec(_)) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_spec"),
        CoordinatorError::Prepare(PrepareError::Code(CodeError::NotSent { .. })) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "code_not_sent")
        }
        CoordinatorError::Prepare(_) => (StatusCode::UNPROCESSABLE_ENTITY, "not_runnable"),
        CoordinatorError::Report(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_report"),
        CoordinatorError::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
        CoordinatorError::Store(_) | CoordinatorError::File { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal_error")
        }
    }
}

impl ApiError {
    pub(super) fn into_problem(self) -> (StatusCode, Problem) {
        let (status, code) = self.kind();
        let help = self.help().map(str::to_owned);
        (status, Problem { help, ..Problem::new(status.as_u16(), code, self.detail()) })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, problem) = self.into_problem();
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        response
    }
}
