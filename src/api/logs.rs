use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Body, Path, Query, parse_id};
use super::problem::ApiError;
use super::routes::Answer;
use crate::coordinator::Coordinator;
use crate::protocol::logs::{LogQuery, LogResponse, LogsRequest};
use crate::vocabulary::{SweepId, TrialNumber};

/// What a trial printed, a part at a time.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/trials/{trial}/log", tag = "sweeps", params(
    ("sweep" = SweepId, Path, description = "The sweep's id."),
    ("trial" = TrialNumber, Path, description = "The trial's number."),
    LogQuery,
), responses(
    (status = 200, description = "the part, and what has become of the trial", body = LogResponse),
    (status = 404, description = "there is no such sweep, trial or log"),
))]
pub(super) async fn log(
    State(coordinator): State<Coordinator>,
    Path((sweep, trial)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Answer<LogResponse> {
    let trial = trial.parse().map_err(|_| ApiError::Id(trial))?;
    Ok(Json(coordinator.log(parse_id(sweep)?, trial, &query).await?))
}

/// What trials print whose workers don't share the coordinator's state folder.
#[utoipa::path(post, path = "/v1/logs", tag = "agents", request_body = LogsRequest, responses(
    (status = 204, description = "kept, as far as it is of attempts that there are"),
))]
pub(super) async fn receive(
    State(coordinator): State<Coordinator>,
    Body(request): Body<LogsRequest>,
) -> Result<StatusCode, ApiError> {
    coordinator.take_logs(request).await?;
    Ok(StatusCode::NO_CONTENT)
}
