//! Server-sent events over a real socket.

use super::*;
use crate::protocol::http::{AttemptEnd, LeaveRequest, LiveEvent, Outcome, OutcomesRequest};

/// Longer than anything takes; reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(server: &Server, query: &str, last_id: Option<&str>) -> Stream {
        let response = server
            .ask(|http, url| {
                let request = http.get(format!("{url}/v1/events{query}"));
                last_id.into_iter().fold(request, |request, id| request.header("last-event-id", id))
            })
            .await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { response, text: String::new() }
    }

    /// The next event with its id; nothing when the stream has ended.
    async fn next(&mut self) -> Option<(String, LiveEvent)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let parsed = field("data: ").map(|data| {
                    let told: LiveEvent = serde_json::from_str(data).unwrap();
                    assert_eq!(field("event: "), Some(told.name()));
                    (field("id: ").unwrap().to_owned(), told)
                });
                self.text = rest.to_owned();
                if parsed.is_some() {
                    return parsed;
                }
                continue;
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await.expect("nothing comes");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    async fn until(&mut self, wanted: impl Fn(&LiveEvent) -> bool) -> (String, LiveEvent) {
        loop {
            let (id, event) = self.next().await.expect("the stream ended");
            if wanted(&event) {
                return (id, event);
            }
        }
    }
}

fn is_sweep(event: &LiveEvent) -> bool {
    matches!(event, LiveEvent::SweepChanged(_))
}

#[tokio::test]
async fn a_live_client_hears_of_sweeps_trials_and_agents_and_picks_up_where_it_was() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let mut stream = Stream::open(&server, "", None).await;
    assert_eq!(stream.next().await.unwrap().1, LiveEvent::Reset);
    let asking = server.register().await;
    client.submit(&submit_request("name: a\ncommand: [/bin/true]\nparameters: {x: [1]}\n")).await.unwrap();
    let (seen, _) = stream
        .until(|event| matches!(event, LiveEvent::SweepChanged(status) if status.trials.queued == 1))
        .await;
    drop(stream);

    let lease = client.lease(&asking).await.unwrap().leases.remove(0);
    let end = AttemptEnd::Complete { record: Default::default() };
    let outcome = Outcome { token: lease.token, reports: vec![], end };
    client.finish(&OutcomesRequest { outcomes: vec![outcome] }).await.unwrap();
    client.leave(&LeaveRequest { worker: asking.worker }).await.unwrap();

    let mut again = Stream::open(&server, "", Some(&seen)).await;
    let (_, ended) = again.until(|event| matches!(event, LiveEvent::TrialsEnded { .. })).await;
    assert_eq!(
        serde_json::to_value(&ended).unwrap(),
        serde_json::json!({"type": "trials_ended", "sweep": 1, "trials": [{"trial": 1, "state": "succeeded"}]})
    );
    again
        .until(|event| matches!(event, LiveEvent::SweepChanged(status) if status.trials.succeeded == 1))
        .await;
    let (_, left) = again.until(|event| matches!(event, LiveEvent::WorkerLeft { .. })).await;
    assert_eq!(left, LiveEvent::WorkerLeft { worker: asking.worker });
}

#[tokio::test]
async fn an_id_of_another_process_or_none_at_all_makes_the_client_load_everything() {
    let server = serve_on_a_free_port().await;
    for id in ["1-0", "nonsense", "-", "99999999999999999999-1"] {
        let mut stream = Stream::open(&server, "", Some(id)).await;
        assert_eq!(stream.next().await.unwrap().1, LiveEvent::Reset, "{id}");
    }
    let odd = server.ask(|http, url| http.get(format!("{url}/v1/events?sweep=0"))).await;
    assert_eq!(odd.status().as_u16(), 400);
    assert_eq!(odd.json::<Problem>().await.unwrap().code, "bad_query");
}

#[tokio::test]
async fn a_stream_of_one_sweep_is_silent_about_others() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let mut all = Stream::open(&server, "", None).await;
    let mut second = Stream::open(&server, "?sweep=2", None).await;
    assert_eq!(second.next().await.unwrap().1, LiveEvent::Reset);
    for x in [1, 2] {
        let spec = format!("command: [/bin/true]\nparameters: {{x: [{x}]}}\n");
        client.submit(&submit_request(&spec)).await.unwrap();
        all.until(|event| matches!(event, LiveEvent::SweepChanged(status) if status.id == SweepId(x))).await;
    }
    let (_, event) = second.until(is_sweep).await;
    assert_eq!(event.sweep(), Some(SweepId(2)));
}

#[tokio::test]
async fn a_stream_ends_after_its_time_and_the_next_one_goes_on_where_it_was() {
    let server = serve_with(Limits { stream: Duration::from_millis(100), ..Limits::DEFAULT }).await;
    let client = Client::new(&server.url, "secret").unwrap();
    let mut stream = Stream::open(&server, "", None).await;
    let (mut seen, reset) = stream.next().await.unwrap();
    assert_eq!(reset, LiveEvent::Reset);
    while let Some((id, _)) = stream.next().await {
        seen = id;
    }
    client.submit(&submit_request("command: [/bin/true]\nparameters: {x: [1]}\n")).await.unwrap();
    // What was missed is told, and nothing is loaded anew.
    loop {
        let mut again = Stream::open(&server, "", Some(&seen)).await;
        while let Some((id, event)) = again.next().await {
            assert_ne!(event, LiveEvent::Reset);
            if is_sweep(&event) {
                return;
            }
            seen = id;
        }
    }
}

#[tokio::test]
async fn streams_end_with_the_coordinator() {
    let server = serve_on_a_free_port().await;
    let mut stream = Stream::open(&server, "", None).await;
    assert_eq!(stream.next().await.unwrap().1, LiveEvent::Reset);
    server.stop.send(()).unwrap();
    assert!(stream.next().await.is_none());
    tokio::time::timeout(DEADLINE, server.served).await.expect("it waits for a stream").unwrap();
}
