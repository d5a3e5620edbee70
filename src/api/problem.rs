use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::coordinator::{CoordinatorError, PrepareError};
use crate::protocol::http::Problem;

/// Everything that is answered instead of a success.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the request shows no valid token")]
    Unauthorized,
    #[error("there is no such route")]
    NoSuchRoute,
    #[error("this route does not take this method")]
    NoSuchMethod,
    #[error("the body can't be read: {0}")]
    Body(#[from] JsonRejection),
    #[error("the query can't be read: {}", .0.body_text())]
    Query(#[from] QueryRejection),
    #[error("`{0}` is not an id")]
    Id(String),
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            ApiError::Unauthorized => StatusCode::UNAUTHORIZED,
            ApiError::NoSuchRoute
            | ApiError::Coordinator(
                CoordinatorError::NoSuchSweep(_)
                | CoordinatorError::NoSuchTrial { .. }
                | CoordinatorError::UnknownTrial { .. }
                | CoordinatorError::NoSuchLog { .. }
                | CoordinatorError::NoSuchWorker(_),
            ) => StatusCode::NOT_FOUND,
            ApiError::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Coordinator(CoordinatorError::HasEnded { .. }) => StatusCode::CONFLICT,
            ApiError::Body(rejection) => rejection.status(),
            ApiError::Id(_) | ApiError::Query(_) => StatusCode::BAD_REQUEST,
            ApiError::Coordinator(CoordinatorError::Prepare(_) | CoordinatorError::Report(_)) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ApiError::Coordinator(CoordinatorError::DiskFull) => StatusCode::INSUFFICIENT_STORAGE,
            ApiError::Coordinator(CoordinatorError::Store(_) | CoordinatorError::File { .. }) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            ApiError::Unauthorized => "unauthorized",
            ApiError::NoSuchRoute => "no_such_route",
            ApiError::NoSuchMethod => "no_such_method",
            ApiError::Body(_) => "bad_body",
            ApiError::Query(_) => "bad_query",
            ApiError::Id(_) => "bad_id",
            ApiError::Coordinator(CoordinatorError::NoSuchSweep(_)) => "no_such_sweep",
            ApiError::Coordinator(
                CoordinatorError::NoSuchTrial { .. } | CoordinatorError::UnknownTrial { .. },
            ) => "no_such_trial",
            ApiError::Coordinator(CoordinatorError::NoSuchLog { .. }) => "no_such_log",
            ApiError::Coordinator(CoordinatorError::HasEnded { .. }) => "has_ended",
            ApiError::Coordinator(CoordinatorError::NoSuchWorker(_)) => "no_such_worker",
            ApiError::Coordinator(CoordinatorError::Prepare(PrepareError::Spec(_))) => "bad_spec",
            ApiError::Coordinator(CoordinatorError::Prepare(_)) => "not_runnable",
            ApiError::Coordinator(CoordinatorError::Report(_)) => "bad_report",
            ApiError::Coordinator(CoordinatorError::DiskFull) => "disk_full",
            ApiError::Coordinator(CoordinatorError::Store(_) | CoordinatorError::File { .. }) => {
                "internal_error"
            }
        }
    }

    fn message(&self) -> String {
        match self {
            // The store has said so already, once.
            ApiError::Coordinator(error @ CoordinatorError::DiskFull) => error.to_string(),
            // Our own faults are for our log: they may name paths of this host.
            ApiError::Coordinator(error @ (CoordinatorError::Store(_) | CoordinatorError::File { .. })) => {
                tracing::error!(error = error as &dyn std::error::Error, "a request failed inside");
                "internal error".to_owned()
            }
            ApiError::Coordinator(CoordinatorError::Prepare(PrepareError::Spec(error))) => error.to_string(),
            other => other.to_string(),
        }
    }

    fn help(&self) -> Option<&'static str> {
        match self {
            ApiError::Unauthorized => {
                Some("send `Authorization: Bearer TOKEN` with the content of .sweep/token")
            }
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            code: self.code().to_owned(),
            message: self.message(),
            help: self.help().map(str::to_owned),
        };
        let mut response = (self.status(), Json(problem)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
