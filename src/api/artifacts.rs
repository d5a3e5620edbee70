//! Files of the artifact store, in and out as streams. Their names are hashes of their contents and nothing else.

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::io::AsyncSeekExt;
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use super::extract::Path;
use super::problem::ApiError;
use crate::coordinator::{Artifact, ArtifactError, Coordinator, LARGEST_ARTIFACT_BYTES};
use crate::vocabulary::CheckpointHash;

/// More files than this at a time only wait for the same disk.
const MOST_UPLOADS: usize = 32;

/// What is read at once: a page cache's worth, and not more for many clients at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Places for files that are being received, and how long one that receives nothing is kept.
#[derive(Clone)]
pub(super) struct Uploads {
    places: Arc<Semaphore>,
    longest_silence: Duration,
}

impl Uploads {
    pub(super) fn new(longest_silence: Duration) -> Uploads {
        Uploads { places: Arc::new(Semaphore::new(MOST_UPLOADS)), longest_silence }
    }
}

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(super) struct Contents(#[expect(dead_code, reason = "it only describes")] Vec<u8>);

/// Store a file under the BLAKE3 hash of its contents. What is there already and whole is not written again.
#[utoipa::path(put, path = "/v1/artifacts/{hash}", tag = "artifacts", params(
    ("hash" = String, Path, description = "64 hexadecimal digits in lower case.", pattern = "^[0-9a-f]{64}$"),
), request_body(content = Contents, content_type = "application/octet-stream"), responses(
    (status = 201, description = "stored: it has reached the disk"),
    (status = 204, description = "it was there already"),
    (status = 422, description = "the contents have another hash"),
))]
pub(super) async fn store(
    State(coordinator): State<Coordinator>,
    State(uploads): State<Uploads>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let hash: CheckpointHash = hash.parse().map_err(ApiError::Hash)?;
    let announced = number_in(&headers, header::CONTENT_LENGTH);
    if announced.is_some_and(|size| size > LARGEST_ARTIFACT_BYTES) {
        return Err(ArtifactError::TooLarge.into());
    }
    let _place = uploads.places.try_acquire().map_err(|_| ApiError::Busy)?;
    if coordinator.has_whole_artifact(&hash, announced).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let mut upload = coordinator.begin_upload(hash).await?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = next_piece(pieces.next(), uploads.longest_silence).await? {
        upload.write(&piece).await?;
    }
    upload.finish().await?;
    Ok(StatusCode::CREATED)
}

async fn next_piece(
    piece: impl Future<Output = Option<Result<Bytes, axum::Error>>>,
    longest_silence: Duration,
) -> Result<Option<Bytes>, ApiError> {
    match tokio::time::timeout(longest_silence, piece).await {
        Ok(piece) => piece.transpose().map_err(|_| ApiError::BrokenBody),
        Err(_) => Err(ApiError::SlowBody),
    }
}

/// The file of this hash, or what is left of it from a byte on.
#[utoipa::path(get, path = "/v1/artifacts/{hash}", tag = "artifacts", params(
    ("hash" = String, Path, description = "64 hexadecimal digits in lower case.", pattern = "^[0-9a-f]{64}$"),
    ("Range" = Option<String>, Header, description = "`bytes=FIRST-`; any other is passed over."),
), responses(
    (status = 200, description = "the whole file", body = Contents, content_type = "application/octet-stream"),
    (status = 206, description = "the rest of it", body = Contents, content_type = "application/octet-stream"),
    (status = 404, description = "there is no such file"),
    (status = 416, description = "the file ends before that byte"),
))]
pub(super) async fn fetch(
    State(coordinator): State<Coordinator>,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let hash: CheckpointHash = hash.parse().map_err(ApiError::Hash)?;
    let Some(Artifact { mut file, size_bytes }) = coordinator.open_artifact(&hash).await? else {
        return Err(ApiError::NoSuchArtifact(hash));
    };
    let first = first_byte(&headers);
    if first.is_some_and(|first| first >= size_bytes) {
        let mut refusal = ApiError::NoSuchByte { size_bytes }.into_response();
        refusal.headers_mut().insert(header::CONTENT_RANGE, ascii(format!("bytes */{size_bytes}")));
        return Ok(refusal);
    }
    let begin = first.unwrap_or(0);
    file.seek(SeekFrom::Start(begin)).await.map_err(ApiError::File)?;
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, PIECE_BYTES)).into_response();
    let mut set = |name: HeaderName, value: String| response.headers_mut().insert(name, ascii(value));
    set(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    set(header::ETAG, format!("\"{hash}\""));
    set(header::CONTENT_LENGTH, (size_bytes - begin).to_string());
    if first.is_some() {
        set(header::CONTENT_RANGE, format!("bytes {begin}-{}/{size_bytes}", size_bytes - 1));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// What `Range: bytes=FIRST-` asks for. Any other form may be passed over (RFC 9110, 14.2).
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn number_in(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Digits, letters and signs that every header may have.
fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
