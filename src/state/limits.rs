//! Provider limits within this process.
//!
//! Why it exists: a call must find room in every limit of its provider and its model, or take from none. governor does
//! the cell-rate arithmetic (GCRA) but draws from one limit at a time and cannot give back, so its state store here
//! keeps what a decision would store apart until all of them said yes. What it refuses to know: clocks; `now` is an
//! argument, and governor is fed with it.
//!
//! One lock holds every bucket: a draw spans owners and takes about a microsecond.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;

use super::{Draw, Limits, Permit, Wait};
use crate::domain::quota::{Limit, LimitUnit};
use crate::transport::Boxed;

/// The wait for a call that will never fit its limit: longer than anybody waits, short enough to add to any time.
pub const NEVER: Duration = Duration::from_hours(24 * 365);

/// When a place in flight frees is not known; this is how soon to look again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The limits of one process.
#[derive(Debug, Default)]
pub struct LocalLimits {
    owners: Mutex<HashMap<Box<str>, Owner>>,
}

impl LocalLimits {
    /// Limits with nothing drawn.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_draw(&self, draws: &[Draw<'_>], images: u8, now: u64) -> Result<Permit, Wait> {
        let mut owners = self.lock();
        let wait = longest_wait(&mut owners, draws, images, now);
        if wait > Duration::ZERO {
            return Err(Wait(wait));
        }
        let mut places = Vec::new();
        for bucket in draws.iter().filter_map(|draw| Some((draw, owners.get(draw.owner)?))).flat_map(of_draw) {
            match bucket {
                Bucket::Window(window) => window.commit(),
                Bucket::InFlight(flying) => places.push(Place::take(flying)),
            }
        }
        Ok(if places.is_empty() { Permit::free() } else { Permit::holding(places) })
    }
}

impl Limits for LocalLimits {
    fn draw<'a>(&'a self, draws: &'a [Draw<'a>], images: u8, now: Timestamp) -> Boxed<'a, Result<Permit, Wait>> {
        Box::pin(std::future::ready(self.try_draw(draws, images, nanos(now))))
    }

    fn wait(&self, draws: &[Draw<'_>], now: Timestamp) -> Duration {
        longest_wait(&mut self.lock(), draws, 1, nanos(now))
    }

    fn left(&self, draw: &Draw<'_>, now: Timestamp) -> Vec<(Arc<str>, u32, u32)> {
        let mut owners = self.lock();
        let owner = owners.entry(draw.owner.into()).or_default();
        let now = nanos(now);
        let mut left = Vec::with_capacity(draw.limits.len());
        for limit in draw.limits {
            let (room, capacity) = match owner.bucket(limit, now) {
                Bucket::Window(window) => (window.left(now), limit.burst),
                Bucket::InFlight(flying) => (limit.units.saturating_sub(flying.load(Ordering::Acquire)), limit.units),
            };
            left.push((limit.name.clone(), room, capacity));
        }
        left
    }

    fn penalise(&self, owner: &str, wait: Duration, now: Timestamp) {
        let until = nanos(now).saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        let mut owners = self.lock();
        let owner = owners.entry(owner.into()).or_default();
        owner.shunned_until = owner.shunned_until.max(until);
    }
}

/// The longest of all waits, zero when every limit has room. Leaves each window's decision ready to commit.
fn longest_wait(owners: &mut HashMap<Box<str>, Owner>, draws: &[Draw<'_>], images: u8, now: u64) -> Duration {
    let mut longest = Duration::ZERO;
    for draw in draws {
        if !owners.contains_key(draw.owner) {
            owners.insert(draw.owner.into(), Owner::default());
        }
        let Some(owner) = owners.get_mut(draw.owner) else { continue };
        longest = longest.max(Duration::from_nanos(owner.shunned_until.saturating_sub(now)));
        for limit in draw.limits {
            let wait = match owner.bucket(limit, now) {
                Bucket::Window(window) => window.wait(limit.cost(images), now),
                Bucket::InFlight(flying) if flying.load(Ordering::Acquire) < limit.units => Duration::ZERO,
                Bucket::InFlight(_) if limit.units == 0 => NEVER,
                Bucket::InFlight(_) => LOOK_AGAIN,
            };
            longest = longest.max(wait);
        }
    }
    longest
}

/// The buckets of a draw's limits.
fn of_draw<'a>((draw, owner): (&'a Draw<'a>, &'a Owner)) -> impl Iterator<Item = &'a Bucket> {
    draw.limits.iter().filter_map(|limit| Some(&owner.buckets.get(owner.at(limit)?)?.1))
}

/// A provider or a model: its buckets by limit name, which outlive a reload.
#[derive(Debug, Default)]
struct Owner {
    /// In nanoseconds since 1970; zero when it asked for nothing.
    shunned_until: u64,
    buckets: Vec<(Arc<str>, Bucket)>,
}

#[derive(Debug)]
enum Bucket {
    Window(Window),
    InFlight(Arc<AtomicU32>),
}

impl Owner {
    fn at(&self, limit: &Limit) -> Option<usize> {
        let flies = limit.unit == LimitUnit::InFlight;
        self.buckets
            .iter()
            .position(|(name, bucket)| *name == limit.name && flies == matches!(bucket, Bucket::InFlight(_)))
    }

    /// The bucket of `limit`, new or as it was left, in the limit's present shape.
    fn bucket(&mut self, limit: &Limit, now: u64) -> &mut Bucket {
        let at = self.at(limit).unwrap_or_else(|| {
            let bucket = match limit.unit {
                LimitUnit::InFlight => Bucket::InFlight(Arc::default()),
                LimitUnit::Images | LimitUnit::Requests => Bucket::Window(Window::new(limit)),
            };
            self.buckets.push((limit.name.clone(), bucket));
            self.buckets.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "`at` was found or made above")]
        let bucket = &mut self.buckets[at].1;
        if let Bucket::Window(window) = bucket {
            window.reshape(limit, now);
        }
        bucket
    }
}

/// One window limit: governor's arithmetic over a cell that commits apart.
#[derive(Debug)]
struct Window {
    shape: Shape,
    cell: Arc<Cell>,
    gcra: RateLimiter<NotKeyed, Shared, Shared, StateInformationMiddleware>,
}

/// What governor needs of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Nanoseconds in which one unit comes back, rounded up so that the rate is never exceeded.
    interval: u64,
    burst: NonZeroU32,
}

/// Theoretical arrival times in nanoseconds since 1970, zero when nothing was drawn yet. Atomic only because governor
/// wants shared state; the lock around all buckets orders every access.
#[derive(Debug, Default)]
struct Cell {
    now: AtomicU64,
    stored: AtomicU64,
    proposed: AtomicU64,
}

/// The cell as governor's store and clock.
#[derive(Debug)]
struct Shared(Arc<Cell>);

impl StateStore for Shared {
    type Key = NotKeyed;

    /// Decides upon the stored time and only proposes the new one; [`Window::commit`] stores it.
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let stored = self.0.stored.load(Ordering::Relaxed);
        let (outcome, next) = decide((stored > 0).then(|| Nanos::new(stored)))?;
        self.0.proposed.store(next.as_u64(), Ordering::Relaxed);
        Ok(outcome)
    }
}

impl Clock for Shared {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.now.load(Ordering::Relaxed))
    }
}

impl Window {
    fn new(limit: &Limit) -> Self {
        Self::over(Shape::of(limit), Arc::default())
    }

    fn over(shape: Shape, cell: Arc<Cell>) -> Self {
        // governor counts from the time of its making: here from 1970, in every window alike.
        cell.now.store(0, Ordering::Relaxed);
        let quota = Quota::with_period(Duration::from_nanos(shape.interval))
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(shape.burst);
        let gcra = RateLimiter::new(quota, Shared(cell.clone()), Shared(cell.clone()));
        Self { shape, cell, gcra }
    }

    /// Takes the limit's present shape. Units that were spent stay spent, at the new pace.
    fn reshape(&mut self, limit: &Limit, now: u64) {
        let shape = Shape::of(limit);
        if shape == self.shape {
            return;
        }
        let debt = u128::from(self.cell.stored.load(Ordering::Relaxed).saturating_sub(now));
        let rescaled = debt * u128::from(shape.interval) / u128::from(self.shape.interval);
        let stored = now.saturating_add(u64::try_from(rescaled).unwrap_or(u64::MAX).min(shape.full()));
        self.cell.stored.store(stored, Ordering::Relaxed);
        *self = Self::over(shape, self.cell.clone());
    }

    /// How long until `units` fit; zero proposes the draw of them.
    fn wait(&self, units: u32, now: u64) -> Duration {
        match self.decide(units, now) {
            Ok(_) => Duration::ZERO,
            // A wait of zero would be a yes.
            Err(wait) => wait.max(Duration::from_nanos(1)),
        }
    }

    fn left(&self, now: u64) -> u32 {
        self.decide(1, now).map_or(0, |after| after.remaining_burst_capacity().saturating_add(1))
    }

    fn decide(&self, units: u32, now: u64) -> Result<StateSnapshot, Duration> {
        self.cell.now.store(now, Ordering::Relaxed);
        // No more can be owed than a full burst, except when the clock was set back: that debt is forgiven.
        self.cell.stored.fetch_min(now.saturating_add(self.shape.full()), Ordering::Relaxed);
        let units = NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN);
        match self.gcra.check_n(units) {
            Ok(Ok(after)) => Ok(after),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(Nanos::new(now))),
            Err(_) => Err(NEVER),
        }
    }

    /// Stores the last decision, which was a yes.
    fn commit(&self) {
        self.cell.stored.store(self.cell.proposed.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Shape {
    /// Bounded so that governor's sums of times stay within 64 bits until the year 2200.
    fn of(limit: &Limit) -> Self {
        let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
        let per = u64::try_from(limit.per.as_nanos()).unwrap_or(u64::MAX);
        let interval = per.div_ceil(u64::from(limit.units.max(1)));
        Self { interval: interval.clamp(1, u64::MAX / 8 / u64::from(burst.get())), burst }
    }

    /// Nanoseconds in which an empty bucket fills.
    fn full(self) -> u64 {
        self.interval.saturating_mul(u64::from(self.burst.get()))
    }
}

/// A call in flight, given back on drop.
struct Place(Arc<AtomicU32>);

impl Place {
    fn take(flying: &Arc<AtomicU32>) -> Self {
        flying.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(flying))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn nanos(now: Timestamp) -> u64 {
    u64::try_from(now.as_nanosecond()).unwrap_or(0)
}
