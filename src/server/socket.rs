//! A client's TCP stream with patience that ends.
//!
//! Why it exists: hyper times the wait for a request's head from the moment the last answer ended, which makes one
//! number of two (idle keep-alive, slow head); it does not time a client that never reads; and closing a socket with
//! unread bytes resets it, so the client may lose the answer that explains why. What it refuses to know: HTTP, beyond
//! the beat of requests and answers ([`Pulse`]).

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a closed connection's unread bytes are read away, so that the client gets the answer before a reset.
const LINGER: Duration = Duration::from_secs(2);

/// The beat of a connection's requests and answers.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Odd while a request is served.
    turn: AtomicU64,
    /// A request's body was left unread.
    unread: AtomicBool,
}

impl Pulse {
    /// A request's head is in.
    pub(super) fn begin(&self) {
        self.turn.fetch_or(1, Ordering::Relaxed);
    }

    /// Its answer is out.
    pub(super) fn end(&self) {
        let now = self.turn.load(Ordering::Relaxed);
        self.turn.store((now | 1) + 1, Ordering::Relaxed);
    }

    /// Its body was not read to the end, so that closing must not reset the connection.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }
}

/// How patient a socket is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request to the end of its head.
    pub(super) head: Duration,
    /// For a client that does not read its answer.
    pub(super) write: Duration,
    /// The most bytes that are read away at the end.
    pub(super) linger_bytes: u64,
}

/// The stream.
pub(super) struct Socket {
    tcp: TcpStream,
    pulse: Arc<Pulse>,
    patience: Patience,
    /// The turn whose head is being read, and when it must be in.
    head: Option<(u64, Instant)>,
    stalled: Option<Instant>,
    lingering: Option<(Instant, u64)>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, pulse: Arc<Pulse>, patience: Patience) -> Self {
        Self { tcp, pulse, patience, head: None, stalled: None, lingering: None, alarm: None }
    }

    /// Pending until `at`. Reading and writing share one alarm, which rings for the earlier of the two.
    fn alarm(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if alarm.is_elapsed() || alarm.deadline() > at {
            alarm.as_mut().reset(at);
        }
        ready!(alarm.as_mut().poll(cx));
        if Instant::now() >= at {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(at);
        alarm.as_mut().poll(cx)
    }

    /// The deadline of the head that is being read, if one is.
    fn head_deadline(&self) -> Option<Instant> {
        let (turn, deadline) = self.head?;
        (turn == self.pulse.now()).then_some(deadline)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.tcp).poll_read(cx, buf) {
            let turn = self.pulse.now();
            if buf.filled().len() > before && turn.is_multiple_of(2) && self.head_deadline().is_none() {
                self.head = Some((turn, Instant::now() + self.patience.head));
            }
            return Poll::Ready(read);
        }
        let Some(deadline) = self.head_deadline() else {
            return Poll::Pending;
        };
        ready!(self.alarm(deadline, cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request did not arrive")))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.patient(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.patient(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
            let bytes = if self.pulse.unread.load(Ordering::Relaxed) { self.patience.linger_bytes } else { 0 };
            self.lingering = Some((Instant::now() + LINGER, bytes));
        }
        let mut scratch = [0; 8192];
        while let Some((end, left)) = self.lingering.filter(|(_, left)| *left > 0) {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.tcp).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.lingering = Some((end, left.saturating_sub(buf.filled().len() as u64)));
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.alarm(end, cx));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    /// Lets a write wait for so long and no longer.
    fn patient(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = *self.stalled.get_or_insert_with(|| Instant::now() + self.patience.write);
        ready!(self.alarm(deadline, cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}
