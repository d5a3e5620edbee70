//! Files in and out, through the client that agents use and past it.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::vocabulary::{CheckpointHash, weights_file_name};

pub(super) fn hash(contents: &[u8]) -> CheckpointHash {
    blake3::hash(contents).to_hex().parse().unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

impl Server {
    pub(super) fn artifacts(&self) -> PathBuf {
        self.folder.path().join("artifacts")
    }

    fn client(&self) -> Client {
        Client::new(&self.url, "secret").unwrap()
    }

    /// Waits until there are so many files, those that are not complete included.
    pub(super) async fn wait_for_artifacts(&self, count: usize) {
        let seen = async {
            while names_in(&self.artifacts()).len() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.expect("in vain");
    }
}

/// Larger than any buffer on the way.
fn contents() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn a_file_that_was_sent_comes_back_and_is_sent_once() {
    let server = serve_on_a_free_port().await;
    let (client, contents) = (server.client(), contents());
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("out"), &contents).unwrap();
    client.upload_artifact(&here.path().join("out"), &hash(&contents)).await.unwrap();
    let name = weights_file_name(&hash(&contents).to_string());
    assert_eq!(names_in(&server.artifacts()), [name.as_str()]);
    client.download_artifact(&hash(&contents), &here.path().join("in")).await.unwrap();
    assert!(std::fs::read(here.path().join("in")).unwrap() == contents);
    assert_eq!(names_in(here.path()), ["in", "out"]);

    use std::os::unix::fs::MetadataExt;
    let inode = || std::fs::metadata(server.artifacts().join(&name)).unwrap().ino();
    let before = inode();
    client.upload_artifact(&here.path().join("out"), &hash(&contents)).await.unwrap();
    let again = server
        .ask(|http, url| http.put(format!("{url}/v1/artifacts/{}", hash(&contents))).body(contents.clone()))
        .await;
    assert_eq!((again.status().as_u16(), inode()), (204, before));
    // What lost its end is no excuse for never taking the whole.
    std::fs::write(server.artifacts().join(&name), "half").unwrap();
    client.upload_artifact(&here.path().join("out"), &hash(&contents)).await.unwrap();
    assert!(std::fs::read(server.artifacts().join(&name)).unwrap() == contents);
}

#[tokio::test]
async fn what_is_not_what_its_name_says_is_not_kept() {
    let server = serve_on_a_free_port().await;
    let put = |body: &'static str| {
        server.ask(move |http, url| http.put(format!("{url}/v1/artifacts/{}", hash(b"right"))).body(body))
    };
    let refused = put("wrong").await;
    assert_eq!(refused.status().as_u16(), 422);
    assert_eq!(refused.json::<Problem>().await.unwrap().code, "other_content");
    assert_eq!(names_in(&server.artifacts()), Vec::<String>::new());
    assert_eq!(put("right").await.status().as_u16(), 201);

    std::fs::write(server.artifacts().join(weights_file_name(&hash(b"right").to_string())), "wrong").unwrap();
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("kept"), "before").unwrap();
    let damaged = server.client().download_artifact(&hash(b"right"), &here.path().join("kept")).await;
    assert!(matches!(damaged, Err(ClientError::Damaged { .. })), "{damaged:?}");
    assert_eq!(std::fs::read_to_string(here.path().join("kept")).unwrap(), "before");
    assert_eq!(names_in(here.path()), ["kept"]);
}

#[tokio::test]
async fn what_is_damaged_is_replaced_by_the_next_upload() {
    let server = serve_on_a_free_port().await;
    let path = server.artifacts().join(weights_file_name(&hash(b"right").to_string()));
    let put = async || {
        let request =
            server.ask(|http, url| http.put(format!("{url}/v1/artifacts/{}", hash(b"right"))).body("right"));
        request.await.status().as_u16()
    };
    assert_eq!((put().await, put().await), (201, 204));
    for damaged in ["wrong", "", "right and more"] {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!((put().await, put().await), (201, 204), "{damaged}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "right");
    }
    assert_eq!(names_in(&server.artifacts()).len(), 1);
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let server = serve_on_a_free_port().await;
    std::fs::create_dir_all(server.artifacts()).unwrap();
    std::fs::write(server.folder.path().join("token.safetensors"), "secret").unwrap();
    let upper = "A".repeat(64);
    let names = ["..%2Ftoken", "%2e%2e%2ftoken", "..%5Ctoken", "%00", "token", &upper, "%2Fetc%2Fpasswd"];
    for name in names {
        for method in [reqwest::Method::GET, reqwest::Method::PUT] {
            let answer =
                server.ask(|http, url| http.request(method, format!("{url}/v1/artifacts/{name}"))).await;
            assert_eq!(answer.status().as_u16(), 400, "{name}");
            assert_eq!(answer.json::<Problem>().await.unwrap().code, "bad_hash", "{name}");
        }
    }
    assert_eq!(names_in(&server.artifacts()), Vec::<String>::new());
    let unknown = server.ask(|http, url| http.get(format!("{url}/v1/artifacts/{}", "0".repeat(64)))).await;
    assert_eq!(unknown.status().as_u16(), 404);
}

#[tokio::test]
async fn a_file_can_be_fetched_from_a_byte_on() {
    let server = serve_on_a_free_port().await;
    let route = format!("{}/v1/artifacts/{}", server.url, hash(b"0123456789"));
    server.ask(|http, _| http.put(&route).body("0123456789")).await;
    for (range, status, content_range, body) in [
        ("bytes=4-", 206, Some("bytes 4-9/10"), "456789"),
        ("bytes=0-", 206, Some("bytes 0-9/10"), "0123456789"),
        ("bytes=10-", 416, Some("bytes */10"), ""),
        ("bytes=-3", 200, None, "0123456789"),
        ("lines=1-", 200, None, "0123456789"),
    ] {
        let answer = server.ask(|http, _| http.get(&route).header("range", range)).await;
        assert_eq!(answer.status().as_u16(), status, "{range}");
        let shown = answer.headers().get("content-range").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(shown.as_deref(), content_range, "{range}");
        if status < 400 {
            assert_eq!(answer.headers()["content-length"], body.len().to_string());
            assert_eq!(answer.text().await.unwrap(), body, "{range}");
        }
    }
    let head = server.ask(|http, _| http.head(&route)).await;
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"10".parse().unwrap()));
}

/// A coordinator that gives these answers, one a connection, and says what it was asked.
async fn answers(answers: Vec<String>) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            asked.push(String::from_utf8_lossy(&request[..length]).to_lowercase());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (Client::new(&url, "secret").unwrap(), asked)
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_was() {
    let (client, asked) = answers(vec![
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123".to_owned(),
        "HTTP/1.1 206 Partial Content\r\ncontent-length: 6\r\n\r\n45".to_owned(),
        // This one knows nothing of ranges.
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789".to_owned(),
    ])
    .await;
    let here = tempfile::tempdir().unwrap();
    client.download_artifact(&hash(b"0123456789"), &here.path().join("in")).await.unwrap();
    assert_eq!(std::fs::read_to_string(here.path().join("in")).unwrap(), "0123456789");
    let asked = asked.await.unwrap();
    assert!(!asked[0].contains("range:"), "{}", asked[0]);
    assert!(asked[1].contains("range: bytes=4-\r\n"), "{}", asked[1]);
    assert!(asked[2].contains("range: bytes=6-\r\n"), "{}", asked[2]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_and_one_too_large_is_refused_at_once() {
    let server = serve_on_a_free_port().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let head = |length: u64| {
        let route = format!("/v1/artifacts/{}", hash(b"x"));
        format!(
            "PUT {route} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{}begun", head(1000)).as_bytes()).await.unwrap();
    server.wait_for_artifacts(1).await;
    assert!(names_in(&server.artifacts())[0].starts_with(".upload-"));
    drop(stream);
    server.wait_for_artifacts(0).await;

    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head(1 << 50).as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    server.wait_for_artifacts(0).await;
}
