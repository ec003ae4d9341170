//! The breaker: when a provider or model is left alone, and when it is tried again.
//!
//! Why it exists: calls to a provider that is down cost time and sometimes money. Two rules open it: a run of
//! consecutive failures (fast), or a low success share over a window with enough samples (slow leaks); a throttle is a
//! cool-down and not a failure. A *closed* breaker conducts. What it refuses to know: clocks; `now` is an argument.
//! Source of the two rules: linkerd2-proxy's unified breaker, Envoy's outlier detection.

use std::time::Duration;

use jiff::Timestamp;

/// The numbers of the two rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Opens after this many failures in a row.
    pub consecutive: u32,
    /// Opens below this success share, 0 to 1, …
    pub success_share: f64,
    /// … of at least this many samples …
    pub min_samples: u32,
    /// … within this window.
    pub window: Duration,
    /// How long it stays open the first time; doubles with each failed probe.
    pub open_for: Duration,
    /// The longest it stays open.
    pub open_at_most: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive: 5,
            success_share: 0.5,
            min_samples: 20,
            window: Duration::from_secs(30),
            open_for: Duration::from_secs(5),
            open_at_most: Duration::from_mins(2),
        }
    }
}

/// What the breaker does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Conducts.
    Closed,
    /// Lets one probe through.
    HalfOpen,
    /// Refuses until then.
    Open(Timestamp),
}

/// What a call's end says to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It worked, or the failure says nothing about the provider's health.
    Success,
    /// The provider failed.
    Failure,
    /// The provider is healthy and asked to wait this long.
    CoolDown(Duration),
    /// No call will work until someone acts: wrong credential, no credit.
    Trip(Duration),
}

/// One breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    failures_in_a_row: u32,
    window_start: Timestamp,
    good: u32,
    bad: u32,
    open_until: Option<Timestamp>,
    cool_until: Option<Timestamp>,
    probing: bool,
    opened: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            failures_in_a_row: 0,
            window_start: Timestamp::UNIX_EPOCH,
            good: 0,
            bad: 0,
            open_until: None,
            cool_until: None,
            probing: false,
            opened: 0,
        }
    }

    /// What it would do with a call at `now`, without taking the probe.
    pub fn state(&self, now: Timestamp) -> State {
        let until = self.open_until.max(self.cool_until);
        match until {
            Some(until) if now < until => State::Open(until),
            _ if self.open_until.is_some() => State::HalfOpen,
            _ => State::Closed,
        }
    }

    /// Until when it refuses only because a healthy provider asked to be left alone.
    pub fn cools(&self, now: Timestamp) -> Option<Timestamp> {
        let fails = self.open_until.is_some_and(|until| now < until);
        self.cool_until.filter(|until| now < *until && !fails)
    }

    /// Takes leave to call at `now`: `Err` with the time until which it refuses.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        match self.state(now) {
            State::Closed => Ok(()),
            State::Open(until) => Err(until),
            State::HalfOpen if self.probing => Err(later(now, Duration::from_secs(1))),
            State::HalfOpen => {
                self.probing = true;
                Ok(())
            }
        }
    }

    /// Hears how a call ended at `now`.
    pub fn hear(&mut self, signal: Signal, now: Timestamp) {
        let probe = std::mem::take(&mut self.probing);
        match signal {
            Signal::Success => self.succeed(probe),
            Signal::CoolDown(wait) => self.cool_until = self.cool_until.max(Some(later(now, wait))),
            Signal::Trip(wait) => self.open(now, wait),
            Signal::Failure => self.fail(probe, now),
        }
    }

    /// Gives back a probe that was never sent.
    pub fn withdraw(&mut self) {
        self.probing = false;
    }

    /// Only a probe closes: a late success of a call that was sent before it opened says nothing of now.
    fn succeed(&mut self, probe: bool) {
        self.failures_in_a_row = 0;
        self.good = self.good.saturating_add(1);
        if probe {
            (self.good, self.bad, self.opened, self.open_until) = (0, 0, 0, None);
        }
    }

    fn fail(&mut self, probe: bool, now: Timestamp) {
        if now.duration_since(self.window_start).unsigned_abs() > self.settings.window {
            (self.window_start, self.good, self.bad) = (now, 0, 0);
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.bad = self.bad.saturating_add(1);
        let samples = self.good + self.bad;
        let leaking = samples >= self.settings.min_samples
            && f64::from(self.good) < self.settings.success_share * f64::from(samples);
        if probe || leaking || self.failures_in_a_row >= self.settings.consecutive {
            let doublings = self.opened.min(10);
            self.open(now, self.settings.open_for.saturating_mul(1 << doublings).min(self.settings.open_at_most));
        }
    }

    fn open(&mut self, now: Timestamp, wait: Duration) {
        self.open_until = self.open_until.max(Some(later(now, wait)));
        self.opened = self.opened.saturating_add(1);
        (self.failures_in_a_row, self.good, self.bad) = (0, 0, 0);
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn failed(times: u32) -> Breaker {
        let mut breaker = Breaker::new(Settings::default());
        for _ in 0..times {
            breaker.hear(Signal::Failure, at(0));
        }
        breaker
    }

    #[test]
    fn a_run_of_failures_opens_it() {
        assert_eq!(failed(4).state(at(0)), State::Closed);
        assert_eq!(failed(5).state(at(0)), State::Open(at(5)));
    }

    #[test]
    fn a_leak_opens_it() {
        let mut breaker = Breaker::new(Settings::default());
        for turn in 0..30 {
            let good = turn % 3 == 0;
            breaker.hear(if good { Signal::Success } else { Signal::Failure }, at(turn / 10));
        }
        assert!(matches!(breaker.state(at(3)), State::Open(_)));
    }

    #[test]
    fn one_probe_decides() {
        let mut breaker = failed(5);
        assert!(breaker.admit(at(4)).is_err());
        assert_eq!(breaker.admit(at(5)), Ok(()));
        assert!(breaker.admit(at(5)).is_err(), "a second probe must wait for the first");
        breaker.hear(Signal::Failure, at(6));
        assert_eq!(breaker.state(at(6)), State::Open(at(16)), "twice as long");
        assert_eq!(breaker.admit(at(16)), Ok(()));
        breaker.hear(Signal::Success, at(17));
        assert_eq!(breaker.state(at(17)), State::Closed);
    }

    #[test]
    fn a_throttle_cools_down_and_is_no_failure() {
        let mut breaker = Breaker::new(Settings::default());
        breaker.hear(Signal::CoolDown(Duration::from_mins(1)), at(0));
        assert_eq!(breaker.state(at(59)), State::Open(at(60)));
        assert_eq!(breaker.state(at(60)), State::Closed);
        let mut probing = failed(5);
        assert_eq!(probing.admit(at(5)), Ok(()));
        probing.hear(Signal::CoolDown(Duration::from_secs(3)), at(5));
        assert_eq!(probing.admit(at(8)), Ok(()), "a throttled probe does not double the wait");
    }

    #[test]
    fn a_withdrawn_probe_is_given_back() {
        let mut breaker = failed(5);
        assert_eq!(breaker.admit(at(5)), Ok(()));
        breaker.withdraw();
        assert_eq!(breaker.admit(at(5)), Ok(()));
    }
}
