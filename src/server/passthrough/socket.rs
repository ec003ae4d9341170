//! A caller's connection as Pingora reads it: in sips while a body is looked at, and with an end that the caller hears.
//!
//! Why it exists: Pingora sends a body that was looked at on to the provider from a buffer of 64 KiB, and loses what does
//! not fit there; it reads as much as has come. So reads are kept small until the look is over. And closing a socket with
//! unread bytes resets it, so that the caller may lose the answer that says why. What it refuses to know: HTTP.

use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The head of an answer and a small body leave in one packet; what is larger passes the buffer by.
const BUFFER: usize = 4 * 1024;
/// How long unread bytes are read away at the end.
const LINGER: Duration = Duration::from_secs(2);

/// The connection.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: BufWriter<TcpStream>,
    most: AtomicUsize,
    unread: AtomicBool,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        // Answers go out whole; waiting to fill a packet would only delay their end.
        let _ = tcp.set_nodelay(true);
        let tcp = BufWriter::with_capacity(BUFFER, tcp);
        Self { tcp, most: AtomicUsize::new(usize::MAX), unread: AtomicBool::new(false) }
    }

    /// Reads at most so many bytes at a time from here on.
    pub(super) fn sip(&self, most: usize) {
        self.most.store(most.max(1), Ordering::Relaxed);
    }

    /// A body was left unread: the end must not reset the connection.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = self.most.load(Ordering::Relaxed);
        if buf.remaining() <= most {
            return Pin::new(&mut self.tcp).poll_read(cx, buf);
        }
        let mut sip = ReadBuf::new(buf.initialize_unfilled_to(most));
        let read = Pin::new(&mut self.tcp).poll_read(cx, &mut sip);
        let filled = sip.filled().len();
        buf.advance(filled);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        // A caller that is gone already needs no goodbye.
        let _ = self.tcp.shutdown().await;
        if self.unread.load(Ordering::Relaxed) {
            let mut scratch = [0; 16 * 1024];
            let away = async { while matches!(self.tcp.read(&mut scratch).await, Ok(1..)) {} };
            let _ = timeout(LINGER, away).await;
        }
    }
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        self.tcp.get_ref().as_raw_fd()
    }
}

impl Ssl for Socket {}

impl GetTimingDigest for Socket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Socket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Socket {}
