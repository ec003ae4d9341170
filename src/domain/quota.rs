//! Limits as the policy states them, and the arithmetic by which every implementation holds them.
//!
//! Why it exists: one algorithm, the generic cell rate algorithm (GCRA): a bucket is one time, its *theoretical arrival
//! time* (TAT), until which everything drawn so far is paid for by the rate. A draw that takes `t` of the rate's time fits
//! at `now` when `max(TAT, now) + t <= now + tolerance`, and then moves TAT by `t`. Here stand `t` and `tolerance`, in
//! integer microseconds; governor (in the process) and a Lua script (in Redis) compare and add them, alike. What it
//! refuses to know: Redis, governor, clocks. To add a unit: a [`LimitUnit`], what a call draws of it, and its grains.
//!
//! What is counted whole (requests, images) takes a whole number of microseconds each, rounded up: admitted ≤ burst + rate
//! × time, exactly, over any history. What is measured (megapixels, dollars) is rounded up once a draw, and its tolerance
//! once: admitted ≤ burst + rate × (time + 1 µs).

use std::sync::Arc;
use std::time::Duration;

use super::money::Money;

/// One limit, in native units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name within its owner, e.g. `rate`: with the owner, the bucket's identity.
    pub name: Arc<str>,
    /// What it counts.
    pub unit: LimitUnit,
    /// Grains of the unit allowed per `per`; see [`LimitUnit::grains`].
    pub units: u64,
    /// The window; zero for [`LimitUnit::InFlight`].
    pub per: Duration,
    /// Grains that may be drawn at once.
    pub burst: u64,
    /// Whether it denies.
    pub mode: Mode,
    /// What holds while replicas cannot count together.
    pub degrade: Degrade,
}

impl Limit {
    /// What a call draws from this limit, in grains.
    pub fn cost(&self, cost: Cost) -> u64 {
        match self.unit {
            LimitUnit::Images => u64::from(cost.images),
            LimitUnit::InFlight | LimitUnit::Requests => 1,
            LimitUnit::Megapixels => cost.pixels,
            LimitUnit::Usd => u64::try_from(cost.usd.micros()).unwrap_or(0),
        }
    }

    /// Grains as the unit's own number: 2.5 dollars, 150 requests.
    pub fn shown(&self, grains: u64) -> f64 {
        grains as f64 / self.unit.grains() as f64
    }

    /// Its arithmetic; meaningless for [`LimitUnit::InFlight`].
    pub fn pace(&self) -> Pace {
        self.pace_of(1)
    }

    /// The arithmetic of one of `replicas` that cannot count together: a fair share of the rate, and of the burst.
    pub fn pace_of(&self, replicas: u32) -> Pace {
        let per = u64::try_from(self.per.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        let (units, share) = (self.units.max(1), u64::from(replicas.max(1)));
        let (time, grains) = match self.unit {
            LimitUnit::Megapixels | LimitUnit::Usd => (per, units),
            LimitUnit::Images | LimitUnit::InFlight | LimitUnit::Requests => (per.div_ceil(units), 1),
        };
        let whole = Pace { time, grains, step: 1, tolerance: 0 };
        // governor counts 2³² steps at most.
        let step = whole.time_of(self.burst).div_ceil(u64::from(u32::MAX)).max(1);
        let time = if grains == 1 { time.next_multiple_of(step) } else { time };
        let mut pace = Pace { time, grains, step, tolerance: 0 };
        pace.tolerance = pace.time_of(self.burst).max(step);
        Pace { time: time.saturating_mul(share), ..pace }
    }
}

/// Thirty-five years, in microseconds: longer than any window, and sums of it stay far below 2⁵³.
const LONGEST: u64 = 1 << 50;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitUnit {
    /// Images made.
    Images,
    /// Calls that run at the same moment.
    InFlight,
    /// Millions of pixels made.
    Megapixels,
    /// Calls begun.
    Requests,
    /// Dollars at the worst price.
    Usd,
}

impl LimitUnit {
    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::InFlight => "in_flight",
            Self::Megapixels => "megapixels",
            Self::Requests => "requests",
            Self::Usd => "usd",
        }
    }

    /// How many grains make one: pixels of a megapixel, micro-dollars of a dollar.
    pub const fn grains(self) -> u64 {
        match self {
            Self::Images | Self::InFlight | Self::Requests => 1,
            Self::Megapixels | Self::Usd => 1_000_000,
        }
    }
}

/// Whether a limit denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It counts, tells what it would have denied, and denies nothing.
    Shadow,
}

/// What holds of a limit while replicas cannot count together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Degrade {
    /// Each replica has its share: the limit divided by the replicas that were last seen.
    #[default]
    Local,
    /// Nothing is counted.
    Open,
    /// Nothing is let through.
    Refuse,
}

impl Degrade {
    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Refuse => "refuse",
        }
    }
}

/// What a call is about to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Images.
    pub images: u32,
    /// Pixels of all of them.
    pub pixels: u64,
    /// The worst price.
    pub usd: Money,
}

impl Cost {
    /// A call for this many images, of which nothing else is known.
    pub const fn images(images: u32) -> Self {
        Self { images, pixels: 0, usd: Money::ZERO }
    }
}

/// What a provider says is left of its limit on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests left.
    pub left: u32,
    /// Until all of it is back.
    pub reset: Duration,
}

/// A limit in microseconds of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// `grains` come back in this time.
    time: u64,
    grains: u64,
    /// Every time below is a multiple of it.
    step: u64,
    tolerance: u64,
}

impl Pace {
    /// The rate's time for this many grains, rounded up.
    pub fn time_of(self, grains: u64) -> u64 {
        let time = (u128::from(self.time) * u128::from(grains)).div_ceil(u128::from(self.grains));
        u64::try_from(time).unwrap_or(u64::MAX).min(LONGEST).next_multiple_of(self.step)
    }

    /// How far TAT may be ahead of now.
    pub const fn tolerance(self) -> u64 {
        self.tolerance
    }

    /// The microseconds of which every time here is a multiple.
    pub const fn step(self) -> u64 {
        self.step
    }

    /// Microseconds of one grain, by which a debt is converted when the limit changes.
    pub fn per_grain(self) -> f64 {
        self.time as f64 / self.grains as f64
    }

    /// How long from `now` until a draw of `time` fits; `None` when it never does.
    pub fn wait(self, tat: u64, time: u64, now: u64) -> Option<u64> {
        (time <= self.tolerance).then(|| (tat.max(now) + time).saturating_sub(now + self.tolerance))
    }

    /// Grains that could be drawn at once.
    pub fn left(self, tat: u64, now: u64) -> u64 {
        let room = self.tolerance.saturating_sub(tat.saturating_sub(now));
        let grains = u128::from(room) * u128::from(self.grains) / u128::from(self.time.max(1));
        u64::try_from(grains).unwrap_or(u64::MAX)
    }

    /// TAT for as many grains left as the provider says, if it says fewer than we count.
    pub fn tat_with(self, left: u64, now: u64) -> u64 {
        now + self.tolerance.saturating_sub(self.time_of(left))
    }
}

/// TAT when a limit's pace changes: the units that were spent stay spent, at the new pace.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a debt below 2⁵³, times a positive ratio")]
pub fn converted(tat: u64, old: f64, new: f64, now: u64) -> u64 {
    if tat <= now { tat } else { now + ((tat - now) as f64 * new / old).floor().min(LONGEST as f64) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(unit: LimitUnit, units: u64, per: Duration, burst: u64) -> Limit {
        Limit { name: "l".into(), unit, units, per, burst, mode: Mode::Enforce, degrade: Degrade::Local }
    }

    #[test]
    fn whole_units_take_whole_microseconds_rounded_up() {
        let pace = limit(LimitUnit::Requests, 150, Duration::from_secs(10), 3).pace();
        assert_eq!((pace.time_of(1), pace.time_of(3), pace.tolerance()), (66_667, 200_001, 200_001));
        assert_eq!(pace.wait(0, 66_667, 1_000_000), Some(0));
        assert_eq!(pace.wait(1_200_001, 66_667, 1_000_000), Some(66_667));
        assert_eq!(pace.wait(0, 200_002, 1_000_000), None);
        assert_eq!((pace.left(0, 1_000_000), pace.left(1_066_667, 1_000_000)), (3, 2));
    }

    #[test]
    fn dollars_are_measured() {
        let pace = limit(LimitUnit::Usd, 25_000_000, Duration::from_hours(1), 5_000_000).pace();
        assert_eq!(pace.time_of(35_000), 5_040_000);
        assert_eq!(pace.time_of(1), 144);
        assert_eq!(pace.tolerance(), 720_000_000);
    }

    #[test]
    fn a_month_fits_into_governor_s_numbers() {
        let pace = limit(LimitUnit::Images, 90_000, Duration::from_hours(720), 90_000).pace();
        assert!(pace.step() > 1 && u32::try_from(pace.tolerance() / pace.step()).is_ok());
        assert_eq!(pace.time_of(90_000), pace.tolerance(), "the whole burst fits");
        assert_eq!(pace.time_of(1) % pace.step(), 0);
    }

    #[test]
    fn a_share_is_slower_and_owes_the_same_time() {
        let limit = limit(LimitUnit::Requests, 10, Duration::from_secs(1), 6);
        assert_eq!(limit.pace_of(3).time_of(1), 300_000);
        assert_eq!(limit.pace_of(3).left(0, 0), 2);
    }

    #[test]
    fn a_debt_is_kept_in_units_when_the_pace_changes() {
        assert_eq!(converted(1_300_000, 100_000.0, 1_000_000.0, 1_000_000), 4_000_000);
        assert_eq!(converted(900_000, 100_000.0, 1_000_000.0, 1_000_000), 900_000);
    }

    #[test]
    fn what_a_provider_says_is_left_is_left() {
        let pace = limit(LimitUnit::Requests, 60, Duration::from_mins(1), 60).pace();
        assert_eq!(pace.left(pace.tat_with(7, 5), 5), 7);
        assert_eq!(pace.left(pace.tat_with(0, 5), 5), 0);
    }
}
