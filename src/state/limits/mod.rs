//! The limits port: what a call may draw, all of it or nothing, now or a little later.
//!
//! Why it exists: providers, models and callers have limits of many kinds, and a call must fit them all at once, in one
//! process or in many. [`LocalLimits`] counts in this process with governor; [`RedisLimits`] counts in Redis with one
//! script for all replicas and goes on alone when Redis is away. Both do the arithmetic of `domain/quota` and pass one
//! suite (`tests/state/limits.rs`). What it refuses to know: requests and plans; the pass-through draws here as the engine
//! does. To add an implementation: a module, and its line in that suite.
//!
//! A draw *books*: with patience, a draw that fits a little later takes its place in the queue at once, and its permit says
//! how long to wait before the call is sent ([`Permit::delay`]). Waiters are so served in the order in which they came,
//! with one draw each, and a bucket's wait is the length of its queue.

mod local;
mod shared;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::redis::Trouble;
use crate::domain::quota::{Allowance, Cost, Limit, LimitUnit, Mode};
use crate::transport::Boxed;

pub use local::LocalLimits;
pub use shared::{Clock, RedisLimits};

/// The wait for a call that will never fit its limit: longer than anybody waits, short enough to add to any time.
pub const NEVER: Duration = Duration::from_hours(24 * 365);

/// When a place in flight frees is not known; this is how soon to look again.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a call wants of one owner's limits. An owner stands in a call's draws once, and the owners of one call share the
/// part before the first slash (`stability`, `stability/ultra`): their buckets live together.
#[derive(Clone, Debug)]
pub struct Draw<'a> {
    /// The provider's name, the model's id for a model's own limits, or `key:NAME` for a caller's: the bucket's identity,
    /// so that a bucket keeps its state over a reload.
    pub owner: &'a str,
    /// The limits of that owner.
    pub limits: &'a [Limit],
}

/// Limits, all of a call's or none.
pub trait Limits: Send + Sync {
    /// Draws a call's `cost` from every limit of every owner, or from none. What fits only later, though not later than
    /// `patience`, is booked: the permit says how long to wait. Units of a window are spent; calls in flight are given back
    /// when the permit drops.
    fn draw<'a>(
        &'a self,
        draws: &'a [Draw<'a>],
        cost: Cost,
        patience: Duration,
        now: Timestamp,
    ) -> Boxed<'a, Result<Permit, Wait>>;

    /// How long until [`Limits::draw`] would succeed; zero when it would now. Draws nothing, waits for nothing: what other
    /// replicas drew in the last half second may be missing.
    fn wait(&self, draws: &[Draw<'_>], cost: Cost, now: Timestamp) -> Duration;

    /// What is left in each limit of an owner.
    fn left(&self, draw: &Draw<'_>, now: Timestamp) -> Vec<Left>;

    /// The provider told us to stay away for this long; every replica hears of it.
    fn penalise(&self, owner: &str, wait: Duration, now: Timestamp);

    /// The provider told us what is left of its limit on requests: buckets that hold more are corrected, everywhere.
    fn correct(&self, draw: &Draw<'_>, said: Allowance, now: Timestamp);

    /// How long the owner is still shut by [`Limits::penalise`]: what was booked before must not be sent.
    fn shut(&self, owner: &str, now: Timestamp) -> Duration;

    /// Who counts.
    fn counting(&self) -> Counting;
}

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// This process, alone.
    Alone,
    /// Redis, for this many replicas.
    Together {
        /// Those that were heard lately.
        replicas: u32,
    },
    /// Each replica by itself, as each limit's `degrade` says, since Redis is away.
    Apart {
        /// Those that were heard last.
        replicas: u32,
        /// Why.
        trouble: Trouble,
    },
}

impl Counting {
    /// `shared` or `local`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone | Self::Apart { .. } => "local",
            Self::Together { .. } => "shared",
        }
    }
}

/// What is left in one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// The limit's name.
    pub name: Arc<str>,
    /// What it counts.
    pub unit: LimitUnit,
    /// Units that could be drawn at once.
    pub left: f64,
    /// Units allowed in each window, or at the same moment.
    pub units: f64,
    /// Units that an untouched limit lets through at once.
    pub capacity: f64,
    /// The window; zero for calls in flight.
    pub per: Duration,
    /// Until everything drawn is back; zero for calls in flight.
    pub reset: Duration,
    /// Whether it denies.
    pub mode: Mode,
}

/// Leave to make one call; calls in flight are given back when it drops.
pub struct Permit {
    delay: Duration,
    over: Vec<Arc<str>>,
    #[expect(dead_code, reason = "held for its drop")]
    held: Option<Box<dyn Any + Send + Sync>>,
}

impl Permit {
    /// A permit that gives `held` back when it drops.
    pub fn holding(held: impl Any + Send + Sync) -> Self {
        Self { held: Some(Box::new(held)), ..Self::free() }
    }

    /// A permit that holds nothing.
    pub const fn free() -> Self {
        Self { delay: Duration::ZERO, over: Vec::new(), held: None }
    }

    /// The same, for a call that is to be sent after `delay`, and that these limits in shadow would have denied.
    #[must_use]
    fn booked(self, delay: Duration, over: Vec<Arc<str>>) -> Self {
        Self { delay, over, ..self }
    }

    /// Wait this long before the call is sent.
    pub const fn delay(&self) -> Duration {
        self.delay
    }

    /// Names of limits in shadow mode that would have denied it.
    pub fn over(&self) -> &[Arc<str>] {
        &self.over
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("delay", &self.delay).field("over", &self.over).finish_non_exhaustive()
    }
}

/// No room: try again after this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// Microseconds since 1970.
fn micros(now: Timestamp) -> u64 {
    u64::try_from(now.as_microsecond()).unwrap_or(0)
}

/// A time of the port in whole microseconds.
fn whole(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(1 << 50)
}
