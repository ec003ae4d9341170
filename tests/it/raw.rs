//! HTTP/1.1 by hand: what goes over the wire is what a test writes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) struct Wire {
    tcp: TcpStream,
    unread: Vec<u8>,
    /// Whether an answer may be of unknown length.
    live: bool,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert_eq!(values.next(), None, "{name} stands twice");
        first
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// `status code param` of an error.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let json = self.json();
        assert_eq!(json["status"], self.status, "{json}");
        assert_eq!(json["error"]["message"], json["detail"]);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        (self.status, text(&json["error"]["code"]), text(&json["error"]["param"]))
    }
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { tcp: TcpStream::connect(address).await.unwrap(), unread: Vec::new(), live: false }
    }

    /// Takes answers of unknown length too.
    pub(crate) fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// Sends bytes as they are; the other side may have gone.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        timeout(PATIENCE, self.tcp.write_all(bytes)).await.expect("the other side takes what is sent")
    }

    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", path, headers, b"").await
    }

    pub(crate) async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.request("POST", path, headers, body).await
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: gateway.test\r\n");
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        if method != "GET" && method != "HEAD" {
            text.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        text.push_str("\r\n");
        let bytes = [text.as_bytes(), body].concat();
        self.send(&bytes).await.unwrap();
        self.answer_to(method).await
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("POST").await
    }

    async fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.head().await.expect("an answer");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: Vec<_> = lines.filter_map(pair).collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if self.live && answer.header("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks().await;
            return answer;
        }
        assert_eq!(answer.header("transfer-encoding"), None, "every length is known");
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        if method != "HEAD" && status >= 200 && status != 304 {
            while self.unread.len() < length {
                assert!(self.fill().await, "the body broke off");
            }
            answer.body = self.unread.drain(..length).collect();
        }
        answer
    }

    /// A body in chunks, to its end.
    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                    break self.unread.drain(..end + 2).collect::<Vec<u8>>();
                }
                assert!(self.fill().await, "the body broke off");
            };
            let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            while self.unread.len() < length + 2 {
                assert!(self.fill().await, "the body broke off");
            }
            body.extend(self.unread.drain(..length));
            self.unread.drain(..2);
            if length == 0 {
                return body;
            }
        }
    }

    /// The next head without its empty line; `None` when the connection ends first.
    async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return Some(String::from_utf8(head[..end].to_vec()).unwrap());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Whether the other side ends the connection without another byte.
    pub(crate) async fn ended(&mut self) -> bool {
        !self.fill().await && self.unread.is_empty()
    }

    /// Whether more bytes came; false at the end of the connection.
    async fn fill(&mut self) -> bool {
        let mut more = vec![0; 64 * 1024];
        let read = timeout(PATIENCE, self.tcp.read(&mut more)).await.expect("an answer or an end in time");
        let read = read.unwrap_or(0);
        self.unread.extend_from_slice(&more[..read]);
        read > 0
    }

    /// Bytes that came and were not read.
    pub(crate) fn unread(&self) -> usize {
        self.unread.len()
    }

    /// The status of a `GET`; `None` when the connection ends first.
    pub(crate) async fn get_quietly(&mut self, path: &str) -> Option<u16> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: gateway.test\r\n\r\n").as_bytes()).await.ok()?;
        let head = self.head().await?;
        head.split(' ').nth(1)?.parse().ok()
    }
}
