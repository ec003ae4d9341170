//! When a policy on trial must stop.
//!
//! Why it exists: a new policy first serves a few callers, and nobody watches it at night. It stops by itself when it
//! is worse than the one in force by more than chance explains: more refusals and failures, dearer images, fewer
//! accepted ones. What it refuses to know: who is among the few, and how requests run. The tests are one-sided at 99 %,
//! because they are made after every request: errors and acceptance by the difference of two shares, price by the
//! difference of two means (both by normal approximation).

use super::money::Money;

/// What became of the requests of one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arm {
    requests: f64,
    failed: f64,
    images: f64,
    cost: f64,
    cost_squared: f64,
    verdicts: f64,
    accepted: f64,
}

impl Arm {
    /// Hears of a request that ended: images it made, and what they cost.
    pub fn hear(&mut self, failed: bool, images: usize, cost: Money) {
        self.requests += 1.0;
        self.failed += f64::from(u8::from(failed));
        if images > 0 {
            let each = cost.micros() as f64 / images as f64;
            self.images += 1.0;
            self.cost += each;
            self.cost_squared += each * each;
        }
    }

    /// Hears of a person's verdict.
    pub fn judged(&mut self, accepted: bool) {
        self.verdicts += 1.0;
        self.accepted += f64::from(u8::from(accepted));
    }

    /// Requests so far.
    pub const fn requests(&self) -> f64 {
        self.requests
    }

    fn price(&self) -> Mean {
        let mean = self.cost / self.images.max(1.0);
        let variance = (self.cost_squared / self.images.max(1.0) - mean * mean).max(0.0);
        Mean { value: mean, count: self.images, variance }
    }

    fn errors(&self) -> Mean {
        Mean::share(self.failed, self.requests)
    }

    fn acceptance(&self) -> Mean {
        Mean::share(self.accepted, self.verdicts)
    }
}

#[derive(Clone, Copy)]
struct Mean {
    value: f64,
    count: f64,
    variance: f64,
}

impl Mean {
    fn share(part: f64, all: f64) -> Self {
        // One more of each, so that none of few is not certainty (Agresti and Caffo, 2000).
        let value = (part + 1.0) / (all + 2.0);
        Self { value, count: all, variance: value * (1.0 - value) }
    }

    /// How far above `other`, in standard errors; nothing when there are too few.
    fn above(self, other: Self, least: f64) -> f64 {
        if self.count < least || other.count < least {
            return 0.0;
        }
        let error = (self.variance / self.count + other.variance / other.count).sqrt();
        let gap = self.value - other.value;
        if error > 0.0 { gap / error } else { gap.signum() * f64::from(u8::from(gap != 0.0)) * f64::INFINITY }
    }
}

/// Normal quantile of a one-sided 99 % test.
const Z: f64 = 2.33;
/// A dearer policy may be meant: only more than this share dearer stops it.
const DEARER: f64 = 1.25;

/// Why the trial must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// More requests fail.
    Errors,
    /// Images cost over a quarter more.
    Cost,
    /// Fewer images are accepted.
    Acceptance,
}

impl Stop {
    /// In a log line.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Errors => "more of its requests fail than of the policy in force",
            Self::Cost => "its images cost over a quarter more than those of the policy in force",
            Self::Acceptance => "fewer of its images are accepted than of the policy in force",
        }
    }
}

/// Whether the trial must stop, once each arm has `least` of what a test compares.
pub fn judge(live: &Arm, trial: &Arm, least: u32) -> Option<Stop> {
    let least = f64::from(least);
    if trial.errors().above(live.errors(), least) > Z {
        return Some(Stop::Errors);
    }
    let (mine, theirs) = (trial.price(), live.price());
    let allowed = Mean { value: theirs.value * DEARER, variance: theirs.variance * DEARER * DEARER, ..theirs };
    if mine.above(allowed, least) > Z {
        return Some(Stop::Cost);
    }
    (live.acceptance().above(trial.acceptance(), least) > Z).then_some(Stop::Acceptance)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const LEAST: u32 = 30;

    /// Requests until it stops, at most `most` of each arm.
    fn run(seed: u64, most: u32, live: (f64, i64, f64), trial: (f64, i64, f64)) -> Option<(u32, Stop)> {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut arms = [Arm::default(); 2];
        for turn in 1..=most {
            for (arm, (errors, cost, accept)) in arms.iter_mut().zip([live, trial]) {
                let failed = dice.random_bool(errors);
                let price = Money::from_micros(cost * dice.random_range(5..15) / 10);
                arm.hear(failed, usize::from(!failed), if failed { Money::ZERO } else { price });
                if !failed {
                    arm.judged(dice.random_bool(accept));
                }
            }
            if let Some(stop) = judge(&arms[0], &arms[1], LEAST) {
                return Some((turn, stop));
            }
        }
        None
    }

    #[test]
    fn a_worse_policy_stops_within_hundreds_of_requests() {
        let good = (0.02, 40_000, 0.6);
        for (name, bad, stop) in [
            ("errors", (0.3, 40_000, 0.6), Stop::Errors),
            ("cost", (0.02, 80_000, 0.6), Stop::Cost),
            ("acceptance", (0.02, 40_000, 0.35), Stop::Acceptance),
        ] {
            for seed in 0..20 {
                let stopped = run(seed, 400, good, bad);
                assert!(matches!(stopped, Some((_, why)) if why == stop), "{name}, seed {seed}: {stopped:?}");
            }
        }
    }

    #[test]
    fn an_equal_policy_is_rarely_stopped() {
        let good = (0.05, 40_000, 0.6);
        let stopped = (0..100).filter(|&seed| run(seed, 400, good, good).is_some()).count();
        assert!(stopped <= 30, "{stopped} of 100 trials of an equal policy were stopped, looking 400 times each");
    }

    #[test]
    fn a_dear_policy_that_is_meant_goes_on() {
        assert_eq!(run(1, 400, (0.02, 40_000, 0.6), (0.02, 46_000, 0.6)), None, "15 % dearer");
    }

    #[test]
    fn nothing_is_judged_of_few() {
        let (mut live, mut trial) = (Arm::default(), Arm::default());
        for _ in 0..LEAST - 1 {
            live.hear(false, 1, Money::from_micros(10));
            trial.hear(true, 0, Money::ZERO);
        }
        assert_eq!(judge(&live, &trial, LEAST), None);
    }
}
