//! Server-sent events for live clients.
//!
//! A stream costs a connection and a place in the feed; it has no queue of its own. It ends when the coordinator stops or
//! when it has lasted for long, and the client comes back with the last id that it has seen.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::extract::Query;
use super::problem::ApiError;
use crate::coordinator::{Coordinator, Follower};
use crate::protocol::http::LiveEvent;
use crate::vocabulary::SweepId;

/// Proxies close what is silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// When streams end: nobody waits for what never ends.
#[derive(Clone)]
pub(super) struct Ends {
    /// The coordinator stops.
    pub(super) stopped: watch::Receiver<bool>,
    /// It has lasted for so long.
    pub(super) after: Duration,
}

#[derive(Deserialize)]
pub(super) struct Filter {
    sweep: Option<SweepId>,
}

/// Server-sent events: what happens, as it happens.
///
/// Each has an `id`; who comes back with the last one in `Last-Event-ID` hears what was missed. The event `reset` says that the
/// state has to be loaded anew: at the begin, after a restart, and for whoever is too slow. A stream ends after an hour.
#[utoipa::path(get, path = "/v1/events", tag = "sweeps", params(
    ("sweep" = Option<SweepId>, Query, description = "Only what concerns this sweep, and the agents."),
    ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen; what is none counts as none."),
), responses(
    (status = 200, description = "a stream whose `data` are events", body = LiveEvent, content_type = "text/event-stream"),
))]
pub(super) async fn follow(
    State(coordinator): State<Coordinator>,
    State(ends): State<Ends>,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let follower = coordinator.follow(after, filter.sweep).ok_or(ApiError::Busy)?;
    Ok(Sse::new(events(follower, ends)).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn events(follower: Follower, ends: Ends) -> impl Stream<Item = Result<Event, Infallible>> {
    let ends_at = Instant::now() + ends.after;
    stream::unfold((follower, ends.stopped, ends_at), async |(mut follower, mut stopped, ends_at)| {
        let (id, event) = tokio::select! {
            next = follower.next() => next,
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return None,
            () = tokio::time::sleep_until(ends_at) => return None,
        };
        let data = serde_json::to_string(&event).ok()?;
        let event = Event::default().id(id.to_string()).event(event.name()).data(data);
        Some((Ok(event), (follower, stopped, ends_at)))
    })
}
