use axum::Json;
use axum::extract::State;

use super::extract::{Path, parse_id};
use super::problem::ApiError;
use super::routes::Answer;
use crate::coordinator::Coordinator;
use crate::protocol::insight::{Explanation, SweepProgress};
use crate::vocabulary::{SweepId, TrialNumber};

/// Why a trial is where it is: what has to happen before it runs, or how it ended.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/trials/{trial}/explanation", tag = "sweeps", params(
    ("sweep" = SweepId, Path, description = "The sweep's id."),
    ("trial" = TrialNumber, Path, description = "The trial's number."),
), responses(
    (status = 200, description = "the causes, what has to happen first before the rest", body = Explanation),
    (status = 404, description = "there is no such sweep or trial"),
))]
pub(super) async fn explain(
    State(coordinator): State<Coordinator>,
    Path((sweep, trial)): Path<(String, String)>,
) -> Answer<Explanation> {
    let trial = trial.parse().map_err(|_| ApiError::Id(trial))?;
    Ok(Json(coordinator.explain(parse_id(sweep)?, trial).await?))
}

/// How far a sweep is, in epochs, and what failed.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/progress", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), responses(
    (status = 200, description = "epochs, time left, the best trial, failures", body = SweepProgress),
    (status = 404, description = "there is no such sweep"),
))]
pub(super) async fn progress(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<SweepProgress> {
    Ok(Json(coordinator.progress(parse_id(sweep)?).await?))
}
