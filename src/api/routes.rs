use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Body, Path, parse_id};
use super::problem::ApiError;
use crate::coordinator::Coordinator;
use crate::protocol::http::{
    DoctorResponse, HeartbeatRequest, HeartbeatResponse, LeaseRequest, LeaseResponse, LeaveRequest,
    OutcomesRequest, RegisterRequest, RegisterResponse, ReportsRequest, ResultsResponse, RetryResponse,
    StatusResponse, SubmitRequest, SubmitResponse, TrialHistory, WriteResponse,
};

type Answer<T> = Result<Json<T>, ApiError>;

pub(super) async fn register(
    State(coordinator): State<Coordinator>,
    body: Body<RegisterRequest>,
) -> Answer<RegisterResponse> {
    Ok(Json(coordinator.register(body?.0).await?))
}

pub(super) async fn leave(
    State(coordinator): State<Coordinator>,
    body: Body<LeaveRequest>,
) -> Result<StatusCode, ApiError> {
    coordinator.leave(body?.0.worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn lease(
    State(coordinator): State<Coordinator>,
    body: Body<LeaseRequest>,
) -> Answer<LeaseResponse> {
    Ok(Json(coordinator.lease(&body?.0).await?))
}

pub(super) async fn heartbeat(
    State(coordinator): State<Coordinator>,
    body: Body<HeartbeatRequest>,
) -> Answer<HeartbeatResponse> {
    Ok(Json(coordinator.heartbeat(&body?.0).await?))
}

pub(super) async fn report(
    State(coordinator): State<Coordinator>,
    body: Body<ReportsRequest>,
) -> Answer<WriteResponse> {
    Ok(Json(coordinator.report(body?.0).await?))
}

pub(super) async fn finish(
    State(coordinator): State<Coordinator>,
    body: Body<OutcomesRequest>,
) -> Answer<WriteResponse> {
    Ok(Json(coordinator.finish(body?.0).await?))
}

pub(super) async fn submit(
    State(coordinator): State<Coordinator>,
    body: Body<SubmitRequest>,
) -> Answer<SubmitResponse> {
    Ok(Json(coordinator.submit(&body?.0).await?))
}

pub(super) async fn results(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<ResultsResponse> {
    Ok(Json(coordinator.results(parse_id(sweep)?).await?))
}

pub(super) async fn request(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<SubmitRequest> {
    Ok(Json(coordinator.request(parse_id(sweep)?).await?))
}

pub(super) async fn history(
    State(coordinator): State<Coordinator>,
    Path((sweep, trial)): Path<(String, String)>,
) -> Answer<TrialHistory> {
    let trial = trial.parse().map_err(|_| ApiError::Id(trial))?;
    Ok(Json(coordinator.history(parse_id(sweep)?, trial).await?))
}

pub(super) async fn retry(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<RetryResponse> {
    Ok(Json(RetryResponse { jobs: coordinator.retry(parse_id(sweep)?).await? }))
}

pub(super) async fn status(State(coordinator): State<Coordinator>) -> Answer<StatusResponse> {
    Ok(Json(coordinator.status().await?))
}

pub(super) async fn examine(State(coordinator): State<Coordinator>) -> Answer<DoctorResponse> {
    Ok(Json(coordinator.examine().await?))
}

pub(super) async fn no_such_route() -> ApiError {
    ApiError::NoSuchRoute
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::NoSuchMethod
}
