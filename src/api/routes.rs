//! One function a route: a request in, one coordinator call, its answer back. What stands above each is what the OpenAPI
//! document says of it; `routes!` in `mod.rs` makes it a route.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::extract::{Body, Path, Query, parse_id};
use super::problem::ApiError;
use crate::coordinator::Coordinator;
use crate::protocol::http::{
    DoctorResponse, Health, HeartbeatRequest, HeartbeatResponse, LeaseRequest, LeaseResponse, LeaveRequest,
    OutcomesRequest, RegisterRequest, RegisterResponse, ReleaseRequest, ReleaseResponse, ReportsRequest,
    ResultsQuery, ResultsResponse, StatusResponse, SubmitRequest, SubmitResponse, TrialHistory,
    WriteResponse,
};
use crate::vocabulary::{EpochChoice, Goal, SweepId, TrialNumber};

pub(super) type Answer<T> = Result<Json<T>, ApiError>;

/// An agent says that it is there.
#[utoipa::path(post, path = "/v1/workers", tag = "agents", request_body = RegisterRequest, responses(
    (status = 200, description = "its name from now on", body = RegisterResponse),
    (status = 409, description = "it speaks another protocol than the coordinator"),
))]
pub(super) async fn register(
    State(coordinator): State<Coordinator>,
    Body(request): Body<RegisterRequest>,
) -> Answer<RegisterResponse> {
    Ok(Json(coordinator.register(request).await?))
}

/// An agent says goodbye; what it still holds is taken back.
#[utoipa::path(post, path = "/v1/workers/leave", tag = "agents", request_body = LeaveRequest, responses(
    (status = 204, description = "noted"),
))]
pub(super) async fn leave(
    State(coordinator): State<Coordinator>,
    Body(request): Body<LeaveRequest>,
) -> Result<StatusCode, ApiError> {
    coordinator.leave(request.worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a node another chance on which jobs kept failing.
#[utoipa::path(post, path = "/v1/workers/release", tag = "agents", request_body = ReleaseRequest, responses(
    (status = 200, description = "whether it was in quarantine", body = ReleaseResponse),
))]
pub(super) async fn release(
    State(coordinator): State<Coordinator>,
    Body(request): Body<ReleaseRequest>,
) -> Answer<ReleaseResponse> {
    Ok(Json(ReleaseResponse { was_quarantined: coordinator.release_node(&request.host).await? }))
}

/// An agent asks for jobs and waits for them, for 30 seconds at most.
#[utoipa::path(post, path = "/v1/leases", tag = "agents", request_body = LeaseRequest, responses(
    (status = 200, description = "jobs, or none where the wait was in vain", body = LeaseResponse),
    (status = 404, description = "there is no such worker or sweep"),
))]
pub(super) async fn lease(
    State(coordinator): State<Coordinator>,
    Body(request): Body<LeaseRequest>,
) -> Answer<LeaseResponse> {
    Ok(Json(coordinator.lease(&request).await?))
}

/// An agent is alive and holds these leases.
#[utoipa::path(post, path = "/v1/heartbeats", tag = "agents", request_body = HeartbeatRequest, responses(
    (status = 200, description = "what it must stop; all other leases are extended", body = HeartbeatResponse),
))]
pub(super) async fn heartbeat(
    State(coordinator): State<Coordinator>,
    Body(request): Body<HeartbeatRequest>,
) -> Answer<HeartbeatResponse> {
    Ok(Json(coordinator.heartbeat(&request).await?))
}

/// Metrics and checkpoints of running jobs.
#[utoipa::path(post, path = "/v1/reports", tag = "agents", request_body = ReportsRequest, responses(
    (status = 200, description = "what was not stored; all else has reached the disk", body = WriteResponse),
))]
pub(super) async fn report(
    State(coordinator): State<Coordinator>,
    Body(request): Body<ReportsRequest>,
) -> Answer<WriteResponse> {
    Ok(Json(coordinator.report(request).await?))
}

/// Attempts that ended.
#[utoipa::path(post, path = "/v1/outcomes", tag = "agents", request_body = OutcomesRequest, responses(
    (status = 200, description = "what was not stored; all else has reached the disk", body = WriteResponse),
))]
pub(super) async fn finish(
    State(coordinator): State<Coordinator>,
    Body(request): Body<OutcomesRequest>,
) -> Answer<WriteResponse> {
    Ok(Json(coordinator.finish(request).await?))
}

/// Store a sweep, or find the one with the same expansion.
#[utoipa::path(post, path = "/v1/sweeps", tag = "sweeps", request_body = SubmitRequest, responses(
    (status = 200, description = "the sweep", body = SubmitResponse),
))]
pub(super) async fn submit(
    State(coordinator): State<Coordinator>,
    Body(request): Body<SubmitRequest>,
) -> Answer<SubmitResponse> {
    Ok(Json(coordinator.submit(&request).await?))
}

/// Everything that is known of a sweep's trials.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/results", tag = "sweeps", params(
    ("sweep" = SweepId, Path, description = "The sweep's id."),
    ("epoch" = inline(Option<EpochChoice>), Query, description = "Of which epoch the metrics shall be; of the last if not said."),
    ("metric" = Option<String>, Query, description = "By which metric the best epoch is chosen; by the sweep's if not said."),
    ("goal" = Option<Goal>, Query, description = "Which way that metric is better."),
), responses(
    (status = 200, description = "the trials by number", body = ResultsResponse),
    (status = 404, description = "there is no such sweep"),
    (status = 409, description = "the sweep has no metric by which an epoch could be best"),
))]
pub(super) async fn results(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    Query(query): Query<ResultsQuery>,
) -> Answer<ResultsResponse> {
    Ok(Json(coordinator.results_at(parse_id(sweep)?, &query).await?))
}

/// What was submitted as a sweep, as far as its trials depend on it.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/request", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), responses(
    (status = 200, description = "what would submit it again", body = SubmitRequest),
    (status = 404, description = "there is no such sweep"),
))]
pub(super) async fn request(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<SubmitRequest> {
    Ok(Json(coordinator.request(parse_id(sweep)?).await?))
}

/// How a trial was trained that has succeeded.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/trials/{trial}", tag = "sweeps", params(
    ("sweep" = SweepId, Path, description = "The sweep's id."),
    ("trial" = TrialNumber, Path, description = "The trial's number in it."),
), responses(
    (status = 200, description = "every report that counts", body = TrialHistory),
    (status = 404, description = "there is no such trial that has succeeded"),
))]
pub(super) async fn history(
    State(coordinator): State<Coordinator>,
    Path((sweep, trial)): Path<(String, String)>,
) -> Answer<TrialHistory> {
    let trial = trial.parse().map_err(|_| ApiError::Id(trial))?;
    Ok(Json(coordinator.history(parse_id(sweep)?, trial).await?))
}

/// Sweeps, agents and running jobs.
#[utoipa::path(get, path = "/v1/status", tag = "sweeps", responses(
    (status = 200, description = "all at a glance", body = StatusResponse),
))]
pub(super) async fn status(State(coordinator): State<Coordinator>) -> Answer<StatusResponse> {
    Ok(Json(coordinator.status().await?))
}

/// Look at the whole job table and the files that it names.
#[utoipa::path(get, path = "/v1/doctor", tag = "service", responses(
    (status = 200, description = "what is wrong", body = DoctorResponse),
))]
pub(super) async fn examine(State(coordinator): State<Coordinator>) -> Answer<DoctorResponse> {
    Ok(Json(coordinator.examine().await?))
}

/// Whether the coordinator answers and can read its table.
#[utoipa::path(get, path = "/healthz", tag = "service", responses(
    (status = 200, description = "it does", body = Health),
))]
pub(super) async fn health(State(coordinator): State<Coordinator>) -> Answer<Health> {
    Ok(Json(coordinator.health().await?))
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "service", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"),
))]
pub(super) async fn openapi(State(document): State<Document>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document.0.to_string())
}

/// The OpenAPI document's text.
#[derive(Clone)]
pub(super) struct Document(pub(super) Arc<str>);

pub(super) async fn no_such_route() -> ApiError {
    ApiError::NoSuchRoute
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::NoSuchMethod
}
