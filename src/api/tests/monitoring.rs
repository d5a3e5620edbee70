//! `/healthz` and `/metrics`.

use super::*;
use crate::protocol::http::{AttemptEnd, Report};
use crate::protocol::http::{EpochMetrics, Health, Outcome, OutcomesRequest, ReportsRequest};

async fn scrape(server: &Server) -> String {
    let response = server.ask(|http, url| http.get(format!("{url}/metrics"))).await;
    assert_eq!(
        response.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    response.text().await.unwrap()
}

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "no line `{line}` in\n{text}");
    }
}

#[tokio::test]
async fn metrics_say_what_is_queued_leased_and_reported() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let asking = server.register().await;
    client.submit(&submit_request("name: s\ncommand: [/bin/true]\nparameters: {x: [1, 2]}\n")).await.unwrap();
    let lease = client.lease(&asking).await.unwrap().leases.remove(0);
    let metrics = [("loss".to_owned(), 1.0)].into();
    let report = Report { token: lease.token, epoch: 1, metrics, checkpoint: None };
    client.report(&ReportsRequest { reports: vec![report] }).await.unwrap();
    let text = scrape(&server).await;
    assert_lines(
        &text,
        &[
            r#"sweep_trials{sweep="1",name="s",state="queued"} 1"#,
            r#"sweep_trials{sweep="1",name="s",state="running"} 1"#,
            "sweep_leases 1",
            "sweep_workers 1",
            "sweep_worker_slots 1",
            "sweep_reports_total 1",
            "sweep_epochs_total 1",
            "sweep_leases_expired_total 0",
            r#"sweep_http_request_duration_seconds_count{method="POST",route="/v1/leases",status="200"} 1"#,
            "# TYPE sweep_http_request_duration_seconds histogram",
            "# EOF",
        ],
    );
    let size = text.lines().find_map(|line| line.strip_prefix("sweep_database_bytes ")).unwrap();
    assert!(size.parse::<u64>().unwrap() > 4096, "{size}");

    let epoch = EpochMetrics { epoch: 2, metrics: [("loss".to_owned(), 0.5)].into(), checkpoint: None };
    let end = AttemptEnd::Complete { record: Default::default() };
    let outcome = Outcome { token: lease.token, reports: vec![epoch], end };
    client.finish(&OutcomesRequest { outcomes: vec![outcome] }).await.unwrap();
    let text = scrape(&server).await;
    assert_lines(
        &text,
        &[
            r#"sweep_trials{sweep="1",name="s",state="succeeded"} 1"#,
            "sweep_leases 0",
            "sweep_reports_total 2",
            "sweep_epochs_total 2",
        ],
    );
}

#[tokio::test]
async fn names_and_made_up_requests_do_not_disturb_the_text() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let spec = "name: 'a\"b\\c'\ncommand: [/bin/true]\nparameters: {x: [1]}\n";
    client.submit(&submit_request(spec)).await.unwrap();
    for n in 0..3 {
        let made_up = reqwest::Method::from_bytes(format!("MADE{n}").as_bytes()).unwrap();
        server.ask(|http, url| http.request(made_up, format!("{url}/v1/status"))).await;
        server.ask(|http, url| http.get(format!("{url}/made/up/{n}"))).await;
    }
    let text = scrape(&server).await;
    assert_lines(
        &text,
        &[
            r#"sweep_trials{sweep="1",name="a\"b\\c",state="queued"} 1"#,
            r#"sweep_http_request_duration_seconds_count{method="other",route="/v1/status",status="405"} 3"#,
            r#"sweep_http_request_duration_seconds_count{method="GET",route="none",status="404"} 3"#,
        ],
    );
}

#[tokio::test]
async fn health_is_asked_with_the_token_too() {
    let server = serve_on_a_free_port().await;
    let health: Health =
        server.ask(|http, url| http.get(format!("{url}/healthz"))).await.json().await.unwrap();
    assert_eq!((health.status.as_str(), health.version.as_str()), ("ok", env!("CARGO_PKG_VERSION")));
    for path in ["/healthz", "/metrics"] {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = http.get(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401, "{path}");
    }
}
