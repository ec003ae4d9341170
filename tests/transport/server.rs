//! A TCP server that plays a list of acts, one a request, and remembers what it was sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What to do about a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Write this, and wait for the next request.
    Answer(String),
    /// Write this and close.
    AnswerAndClose(String),
    /// Close without a word.
    Close,
    /// A body without a length that does not end.
    Endless,
    /// Write what is no HTTP (and no TLS) as soon as any byte comes.
    Garbage,
    /// Reset the connection.
    Reset,
    /// Write this and then nothing more.
    Stall(String),
}

pub(crate) fn ok(body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        lines.filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }
}

#[derive(Debug, Default)]
struct Seen {
    acts: Mutex<VecDeque<Act>>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
}

/// The server; gone when dropped.
pub(crate) struct Server {
    url: String,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Plays `acts`; with none, nobody listens.
    pub(crate) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen { acts: Mutex::new(acts.into_iter().collect()), ..Seen::default() });
        let mut tasks = JoinSet::new();
        if !seen.acts.lock().unwrap().is_empty() {
            tasks.spawn(accept(listener, Arc::clone(&seen)));
        }
        Self { url, seen, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            // A client that is gone ends the connection, and nothing else.
            let _ = serve(stream, &seen).await;
        });
    }
}

async fn serve(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    loop {
        let garbage = matches!(seen.acts.lock().unwrap().front(), Some(Act::Garbage));
        if garbage {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).await?;
        } else {
            let request = read(&mut stream).await?;
            seen.requests.lock().unwrap().push(request);
        }
        let act = seen.acts.lock().unwrap().pop_front();
        match act {
            Some(Act::Answer(text)) => stream.write_all(text.as_bytes()).await?,
            Some(Act::AnswerAndClose(text)) => return stream.write_all(text.as_bytes()).await,
            Some(Act::Close) | None => return Ok(()),
            Some(Act::Endless) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                }
            }
            Some(Act::Garbage) => return stream.write_all(b"\0\x01garbage\r\n\r\n").await,
            Some(Act::Reset) => return stream.set_zero_linger(),
            Some(Act::Stall(text)) => {
                stream.write_all(text.as_bytes()).await?;
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut request = Request { head, body: Bytes::new() };
    let length: usize = request.header("content-length").map_or(0, |n| n.parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    request.body = bytes.split_off(end).into();
    Ok(request)
}
