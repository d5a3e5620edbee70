use axum::Json;
use axum::extract::{Path, State};

use super::routes::{Answer, Body, parse_id};
use crate::coordinator::Coordinator;
use crate::protocol::http::{RetryResponse, SweepStatus};
use crate::protocol::steering::{BumpRequest, BumpResponse, CancelResponse, ChosenTrials};

pub(super) async fn cancel(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    body: Body<ChosenTrials>,
) -> Answer<CancelResponse> {
    Ok(Json(coordinator.cancel(parse_id(sweep)?, body?.0).await?))
}

pub(super) async fn retry(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    body: Body<ChosenTrials>,
) -> Answer<RetryResponse> {
    Ok(Json(RetryResponse { jobs: coordinator.retry(parse_id(sweep)?, body?.0).await? }))
}

pub(super) async fn pause(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<SweepStatus> {
    Ok(Json(coordinator.pause(parse_id(sweep)?).await?))
}

pub(super) async fn resume(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<SweepStatus> {
    Ok(Json(coordinator.resume(parse_id(sweep)?).await?))
}

pub(super) async fn bump(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    body: Body<BumpRequest>,
) -> Answer<BumpResponse> {
    let request = body?.0;
    Ok(Json(coordinator.bump(parse_id(sweep)?, request).await?))
}
