//! What lies between an agent and the coordinator: it passes requests on as they are, connections kept open as they are,
//! and does to chosen ones what networks and proxies do.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::faults::{Mischief, Route};

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nnope\n";

/// A way from one agent to the coordinator.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    coordinator: SocketAddr,
    armed: Mutex<Vec<Armed>>,
    /// Numbers of faults that have met their request.
    met: Mutex<Vec<usize>>,
}

/// What is done to the next request of a kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed {
    /// Names it in the history.
    pub(crate) number: usize,
    pub(crate) route: Route,
    pub(crate) mischief: Mischief,
    pub(crate) lasts: Duration,
}

impl Proxy {
    pub(crate) fn start(runtime: &Handle, listen: SocketAddr, coordinator: SocketAddr) -> Proxy {
        let listener = runtime.block_on(TcpListener::bind(listen)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { coordinator, armed: Mutex::default(), met: Mutex::default() });
        let accepting = shared.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = accepting.clone();
                // A connection that breaks is what all this is about.
                tokio::spawn(async move { shared.serve(client).await.unwrap_or_default() });
            }
        });
        Proxy { address, shared }
    }

    pub(crate) fn arm(&self, armed: Armed) {
        self.shared.armed.lock().unwrap().push(armed);
    }

    /// Faults that were armed and have met their request since the last call.
    pub(crate) fn take_met(&self) -> Vec<usize> {
        std::mem::take(&mut self.shared.met.lock().unwrap())
    }
}

impl Shared {
    /// One connection of the agent, and one of ours behind it, until either breaks.
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut onward: Option<TcpStream> = None;
        loop {
            let request = tokio::select! {
                request = read_message(&mut client, Side::Request) => request?,
                () = closed(onward.as_ref()) => return Ok(()),
            };
            let Some(request) = request else { return Ok(()) };
            let armed = self.take_armed(route(&request.bytes));
            match armed.map(|armed| (armed.mischief, armed.lasts)) {
                Some((Mischief::LoseRequest, _)) => return Ok(()),
                Some((Mischief::Refuse, _)) => {
                    client.write_all(UNAVAILABLE).await?;
                    continue;
                }
                Some((Mischief::DeliverLate, lasts)) => {
                    drop(client);
                    tokio::time::sleep(lasts).await;
                    return self.ask(&request).await.map(drop);
                }
                Some((Mischief::DelayRequest, lasts)) => tokio::time::sleep(lasts).await,
                Some((Mischief::Double, _)) => {
                    let (again, coordinator) = (request.clone(), self.coordinator);
                    tokio::spawn(async move { ask(coordinator, &again).await.map(drop) });
                }
                Some((Mischief::LoseAnswer | Mischief::BreakAnswer | Mischief::DelayAnswer, _)) | None => {}
            }
            let stream = match &mut onward {
                Some(stream) => stream,
                None => onward.insert(connect(self.coordinator).await?),
            };
            stream.write_all(&request.bytes).await?;
            let answer = tokio::select! {
                answer = read_message(stream, Side::Answer { asked: &request }) => answer?,
                () = closed(Some(&client)) => return Ok(()),
            };
            let Some(answer) = answer else { return Ok(()) };
            match armed.map(|armed| (armed.mischief, armed.lasts)) {
                Some((Mischief::LoseAnswer, _)) => return Ok(()),
                Some((Mischief::BreakAnswer, _)) => {
                    return client.write_all(&answer.bytes[..answer.bytes.len() / 2]).await;
                }
                Some((Mischief::DelayAnswer, lasts)) => tokio::time::sleep(lasts).await,
                _ => {}
            }
            client.write_all(&answer.bytes).await?;
            if answer.is_last {
                return Ok(());
            }
        }
    }

    fn take_armed(&self, route: Route) -> Option<Armed> {
        let mut armed = self.armed.lock().unwrap();
        let at = armed.iter().position(|armed| armed.route == route)?;
        let armed = armed.remove(at);
        self.met.lock().unwrap().push(armed.number);
        Some(armed)
    }

    async fn ask(&self, request: &Message) -> io::Result<Option<Message>> {
        ask(self.coordinator, request).await
    }
}

async fn ask(coordinator: SocketAddr, request: &Message) -> io::Result<Option<Message>> {
    let mut stream = connect(coordinator).await?;
    stream.write_all(&request.bytes).await?;
    read_message(&mut stream, Side::Answer { asked: request }).await
}

async fn connect(coordinator: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(coordinator).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Comes back when the other end has closed the connection; it says nothing at such a moment otherwise.
async fn closed(stream: Option<&TcpStream>) {
    let says_more = match stream {
        Some(stream) => stream.peek(&mut [0]).await.is_ok_and(|length| length > 0),
        None => true,
    };
    if says_more {
        std::future::pending().await
    }
}

/// A request or an answer, whole.
#[derive(Debug, Clone)]
struct Message {
    bytes: Vec<u8>,
    /// Nothing comes behind it.
    is_last: bool,
}

/// Which of the two it is: the end of an answer depends on what was asked.
#[derive(Clone, Copy)]
enum Side<'a> {
    Request,
    Answer { asked: &'a Message },
}

/// How the end of a body is known.
enum Length {
    Bytes(usize),
    Chunks,
    UntilTheEnd,
}

/// The next message; nothing where the connection ends before it begins.
async fn read_message(stream: &mut TcpStream, side: Side<'_>) -> io::Result<Option<Message>> {
    let mut bytes = Vec::new();
    let body_at = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return if bytes.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    };
    let length = length(&bytes[..body_at], side);
    loop {
        let is_whole = match length {
            Length::Bytes(length) => bytes.len() >= body_at + length,
            Length::Chunks => has_last_chunk(&bytes[body_at..]),
            Length::UntilTheEnd => false,
        };
        if is_whole {
            return Ok(Some(Message { bytes, is_last: false }));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return match length {
                Length::UntilTheEnd => Ok(Some(Message { bytes, is_last: true })),
                Length::Bytes(_) | Length::Chunks => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
}

fn length(head: &[u8], side: Side<'_>) -> Length {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = header("content-length:").and_then(|length| length.parse().ok());
    let is_chunked = header("transfer-encoding:").is_some_and(|coding| coding.contains("chunked"));
    let has_no_body = match side {
        Side::Request => false,
        Side::Answer { asked } => asked.bytes.starts_with(b"HEAD ") || head.starts_with("http/1.1 204"),
    };
    match (length, side) {
        _ if has_no_body => Length::Bytes(0),
        _ if is_chunked => Length::Chunks,
        (Some(length), _) => Length::Bytes(length),
        (None, Side::Request) => Length::Bytes(0),
        (None, Side::Answer { .. }) => Length::UntilTheEnd,
    }
}

/// Whether the chunks are there up to the last one, which is empty.
fn has_last_chunk(mut body: &[u8]) -> bool {
    while let Some(at) = find(body, b"\r\n") {
        let size = String::from_utf8_lossy(&body[..at]).split(';').next().map(str::to_owned);
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()).unwrap_or(0);
        match body.get(at + 2 + size + 2..) {
            Some(_) if size == 0 => return true,
            Some(rest) => body = rest,
            None => return false,
        }
    }
    false
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// What a request is about, by its first line.
fn route(request: &[u8]) -> Route {
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    match String::from_utf8_lossy(line).split(' ').nth(1).unwrap_or_default() {
        "/v1/workers" => Route::Register,
        "/v1/leases" => Route::Lease,
        "/v1/heartbeats" => Route::Heartbeat,
        "/v1/reports" => Route::Report,
        "/v1/outcomes" => Route::Outcome,
        _ => Route::Other,
    }
}
