//! The dashboard's page and the files that it is made of: fixed, embedded, and the same for everybody.
//!
//! They hold no data, so that they need no token; all that the page shows it asks of `/v1`, with the token that its address
//! carried behind the `#`, which browsers send to nobody. They are no part of the OpenAPI document.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::routes;
use crate::report::page::{FIGURES, PLOTLY, STYLE, TABLES, THEME};

/// Nothing but these files, this coordinator, and styles that plotly sets on what it draws.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data: blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SHEET: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../templates/dashboard/", $name))
    };
}

/// Path, kind and text of each.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, file!("index.html")),
    ("/dashboard/report.css", SHEET, STYLE),
    ("/dashboard/style.css", SHEET, file!("style.css")),
    ("/dashboard/tables.js", SCRIPT, TABLES),
    ("/dashboard/figures.js", SCRIPT, FIGURES),
    ("/dashboard/theme.js", SCRIPT, THEME),
    ("/dashboard/plotly.js", SCRIPT, PLOTLY),
    ("/dashboard/main.js", SCRIPT, file!("main.js")),
    ("/dashboard/api.js", SCRIPT, file!("api.js")),
    ("/dashboard/live.js", SCRIPT, file!("live.js")),
    ("/dashboard/parts.js", SCRIPT, file!("parts.js")),
    ("/dashboard/sweeps.js", SCRIPT, file!("sweeps.js")),
    ("/dashboard/sweep.js", SCRIPT, file!("sweep.js")),
    ("/dashboard/trial.js", SCRIPT, file!("trial.js")),
    ("/dashboard/workers.js", SCRIPT, file!("workers.js")),
];

/// The files as routes.
pub(super) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let with = |router: Router<S>, &(path, kind, text): &(&'static str, &'static str, &'static str)| {
        let tag = format!("\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..16]);
        let answer = move |headers: HeaderMap| std::future::ready(answer(&headers, kind, text, &tag));
        router.route(path, get(answer).fallback(routes::no_such_method))
    };
    FILES.iter().fold(Router::new(), with)
}

/// The file, or that the browser has it already.
fn answer(headers: &HeaderMap, kind: &'static str, text: &'static str, tag: &str) -> Response {
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { text.into_response() };
    let own = response.headers_mut();
    own.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    own.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    own.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Asked for each time, so that a coordinator of another version gets its own page.
    own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        own.insert(ETAG, tag);
    }
    response
}
