//! The API over a real socket, through the client that everybody uses.

use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;

use super::*;
use crate::client::{Client, ClientError};
use crate::coordinator::{Clock, Settings};
use crate::protocol::http::{
    AttemptEnd, HeartbeatRequest, Lease, LeaseRequest, Outcome, OutcomesRequest, Problem, RegisterRequest,
    ReleaseRequest, SweepState, SweepStatus,
};
use crate::protocol::http::{ResultsQuery, SubmitRequest};
use crate::protocol::logs::LogQuery;
use crate::protocol::steering::{BumpRequest, BumpResponse, ChosenTrials};
use crate::store::Store;
use crate::vocabulary::{EpochChoice, FailureReason, SweepId, TrialNumber, WorkerId};

mod artifacts;
mod dashboard;
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
    coordinator: Coordinator,
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
        state: folder.path().to_owned(),
        logs: folder.path().join("logs"),
    };
    let coordinator = Coordinator::new(store, Clock::system(), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        let _stopped_or_dropped = stopped.await;
    };
    let served = tokio::spawn(serve_within(limits, listener, coordinator.clone(), "secret", shutdown));
    Server { url, stop, served, folder, coordinator }
}

impl Server {
    /// An agent arrives; what it asks for jobs with.
    async fn register(&self) -> LeaseRequest {
        let client = Client::new(&self.url, "secret").unwrap();
        let request = RegisterRequest { host: "h".to_owned(), slots: 1, ..RegisterRequest::of_test() };
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
        working_directory: "/".to_owned(),
        ..SubmitRequest::default()
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
    let mut query = ResultsQuery { epoch: EpochChoice::Best, ..ResultsQuery::default() };
    assert_eq!(refusal(client.results_at(submitted.sweep, &query).await), (409, "no_metric".to_owned()));
    query.metric = Some("loss".to_owned());
    assert_eq!(client.results_at(submitted.sweep, &query).await.unwrap().trials[1].epoch, None);
    assert_eq!(client.retry(submitted.sweep, &ChosenTrials::default()).await.unwrap().jobs, 0);
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
        (http.get(url("/v1/sweeps/1/results?epoch=first")), 400, "bad_query"),
        (http.get(url("/v1/sweeps/1/results?epoch=best&goal=up")), 400, "bad_query"),
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

/// Registers a worker that leases so many jobs.
async fn lease(client: &Client, most: u32) -> (WorkerId, Vec<Lease>) {
    let registered = client.register(&RegisterRequest::of_test()).await.unwrap();
    let request = LeaseRequest { worker: registered.worker, sweep: None, most, wait_millis: 0 };
    (registered.worker, client.lease(&request).await.unwrap().leases)
}

fn chosen(trials: &[i64]) -> ChosenTrials {
    ChosenTrials { trials: Some(trials.iter().map(|trial| TrialNumber(*trial)).collect()) }
}

#[tokio::test]
async fn a_worker_hears_with_its_heartbeat_that_its_job_was_cancelled() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let sweep = client.submit(&submit_request("command: [/bin/true]\nparameters: {x: [1, 2, 3]}\n")).await;
    let sweep = sweep.unwrap().sweep;
    let (worker, leases) = lease(&client, 2).await;
    let tokens: Vec<_> = leases.iter().map(|lease| lease.token).collect();
    let cancelled = client.cancel(sweep, &chosen(&[1, 3])).await.unwrap();
    assert_eq!((cancelled.trials, cancelled.running, cancelled.kept), (2, 1, 0));
    let beat = client
        .heartbeat(&HeartbeatRequest { worker, leases: tokens.clone(), node: None, problem: None })
        .await
        .unwrap();
    assert_eq!(beat.stop.iter().map(|refused| refused.token).collect::<Vec<_>>(), [tokens[0]]);
    assert_eq!(client.retry(sweep, &chosen(&[3])).await.unwrap().jobs, 1);
}

#[tokio::test]
async fn why_a_trial_has_not_begun_is_said_over_http() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let request = submit_request("command: [/bin/true]\nparameters: {x: [1, 2]}\n");
    let sweep = client.submit(&request).await.unwrap().sweep;
    let explained = client.explain(sweep, TrialNumber(2)).await.unwrap();
    assert_eq!(explained.stages[0].attempt, None);
    let _worker = lease(&client, 1).await;
    let begun = client.explain(sweep, TrialNumber(1)).await.unwrap();
    assert_eq!(begun.stages[0].attempt.map(|attempt| attempt.0), Some(1));
}

#[tokio::test]
async fn a_paused_sweep_is_not_leased_from_until_it_is_resumed() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let sweep = client.submit(&submit_request("command: [/bin/true]\nparameters: {}\n")).await.unwrap().sweep;
    for _repeated in 0..2 {
        assert!(matches!(client.pause(sweep).await.unwrap(), SweepStatus { state: SweepState::Paused, .. }));
    }
    assert_eq!(lease(&client, 2).await.1, []);
    assert_eq!(client.status().await.unwrap().sweeps[0].state, SweepState::Paused);
    for _repeated in 0..2 {
        assert!(matches!(client.resume(sweep).await.unwrap(), SweepStatus { state: SweepState::Queued, .. }));
    }
    assert_eq!(lease(&client, 2).await.1.len(), 1);
}

#[tokio::test]
async fn a_bump_answers_with_both_priorities() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let submit = async |x: i64| {
        let spec = format!("command: [/bin/true]\nparameters: {{x: {x}}}\npriority: {x}\n");
        client.submit(&submit_request(&spec)).await.unwrap().sweep
    };
    let (one, two) = (submit(1).await, submit(2).await);
    for (request, before, after) in [
        (BumpRequest::First, 1, 3),
        (BumpRequest::Raise { by: -2 }, 3, 1),
        (BumpRequest::Set { priority: 7 }, 1, 7),
        (BumpRequest::Set { priority: 7 }, 7, 7),
    ] {
        assert_eq!(client.bump(one, &request).await.unwrap(), BumpResponse { before, after });
    }
    let status = client.status().await.unwrap();
    assert_eq!(status.sweeps.iter().map(|sweep| sweep.priority).collect::<Vec<_>>(), [7, 2]);
    client.cancel(two, &ChosenTrials::default()).await.unwrap();
    assert_eq!(refusal(client.bump(two, &BumpRequest::First).await), (409, "has_ended".to_owned()));
}

#[tokio::test]
async fn what_can_not_be_steered_is_refused() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let all = ChosenTrials::default();
    let nowhere = SweepId(9);
    let no_sweep = (404, "no_such_sweep".to_owned());
    assert_eq!(refusal(client.cancel(nowhere, &all).await), no_sweep);
    assert_eq!(refusal(client.retry(nowhere, &all).await), no_sweep);
    assert_eq!(refusal(client.pause(nowhere).await), no_sweep);
    assert_eq!(refusal(client.resume(nowhere).await), no_sweep);
    assert_eq!(refusal(client.bump(nowhere, &BumpRequest::First).await), no_sweep);

    let sweep = client.submit(&submit_request("command: [/bin/true]\nparameters: {x: [1, 2]}\n")).await;
    let sweep = sweep.unwrap().sweep;
    let no_trial = (404, "no_such_trial".to_owned());
    assert_eq!(refusal(client.cancel(sweep, &chosen(&[1, 5])).await), no_trial);
    assert_eq!(refusal(client.retry(sweep, &chosen(&[5])).await), no_trial);
    assert_eq!(client.status().await.unwrap().sweeps[0].trials.queued, 2, "nothing was cancelled");

    client.cancel(sweep, &all).await.unwrap();
    let has_ended = (409, "has_ended".to_owned());
    assert_eq!(refusal(client.cancel(sweep, &all).await), has_ended);
    assert_eq!(refusal(client.cancel(sweep, &chosen(&[1])).await), has_ended);
    assert_eq!(refusal(client.pause(sweep).await), has_ended);
    assert_eq!(refusal(client.resume(sweep).await), has_ended);
}

#[tokio::test]
async fn a_log_comes_in_parts_and_no_name_of_a_request_becomes_a_path() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let sweep = client.submit(&submit_request("command: [/bin/true]\nparameters: {}\n")).await.unwrap().sweep;
    let trial = TrialNumber(1);
    let before = client.log(sweep, trial, &LogQuery::default()).await.unwrap();
    assert_eq!((before.attempt, before.text.as_str()), (None, ""));

    let (_, leases) = lease(&client, 1).await;
    let logs = server.folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let text = "é".repeat(200_000);
    std::fs::write(logs.join(format!("job-{}-attempt-1.log", leases[0].token.job)), &text).unwrap();
    let (mut read, mut query) = (String::new(), LogQuery { offset: 1, ..LogQuery::default() });
    let mut parts = 0;
    loop {
        let part = client.log(sweep, trial, &query).await.unwrap();
        if part.text.is_empty() {
            break;
        }
        (parts, query.offset) = (parts + 1, part.next_offset);
        read += &part.text;
    }
    // The first offset was within a character.
    assert_eq!(read, text.replacen('é', "\u{fffd}", 1));
    assert_eq!((parts, query.offset), (2, 400_000));
    let beyond = LogQuery { offset: u64::MAX, ..LogQuery::default() };
    assert_eq!(client.log(sweep, trial, &beyond).await.unwrap().text, "");

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (path, status) in [
        ("1/trials/1/log?attempt=..%2f..%2ftoken", 400),
        ("1/trials/1/log?job=1/../../token", 400),
        ("1/trials/1/log?offset=-1", 400),
        ("1/trials/1/log?attempt=-1", 400),
        ("1/trials/1/log?job=-1", 400),
        ("1/trials/..%2f1/log", 400),
        ("1/trials/7/log", 404),
        ("7/trials/1/log", 404),
    ] {
        let request = http.get(format!("{}/v1/sweeps/{path}", server.url));
        let response = request.header("authorization", "Bearer secret").send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn a_backup_is_sent_with_its_length_to_whoever_has_the_token() {
    let server = serve_on_a_free_port().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = || http.get(format!("{}/v1/backup", server.url));
    assert_eq!(request().send().await.unwrap().status().as_u16(), 401);
    let response = request().header("authorization", "Bearer secret").send().await.unwrap();
    let length = response.content_length().unwrap();
    let body = response.bytes().await.unwrap();
    assert_eq!(length, body.len() as u64);
    assert!(body.starts_with(b"SQLite format 3\0"));
    let names: Vec<_> = std::fs::read_dir(server.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("sweep.db"))
        .collect();
    assert_eq!(names, Vec::<String>::new(), "nothing is left of it");
}

#[tokio::test]
async fn one_copy_at_a_time_is_made_and_sent() {
    let server = serve_on_a_free_port().await;
    let copies = Copies::new();
    let ask = || backup::back_up(State(server.coordinator.clone()), State(copies.clone()));
    let (_, first) = ask().await.unwrap();
    let refused = ask().await.unwrap_err().into_response();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let refused = axum::body::to_bytes(refused.into_body(), 1 << 20).await.unwrap();
    assert_eq!(serde_json::from_slice::<Problem>(&refused).unwrap().code, "busy");
    // It was not read to its end.
    drop(first);
    let (_, second) = ask().await.unwrap();
    axum::body::to_bytes(second, usize::MAX).await.unwrap();
    assert!(ask().await.is_ok());
}

#[tokio::test]
async fn a_list_is_no_object_at_any_depth() {
    let server = serve_on_a_free_port().await;
    for (route, body, place) in [
        ("workers/leave", "[1]", "body"),
        ("heartbeats", r#"{"worker": 1, "leases": [{"job": 1, "attempt": 1}, [1, 1]]}"#, "body.leases[1]"),
        ("heartbeats", r#"{"worker": 1, "leases": [], "node": []}"#, "body.node"),
        ("sweeps/1/cancel", "[]", "body"),
        ("sweeps/1/bump", r#"["set", 5]"#, "body"),
        (
            "outcomes",
            r#"{"outcomes": [{"job": 1, "attempt": 1, "reports": [[1, {}, null]], "end": {"type": "release"}}]}"#,
            "body.outcomes[0].reports[0]",
        ),
    ] {
        let response = server
            .ask(|http, url| {
                let request = http.post(format!("{url}/v1/{route}"));
                request.header("content-type", "application/json").body(body)
            })
            .await;
        assert_eq!(response.status().as_u16(), 422, "{route} {body}");
        let problem: Problem = response.json().await.unwrap();
        assert_eq!(problem.code, "bad_body");
        assert!(problem.detail.contains(&format!("`{place}` is a list")), "{}", problem.detail);
    }
}

#[tokio::test]
async fn a_node_in_quarantine_is_released_over_http() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    client
        .submit(&submit_request("command: [/bin/true]\nretries: 0\nparameters: {x: {range: [1, 20]}}\n"))
        .await
        .unwrap();
    let (worker, leases) = lease(&client, 5).await;
    // A job of another node goes well.
    let there = server.register().await;
    let well = client.lease(&there).await.unwrap().leases.remove(0);
    let end = AttemptEnd::Complete { record: Default::default() };
    let outcome = Outcome { token: well.token, reports: vec![], end };
    client.finish(&OutcomesRequest { outcomes: vec![outcome] }).await.unwrap();
    let fail = |lease: &Lease| Outcome {
        token: lease.token,
        reports: vec![],
        end: AttemptEnd::Fail {
            reason: FailureReason::Signal(9),
            message: "killed".to_owned(),
            log_tail: String::new(),
        },
    };
    client.finish(&OutcomesRequest { outcomes: leases.iter().map(fail).collect() }).await.unwrap();
    let request = LeaseRequest { worker, sweep: None, most: 1, wait_millis: 0 };
    assert_eq!(client.lease(&request).await.unwrap().leases.len(), 0);
    let here = ReleaseRequest { host: "here".to_owned() };
    assert!(client.release(&here).await.unwrap().was_quarantined);
    assert!(!client.release(&here).await.unwrap().was_quarantined, "once is enough");
    assert_eq!(client.lease(&request).await.unwrap().leases.len(), 1);
}
