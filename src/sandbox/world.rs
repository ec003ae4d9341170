//! What all simulated providers share: the options, the clock, the bill, the planned faults and the picture studio.
//!
//! It refuses to know any provider. Anything that only one provider needs (a queue, a result shelf) lives with it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Options;
use super::bill::Bill;
use super::clock::Clock;
use super::dice::{dice, digest, hex, normal};
use super::fault::Faults;
use super::picture::Studio;
use super::truth::Model;

/// The shared world of one running sandbox.
pub(super) struct World {
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) bill: Bill,
    pub(super) faults: Faults,
    pub(super) studio: Studio,
    draws: AtomicU64,
    stopped: watch::Receiver<bool>,
}

impl World {
    pub(super) fn new(options: Options, stopped: watch::Receiver<bool>) -> Self {
        Self {
            options,
            clock: Clock::start(),
            bill: Bill::default(),
            faults: Faults::new(options.seed),
            studio: Studio::new(),
            draws: AtomicU64::new(0),
            stopped,
        }
    }

    /// A seed that nobody asked for, below `end`.
    pub(super) fn draw_seed(&self, end: u64) -> u64 {
        dice(&[b"seed", &self.options.seed.to_le_bytes(), &self.next()]).random_range(1..end)
    }

    /// A fresh identifier: 64 hexadecimal digits.
    pub(super) fn draw_id(&self) -> String {
        hex(&digest(&[b"id", &self.options.seed.to_le_bytes(), &self.next()]))
    }

    /// A fresh identifier in the form of a version 4 UUID.
    pub(super) fn draw_uuid(&self) -> String {
        let id = self.draw_id();
        let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
        format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
    }

    /// How long `model` takes this time: log-normal around its median, divided by the speed.
    pub(super) fn draw_latency(&self, model: &Model) -> Duration {
        let mut dice = dice(&[b"latency", &self.options.seed.to_le_bytes(), model.id.as_bytes(), &self.next()]);
        let seconds = f64::from(model.median_ms) / 1_000.0 * (model.spread * normal(&mut dice)).exp();
        self.scaled(Duration::from_secs_f64(seconds.min(900.0)))
    }

    /// A latency at this sandbox's speed.
    pub(super) fn scaled(&self, latency: Duration) -> Duration {
        Duration::try_from_secs_f64(latency.as_secs_f64() / self.options.speed).unwrap_or(Duration::MAX)
    }

    /// Runs provider work that outlives the connection that asked for it, until the sandbox stops.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let mut stopped = self.stopped.clone();
        spawn(async move {
            tokio::select! {
                biased;
                done = work => Some(done),
                _ = stopped.wait_for(|stop| *stop) => None,
            }
        })
    }

    fn next(&self) -> [u8; 8] {
        self.draws.fetch_add(1, Ordering::Relaxed).to_le_bytes()
    }
}

/// The one place that spawns: every task of the sandbox watches its stop signal and ends with it.
#[expect(clippy::disallowed_methods, reason = "the sandbox stands apart from the engine and stops its own tasks")]
pub(super) fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}
