//! One window limit: governor's arithmetic over a cell that commits apart.
//!
//! Why it exists: see `local.rs`. What it refuses to know: owners and other limits.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::buckets::Room;
use super::mirror::Outage;
use crate::domain::quota::{Limit, Pace, converted};

/// One window.
#[derive(Debug)]
pub(in crate::state::limits) struct Window {
    pace: Pace,
    cell: Arc<Cell>,
    gcra: RateLimiter<NotKeyed, Shared, Shared, NoOpMiddleware<Nanos>>,
    /// What was drawn while Redis was away.
    pub(in crate::state::limits) outage: Option<Outage>,
    /// Whether the pace is a share of the limit's.
    shared: bool,
}

/// Theoretical arrival times in nanoseconds since 1970. Atomic only because governor wants shared state; the lock around
/// all buckets orders every access.
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

    /// Decides upon the stored time and only proposes the new one.
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::new(self.0.stored.load(Ordering::Relaxed))))?;
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
    pub(super) fn new(pace: Pace) -> Self {
        Self::over(pace, Arc::default())
    }

    fn over(pace: Pace, cell: Arc<Cell>) -> Self {
        // governor counts from the time of its making: here from 1970, in every window alike.
        cell.now.store(0, Ordering::Relaxed);
        let quota = Quota::with_period(Duration::from_micros(pace.step()))
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(steps(pace, pace.tolerance()));
        let gcra = RateLimiter::new(quota, Shared(cell.clone()), Shared(cell.clone()));
        Self { pace, cell, gcra, outage: None, shared: false }
    }

    /// Takes the limit's present pace. Units that were spent stay spent, at the new pace; a share owes the same time as the
    /// whole, since it is as much slower as it has less to pay.
    pub(super) fn reshape(&mut self, limit: &Limit, pace: Pace, now: u64) {
        if pace == self.pace {
            return;
        }
        let own = limit.pace();
        let to_share = pace != own;
        if !to_share && !self.shared {
            let tat = converted(self.tat(), self.pace.per_grain(), pace.per_grain(), now);
            self.cell.stored.store(tat.saturating_mul(1_000), Ordering::Relaxed);
        }
        let outage = self.outage.take();
        *self = Self::over(pace, self.cell.clone());
        (self.outage, self.shared) = (outage, to_share);
    }

    /// When `grains` fit. A share that is smaller than a call lets it through when nothing is owed.
    pub(super) fn room(&self, grains: u64, at: u64, apart: bool) -> Room {
        let time = self.pace.time_of(grains);
        if time == 0 {
            return Room::In(0);
        }
        if time > self.pace.tolerance() && !apart {
            return Room::Never;
        }
        self.cell.now.store(at.saturating_mul(1_000), Ordering::Relaxed);
        match self.gcra.check_n(steps(self.pace, time.min(self.pace.tolerance()))) {
            Ok(Ok(())) => Room::In(0),
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(Nanos::new(at.saturating_mul(1_000)));
                Room::In(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1))
            }
            Err(_) => Room::Never,
        }
    }

    /// Stores what [`Window::room`] has just proposed for this draw.
    pub(super) fn draw(&mut self, grains: u64, apart: bool) {
        let time = self.pace.time_of(grains);
        let before = self.tat();
        let beyond = time.saturating_sub(self.pace.tolerance()).saturating_mul(1_000);
        if time > 0 {
            self.cell.stored.store(self.cell.proposed.load(Ordering::Relaxed) + beyond, Ordering::Relaxed);
        }
        if apart {
            let outage = self.outage.get_or_insert(Outage { seed: before, drawn: 0 });
            outage.drawn += time;
        }
    }

    pub(super) fn left(&self, now: u64) -> u64 {
        self.pace.left(self.tat(), now)
    }

    /// Until everything drawn is paid for.
    pub(super) fn owed(&self, now: u64) -> u64 {
        self.tat().saturating_sub(now)
    }

    pub(super) fn raise(&self, tat: u64) {
        self.cell.stored.fetch_max(tat.saturating_mul(1_000), Ordering::Relaxed);
    }

    pub(super) fn shift(&self, back: u64) {
        self.learn(self.tat().saturating_sub(back));
    }

    /// Takes another's word for the time.
    pub(super) fn learn(&self, tat: u64) {
        self.cell.stored.store(tat.saturating_mul(1_000), Ordering::Relaxed);
    }

    fn tat(&self) -> u64 {
        self.cell.stored.load(Ordering::Relaxed) / 1_000
    }
}

/// A time as governor's cells.
fn steps(pace: Pace, time: u64) -> NonZeroU32 {
    let steps = u32::try_from(time / pace.step()).unwrap_or(u32::MAX);
    NonZeroU32::new(steps).unwrap_or(NonZeroU32::MIN)
}
