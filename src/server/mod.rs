//! The doors: HTTP in, HTTP out, for callers and for operators.
//!
//! Why it exists: hyper gives a parsed message; a door needs caps, patience, an account of each exchange and an orderly
//! end as well. What it refuses to know: plans, prices, providers. Inside are `connection` (sockets to exchanges),
//! `door` (an exchange and its account), `routes` (paths), `wire` (bodies) and `problem` (status codes, only there);
//! `passthrough` is a plane of its own, and Pingora's.
//! To add a route: `routes.rs`.
//!
//! The layers of tower around every exchange, outermost first, and why each may be one: it is about HTTP or load alone,
//! needs nothing from another, comes off the shelf, and moving it changes nothing that is charged.
//!
//! 1. catch-panic: a panic is this request's 500 and not its connection's end. What was bought lives on in the engine.
//! 2. load-shed over a concurrency limit: beyond the limit the answer is a 503 at once, and not a queue.
//!
//! Everything else that is done to a request is a call in `door.rs` or a room of the engine.

mod admin;
mod connection;
mod door;
mod generate;
mod images;
mod intake;
mod jobs;
mod late;
mod parting;
mod passthrough;
mod payload;
mod problem;
mod routes;
mod socket;
mod studio;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::domain::plan::explain::Explained;
use crate::domain::refusal::Refusal;
use crate::domain::request::Ask;
use crate::engine::Engine;

use door::Door;
use parting::Parting;
use routes::Routes;

pub use routes::Plane;

/// What a door bears.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections at once; one more is told 503 and closed.
    pub connections: usize,
    /// Requests under way at once; one more is told 503.
    pub in_flight: usize,
    /// The longest body, in bytes.
    pub body_bytes: u64,
    /// How long an idle connection is kept.
    pub idle_time: Duration,
    /// From the first byte of a request's head to its last.
    pub head_time: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// For a whole body.
    pub body_time: Duration,
    /// For an answer that is being made: after so long without a byte, clients give up.
    pub quiet_time: Duration,
    /// For a client that does not read its answer.
    pub write_time: Duration,
    /// After the signal to stop: for what is under way to end.
    pub grace: Duration,
    /// Where callers reach this gateway, for the links of `OpenAI`'s shape; the `Host` they named when `None`.
    pub public_url: Option<Arc<str>>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 4096,
            in_flight: 1024,
            body_bytes: 16 * 1024 * 1024,
            idle_time: Duration::from_secs(75),
            head_time: Duration::from_secs(30),
            body_idle: Duration::from_secs(30),
            body_time: Duration::from_mins(5),
            quiet_time: Duration::from_mins(4),
            write_time: Duration::from_mins(1),
            grace: Duration::from_secs(30),
            public_url: None,
        }
    }
}

/// A door that is open.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    parting: Parting,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Opens a door on a bound listener.
    #[expect(clippy::disallowed_methods, reason = "one task accepts; it owns those of its connections and is joined")]
    pub fn start(listener: TcpListener, plane: Plane, engine: Arc<Engine>, bounds: Bounds) -> io::Result<Self> {
        let address = listener.local_addr()?;
        // Probes and scrapes are answered while callers are turned away.
        let in_flight = if plane == Plane::Api { bounds.in_flight } else { usize::MAX };
        let parting = Parting::default();
        let door = Door::new(Routes::new(plane, engine, bounds.clone()), in_flight, parting.clone());
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(connection::accept(listener, door, bounds, stopped));
        Ok(Self { address, stop, parting, accepting })
    }

    /// The listener is another process's too from now on: connections are let go gently at the end.
    pub fn hand_over(&self) {
        self.parting.hand_over();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, finishes what is under way within the grace time, cuts off the rest.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // The accepting task neither panics nor is cancelled; there is nothing to learn from its end.
        let _ = self.accepting.await;
    }
}

/// A body of `/generate` or `/plan` as the API reads it, with its warnings, for a plan without a gateway.
pub(crate) fn read_ask(body: &[u8]) -> Result<(Ask, Vec<String>), Refusal> {
    wire::ask::parse(body).map(|parsed| (parsed.ask, parsed.warnings))
}

/// The answer of `/plan`, for a plan without a gateway.
pub(crate) fn plan_answer(explained: &Explained, policy: &str, warnings: &[String]) -> String {
    wire::plan::text(explained, policy, warnings)
}
