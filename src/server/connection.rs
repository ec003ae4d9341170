//! Accepts connections, serves HTTP/1.1 on each, and lets them go in order.
//!
//! Why it exists: caps, timeouts and the drain are properties of connections and belong to no route. What it refuses to
//! know: routes. HTTP/1.1 only: one exchange at a time keeps a client's hold on us small.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Bounds;
use super::door::Door;
use super::problem::{Problem, Readers};
use super::socket::{Patience, Pulse, Socket};
use crate::domain::refusal::Refusal;

/// The most headers of a request.
const MAX_HEADERS: usize = 100;
/// What hyper buffers of a connection, each way: the longest head, and the piece of an answer on its way out.
const BUFFER: usize = 128 * 1024;
/// How long accepting rests when the process is out of file descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// Serves connections until told to stop; then finishes what is under way, for the grace time at most.
pub(super) async fn accept(listener: TcpListener, door: Door, bounds: Bounds, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) if connections.len() < bounds.connections => {
                    connections.spawn(serve(tcp, door.clone(), bounds.clone(), graceful.watcher()));
                    door.crowded(connections.len(), bounds.connections);
                }
                Ok((tcp, _)) => {
                    door.telemetry().shed("connections");
                    // A few more are told why; beyond that a closed socket says it.
                    if connections.len() < bounds.connections + bounds.connections / 8 + 8 {
                        connections.spawn(turn_away(tcp));
                    }
                }
                Err(error) if is_the_client_s(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {
                door.crowded(connections.len(), bounds.connections);
            }
            // Told to stop, or the handle is gone: either way the door closes.
            _ = stop.changed() => break,
        }
    }
    drop(listener);
    let farewell = door.farewell().min(bounds.grace);
    // Whoever is left after it is idle, or has a request under way.
    let _ = timeout(farewell, async { while connections.join_next().await.is_some() {} }).await;
    let under_way = graceful.count();
    if timeout(bounds.grace.saturating_sub(farewell), graceful.shutdown()).await.is_err() {
        tracing::warn!(under_way, "the grace time is over; what is left is cut off");
    }
    connections.shutdown().await;
}

async fn serve(tcp: TcpStream, door: Door, bounds: Bounds, watcher: Watcher) {
    // Answers go out whole; waiting to fill a packet would only delay their end.
    let _ = tcp.set_nodelay(true);
    let pulse = Arc::new(Pulse::default());
    let patience = Patience { head: bounds.head_time, write: bounds.write_time, linger_bytes: bounds.body_bytes };
    let socket = Socket::new(tcp, Arc::clone(&pulse), patience);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.idle_time)
        .max_headers(MAX_HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(socket), door.on(pulse));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Says why and closes.
async fn turn_away(mut tcp: TcpStream) {
    let answer = Problem::from(Refusal::Overloaded).text(Readers::Native, "-");
    let said = async {
        tcp.write_all(answer.as_bytes()).await?;
        tcp.shutdown().await
    };
    let _ = timeout(Duration::from_secs(1), said).await;
}

fn is_the_client_s(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}
