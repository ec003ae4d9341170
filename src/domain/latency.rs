//! How long a model takes, learned as it is used.
//!
//! Why it exists: deadlines and ties are decided by measured latency, not by a vendor's page. The logarithm of the
//! latency is tracked by an exponentially weighted mean and variance (latencies are close to log-normal), which gives
//! any quantile in constant space. What it refuses to know: clocks.

use std::time::Duration;

use super::catalog::Latency;

/// The weight of a new sample once there are many: a memory of about fifty calls.
const STEP: f64 = 0.02;
/// What the policy's guess counts, in calls.
const GUESS: f64 = 5.0;
/// Standard normal quantile of 95 %.
const Z95: f64 = 1.645;

/// A running estimate: the guess and the calls, each a normal of the logarithm, mixed by their weights. The calls'
/// spread is around their own mean, so that a guess that was far off does not look like calls that vary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    guess: Normal,
    calls: Normal,
    samples: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Normal {
    mean: f64,
    variance: f64,
}

impl Estimate {
    /// Begins with the policy's guess.
    pub fn new(guess: Latency) -> Self {
        let (p50, p95) = (log_ms(guess.p50), log_ms(guess.p95));
        let sigma = ((p95 - p50) / Z95).max(0.05);
        let guess = Normal { mean: p50, variance: sigma * sigma };
        Self { guess, calls: Normal::default(), samples: 0.0 }
    }

    /// Hears of a call that took `time`.
    pub fn hear(&mut self, time: Duration) {
        self.samples += 1.0;
        let step = STEP.max(1.0 / self.samples);
        let off = log_ms(time) - self.calls.mean;
        self.calls.mean += step * off;
        self.calls.variance = (1.0 - step) * (self.calls.variance + step * off * off);
    }

    /// Median and 95th percentile.
    pub fn latency(&self) -> Latency {
        let share = self.samples / (self.samples + GUESS);
        let mix = |guess: f64, calls: f64| guess + share * (calls - guess);
        let mean = mix(self.guess.mean, self.calls.mean);
        let sigma = mix(self.guess.variance, self.calls.variance).sqrt();
        let at = |z: f64| Duration::from_secs_f64((mean + z * sigma).exp().min(3.6e6) / 1e3);
        Latency { p50: at(0.0), p95: at(Z95) }
    }
}

fn log_ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).max(0.01).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_from_the_guess_to_what_is_measured() {
        let guess = Latency { p50: Duration::from_secs(6), p95: Duration::from_secs(12) };
        let mut estimate = Estimate::new(guess);
        let start = estimate.latency();
        assert!((start.p50.as_secs_f64() - 6.0).abs() < 0.01 && (start.p95.as_secs_f64() - 12.0).abs() < 0.05);
        estimate.hear(Duration::from_millis(30));
        assert!(estimate.latency().p95 < guess.p95, "a fast call makes nothing slower");
        for turn in 0..300 {
            estimate.hear(Duration::from_millis(900 + 20 * (turn % 10)));
        }
        let now = estimate.latency();
        assert!((0.85..1.15).contains(&now.p50.as_secs_f64()), "{now:?}");
        assert!(now.p95 < Duration::from_secs(2), "{now:?}");
    }
}
