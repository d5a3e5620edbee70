//! HTTP under `/v1`, and `/healthz` and `/metrics` for monitoring: each route turns a request into one coordinator call, and its answer back into a response.
//!
//! Every request needs the token, from this host too: login nodes are shared, and submitting is running code; only the
//! dashboard's files, which hold no data, are for everybody. Bodies are bounded. Whatever is not a success is a problem document (RFC 9457).
//!
//! A new route is a function in the file of its subject, with its description above it, and a line in [`routes`], or in
//! [`streams`] where its body is no JSON.

mod artifacts;
mod auth;
mod backup;
mod dashboard;
mod events;
mod exports;
mod extract;
mod insight;
mod limits;
mod listing;
mod logs;
mod metrics;
mod openapi;
mod problem;
mod routes;
mod server;
mod slurm;
mod stall;
mod steering;

use std::future::Future;
use std::pin::pin;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware;
use tokio::net::TcpListener;
use tokio::sync::watch;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::coordinator::Coordinator;
use artifacts::Uploads;
use auth::Token;
use backup::Copies;
use events::Ends;
use limits::{Gate, LARGEST_BODY_BYTES, Limits};
use metrics::Metrics;
use routes::Document;

/// Answers requests until `shutdown` completes and those under way are answered. What can't be accepted is tried again.
pub async fn serve(
    listener: TcpListener,
    coordinator: Coordinator,
    token: &str,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    serve_within(Limits::DEFAULT, listener, coordinator, token, shutdown).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    coordinator: Coordinator,
    token: &str,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let router = router(limits, coordinator.clone(), token, stopped);
    let mut publishing = pin!(coordinator.publish_changes());
    let mut accepting = pin!(server::accept(listener, router, limits, async {
        shutdown.await;
        stop.send_replace(true);
    }));
    // Telling what changes ends by itself where the table was closed; requests are still answered then.
    tokio::select! {
        () = accepting.as_mut() => {}
        () = publishing.as_mut() => accepting.await,
    }
}

/// The routes, behind the token and within the limits.
fn router(limits: Limits, coordinator: Coordinator, token: &str, stopped: watch::Receiver<bool>) -> Router {
    let (gate, metrics) = (Gate::new(limits), Metrics::new());
    let (routes, described) = routes()
        .layer(middleware::from_fn_with_state(gate.clone(), limits::receive))
        .merge(streams())
        .split_for_parts();
    let document = Document(openapi::document(described).to_string().into());
    routes
        .fallback(routes::no_such_route)
        .method_not_allowed_fallback(routes::no_such_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY_BYTES))
        .layer(middleware::from_fn_with_state(gate, limits::bound))
        // Before all that answers, so that without the token nothing else is learned.
        .layer(middleware::from_fn_with_state(Token::new(token), auth::require_token))
        // The page holds no data; it asks for all of it with the token.
        .merge(dashboard::files())
        .layer(middleware::from_fn_with_state(metrics.clone(), metrics::measure))
        .layer(middleware::map_response(auth::forbid_guessing))
        .with_state(Served {
            coordinator,
            document,
            metrics,
            ends: Ends { stopped, after: limits.stream },
            uploads: Uploads::new(limits.silence),
            copies: Copies::new(),
        })
}

/// Every route; its path, and what the OpenAPI document says of it, stand above the function.
fn routes() -> OpenApiRouter<Served> {
    OpenApiRouter::with_openapi(openapi::About::openapi())
        .routes(routes!(routes::register))
        .routes(routes!(routes::leave))
        .routes(routes!(routes::lease))
        .routes(routes!(routes::heartbeat))
        .routes(routes!(routes::report))
        .routes(routes!(routes::finish))
        .routes(routes!(routes::submit))
        .routes(routes!(routes::results))
        .routes(routes!(routes::request))
        .routes(routes!(routes::history))
        .routes(routes!(routes::release))
        .routes(routes!(insight::explain))
        .routes(routes!(insight::progress))
        .routes(routes!(insight::curves))
        .routes(routes!(insight::stages))
        .routes(routes!(listing::trials))
        .routes(routes!(listing::attempts))
        .routes(routes!(listing::configurations))
        .routes(routes!(logs::log))
        .routes(routes!(logs::receive))
        .routes(routes!(steering::cancel))
        .routes(routes!(steering::retry))
        .routes(routes!(steering::pause))
        .routes(routes!(steering::resume))
        .routes(routes!(steering::bump))
        .routes(routes!(slurm::record))
        .routes(routes!(exports::export))
        .routes(routes!(exports::list))
        .routes(routes!(routes::examine))
        .routes(routes!(routes::status))
        .routes(routes!(events::follow))
        .routes(routes!(routes::openapi))
        .routes(routes!(routes::health))
        .routes(routes!(metrics::scrape))
}

/// Routes whose bodies are streams, with limits of their own.
fn streams() -> OpenApiRouter<Served> {
    OpenApiRouter::default()
        .routes(routes!(artifacts::store, artifacts::fetch))
        .routes(routes!(backup::back_up))
}

/// What handlers work with; each names the part that it needs.
#[derive(Clone)]
struct Served {
    coordinator: Coordinator,
    document: Document,
    metrics: Metrics,
    ends: Ends,
    uploads: Uploads,
    copies: Copies,
}

impl FromRef<Served> for Coordinator {
    fn from_ref(served: &Served) -> Coordinator {
        served.coordinator.clone()
    }
}

impl FromRef<Served> for Metrics {
    fn from_ref(served: &Served) -> Metrics {
        served.metrics.clone()
    }
}

impl FromRef<Served> for Ends {
    fn from_ref(served: &Served) -> Ends {
        served.ends.clone()
    }
}

impl FromRef<Served> for Copies {
    fn from_ref(served: &Served) -> Copies {
        served.copies.clone()
    }
}

impl FromRef<Served> for Uploads {
    fn from_ref(served: &Served) -> Uploads {
        served.uploads.clone()
    }
}

impl FromRef<Served> for Document {
    fn from_ref(served: &Served) -> Document {
        served.document.clone()
    }
}

#[cfg(test)]
mod tests;
