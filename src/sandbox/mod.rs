//! Provider simulators on one listener, each speaking its provider's real wire format.
//!
//! Why: a gateway that spends money must be rehearsed against something that bills, throttles, refuses, stalls and
//! lies exactly as the real hosts do, without spending any. Everything the gateway sees is what that provider would
//! send; nothing says "sandbox" except the control routes under `/_sandbox`.
//!
//! What it refuses to know: the gateway. It imports no other room; it has its own model table ([`truth`]), which is
//! the world as it is and not as a policy file believes it to be, and its own bill ([`bill`]).
//!
//! How to add a provider: write `providers/<name>.rs` with one type that implements [`providers::Provider`], add its
//! line to [`providers::all`] and its models to `truth/models.rs`. Door, faults, bill, latency and pictures come
//! with it.

mod bill;
mod clock;
mod control;
mod dice;
mod door;
mod fault;
mod limit;
mod picture;
mod providers;
#[cfg(test)]
mod tests;
mod truth;
mod visit;
mod wire;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the simulated world behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Seeds every draw: latencies, seeds that a caller left open, fault ratios and the verdicts of people.
    pub seed: u64,
    /// Latencies are divided by this; 1.0 is real time. Rate limits and link lifetimes stay in real time.
    pub speed: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, speed: 1.0 }
    }
}

/// A running sandbox. It stops when it is shut down or dropped.
#[derive(Debug)]
pub struct Sandbox {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    door: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Serves on `listener` until [`Sandbox::shutdown`] or drop. Fails only when the listener has no local address
    /// or `options.speed` is not a positive number.
    #[expect(clippy::unused_async, reason = "starting needs a running tokio, which an async signature says best")]
    pub async fn start(listener: TcpListener, options: Options) -> std::io::Result<Self> {
        if !(options.speed.is_finite() && options.speed > 0.0) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "the sandbox speed must be a positive number",
            ));
        }
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let world = Arc::new(world::World::new(options, stopped.clone()));
        let door = world::spawn(door::serve(listener, Arc::new(door::House::new(world)), stopped));
        Ok(Self { addr, stop, door: Some(door) })
    }

    /// The address it listens on, with the port that was picked when port 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting, lets the answers in flight finish for a moment, then closes every connection.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(door) = self.door.take() {
            // The door ends by itself after its grace period; a panic in it has been reported by the runtime already.
            let _ = door.await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Every simulated provider: its path prefix without the slash (`stability`) and a key that it accepts.
/// Self-hosted servers take no key; theirs is the empty string.
pub fn providers() -> impl Iterator<Item = (&'static str, &'static str)> {
    providers::all().into_iter().map(|provider| (provider.prefix(), provider.key()))
}
