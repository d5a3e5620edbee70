//! Parts of a request as values; what can't be read is refused with a problem, where axum would answer in plain text.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::ApiError;
use crate::vocabulary::SweepId;

/// A JSON body, or why it is none.
pub(super) type Body<T> = Result<Json<T>, JsonRejection>;

/// What the route's placeholders hold.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, ApiError> {
        Ok(Path(AxumPath::from_request_parts(parts, state).await?.0))
    }
}

/// What stands behind the `?`.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, ApiError> {
        Ok(Query(AxumQuery::from_request_parts(parts, state).await?.0))
    }
}

pub(super) fn parse_id(text: String) -> Result<SweepId, ApiError> {
    text.parse().map_err(|_| ApiError::Id(text))
}
