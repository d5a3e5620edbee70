//! The typed HTTP client of agents and the command line: one method per route of [`crate::protocol::http`].
//!
//! It sends a request once and says what came of it; [`retry`] repeats what may be repeated. Every route of an agent may: the
//! coordinator takes a repeated write for the same write, and a lease whose answer was lost runs out by itself. Nothing here knows what an answer means.

mod address;
mod artifacts;
mod backup;
mod error;
mod exports;
mod insight;
mod logs;
mod results;
mod retry;
mod slurm;
mod steering;

pub use backup::Copy;
pub use error::ClientError;
pub use retry::{Backoff, retry};

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::http::{
    DoctorResponse, HeartbeatRequest, HeartbeatResponse, LeaseRequest, LeaseResponse, LeaveRequest,
    OutcomesRequest, PROTOCOL, Problem, RegisterRequest, RegisterResponse, ReleaseRequest, ReleaseResponse,
    ReportsRequest, StatusResponse, SubmitRequest, SubmitResponse, TrialHistory, WriteResponse,
};
use crate::vocabulary::{SweepId, TrialNumber};
use address::Address;

/// A coordinator that doesn't take the connection within this time is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The coordinator closes a connection on which nothing was asked for 30 seconds; one that is about to be closed is not used.
const IDLE_LIMIT: Duration = Duration::from_secs(25);
/// How long an agent's request may take beyond the time that it asked to wait: some commits on a slow disk.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// The same for what a person asks: submitting expands and stores up to 100,000 trials.
const LONG_ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// No answer is longer: the results of 100,000 trials take about half of it.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// How much of an answer that is none is shown.
const EXCERPT_CHARS: usize = 200;

/// A connection to one coordinator. Cloning it is cheap and shares the connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    address: Address,
}

impl Client {
    /// A client of the coordinator at `url` (`http://HOST:PORT`); connects when first used.
    ///
    /// # Errors
    /// The address is no such URL, or the token can't stand in a header.
    pub fn new(url: &str, token: &str) -> Result<Client, ClientError> {
        Client::at(Address::Fixed(parse_address(url)?), token)
    }

    /// A client of the coordinator that announces itself in `file`, wherever it goes. `host`: this one, as the system calls it.
    ///
    /// # Errors
    /// The token can't stand in a header.
    pub fn following(file: &Path, host: &str, token: &str) -> Result<Client, ClientError> {
        Client::at(Address::announced_in(file, host), token)
    }

    fn at(address: Address, token: &str) -> Result<Client, ClientError> {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::BadToken)?;
        bearer.set_sensitive(true);
        let http = reqwest::Client::builder()
            // The token goes to the coordinator and to nobody else, whatever `http_proxy` says.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .pool_idle_timeout(IDLE_LIMIT)
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Client { http, address })
    }

    /// `POST /v1/workers`
    ///
    /// # Errors
    /// Like all methods below: the coordinator can't be reached, refuses, or answers with nonsense.
    pub async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, ClientError> {
        let registered: RegisterResponse = self.post("v1/workers", request, ANSWER_LIMIT).await?;
        if registered.protocol == PROTOCOL {
            return Ok(registered);
        }
        Err(ClientError::OtherProtocol { url: self.address.shown(), protocol: registered.protocol })
    }

    /// `POST /v1/leases`: answers when there are jobs, or after the time that the request names.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<LeaseResponse, ClientError> {
        let limit = ANSWER_LIMIT.saturating_add(Duration::from_millis(request.wait_millis));
        self.post("v1/leases", request, limit).await
    }

    /// `POST /v1/heartbeats`
    pub async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatResponse, ClientError> {
        self.post("v1/heartbeats", request, ANSWER_LIMIT).await
    }

    /// `POST /v1/reports`
    pub async fn report(&self, request: &ReportsRequest) -> Result<WriteResponse, ClientError> {
        self.post("v1/reports", request, ANSWER_LIMIT).await
    }

    /// `POST /v1/outcomes`
    pub async fn finish(&self, request: &OutcomesRequest) -> Result<WriteResponse, ClientError> {
        self.post("v1/outcomes", request, ANSWER_LIMIT).await
    }

    /// `POST /v1/workers/release`
    ///
    /// # Errors
    /// Like all methods above.
    pub async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseResponse, ClientError> {
        self.post("v1/workers/release", request, LONG_ANSWER_LIMIT).await
    }

    /// `POST /v1/workers/leave`; the answer has no body.
    pub async fn leave(&self, request: &LeaveRequest) -> Result<(), ClientError> {
        self.tell("v1/workers/leave", request, ANSWER_LIMIT).await
    }

    /// `POST /v1/sweeps`
    pub async fn submit(&self, request: &SubmitRequest) -> Result<SubmitResponse, ClientError> {
        self.post("v1/sweeps", request, LONG_ANSWER_LIMIT).await
    }

    /// `GET /v1/status`
    pub async fn status(&self) -> Result<StatusResponse, ClientError> {
        self.get("v1/status").await
    }

    /// `GET /v1/sweeps/{sweep}/trials/{trial}`
    ///
    /// # Errors
    /// Like all methods above.
    pub async fn history(&self, sweep: SweepId, trial: TrialNumber) -> Result<TrialHistory, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/trials/{trial}")).await
    }

    /// `GET /v1/doctor`
    ///
    /// # Errors
    /// Like all methods above.
    pub async fn examine(&self) -> Result<DoctorResponse, ClientError> {
        self.get("v1/doctor").await
    }

    /// `GET /v1/sweeps/{sweep}/request`
    ///
    /// # Errors
    /// Like all methods above.
    pub async fn request(&self, sweep: SweepId) -> Result<SubmitRequest, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/request")).await
    }

    async fn get<A: DeserializeOwned>(&self, route: &str) -> Result<A, ClientError> {
        self.ask(Method::GET, route, None::<&()>, LONG_ANSWER_LIMIT).await
    }

    async fn post<A: DeserializeOwned>(
        &self,
        route: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<A, ClientError> {
        self.ask(Method::POST, route, Some(body), limit).await
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        route: &str,
        body: Option<&impl Serialize>,
        limit: Duration,
    ) -> Result<A, ClientError> {
        let call = async {
            let response = self.send(method, route, body, limit).await?;
            let body = self.read(response).await?;
            self.parse(&body)
        };
        self.wherever_it_is(call).await
    }

    /// A `POST` whose answer has no body.
    async fn tell(&self, route: &str, body: &impl Serialize, limit: Duration) -> Result<(), ClientError> {
        let call = async {
            let response = self.send(Method::POST, route, Some(body), limit).await?;
            self.read(response).await.map(drop)
        };
        self.wherever_it_is(call).await
    }

    /// Where the call fails the coordinator may have moved, and whoever is at its old place now is a stranger.
    async fn wherever_it_is<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match call.await {
            Err(error) if self.address.has_moved().await && !error.is_transient() => {
                Err(ClientError::Moved { url: self.address.shown() })
            }
            outcome => outcome,
        }
    }

    async fn send(
        &self,
        method: Method,
        route: &str,
        body: Option<&impl Serialize>,
        limit: Duration,
    ) -> Result<Response, ClientError> {
        let mut request = self.http.request(method, self.url(route).await?).timeout(limit);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.map_err(|source| self.unreachable(source))
    }

    async fn url(&self, route: &str) -> Result<Url, ClientError> {
        let base = self.address.find().await?;
        base.join(route).map_err(|_| ClientError::BadAddress { url: base.to_string() })
    }

    /// The body of a success; the problem of anything else.
    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| self.unreachable(source))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(self.garbled(format!("it is longer than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }

    fn parse<A: DeserializeOwned>(&self, body: &[u8]) -> Result<A, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.garbled(format!("{error} in `{}`", excerpt(body))))
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        // The base is shown once, by our own message.
        ClientError::Unreachable { url: self.address.shown(), source: source.without_url() }
    }

    fn garbled(&self, what: String) -> ClientError {
        ClientError::Garbled { url: self.address.shown(), what }
    }
}

fn parse_address(url: &str) -> Result<Url, ClientError> {
    let bad = || ClientError::BadAddress { url: url.to_owned() };
    let mut base = Url::parse(url).map_err(|_| bad())?;
    if base.scheme() != "http" || !base.has_host() {
        return Err(bad());
    }
    // Without the slash `join` would replace the last part of a prefix.
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    Ok(base)
}

/// A refusal need not come from the coordinator: a proxy's has a body of its own kind, and only the status counts.
fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    let problem = serde_json::from_slice(body).unwrap_or_else(|_| {
        let code = format!("http_{}", status.as_u16());
        Problem::new(
            status.as_u16(),
            &code,
            format!("the answer is HTTP status {status}: `{}`", excerpt(body)),
        )
    });
    ClientError::Refused { status: status.as_u16(), problem: Box::new(problem) }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(EXCERPT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn an_address_is_an_http_url_and_keeps_its_path() {
        let base = parse_address("http://127.0.0.1:8080").unwrap();
        assert_eq!(base.join("v1/status").unwrap().as_str(), "http://127.0.0.1:8080/v1/status");
        let behind_proxy = parse_address("http://host/sweep").unwrap();
        assert_eq!(behind_proxy.join("v1/status").unwrap().as_str(), "http://host/sweep/v1/status");
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for url in ["127.0.0.1:8080", "https://host", "unix:/run/sweep", "http://", ""] {
            let error = Client::new(url, "token").unwrap_err();
            assert!(matches!(error, ClientError::BadAddress { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn a_token_with_a_line_break_is_refused() {
        assert!(matches!(Client::new("http://host", "a\nb"), Err(ClientError::BadToken)));
    }

    #[test]
    fn the_token_is_not_shown_by_debug() {
        let client = Client::new("http://host", "hunter2").unwrap();
        assert!(!format!("{client:?}").contains("hunter2"));
    }

    #[test]
    fn a_refusal_carries_the_problem_and_a_proxy_page_its_status() {
        let told = serde_json::to_vec(&Problem::new(404, "no_such_sweep", "no sweep 7")).unwrap();
        let ClientError::Refused { status, problem } = refusal(StatusCode::NOT_FOUND, &told) else {
            panic!("not a refusal");
        };
        assert_eq!((status, problem.code.as_str()), (404, "no_such_sweep"));
        let page = refusal(StatusCode::BAD_GATEWAY, b"<html>");
        assert!(page.is_transient());
        assert!(page.to_string().contains("<html>"));
    }

    /// A coordinator that answers one request with `answer` and gives back what it read.
    async fn answer_once(answer: &'static str) -> (Client, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        });
        (Client::new(&url, "TOKEN").unwrap(), served)
    }

    #[tokio::test]
    async fn a_request_goes_to_its_route_with_the_token() {
        let body = r#"{"sweep": 7, "name": "x", "metric": null, "swept": [], "trials": []}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (client, served) = answer_once(answer.leak()).await;
        assert_eq!(client.results(SweepId(7)).await.unwrap().name, "x");
        let request = served.await.unwrap();
        assert!(request.starts_with("get /v1/sweeps/7/results http/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: bearer token\r\n"), "{request}");
    }

    #[tokio::test]
    async fn an_answer_of_another_shape_is_garbled_and_not_worth_another_try() {
        let (client, _served) = answer_once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await;
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, ClientError::Garbled { .. }), "{error}");
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn a_coordinator_of_before_the_protocol_was_named_is_not_worked_for() {
        let body = r#"{"worker": 7, "heartbeat_millis": 100, "lease_millis": 1000}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (client, _served) = answer_once(answer.leak()).await;
        let request = RegisterRequest::of_test();
        let error = client.register(&request).await.unwrap_err();
        assert!(matches!(error, ClientError::OtherProtocol { protocol: 0, .. }), "{error}");
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_worth_another_try() {
        let (client, _served) = answer_once("HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{").await;
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert!(error.is_transient());
    }
}
