//! What a request may cost: bytes, time, and a place among the others.
//!
//! A connection's own limits (headers, how many there are) are in `server.rs`; how many files may be sent at a time is in `artifacts.rs`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::problem::ApiError;

/// A spec with a long list, or the last reports of a full batch of outcomes, fits many times over.
pub(super) const LARGEST_BODY_BYTES: usize = 16 * 1024 * 1024;

/// All limits that a test may want smaller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections open at a time.
    pub(super) connections: usize,
    /// Requests worked on at a time.
    pub(super) requests: usize,
    /// From the last answer, or the connection's begin, to the end of a request's head.
    pub(super) head: Duration,
    /// From a request's head to the end of its body.
    pub(super) body: Duration,
    /// Without a byte of a file that is sent to us.
    pub(super) silence: Duration,
    /// From a request's head to that of its answer.
    pub(super) answer: Duration,
    /// Without a byte of an answer being taken by whom it is for.
    pub(super) unread: Duration,
    /// From a stream of events' begin to its end.
    pub(super) stream: Duration,
}

impl Limits {
    pub(super) const DEFAULT: Limits = Limits {
        // A thousand agents, each with a long poll, a heartbeat and a report at the same time, and some people.
        connections: 4096,
        // Half of that: beyond it requests would queue before the one writer, and their callers give up.
        requests: 2048,
        // Twice the usual distance of heartbeats, so that an agent's connection is used again and not made anew.
        head: Duration::from_secs(30),
        // The largest body comes through at 3 Mbit/s.
        body: Duration::from_secs(45),
        // Somebody who sends nothing for this long is gone.
        silence: Duration::from_secs(30),
        // Submitting the largest sweep takes a third of it on a slow disk; a long poll ends after half a minute by itself.
        answer: Duration::from_secs(600),
        // A network that is cut for less than a lease's length breaks no connection.
        unread: Duration::from_secs(60),
        // Whoever reads comes back at once and misses nothing; whoever doesn't gives its place to others, though what it is
        // sent in quiet times fits into buffers for days.
        stream: Duration::from_secs(3600),
    };
}

/// Keeps requests within the limits.
#[derive(Clone)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    limits: Limits,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Gate {
        Gate { places: Arc::new(Semaphore::new(limits.requests)), limits }
    }
}

/// Turns a request away where too many are being worked on.
pub(super) async fn bound(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Ok(_place) = gate.places.try_acquire() else {
        return ApiError::Busy.into_response();
    };
    next.run(request).await
}

/// Takes the whole body before anybody works on it, within its time, and gives up on an answer that takes too long.
pub(super) async fn receive(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let whole = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    match tokio::time::timeout(gate.limits.body, whole).await {
        Ok(Ok(bytes)) => {
            let answer = next.run(Request::from_parts(parts, Body::from(bytes)));
            let answer = tokio::time::timeout(gate.limits.answer, answer).await;
            answer.unwrap_or_else(|_| ApiError::TooLong.into_response())
        }
        Ok(Err(rejection)) => ApiError::Received(rejection).into_response(),
        Err(_) => ApiError::SlowBody.into_response(),
    }
}
