use axum::Json;
use axum::extract::State;

use super::extract::{Body, Path, parse_id};
use super::routes::Answer;
use crate::coordinator::Coordinator;
use crate::protocol::http::{RetryResponse, SweepStatus};
use crate::protocol::steering::{BumpRequest, BumpResponse, CancelResponse, ChosenTrials};
use crate::vocabulary::SweepId;

/// Cancel trials of a sweep; running ones end within a heartbeat.
#[utoipa::path(post, path = "/v1/sweeps/{sweep}/cancel", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), request_body = ChosenTrials, responses(
    (status = 200, description = "what became of them", body = CancelResponse),
    (status = 404, description = "there is no such sweep or trial"),
    (status = 409, description = "the sweep has ended"),
))]
pub(super) async fn cancel(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    Body(request): Body<ChosenTrials>,
) -> Answer<CancelResponse> {
    Ok(Json(coordinator.cancel(parse_id(sweep)?, request).await?))
}

/// Reopen a sweep's failed and cancelled jobs.
#[utoipa::path(post, path = "/v1/sweeps/{sweep}/retry", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), request_body = ChosenTrials, responses(
    (status = 200, description = "how many", body = RetryResponse),
    (status = 404, description = "there is no such sweep or trial"),
))]
pub(super) async fn retry(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    Body(request): Body<ChosenTrials>,
) -> Answer<RetryResponse> {
    Ok(Json(RetryResponse { jobs: coordinator.retry(parse_id(sweep)?, request).await? }))
}

/// Lease no more jobs of a sweep; what runs goes on.
#[utoipa::path(post, path = "/v1/sweeps/{sweep}/pause", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), responses(
    (status = 200, description = "the sweep as it is then", body = SweepStatus),
    (status = 404, description = "there is no such sweep"),
    (status = 409, description = "the sweep has ended"),
))]
pub(super) async fn pause(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<SweepStatus> {
    Ok(Json(coordinator.pause(parse_id(sweep)?).await?))
}

/// Lease jobs of a sweep again.
#[utoipa::path(post, path = "/v1/sweeps/{sweep}/resume", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), responses(
    (status = 200, description = "the sweep as it is then", body = SweepStatus),
    (status = 404, description = "there is no such sweep"),
    (status = 409, description = "the sweep has ended"),
))]
pub(super) async fn resume(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<SweepStatus> {
    Ok(Json(coordinator.resume(parse_id(sweep)?).await?))
}

/// Give a sweep another priority.
#[utoipa::path(post, path = "/v1/sweeps/{sweep}/bump", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), request_body = BumpRequest, responses(
    (status = 200, description = "its priority before and after", body = BumpResponse),
    (status = 404, description = "there is no such sweep"),
    (status = 409, description = "the sweep has ended"),
))]
pub(super) async fn bump(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    Body(request): Body<BumpRequest>,
) -> Answer<BumpResponse> {
    Ok(Json(coordinator.bump(parse_id(sweep)?, request).await?))
}
