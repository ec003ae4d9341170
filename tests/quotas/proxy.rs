//! A way to Redis that is bad on purpose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What the way does to replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toxic {
    /// Nothing.
    Clean,
    /// Every reply comes this late.
    Late(Duration),
    /// A byte at a time.
    Sliced,
    /// The connection breaks after every so many bytes of replies.
    Cut(u64),
    /// Replies vanish, and the connection stays open.
    HalfOpen,
}

/// A proxy whose toxic can be changed while it runs.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    toxic: watch::Sender<Toxic>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let toxic = watch::Sender::new(Toxic::Clean);
        let seen = toxic.clone();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(up(from_client, to_server));
                tokio::spawn(down(from_server, to_client, seen.subscribe()));
            }
        });
        Self { address, toxic, task }
    }

    pub(crate) fn turn(&self, toxic: Toxic) {
        self.toxic.send_replace(toxic);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, toxic: watch::Receiver<Toxic>) {
    let passed = Arc::new(AtomicU64::new(0));
    let mut buffer = [0; 4096];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let toxic = *toxic.borrow();
        let bytes = &buffer[..read];
        let sent = match toxic {
            Toxic::Clean => to.write_all(bytes).await,
            Toxic::HalfOpen => Ok(()),
            Toxic::Late(late) => {
                sleep(late).await;
                to.write_all(bytes).await
            }
            Toxic::Sliced => sliced(&mut to, bytes).await,
            Toxic::Cut(after) => {
                let before = passed.fetch_add(read as u64, Ordering::Relaxed);
                if before + read as u64 > after {
                    let left = usize::try_from(after.saturating_sub(before)).unwrap_or(0).min(read);
                    let _ = to.write_all(&bytes[..left]).await;
                    return;
                }
                to.write_all(bytes).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn sliced(to: &mut OwnedWriteHalf, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        to.write_all(std::slice::from_ref(byte)).await?;
        to.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
