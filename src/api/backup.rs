use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use tokio_util::io::ReaderStream;

use super::problem::ApiError;
use crate::coordinator::Coordinator;

/// As large as what is read at once from a table of some gigabytes should be.
const PART_BYTES: usize = 256 << 10;

/// The length is said, so that whoever receives less knows that it is not all.
pub(super) async fn back_up(
    State(coordinator): State<Coordinator>,
) -> Result<([(HeaderName, HeaderValue); 2], Body), ApiError> {
    let (file, size_bytes) = coordinator.back_up_to_send().await?;
    let file = tokio::fs::File::from_std(file);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3")),
        (CONTENT_LENGTH, HeaderValue::from(size_bytes)),
    ];
    Ok((headers, Body::from_stream(ReaderStream::with_capacity(file, PART_BYTES))))
}
