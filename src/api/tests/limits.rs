//! What a request may cost, over raw connections: clients that dawdle, flood or pile up.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::artifacts::hash;
use super::*;
use crate::client::{Backoff, retry};
use crate::protocol::http::LeaseRequest;
use crate::vocabulary::weights_file_name;

/// Longer than anything takes; reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

const SHORT: Duration = Duration::from_millis(100);

const PATIENT: Backoff = Backoff { first: Duration::from_millis(10), longest: SHORT, attempts: 600, seed: 1 };

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.url.strip_prefix("http://").unwrap()).await.unwrap()
    }
}

/// Everything that comes until the other end closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer ends it as well.
    let _closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it hangs");
    String::from_utf8(answer).unwrap()
}

async fn send(stream: &mut TcpStream, text: &str) {
    // The other end may have closed already.
    let _refused = stream.write_all(text.as_bytes()).await;
}

const HEAD: &str = "POST /v1/leases HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = serve_with(Limits { body: SHORT, ..Limits::DEFAULT }).await;
    let mut stream = server.connect().await;
    send(&mut stream, &format!("{HEAD}content-length: 10\r\n\r\n{{")).await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"slow_body\""), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let server = serve_with(Limits { head: SHORT, ..Limits::DEFAULT }).await;
    for begun in ["", "GET /v1/status HTTP/1.1\r\nhost:"] {
        let mut stream = server.connect().await;
        send(&mut stream, begun).await;
        assert_eq!(read_to_end(&mut stream).await, "", "{begun}");
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let server = serve_on_a_free_port().await;
    let many: String = (0..1000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let large = format!("x: {}\r\n", "a".repeat(200_000));
    for headers in [many, large] {
        let mut stream = server.connect().await;
        send(&mut stream, &format!("{HEAD}{headers}\r\n")).await;
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn a_body_without_an_announced_length_is_bounded_too() {
    let server = serve_on_a_free_port().await;
    let mut stream = server.connect().await;
    send(&mut stream, &format!("{HEAD}transfer-encoding: chunked\r\n\r\n")).await;
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    for _ in 0..LARGEST_BODY_BYTES.div_ceil(1 << 20) + 1 {
        send(&mut stream, &chunk).await;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"code\":\"large_body\""), "{answer}");
}

#[tokio::test]
async fn a_connection_too_many_is_told_to_come_again_and_then_served() {
    let server = serve_with(Limits { connections: 2, ..Limits::DEFAULT }).await;
    let idle = [server.connect().await, server.connect().await];
    let mut third = server.connect().await;
    let answer = read_to_end(&mut third).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n") && answer.contains("\"code\":\"busy\""), "{answer}");
    drop(idle);
    let client = Client::new(&server.url, "secret").unwrap();
    assert!(retry(&PATIENT, "ask", || client.status()).await.is_ok());
}

#[tokio::test]
async fn a_request_too_many_is_told_to_come_again() {
    let server = serve_with(Limits { requests: 1, ..Limits::DEFAULT }).await;
    let client = Client::new(&server.url, "secret").unwrap();
    // A sweep whose job is held keeps the next lease request waiting.
    let asking = server.register().await;
    client.submit(&submit_request("command: [/bin/true]\nparameters: {x: [1]}\n")).await.unwrap();
    assert_eq!(client.lease(&asking).await.unwrap().leases.len(), 1);
    let polling = tokio::spawn({
        let (client, long) = (client.clone(), LeaseRequest { wait_millis: 600_000, ..asking.clone() });
        // The only place may be taken by one of the requests below.
        async move { retry(&PATIENT, "wait", || client.lease(&long)).await }
    });
    let refused = tokio::time::timeout(DEADLINE, async {
        loop {
            match client.status().await {
                Ok(_) => tokio::time::sleep(SHORT / 10).await,
                Err(error) => break error,
            }
        }
    });
    let refused = refused.await.unwrap();
    assert!(refused.is_transient(), "{refused}");
    let again = server.ask(|http, url| http.get(format!("{url}/v1/status"))).await;
    assert_eq!((again.status().as_u16(), &again.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    // Whoever is gone does not take a place.
    polling.abort();
    assert!(retry(&PATIENT, "ask", || client.status()).await.is_ok());
}

#[tokio::test]
async fn a_long_poll_is_not_cut_by_the_limits_of_heads_and_bodies() {
    let server = serve_with(Limits { head: SHORT, body: SHORT, ..Limits::DEFAULT }).await;
    let client = Client::new(&server.url, "secret").unwrap();
    let asking = server.register().await;
    client.submit(&submit_request("command: [/bin/true]\nparameters: {x: [1]}\n")).await.unwrap();
    assert_eq!(client.lease(&asking).await.unwrap().leases.len(), 1);
    let long = LeaseRequest { wait_millis: 5 * 100, ..asking };
    assert_eq!(client.lease(&long).await.unwrap().leases, []);
}

/// The head of a request that sends a file of so many bytes.
fn head_of_upload(contents: &str) -> String {
    let route = format!("/v1/artifacts/{}", hash(contents.as_bytes()));
    let length = contents.len();
    format!(
        "PUT {route} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn the_end_waits_for_requests_and_not_for_idle_connections() {
    let server = serve_on_a_free_port().await;
    let mut sending = server.connect().await;
    send(&mut sending, &head_of_upload("all of it")).await;
    send(&mut sending, "all ").await;
    server.wait_for_artifacts(1).await;
    let mut idle = server.connect().await;
    server.stop.send(()).unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(!server.served.is_finished(), "a request is under way");
    send(&mut sending, "of it").await;
    let answer = read_to_end(&mut sending).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    tokio::time::timeout(DEADLINE, server.served).await.expect("it waits for somebody").unwrap();
}

#[tokio::test]
async fn a_file_that_does_not_come_is_given_up_and_nothing_is_left_of_it() {
    let server = serve_with(Limits { silence: SHORT, ..Limits::DEFAULT }).await;
    let mut stream = server.connect().await;
    send(&mut stream, &head_of_upload("all of it")).await;
    send(&mut stream, "all ").await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"slow_body\""), "{answer}");
    server.wait_for_artifacts(0).await;
}

#[tokio::test]
async fn who_stops_reading_loses_its_connection() {
    let server = serve_with(Limits { connections: 1, unread: SHORT, ..Limits::DEFAULT }).await;
    // More than fits into all buffers on the way.
    std::fs::create_dir(server.artifacts()).unwrap();
    let name = "0".repeat(64);
    let file = std::fs::File::create(server.artifacts().join(weights_file_name(&name))).unwrap();
    file.set_len(1 << 30).unwrap();
    let mut stalled = server.connect().await;
    let request =
        format!("GET /v1/artifacts/{name} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\r\n");
    send(&mut stalled, &request).await;
    let mut answer = [0; 12];
    stalled.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // The only place becomes free, though it is still connected as far as it knows.
    let client = Client::new(&server.url, "secret").unwrap();
    assert!(retry(&PATIENT, "ask", || client.status()).await.is_ok());
    drop(stalled);
}
