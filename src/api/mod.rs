//! HTTP under `/v1`: each route turns a request into one coordinator call, and its answer back into a response.
//!
//! Every request needs the token, from this host too: login nodes are shared, and submitting is running code. Bodies
//! are bounded. Whatever is not a success is a problem document (RFC 9457).

mod auth;
mod backup;
mod logs;
mod problem;
mod routes;
mod steering;

use std::future::Future;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::coordinator::Coordinator;
use auth::Token;

/// A spec with a long list, or the last reports of a full batch of outcomes, fits many times over.
const LARGEST_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Answers requests until `shutdown` completes and those under way are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    coordinator: Coordinator,
    token: &str,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(coordinator, token)).with_graceful_shutdown(shutdown).await
}

/// The routes, behind the token.
pub fn router(coordinator: Coordinator, token: &str) -> Router {
    Router::new()
        .route("/v1/workers", post(routes::register))
        .route("/v1/workers/leave", post(routes::leave))
        .route("/v1/workers/release", post(routes::release))
        .route("/v1/leases", post(routes::lease))
        .route("/v1/heartbeats", post(routes::heartbeat))
        .route("/v1/reports", post(routes::report))
        .route("/v1/outcomes", post(routes::finish))
        .route("/v1/sweeps", post(routes::submit))
        .route("/v1/sweeps/{sweep}/results", get(routes::results))
        .route("/v1/sweeps/{sweep}/request", get(routes::request))
        .route("/v1/sweeps/{sweep}/trials/{trial}", get(routes::history))
        .route("/v1/sweeps/{sweep}/trials/{trial}/log", get(logs::log))
        .route("/v1/sweeps/{sweep}/retry", post(steering::retry))
        .route("/v1/sweeps/{sweep}/cancel", post(steering::cancel))
        .route("/v1/sweeps/{sweep}/pause", post(steering::pause))
        .route("/v1/sweeps/{sweep}/resume", post(steering::resume))
        .route("/v1/sweeps/{sweep}/bump", post(steering::bump))
        .route("/v1/backup", get(backup::back_up))
        .route("/v1/doctor", get(routes::examine))
        .route("/v1/status", get(routes::status))
        .fallback(routes::no_such_route)
        .method_not_allowed_fallback(routes::no_such_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY_BYTES))
        // Outermost, so that without the token nothing else is learned.
        .layer(middleware::from_fn_with_state(Token::new(token), auth::require_token))
        .with_state(coordinator)
}

#[cfg(test)]
mod tests;
