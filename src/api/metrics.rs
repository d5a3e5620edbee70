//! What Prometheus scrapes: what is, read when it asks, and what was, counted as it happens.
//!
//! The text is OpenMetrics, which Prometheus reads; label values are escaped by the library. A sweep's trials come from the
//! counts that the table keeps, so that a scrape costs the same whatever the number of trials.

use std::fmt;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::problem::ApiError;
use crate::coordinator::{Coordinator, Vitals};

/// From a heartbeat on a fast disk to a long poll in vain.
const BUCKETS_SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 35.0, 120.0];

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Which requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    /// The route with its placeholders, so that there are only so many.
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Trials {
    sweep: i64,
    name: String,
    state: &'static str,
}

/// What is counted as it happens.
#[derive(Clone)]
pub(super) struct Metrics {
    latency: Family<Asked, Histogram>,
    registry: Arc<Registry>,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let latency = Family::new_with_constructor(histogram as fn() -> Histogram);
        let mut registry = Registry::with_prefix("sweep");
        let help = "Time from a request's head to its answer's";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, latency.clone());
        Metrics { latency, registry: Arc::new(registry) }
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS_SECONDS)
}

/// Notes how long a request took, and what came of it.
pub(super) async fn measure(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let began_at = Instant::now();
    let method = name(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let asked = Asked { method, route, status: response.status().as_u16() };
    metrics.latency.get_or_create(&asked).observe(began_at.elapsed().as_secs_f64());
    response
}

/// Anybody can make up a method; each would be a row of its own.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Queue depth, leases, agents, latencies and sizes for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, description = "OpenMetrics text", body = String,
     content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
))]
pub(super) async fn scrape(
    State(coordinator): State<Coordinator>,
    State(metrics): State<Metrics>,
) -> Result<impl IntoResponse, ApiError> {
    let vitals = coordinator.vitals().await?;
    // Writing to a string can't fail.
    let text = encode(&metrics, &vitals).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}

fn encode(metrics: &Metrics, vitals: &Vitals) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode_registry(&mut text, &metrics.registry)?;
    encode_registry(&mut text, &registry_of(vitals))?;
    encode_eof(&mut text)?;
    Ok(text)
}

fn registry_of(vitals: &Vitals) -> Registry {
    let mut registry = Registry::with_prefix("sweep");
    let build = Family::<[(&str, &str); 1], Gauge>::default();
    build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
    registry.register("build_info", "The program's version", build);

    let trials = Family::<Trials, Gauge>::default();
    for sweep in &vitals.sweeps {
        let counts = &sweep.trials;
        for (state, n) in [
            ("queued", counts.queued),
            ("running", counts.running),
            ("succeeded", counts.succeeded),
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
        ] {
            let labels = Trials { sweep: sweep.id.0, name: sweep.name.clone(), state };
            trials.get_or_create(&labels).set(whole(n));
        }
    }
    registry.register("trials", "Trials of each sweep by state", trials);

    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(whole(value));
        registry.register(name, help, gauge);
    };
    gauge("leases", "Jobs that are leased now", vitals.leases());
    gauge("workers", "Agents that are there", vitals.workers.len() as u64);
    gauge("worker_slots", "Jobs that they run at a time", vitals.slots());
    gauge("database_bytes", "Size of the job table", vitals.size.database_bytes);
    gauge("database_log_bytes", "Size of its write-ahead log", vitals.size.log_bytes);

    let mut counter = |name: &str, help: &str, value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    counter("leases_expired", "Leases whose deadline passed", vitals.counts.expired_leases);
    counter("reports", "Reports stored, repetitions included", vitals.counts.reports);
    counter("epochs", "Of these, metrics of an epoch", vitals.counts.epochs);
    registry
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
