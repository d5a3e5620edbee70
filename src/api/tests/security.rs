//! What strangers and hostile names get. Bodies, floods and slow clients are in `limits.rs`, names of artifacts in
//! `artifacts.rs`.

use super::*;
use crate::protocol::http::Work;

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Every route and method of the document, with placeholders filled in.
async fn routes(server: &Server) -> Vec<(reqwest::Method, String)> {
    let document = server.ask(|http, url| http.get(format!("{url}/v1/openapi.json"))).await;
    let document: serde_json::Value = document.json().await.unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{hash}", &"0".repeat(64)).replace("{sweep}", "1").replace("{trial}", "1");
        assert!(!path.contains('{'), "{path}");
        for method in methods.as_object().unwrap().keys() {
            routes.push((method.to_uppercase().parse().unwrap(), format!("{}{path}", server.url)));
        }
    }
    routes
}

#[tokio::test]
async fn a_stranger_learns_the_same_of_every_route() {
    let server = serve_on_a_free_port().await;
    let mut asked = routes(&server).await;
    assert!(asked.len() > 15, "{asked:?}");
    asked.push((reqwest::Method::GET, format!("{}/no/such/route", server.url)));
    asked.push((reqwest::Method::DELETE, format!("{}/v1/status", server.url)));
    let shown = [
        None,
        Some(""),
        Some("secret"),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer Secret"),
        Some("Bearer secret2"),
        Some("Bearer  secret"),
        Some("Basic c2VjcmV0"),
        Some("Bearer \u{e9}"),
    ];
    let mut bodies = std::collections::BTreeSet::new();
    for (method, url) in asked {
        for shown in shown {
            // A token that stands somewhere else is none.
            let request = http().request(method.clone(), format!("{url}?token=secret"));
            let request = shown.into_iter().fold(request, |request, shown| {
                request.header(
                    "authorization",
                    reqwest::header::HeaderValue::from_bytes(shown.as_bytes()).unwrap(),
                )
            });
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), 401, "{method} {url} {shown:?}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            bodies.insert(response.text().await.unwrap());
        }
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn the_schemes_name_is_the_same_in_any_case() {
    let server = serve_on_a_free_port().await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = http().get(format!("{}/v1/status", server.url));
        let response = request.header("authorization", format!("{scheme} secret")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{scheme}");
    }
}

#[tokio::test]
async fn a_name_with_markup_is_never_a_page() {
    const MARKUP: &str = "<script>alert(1)</script>";
    let server = serve_on_a_free_port().await;
    let spec = format!("name: '{MARKUP}'\ncommand: ['{MARKUP}']\nparameters: {{x: ['{MARKUP}']}}\n");
    let client = Client::new(&server.url, "secret").unwrap();
    client.submit(&submit_request(&spec)).await.unwrap();
    assert_eq!(client.status().await.unwrap().sweeps[0].name, MARKUP);
    for path in [
        "/v1/status",
        "/v1/sweeps/1/results",
        "/v1/sweeps/1/request",
        "/metrics",
        "/v1/sweeps/<script>/results",
    ] {
        let response = server.ask(|http, url| http.get(format!("{url}{path}"))).await;
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.contains("json") || kind.starts_with("application/openmetrics-text"), "{path}: {kind}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
        assert!(response.text().await.unwrap().contains("<script>"), "{path}");
    }
}

#[tokio::test]
async fn a_hostile_parameter_stays_one_argument_and_is_not_filled_in_again() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let hostile = [
        "$(touch pwned); rm -rf / && `id`",
        "{{seed}} {{#if x}}y{{/if}} {{{x}}}",
        "--lr=9 --output ../../token",
        "\" ' \\ \n| > < & *",
        "<script>alert(1)</script>",
    ];
    let values = serde_json::to_string(&hostile).unwrap();
    let spec = format!("command: [echo, '{{{{x}}}}', '--x={{{{x}}}}']\nparameters: {{x: {values}}}\n");
    client.submit(&submit_request(&spec)).await.unwrap();
    let (_, leases) = lease(&client, 9).await;
    let commands = leases.into_iter().map(|lease| match lease.work {
        Work::Command(work) => work.command,
        Work::Resnet(_) => panic!("it is a program"),
    });
    let expected = hostile.map(|value| vec!["echo".to_owned(), value.to_owned(), format!("--x={value}")]);
    assert_eq!(commands.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_name_can_not_forge_an_event() {
    let server = serve_on_a_free_port().await;
    let mut stream = server.ask(|http, url| http.get(format!("{url}/v1/events"))).await;
    let forging = "here\n\nevent: reset\rdata: {}\r\n\r\nid: 1-1";
    let request = RegisterRequest { host: forging.to_owned(), ..RegisterRequest::of_test() };
    Client::new(&server.url, "secret").unwrap().register(&request).await.unwrap();
    let mut text = String::new();
    while !text.contains("worker_joined") || !text.ends_with("\n\n") {
        let chunk =
            tokio::time::timeout(Duration::from_secs(60), stream.chunk()).await.expect("nothing comes");
        text += std::str::from_utf8(&chunk.unwrap().expect("it ended")).unwrap();
    }
    let joined: Vec<&str> = text.split("\n\n").filter(|event| event.contains("worker_joined")).collect();
    let lines: Vec<&str> = joined[0].lines().collect();
    assert_eq!((joined.len(), lines.len()), (1, 3), "{text}");
    let data = lines.iter().find_map(|line| line.strip_prefix("data: ")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(data).unwrap()["host"], forging);
    assert!(!text.contains('\r'), "{text}");
}

#[tokio::test]
async fn every_answer_forbids_guessing_what_it_is() {
    let server = serve_on_a_free_port().await;
    for (method, url) in routes(&server).await {
        let response = server.ask(|http, _| http.request(method.clone(), &url)).await;
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{method} {url}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{method} {url}");
    }
    let refused = http().get(&server.url).send().await.unwrap();
    assert_eq!(refused.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn no_way_of_writing_a_path_leads_elsewhere() {
    let server = serve_on_a_free_port().await;
    let address = server.url.strip_prefix("http://").unwrap();
    for path in [
        "/v1/../token",
        "/../../etc/passwd",
        "/v1/artifacts/../../token",
        "/v1/artifacts/..%2f..%2ftoken",
        "//etc/passwd",
        "/v1/sweeps/..%2f1/results",
        "/v1/sweeps/1%00/results",
    ] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        // A client of ours would tidy the path up.
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(status == 404 || status == 400, "{path}: {answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{path}: {answer}");
    }
}
