//! Parts of a request as values; what can't be read is refused with a problem, where axum would answer in plain text.

use axum::Json;
use axum::body::{Body as AxumBody, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request};
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::ApiError;
use crate::vocabulary::SweepId;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Serialize> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let bytes = bytes.map_err(ApiError::Received)?;
        let request = Request::from_parts(parts, AxumBody::from(bytes.clone()));
        let Json(value) = Json::<T>::from_request(request, state).await?;
        refuse_lists_for_objects(&bytes, &value)?;
        Ok(Body(value))
    }
}

/// serde takes a list for an object's fields in their order, at any depth; the document promises that we don't. Written again,
/// what was read shows where an object should have stood.
fn refuse_lists_for_objects(sent: &[u8], value: &impl Serialize) -> Result<(), ApiError> {
    let (Ok(sent), Ok(read)) = (serde_json::from_slice(sent), serde_json::to_value(value)) else {
        return Ok(());
    };
    match find_list_for_object(&sent, &read) {
        Some(place) => Err(ApiError::ListForObject { place: format!("body{place}") }),
        None => Ok(()),
    }
}

fn find_list_for_object(sent: &Value, read: &Value) -> Option<String> {
    match (sent, read) {
        (Value::Array(_), Value::Object(_)) => Some(String::new()),
        (Value::Array(sent), Value::Array(read)) => {
            let mut pairs = sent.iter().zip(read).enumerate();
            pairs.find_map(|(at, (sent, read))| Some(format!("[{at}]{}", find_list_for_object(sent, read)?)))
        }
        (Value::Object(sent), Value::Object(read)) => sent.iter().find_map(|(name, sent)| {
            Some(format!(".{name}{}", find_list_for_object(sent, read.get(name)?)?))
        }),
        _ => None,
    }
}

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
