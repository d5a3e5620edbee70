use axum::Json;
use axum::extract::State;

use super::extract::{Path, parse_id};
use super::routes::Answer;
use crate::coordinator::Coordinator;
use crate::protocol::export::{ExportResponse, ExportsResponse};
use crate::vocabulary::SweepId;

/// Lease all that can be had of a sweep's jobs, without a deadline, to be run where no coordinator can be reached.
///
/// Reports and outcomes are brought back under these leases as every agent does. `/v1/workers/leave` gives back what is left.
#[utoipa::path(post, path = "/v1/sweeps/{sweep}/exports", tag = "sweeps", params(("sweep" = SweepId, Path, description = "The sweep's id.")), responses(
    (status = 200, description = "what was leased", body = ExportResponse),
    (status = 404, description = "there is no such sweep"),
))]
pub(super) async fn export(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
) -> Answer<ExportResponse> {
    Ok(Json(coordinator.export(parse_id(sweep)?).await?))
}

/// List the exports that were made, with the jobs that they hold or were promised.
///
/// What the jobs have come to meanwhile lies in the export's folder until `sweep ingest` brings it here.
#[utoipa::path(get, path = "/v1/exports", tag = "sweeps", responses(
    (status = 200, description = "what was made, and what of it has not been brought back", body = ExportsResponse),
))]
pub(super) async fn list(State(coordinator): State<Coordinator>) -> Answer<ExportsResponse> {
    Ok(Json(coordinator.exports().await?))
}
