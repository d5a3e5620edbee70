//! A publisher on this host, who sends files well or badly.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How a publisher answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners {
    /// Sends whole files only, whatever part is asked for.
    pub(crate) has_no_ranges: bool,
    /// So many answers end after so many bytes, without a word.
    pub(crate) breaks: Option<(usize, usize)>,
    /// After those bytes it keeps the connection open and sends nothing, until the other side hangs up.
    pub(crate) stalls: bool,
    /// Doesn't say how long its answers are.
    pub(crate) hides_length: bool,
    /// Sends another part than was asked for.
    pub(crate) sends_wrong_part: bool,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    files: BTreeMap<String, Vec<u8>>,
    manners: Manners,
    /// First bytes that were asked for, by path.
    asked: Vec<(String, Option<usize>)>,
}

impl Server {
    pub(crate) fn start(files: &[(&str, &[u8])], manners: Manners) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| (format!("/{name}"), bytes.to_vec())).collect();
        let state = Arc::new(Mutex::new(State { files, manners, asked: Vec::new() }));
        let server = Server { url, state };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up in the middle has what it deserves.
                let _hung_up = serving.answer(stream);
            }
        });
        server
    }

    pub(crate) fn behave(&self, manners: Manners) {
        self.state.lock().unwrap().manners = manners;
    }

    /// The first byte of each request, since this was called last.
    pub(crate) fn take_asked(&self) -> Vec<Option<usize>> {
        self.state.lock().unwrap().asked.drain(..).map(|(_, first)| first).collect()
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let (mut path, mut first) = (String::new(), None);
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?;
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next().unwrap_or_default().to_owned();
            }
            if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                first = range.trim_end_matches('-').parse().ok();
            }
            if line.is_empty() {
                break;
            }
        }
        let (answer, body, is_stalling) = self.respond(path, first);
        stream.write_all(answer.as_bytes())?;
        stream.write_all(&body)?;
        if is_stalling {
            io::copy(&mut stream, &mut io::sink())?;
        }
        Ok(())
    }

    /// Head and body of the answer, and whether nothing comes after them.
    fn respond(&self, path: String, first: Option<usize>) -> (String, Vec<u8>, bool) {
        let mut state = self.state.lock().unwrap();
        state.asked.push((path.clone(), first));
        let Some(whole) = state.files.get(&path).cloned() else {
            return (
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                vec![],
                false,
            );
        };
        let manners = state.manners;
        let size = whole.len();
        let (status, from, range) = match first.filter(|_| !manners.has_no_ranges) {
            None => ("200 OK", 0, String::new()),
            Some(first) if first >= size => {
                ("416 Range Not Satisfiable", size, format!("Content-Range: bytes */{size}\r\n"))
            }
            Some(first) => {
                let from = if manners.sends_wrong_part { first - 1 } else { first };
                ("206 Partial Content", from, format!("Content-Range: bytes {from}-{}/{size}\r\n", size - 1))
            }
        };
        let mut body = whole[from..].to_vec();
        let length =
            if manners.hides_length { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let mut is_stalling = false;
        if let Some((left @ 1.., bytes)) = manners.breaks {
            is_stalling = manners.stalls;
            state.manners.breaks = Some((left - 1, bytes));
            body.truncate(bytes);
        }
        (format!("HTTP/1.1 {status}\r\n{length}{range}Connection: close\r\n\r\n"), body, is_stalling)
    }
}
