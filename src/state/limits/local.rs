//! Limits counted in this process, with governor.
//!
//! Why it exists: a call must find room in every limit of its provider and its model, or take from none. governor decides
//! one limit at a time and cannot give back, so its state store here keeps what a decision would store apart until all of
//! them said yes. What it refuses to know: clocks; `now` is an argument, and governor is fed with it.
//!
//! governor's cell is one step of a limit's [`Pace`](crate::domain::quota::Pace), mostly a microsecond, so that requests,
//! pixels and dollars are one arithmetic, the same as the script's in Redis. One lock holds every bucket: a draw spans
//! owners and takes about a microsecond.
//!
//! The same buckets are the mirror and the reserve of [`RedisLimits`](super::RedisLimits): see `mirror.rs`.

mod buckets;
mod mirror;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{Counting, Draw, LOOK_AGAIN, Left, Limits, NEVER, Permit, Wait, micros, whole};
use crate::domain::quota::{Allowance, Cost, LimitUnit};
use crate::transport::Boxed;
use buckets::{Bucket, Buckets, Room};

pub(super) use mirror::{Heard, Outage};

/// The limits of one process.
#[derive(Debug, Default)]
pub struct LocalLimits {
    buckets: Mutex<Buckets>,
}

/// A question to the buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) draws: &'a [Draw<'a>],
    pub(super) cost: Cost,
    /// Microseconds.
    pub(super) patience: u64,
    /// Microseconds since 1970.
    pub(super) now: u64,
    /// Replicas that count apart while Redis is away; `None` when this process alone has the limits.
    pub(super) apart: Option<u32>,
}

impl LocalLimits {
    /// Limits with nothing drawn.
    pub fn new() -> Self {
        Self::default()
    }

    /// The buckets, brought to `now`.
    fn at(&self, now: u64) -> MutexGuard<'_, Buckets> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.bring_to(now);
        buckets
    }

    /// Draws from every limit or from none.
    pub(super) fn take(&self, asked: Asked<'_>) -> Result<Permit, Wait> {
        let mut buckets = self.at(asked.now);
        let wait = match buckets.room(asked) {
            Room::In(wait) if wait <= asked.patience => wait,
            Room::In(wait) => return Err(Wait(Duration::from_micros(wait))),
            Room::Unknown => return Err(Wait(LOOK_AGAIN)),
            Room::Never => return Err(Wait(NEVER)),
        };
        let (places, over) = buckets.commit(asked, asked.now + wait);
        let permit = if places.is_empty() { Permit::free() } else { Permit::holding(places) };
        Ok(permit.booked(Duration::from_micros(wait), over))
    }

    /// How long until [`LocalLimits::take`] would succeed at once.
    pub(super) fn wait_for(&self, asked: Asked<'_>) -> Duration {
        match self.at(asked.now).room(asked) {
            Room::In(wait) => Duration::from_micros(wait),
            Room::Unknown => LOOK_AGAIN,
            Room::Never => NEVER,
        }
    }

    /// What is left, of the whole or of one replica's share.
    pub(super) fn remainder(&self, draw: &Draw<'_>, now: u64, apart: Option<u32>) -> Vec<Left> {
        let mut buckets = self.at(now);
        let owner = buckets.owner(draw.owner);
        let left = |limit| {
            let (left, reset) = match owner.bucket(limit, now, apart) {
                Bucket::Window(window) => (window.left(now), window.owed(now)),
                Bucket::InFlight(flight) => (flight.left(limit, apart), 0),
            };
            let capacity = if limit.unit == LimitUnit::InFlight { limit.units } else { limit.burst };
            Left {
                name: limit.name.clone(),
                unit: limit.unit,
                left: limit.shown(left),
                units: limit.shown(limit.units),
                capacity: limit.shown(capacity),
                per: limit.per,
                reset: Duration::from_micros(reset),
                mode: limit.mode,
            }
        };
        draw.limits.iter().map(left).collect()
    }
}

impl Limits for LocalLimits {
    fn draw<'a>(
        &'a self,
        draws: &'a [Draw<'a>],
        cost: Cost,
        patience: Duration,
        now: Timestamp,
    ) -> Boxed<'a, Result<Permit, Wait>> {
        let asked = Asked { draws, cost, patience: whole(patience), now: micros(now), apart: None };
        Box::pin(std::future::ready(self.take(asked)))
    }

    fn wait(&self, draws: &[Draw<'_>], cost: Cost, now: Timestamp) -> Duration {
        self.wait_for(Asked { draws, cost, patience: 0, now: micros(now), apart: None })
    }

    fn left(&self, draw: &Draw<'_>, now: Timestamp) -> Vec<Left> {
        self.remainder(draw, micros(now), None)
    }

    fn penalise(&self, owner: &str, wait: Duration, now: Timestamp) {
        let now = micros(now);
        let mut buckets = self.at(now);
        let owner = buckets.owner(owner);
        owner.shut_until = owner.shut_until.max(now + whole(wait));
    }

    fn correct(&self, draw: &Draw<'_>, said: Allowance, now: Timestamp) {
        let now = micros(now);
        let mut buckets = self.at(now);
        let owner = buckets.owner(draw.owner);
        for limit in draw.limits.iter().filter(|limit| limit.unit == LimitUnit::Requests) {
            let floor = limit.pace().tat_with(said.left.into(), now);
            if let Bucket::Window(window) = owner.bucket(limit, now, None) {
                window.raise(floor);
            }
        }
    }

    fn shut(&self, owner: &str, now: Timestamp) -> Duration {
        let now = micros(now);
        Duration::from_micros(self.at(now).owner(owner).shut_until.saturating_sub(now))
    }

    fn counting(&self) -> Counting {
        Counting::Alone
    }
}
