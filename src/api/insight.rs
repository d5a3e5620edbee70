use std::collections::BTreeSet;
use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State;

use super::extract::{Path, Query, parse_id};
use super::problem::ApiError;
use super::routes::Answer;
use crate::coordinator::Coordinator;
use crate::protocol::insight::{CurvesQuery, CurvesResponse, Explanation, StagesResponse, SweepProgress};
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

/// What some trials of a sweep reported, epoch by epoch.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/curves", tag = "sweeps", params(
    ("sweep" = SweepId, Path, description = "The sweep's id."),
    CurvesQuery,
), responses(
    (status = 200, description = "by trial and metric", body = CurvesResponse),
    (status = 404, description = "there is no such sweep"),
))]
pub(super) async fn curves(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    Query(query): Query<CurvesQuery>,
) -> Answer<CurvesResponse> {
    let numbers = query.trials.split(',').filter(|number| !number.is_empty());
    let trials: Result<BTreeSet<TrialNumber>, ApiError> =
        numbers.map(|number| number.parse().map_err(|_| ApiError::Id(number.to_owned()))).collect();
    Ok(Json(coordinator.curves(parse_id(sweep)?, &trials?, query.points.map(NonZeroU32::get)).await?))
}

/// The stage tree of a sweep as it is in the job table.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/stages", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), responses(
    (status = 200, description = "the jobs, a parent before what goes on from it", body = StagesResponse),
    (status = 404, description = "there is no such sweep"),
))]
pub(super) async fn stages(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<StagesResponse> {
    Ok(Json(coordinator.stages(parse_id(sweep)?).await?))
}
