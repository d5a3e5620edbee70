use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::ApiError;

/// The token's hash: comparing hashes of equal length in constant time tells nothing about the token, not even its length.
#[derive(Clone)]
pub(super) struct Token(blake3::Hash);

impl Token {
    pub(super) fn new(token: &str) -> Token {
        Token(blake3::hash(token.as_bytes()))
    }

    fn admits(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(blake3::hash(shown.as_bytes()).as_bytes()).into()
    }
}

/// Lets a request through only if it shows the token.
pub(super) async fn require_token(State(token): State<Token>, request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match shown {
        Some(shown) if token.admits(shown) => next.run(request).await,
        _ => ApiError::Unauthorized.into_response(),
    }
}
