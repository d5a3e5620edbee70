use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{AUTHORIZATION, X_CONTENT_TYPE_OPTIONS};
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
        .and_then(|value| value.split_once(' '))
        // The scheme's name is the same in any case (RFC 9110, 11.1), the token is not.
        .and_then(|(scheme, shown)| scheme.eq_ignore_ascii_case("bearer").then_some(shown));
    match shown {
        Some(shown) if token.admits(shown) => next.run(request).await,
        _ => ApiError::Unauthorized.into_response(),
    }
}

/// Says of every answer that it is what it says it is: nothing that somebody named can be taken for a page or a script.
pub(super) async fn forbid_guessing(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_admitted() {
        let token = Token::new("0123456789abcdef");
        assert!(token.admits("0123456789abcdef"));
        let long = "0123456789abcdef".repeat(1000);
        for shown in [
            "",
            " ",
            "0",
            "0123456789abcde",
            "0123456789abcdeF",
            "0123456789abcdef ",
            "0123456789abcdef0",
            &long,
        ] {
            assert!(!token.admits(shown), "{shown}");
        }
    }

    #[test]
    fn what_is_compared_has_the_same_length_whatever_was_shown() {
        let [short, long] = ["", "a token"].map(|token| Token::new(token).0.as_bytes().len());
        assert_eq!(short, long);
    }
}
