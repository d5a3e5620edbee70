//! Connections: how many there may be, how long a request's head may take or its answer be left unread, and how they end.
//!
//! `axum::serve` has no such limits. Whoever holds connections open without asking anything costs us a descriptor each, for
//! at most the time that a head may take.

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::limits::Limits;
use super::problem::{ApiError, RETRY_AFTER_SECONDS};
use super::stall::Impatient;

/// Method, address and headers: our own client's take less than a tenth, a browser's with cookies half.
const LARGEST_HEAD_BYTES: usize = 16 * 1024;

/// A browser sends some twenty.
const MOST_HEADERS: usize = 64;

/// Descriptors that are not for connections: the job table, its log, files of artifacts, agents' pipes.
const SPARE_DESCRIPTORS: usize = 256;

/// Without descriptors nothing can be accepted; others are about to be closed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the loop waits for.
enum Happened {
    Stop,
    Ended,
    Accepted(std::io::Result<TcpStream>),
}

/// Answers requests until `shutdown` completes, and then those that are under way.
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let (stop, stopped) = watch::channel(());
    let most = limits.connections.min(affordable());
    let mut connections = JoinSet::new();
    loop {
        let happened = tokio::select! {
            () = &mut shutdown => Happened::Stop,
            Some(_) = connections.join_next() => Happened::Ended,
            accepted = listener.accept() => Happened::Accepted(accepted.map(|(stream, _)| stream)),
        };
        match happened {
            Happened::Stop => break,
            Happened::Ended => {}
            Happened::Accepted(Ok(stream)) if connections.len() < most => {
                connections.spawn(serve(stream, router.clone(), limits, stopped.clone()));
            }
            Happened::Accepted(Ok(stream)) => turn_away(stream),
            Happened::Accepted(Err(error)) => endure(&error).await,
        }
    }
    drop(listener);
    drop(stopped);
    let _nobody_left = stop.send(());
    while connections.join_next().await.is_some() {}
}

/// How many connections this process may hold without running out of descriptors.
fn affordable() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    descriptors.saturating_sub(SPARE_DESCRIPTORS).max(descriptors / 4)
}

async fn serve(stream: TcpStream, router: Router, limits: Limits, mut stopped: watch::Receiver<()>) {
    // An answer is written at once; waiting for more of it would only delay it.
    let _slower_otherwise = stream.set_nodelay(true);
    let stream = Impatient::new(stream, limits.unread);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(MOST_HEADERS)
        .max_header_size(LARGEST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopped.changed() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// One connection too many hears so, as far as that can be said without waiting for it.
fn turn_away(stream: TcpStream) {
    let (status, problem) = ApiError::Busy.into_problem();
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nretry-after: \
         {RETRY_AFTER_SECONDS}\r\nconnection: close\r\n\r\n{body}",
        StatusCode::as_u16(&status),
        body.len()
    );
    // Nothing was sent on it yet, so that this fits into the socket's buffer.
    let told = stream.into_std().and_then(|mut stream| {
        stream.write_all(answer.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)
    });
    if let Err(error) = told {
        tracing::debug!(%error, "a connection that was one too many could not be told");
    }
}

/// The other end's fault passes by itself; ours may take a moment.
async fn endure(error: &std::io::Error) {
    let is_the_other_end = matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    );
    if !is_the_other_end {
        tracing::error!(%error, "can't accept a connection");
        tokio::time::sleep(ACCEPT_AGAIN).await;
    }
}
