//! The API over a real socket, through the client that everybody uses.

use std::time::Duration;

use super::*;
use crate::client::{Client, ClientError};
use crate::coordinator::{Clock, Settings};
use crate::protocol::http::{LeaseRequest, Problem, RegisterRequest, SubmitRequest};
use crate::store::Store;
use crate::vocabulary::SweepId;

mod artifacts;
mod events;
mod limits;
mod monitoring;
mod openapi;
mod security;

struct Server {
    url: String,
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

async fn serve_on_a_free_port() -> Server {
    serve_with(Limits::DEFAULT).await
}

async fn serve_with(limits: Limits) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("sweep.db")).await.unwrap();
    let settings = Settings {
        lease: Duration::from_secs(60),
        datasets: folder.path().to_owned(),
        artifacts: folder.path().join("artifacts"),
    };
    let coordinator = Coordinator::new(store, Clock::system(), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        let _stopped_or_dropped = stopped.await;
    };
    let served = tokio::spawn(serve_within(limits, listener, coordinator, "secret", shutdown));
    Server { url, stop, served, folder }
}

impl Server {
    /// An agent arrives; what it asks for jobs with.
    async fn register(&self) -> LeaseRequest {
        let client = Client::new(&self.url, "secret").unwrap();
        let request = RegisterRequest {
            host: "h".to_owned(),
            boot_id: "b".to_owned(),
            pid: 1,
            started_ticks: 1,
            slots: 1,
            version: "0".to_owned(),
        };
        let worker = client.register(&request).await.unwrap().worker;
        LeaseRequest { worker, sweep: None, most: 1, wait_millis: 0 }
    }

    /// Sends a request that shows the token.
    async fn ask(
        &self,
        request: impl FnOnce(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> reqwest::Response {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        request(&http, &self.url).header("authorization", "Bearer secret").send().await.unwrap()
    }
}

fn submit_request(spec: &str) -> SubmitRequest {
    SubmitRequest {
        spec: spec.to_owned(),
        source_name: "s.yaml".to_owned(),
        bases: vec![],
        overrides: vec![],
        working_directory: "/".to_owned(),
        sharing: Default::default(),
        is_rehearsal: false,
        only: None,
    }
}

/// Status and code of a refusal.
fn refusal<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (u16, String) {
    match answer.unwrap_err() {
        ClientError::Refused { status, problem } => (status, problem.code),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn without_the_right_token_nothing_is_learned() {
    let server = serve_on_a_free_port().await;
    for token in ["", "secre", "secret2", "Secret"] {
        let client = Client::new(&server.url, token).unwrap();
        assert_eq!(refusal(client.status().await), (401, "unauthorized".to_owned()), "{token}");
        assert_eq!(refusal(client.results(SweepId(1)).await), (401, "unauthorized".to_owned()));
        assert_eq!(refusal(client.submit(&submit_request("")).await), (401, "unauthorized".to_owned()));
    }
}

#[tokio::test]
async fn a_submitted_sweep_is_there() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let request = submit_request("name: s\ncommand: [/bin/true]\nparameters: {x: [1, 2]}\n");
    let submitted = client.submit(&request).await.unwrap();
    assert_eq!((submitted.trials, submitted.jobs), (2, 2));
    assert_eq!(client.status().await.unwrap().sweeps[0].id, submitted.sweep);
    assert_eq!(client.results(submitted.sweep).await.unwrap().trials.len(), 2);
    assert_eq!(client.retry(submitted.sweep).await.unwrap().jobs, 0);
}

#[tokio::test]
async fn refusals_have_stable_codes() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    assert_eq!(refusal(client.results(SweepId(9)).await), (404, "no_such_sweep".to_owned()));
    assert_eq!(refusal(client.submit(&submit_request("nonsense: 1")).await), (422, "bad_spec".to_owned()));
    let missing = "parameters: {method: ce, dataset: nowhere}";
    assert_eq!(refusal(client.submit(&submit_request(missing)).await), (422, "not_runnable".to_owned()));
}

#[tokio::test]
async fn what_is_no_request_gets_a_problem_document() {
    let server = serve_on_a_free_port().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("{}{path}", server.url);
    for (request, status, code) in [
        (http.get(url("/v1/nothing")), 404, "no_such_route"),
        (http.get(url("/v1/leases")), 405, "no_such_method"),
        (http.get(url("/v1/sweeps/abc/results")), 400, "bad_id"),
        (http.get(url("/v1/sweeps/0/results")), 400, "bad_id"),
        (http.get(url("/v1/sweeps/%FF/results")), 400, "bad_path"),
        (http.post(url("/v1/leases")).header("content-type", "application/json").body("{"), 400, "bad_body"),
        (http.post(url("/v1/leases")).header("content-type", "application/json").body("{}"), 422, "bad_body"),
        (http.post(url("/v1/leases")).body("{}"), 415, "bad_body"),
        (
            http.post(url("/v1/sweeps"))
                .header("content-type", "application/json")
                .body(" ".repeat(17 << 20)),
            413,
            "large_body",
        ),
    ] {
        let response = server.ask(|_, _| request).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        if status == 405 {
            assert_eq!(response.headers()["allow"], "POST");
        }
        let problem: Problem = response.json().await.unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (status, code));
        assert_eq!(problem.kind, format!("urn:sweep:problem:{code}"));
        assert_eq!(problem.title, code.replace('_', " "));
        assert!(!problem.detail.is_empty());
    }
}
