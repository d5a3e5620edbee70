use axum::extract::State;
use axum::http::StatusCode;

use super::extract::Body;
use super::problem::ApiError;
use crate::coordinator::Coordinator;
use crate::protocol::slurm::SlurmJobsRequest;

/// Note jobs that were submitted to Slurm, so that `sweep status` can show what becomes of them.
#[utoipa::path(post, path = "/v1/slurm/jobs", tag = "sweeps", request_body = SlurmJobsRequest, responses(
    (status = 204, description = "noted"),
    (status = 404, description = "there is no such sweep"),
))]
pub(super) async fn record(
    State(coordinator): State<Coordinator>,
    Body(request): Body<SlurmJobsRequest>,
) -> Result<StatusCode, ApiError> {
    coordinator.record_slurm_jobs(request).await?;
    Ok(StatusCode::NO_CONTENT)
}
