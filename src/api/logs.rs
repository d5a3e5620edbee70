use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};

use super::problem::ApiError;
use super::routes::{Answer, parse_id};
use crate::coordinator::Coordinator;
use crate::protocol::logs::{LogQuery, LogResponse};

pub(super) async fn log(
    State(coordinator): State<Coordinator>,
    Path((sweep, trial)): Path<(String, String)>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Answer<LogResponse> {
    let trial = trial.parse().map_err(|_| ApiError::Id(trial))?;
    Ok(Json(coordinator.log(parse_id(sweep)?, trial, &query?.0).await?))
}
