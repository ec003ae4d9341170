//! When a policy on trial must stop.
//!
//! Why it exists: a new policy first serves a few callers, and nobody watches it at night. It stops by itself when it is
//! worse than the one in force by more than chance explains. Callers differ more than policies do, so cost and
//! acceptance are not compared between callers: each request is held against what the policy in force expected of the
//! same request, and the two groups by what is left. The verdict is asked for after every request, so the bound is one
//! that holds at all times at once: the normal mixture of Howard, Ramdas, `McAuliffe` and Sekhon, "Time-uniform,
//! nonparametric, nonasymptotic confidence sequences" (2021), equation 14. What it refuses to know: who is among the
//! few, and how requests run. To add a measure: a `Sum` in [`Arm`], its bar in [`Bars`], its turn in [`judge`].

use super::money::Money;

/// How a request ended that a policy answers for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// No plan, no provider, or no time.
    pub failed: bool,
    /// What each image cost; `None` when none was made.
    pub each: Option<Money>,
    /// What the policy in force expected each to cost.
    pub usual: Money,
}

/// What became of the requests of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arm {
    requests: u32,
    failed: u32,
    accepted: u32,
    /// Micro-dollars of an image above the usual.
    above: Sum,
    /// Micro-dollars of an image, as usual.
    usual: Sum,
    /// 1 for an accept and 0 for a reject, less the chance that was usual.
    liked: Sum,
}

impl Arm {
    /// Hears of a request that ended.
    pub fn hear(&mut self, ended: Ended) {
        self.requests += 1;
        self.failed += u32::from(ended.failed);
        if let Some(each) = ended.each {
            let (each, usual) = (each.micros() as f64, ended.usual.micros() as f64);
            self.above.add(each - usual);
            self.usual.add(usual);
        }
    }

    /// Hears of a person's verdict on an image, of which the policy in force expected acceptance with `usual`.
    pub fn judged(&mut self, accepted: bool, usual: f64) {
        self.accepted += u32::from(accepted);
        self.liked.add(f64::from(u8::from(accepted)) - usual);
    }

    /// Requests so far, and how many of them failed.
    pub const fn requests(&self) -> (u32, u32) {
        (self.requests, self.failed)
    }

    /// Verdicts so far, and how many of them were accepts.
    pub const fn verdicts(&self) -> (u32, u32) {
        (self.liked.count, self.accepted)
    }

    /// Mean micro-dollars of an image, and of what was usual for the same requests; `None` before the first.
    pub fn cost(&self) -> Option<(f64, f64)> {
        (self.usual.count > 0).then(|| (self.usual.mean() + self.above.mean(), self.usual.mean()))
    }

    fn errors(&self) -> Mean {
        // One more of each, so that none of few is not certainty (Agresti and Caffo, 2000).
        let value = (f64::from(self.failed) + 1.0) / (f64::from(self.requests) + 2.0);
        Mean { value, variance: value * (1.0 - value), count: self.requests }
    }
}

/// What a trial may be worse by, and how much must be known before it is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bars {
    /// What each group must have of a measure before it counts.
    pub evidence: u32,
    /// Share of requests that may fail in addition, 0 to 1.
    pub errors: f64,
    /// Share by which an image may be dearer.
    pub cost: f64,
    /// Share of images that may be rejected in addition, 0 to 1.
    pub acceptance: f64,
}

impl Default for Bars {
    fn default() -> Self {
        Self { evidence: 50, errors: 0.02, cost: 0.25, acceptance: 0.05 }
    }
}

/// Why a trial must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// More requests fail.
    Errors,
    /// Images are dearer.
    Cost,
    /// Fewer images are accepted.
    Acceptance,
}

impl Stop {
    /// In metrics and in the books.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Cost => "cost",
            Self::Acceptance => "acceptance",
        }
    }
}

/// Whether the trial must stop: worse than the policy in force by more than its bars and than chance.
pub fn judge(in_force: &Arm, candidate: &Arm, bars: &Bars) -> Option<Stop> {
    let beyond = |worse: Mean, than: Mean, bar: f64| worse.beyond(than, bar, bars.evidence);
    if beyond(candidate.errors(), in_force.errors(), bars.errors) {
        return Some(Stop::Errors);
    }
    if beyond(candidate.above.sample(), in_force.above.sample(), bars.cost * candidate.usual.mean()) {
        return Some(Stop::Cost);
    }
    beyond(in_force.liked.sample(), candidate.liked.sample(), bars.acceptance).then_some(Stop::Acceptance)
}

/// Numbers, as their count, sum and sum of squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    count: u32,
    total: f64,
    squares: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.total += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.total / f64::from(self.count.max(1))
    }

    fn sample(&self) -> Mean {
        let (count, value) = (f64::from(self.count.max(1)), self.mean());
        Mean { value, variance: (self.squares / count - value * value).max(0.0), count: self.count }
    }
}

#[derive(Clone, Copy)]
struct Mean {
    value: f64,
    variance: f64,
    count: u32,
}

/// How often a trial that is exactly at a bar is stopped, at most, over its whole life.
const ALPHA: f64 = 0.05;

impl Mean {
    /// Whether it is above `other` by more than `bar` and than chance, whenever and however often this is asked.
    fn beyond(self, other: Self, bar: f64, evidence: u32) -> bool {
        let gap = self.value - other.value - bar;
        let least = evidence.max(1);
        if self.count < least || other.count < least || gap <= 0.0 {
            return false;
        }
        let (mine, theirs) = (f64::from(self.count), f64::from(other.count));
        let variance = self.variance / mine + other.variance / theirs;
        // What is known, in units of the least that is judged upon.
        let known = 2.0 / (f64::from(least) * (1.0 / mine + 1.0 / theirs));
        let bound = (1.0 + 1.0 / known) * (known.ln_1p() - 2.0 * ALPHA.ln());
        gap * gap > bound * variance
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// A policy in a simulated world.
    #[derive(Clone, Copy)]
    struct Truth {
        errors: f64,
        /// Tenths of what is usual.
        cost: i64,
        accept: f64,
    }

    const GOOD: Truth = Truth { errors: 0.03, cost: 10, accept: 0.6 };
    const BARS: Bars = Bars { evidence: 40, errors: 0.0, cost: 0.25, acceptance: 0.0 };

    /// Requests of the candidate until it stops, at most `most`, with nine of the policy in force for each one. The few
    /// ask for pictures that are twice as dear and half as liked: that is theirs, and not the policy's.
    fn run(seed: u64, most: u32, bars: &Bars, candidate: Truth) -> Option<(u32, Stop)> {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut arms = [Arm::default(); 2];
        for turn in 1..=most {
            for (at, truth) in [GOOD; 9].into_iter().map(|truth| (0, truth)).chain([(1, candidate)]) {
                let (arm, times) = (&mut arms[at], if at == 0 { 1.0 } else { 2.0 });
                let whole = i64::from(dice.random_range(20_000..60_000)) * if at == 0 { 1 } else { 2 };
                let failed = dice.random_bool(truth.errors);
                let tenths = truth.cost * dice.random_range(8..13);
                let each = (!failed).then(|| Money::from_micros(whole * tenths / 100));
                arm.hear(Ended { failed, each, usual: Money::from_micros(whole) });
                if each.is_some() && dice.random_bool(0.5) {
                    arm.judged(dice.random_bool(truth.accept / times), GOOD.accept / times);
                }
            }
            if let Some(stop) = judge(&arms[0], &arms[1], bars) {
                return Some((turn, stop));
            }
        }
        None
    }

    #[test]
    fn a_worse_policy_stops_within_hundreds_of_requests() {
        for (bad, stop, within) in [
            (Truth { errors: 0.3, ..GOOD }, Stop::Errors, 100),
            (Truth { cost: 16, ..GOOD }, Stop::Cost, 60),
            (Truth { accept: 0.2, ..GOOD }, Stop::Acceptance, 400),
        ] {
            let turns: Vec<u32> = (0..50)
                .map(|seed| match run(seed, 800, &BARS, bad) {
                    Some((turns, why)) if why == stop => turns,
                    other => panic!("{stop:?}, seed {seed}: {other:?}"),
                })
                .collect();
            let mean = turns.iter().sum::<u32>() / 50;
            println!(
                "{stop:?}: after {mean} requests of the candidate on average, {} at most",
                turns.iter().max().unwrap()
            );
            assert!(mean <= within, "{stop:?}: {mean}");
        }
    }

    #[test]
    fn an_equal_policy_is_rarely_stopped_however_often_it_is_looked_at() {
        let exactly = Bars { cost: 0.0, ..BARS };
        let stopped = (0..200).filter(|&seed| run(seed, 600, &exactly, GOOD).is_some()).count();
        println!("{stopped} of 200 trials of an equal policy were stopped in 600 looks each");
        assert!(stopped <= 16, "{stopped} of 200");
        let stopped =
            (0..200).filter(|&seed| run(seed, 600, &Bars { evidence: 40, ..Bars::default() }, GOOD).is_some());
        assert!(stopped.count() <= 1, "with bars above nothing, hardly ever");
    }

    #[test]
    fn a_dearer_policy_that_is_meant_goes_on() {
        assert_eq!(run(1, 400, &BARS, Truth { cost: 11, ..GOOD }), None);
    }

    #[test]
    fn nothing_is_judged_of_few() {
        let (mut live, mut trial) = (Arm::default(), Arm::default());
        for _ in 1..BARS.evidence {
            live.hear(Ended { failed: false, each: Some(Money::from_micros(10)), usual: Money::from_micros(10) });
            trial.hear(Ended { failed: true, each: None, usual: Money::from_micros(10) });
        }
        assert_eq!(judge(&live, &trial, &BARS), None);
        live.hear(Ended { failed: false, each: None, usual: Money::ZERO });
        trial.hear(Ended { failed: true, each: None, usual: Money::ZERO });
        assert_eq!(judge(&live, &trial, &BARS), Some(Stop::Errors));
        assert_eq!(trial.requests(), (40, 40));
    }

    #[test]
    fn a_price_that_never_varies_is_known_at_once() {
        let mut arms = [Arm::default(); 2];
        for _ in 0..BARS.evidence {
            for (arm, each) in arms.iter_mut().zip([40_000, 60_000]) {
                arm.hear(Ended {
                    failed: false,
                    each: Some(Money::from_micros(each)),
                    usual: Money::from_micros(40_000),
                });
            }
        }
        assert_eq!(judge(&arms[0], &arms[1], &BARS), Some(Stop::Cost));
        assert_eq!(arms[1].cost(), Some((60_000.0, 40_000.0)));
    }
}
