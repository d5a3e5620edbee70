//! A coordinator for tests: it hands out the leases that a test queues, writes down what it is told, and lets the
//! test wait for it. Plain HTTP/1.1 over threads; no more of the protocol than an agent uses.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sweep::protocol::http::{
    AttemptEnd, HeartbeatRequest, HeartbeatResponse, Lease, LeaseRequest, LeaseResponse, LeaseToken,
    OutcomesRequest, PROTOCOL, Refused, RegisterRequest, RegisterResponse, Report, ReportsRequest,
    WriteResponse,
};
use sweep::protocol::logs::LogsRequest;
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
    /// What trials printed, as it came in.
    pub(crate) logs: BTreeMap<LeaseToken, String>,
    /// The files, by their hash, of a coordinator that keeps them elsewhere; others see what the agent has.
    pub(crate) files: Option<BTreeMap<String, Vec<u8>>>,
    /// Hashes of the files that were sent, in the order of arrival.
    pub(crate) uploads: Vec<String>,
    pub(crate) downloads: Vec<String>,
    /// Files that are sent are taken only when this is over, or never.
    pub(crate) uploads_are: Uploads,
    /// Whoever asks for a file waits.
    pub(crate) are_downloads_held: bool,
    /// Checkpoints that were reported before they were there.
    pub(crate) missing: Vec<String>,
    /// So many requests are answered with 503 first.
    pub(crate) faults: u32,
}

/// What becomes of a file that is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Uploads {
    #[default]
    Taken,
    Held,
    Refused,
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
        while let Some(Request { method, route, headers, body }) = read_request(&mut reader) {
            let (status, mut answer) = if !headers.contains(&format!("bearer {TOKEN}")) {
                (401, br#"{"code": "unauthorized", "message": "wrong token"}"#.to_vec())
            } else if let Some(hash) = route.strip_prefix("/v1/artifacts/") {
                self.exchange(&method, hash, body)
            } else {
                let (status, answer) = self.answer(&route, &body);
                (status, answer.into_bytes())
            };
            let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", answer.len());
            if method == "HEAD" {
                answer.clear();
            }
            if status == 204 {
                head = format!("HTTP/1.1 {status} x\r\n\r\n");
            }
            let answer = [head.into_bytes(), answer].concat();
            if writer.write_all(&answer).is_err() {
                return;
            }
        }
    }

    /// A file in or out.
    fn exchange(&self, method: &str, hash: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let Some(file) = self.facts().files.as_ref().map(|files| files.get(hash).cloned()) else {
            // The probe of an agent that shares its folder.
            return (200, Vec::new());
        };
        match (method, file) {
            ("HEAD" | "GET", None) => (404, b"{}".to_vec()),
            ("HEAD", Some(file)) => (200, file),
            ("GET", Some(file)) => {
                self.change(|facts| facts.downloads.push(hash.to_owned()));
                let _free = self.facts.1.wait_while(self.facts(), |facts| facts.are_downloads_held).unwrap();
                (200, file)
            }
            _ => self.take(hash, body),
        }
    }

    fn take(&self, hash: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let is_held = |facts: &mut Facts| facts.uploads_are == Uploads::Held;
        let held = self.facts.1.wait_while(self.facts(), is_held).unwrap();
        if held.uploads_are == Uploads::Refused {
            return (422, br#"{"code": "other_content", "detail": "it is damaged"}"#.to_vec());
        }
        drop(held);
        self.change(|facts| {
            facts.uploads.push(hash.to_owned());
            facts.files.get_or_insert_default().insert(hash.to_owned(), body);
        });
        (201, Vec::new())
    }

    fn answer(&self, route: &str, body: &[u8]) -> (u16, String) {
        if self.facts().faults > 0 {
            self.change(|facts| facts.faults -= 1);
            return (503, "busy".to_owned());
        }
        let answer = match route {
            "/v1/workers" => {
                self.change(|facts| facts.registered = Some(parse(body)));
                text(&RegisterResponse {
                    worker: WorkerId(1),
                    heartbeat_millis: 100,
                    lease_millis: 1000,
                    protocol: PROTOCOL,
                })
            }
            "/v1/leases" => text(&self.lease(&parse(body))),
            "/v1/heartbeats" => text(&self.heartbeat(parse(body))),
            "/v1/reports" => {
                self.change(|facts| facts.take_reports(parse::<ReportsRequest>(body).reports));
                text(&WriteResponse::default())
            }
            "/v1/outcomes" => {
                self.finish(parse(body));
                text(&WriteResponse::default())
            }
            "/v1/logs" => {
                self.change(|facts| facts.take_logs(parse(body)));
                String::new()
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
                facts.take_reports(reports.map(|report| Report {
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

impl Facts {
    fn take_reports(&mut self, reports: impl IntoIterator<Item = Report>) {
        for report in reports {
            if let (Some(files), Some(checkpoint)) = (&self.files, &report.checkpoint)
                && !files.contains_key(&checkpoint.hash)
            {
                self.missing.push(checkpoint.hash.clone());
            }
            self.reports.push(report);
        }
    }

    fn take_logs(&mut self, request: LogsRequest) {
        for part in request.parts {
            let token = part.token;
            assert!(!self.ends.iter().any(|(ended, _)| *ended == token), "a log after the end of {token:?}");
            let log = self.logs.entry(token).or_default();
            assert_eq!(log.len() as u64, part.offset, "{token:?}");
            log.push_str(&part.text);
        }
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

struct Request {
    method: String,
    route: String,
    /// In lower case.
    headers: String,
    body: Vec<u8>,
}

/// The next request; `None` when the connection ends.
fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, route) = (words.next()?, words.next()?);
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
    Some(Request { method, route, headers, body })
}
