//! A coordinator for tests: it hands out the leases that a test queues, writes down what it is told, and lets the
//! test wait for it. Plain HTTP/1.1 over threads; no more of the protocol than an agent uses.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sweep::protocol::http::{
    AttemptEnd, HeartbeatRequest, HeartbeatResponse, Lease, LeaseRequest, LeaseResponse, LeaseToken,
    OutcomesRequest, Refused, RegisterRequest, RegisterResponse, Report, ReportsRequest, WriteResponse,
};
use sweep::vocabulary::WorkerId;

pub(crate) const TOKEN: &str = "s3cret";
/// Everything that a test waits for happens long before.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What the coordinator has and knows.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) queue: VecDeque<Lease>,
    /// No more leases will come.
    pub(crate) is_drained: bool,
    /// Refused at the next heartbeat.
    pub(crate) lost: Vec<LeaseToken>,
    pub(crate) registered: Option<RegisterRequest>,
    pub(crate) lease_requests: u32,
    pub(crate) heartbeats: Vec<HeartbeatRequest>,
    /// Reports, those within outcomes included, in the order of arrival.
    pub(crate) reports: Vec<Report>,
    pub(crate) ends: Vec<(LeaseToken, AttemptEnd)>,
    pub(crate) has_left: bool,
    /// So many requests are answered with 503 first.
    pub(crate) faults: u32,
}

#[derive(Clone)]
pub(crate) struct Coordinator {
    facts: Arc<(Mutex<Facts>, Condvar)>,
    pub(crate) url: String,
}

impl Coordinator {
    pub(crate) fn start() -> Coordinator {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let coordinator = Coordinator { facts: Arc::default(), url };
        let acceptor = coordinator.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, coordinator) = (connection.unwrap(), acceptor.clone());
                std::thread::spawn(move || coordinator.serve(connection));
            }
        });
        coordinator
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.0.lock().unwrap()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts());
        self.facts.1.notify_all();
    }

    /// Waits until `holds`, and panics at the deadline.
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Facts) -> bool) {
        let (_facts, timeout) =
            self.facts.1.wait_timeout_while(self.facts(), DEADLINE, |facts| !holds(facts)).unwrap();
        assert!(!timeout.timed_out(), "waited in vain until {what}");
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        while let Some((route, headers, body)) = read_request(&mut reader) {
            let (status, answer) = if headers.contains(&format!("bearer {TOKEN}")) {
                self.answer(&route, &body)
            } else {
                (401, r#"{"code": "unauthorized", "message": "wrong token"}"#.to_owned())
            };
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", answer.len());
            if writer.write_all((head + &answer).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, route: &str, body: &[u8]) -> (u16, String) {
        if self.facts().faults > 0 {
            self.change(|facts| facts.faults -= 1);
            return (503, "busy".to_owned());
        }
        let answer = match route {
            "/v1/workers" => {
                self.change(|facts| facts.registered = Some(parse(body)));
                text(&RegisterResponse { worker: WorkerId(1), heartbeat_millis: 100, lease_millis: 1000 })
            }
            "/v1/leases" => text(&self.lease(&parse(body))),
            "/v1/heartbeats" => text(&self.heartbeat(parse(body))),
            "/v1/reports" => {
                self.change(|facts| facts.reports.extend(parse::<ReportsRequest>(body).reports));
                text(&WriteResponse::default())
            }
            "/v1/outcomes" => {
                self.finish(parse(body));
                text(&WriteResponse::default())
            }
            "/v1/workers/leave" => {
                self.change(|facts| facts.has_left = true);
                String::new()
            }
            other => panic!("the agent asked for {other}"),
        };
        (200, answer)
    }

    fn lease(&self, request: &LeaseRequest) -> LeaseResponse {
        self.change(|facts| facts.lease_requests += 1);
        let wait = Duration::from_millis(request.wait_millis);
        let nothing_yet = |facts: &mut Facts| facts.queue.is_empty() && !facts.is_drained;
        let (mut facts, _) = self.facts.1.wait_timeout_while(self.facts(), wait, nothing_yet).unwrap();
        let count = facts.queue.len().min(request.most as usize);
        let leases: Vec<Lease> = facts.queue.drain(..count).collect();
        LeaseResponse { is_drained: facts.is_drained && facts.queue.is_empty() && leases.is_empty(), leases }
    }

    fn heartbeat(&self, request: HeartbeatRequest) -> HeartbeatResponse {
        let mut stop = Vec::new();
        self.change(|facts| {
            for token in facts.lost.drain(..) {
                stop.push(Refused { token, message: "leased to somebody else".to_owned() });
            }
            facts.heartbeats.push(request);
        });
        HeartbeatResponse { stop }
    }

    fn finish(&self, request: OutcomesRequest) {
        self.change(|facts| {
            for outcome in request.outcomes {
                let token = outcome.token;
                let reports = outcome.reports.into_iter();
                facts.reports.extend(reports.map(|report| Report {
                    token,
                    epoch: report.epoch,
                    metrics: report.metrics,
                    checkpoint: report.checkpoint,
                }));
                facts.ends.push((token, outcome.end));
            }
        });
    }
}

/// Polls for what no condition variable tells, such as the end of a process.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap()
}

fn text(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).unwrap()
}

/// Route, headers (in lower case) and body of the next request; `None` when the connection ends.
fn read_request(reader: &mut impl BufRead) -> Option<(String, String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let route = first.split(' ').nth(1)?.to_owned();
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") {
        if reader.read_line(&mut headers).ok()? <= 2 && headers.len() <= 2 {
            break;
        }
    }
    let headers = headers.to_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((route, headers, body))
}
