use axum::Json;
use axum::extract::State;

use super::extract::{Path, Query, parse_id};
use super::problem::ApiError;
use super::routes::Answer;
use crate::coordinator::Coordinator;
use crate::protocol::logs::{LogQuery, LogResponse};
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
