use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

use super::artifacts::Contents;
use super::problem::ApiError;
use crate::coordinator::Coordinator;

/// As large as what is read at once from a table of some gigabytes should be.
const PART_BYTES: usize = 256 << 10;

/// The place for a copy. There is one: each takes as much of the disk as the table, and reads all of it.
#[derive(Clone)]
pub(super) struct Copies(Arc<Semaphore>);

impl Copies {
    pub(super) fn new() -> Copies {
        Copies(Arc::new(Semaphore::new(1)))
    }
}

/// A consistent copy of the job table, made for this request; one at a time.
#[utoipa::path(get, path = "/v1/backup", tag = "service", responses(
    (status = 200, description = "the file, with its length", content_type = "application/vnd.sqlite3", body = Contents),
    (status = 503, description = "the coordinator is busy, maybe with another copy; the same request may succeed later"),
    (status = 507, description = "the coordinator's disk has no room for the copy"),
))]
// The length is said, so that whoever receives less knows that it is not all.
pub(super) async fn back_up(
    State(coordinator): State<Coordinator>,
    State(copies): State<Copies>,
) -> Result<([(HeaderName, HeaderValue); 2], Body), ApiError> {
    let place = copies.0.try_acquire_owned().map_err(|_| ApiError::OtherCopy)?;
    // Where nobody waits for it any more the table is still read to its end, and the place is taken until then.
    let copying = tokio::spawn(async move { (coordinator.back_up_to_send().await, place) });
    let (copied, place) = copying.await.map_err(|panicked| ApiError::File(panicked.into()))?;
    let (file, size_bytes) = copied?;
    let file = tokio::fs::File::from_std(file);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3")),
        (CONTENT_LENGTH, HeaderValue::from(size_bytes)),
    ];
    // The copy is on the disk until it was sent, or was not and never will be.
    let parts = ReaderStream::with_capacity(file, PART_BYTES).inspect(move |_| {
        let _until_then = &place;
    });
    Ok((headers, Body::from_stream(parts)))
}
