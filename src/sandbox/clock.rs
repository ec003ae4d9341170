//! The sandbox's time: read once from the wall, then carried by tokio's clock, so that paused time moves both.
//!
//! It refuses to know about speed: a rate limit or a link's lifetime is in real seconds at any speed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// When the sandbox began, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
    wall: Duration,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), wall: wall_time() }
    }

    /// Milliseconds since the sandbox began.
    pub(super) fn at_ms(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// Seconds since 1970.
    pub(super) fn unix(&self) -> u64 {
        (self.wall + self.began.elapsed()).as_secs()
    }

    /// The present as RFC 3339 in UTC, to the second.
    pub(super) fn rfc3339(&self) -> String {
        let seconds = self.unix();
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00")
    }
}

#[expect(clippy::disallowed_methods, reason = "answers carry wall-time stamps; this is the one place that reads it")]
fn wall_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The Gregorian date of a day counted from 1970-01-01, by eras of 400 years that begin on 1 March.
fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_are_right() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_779), (2026, 11, 22));
    }

    #[test]
    fn both_clocks_move_together() {
        let mut clock = Clock::start();
        let before = clock.unix();
        clock.began = clock.began.checked_sub(Duration::from_secs(3_601)).unwrap();
        assert!((before + 3_601..before + 3_605).contains(&clock.unix()));
        assert!((3_601_000..3_605_000).contains(&clock.at_ms(Instant::now())));
    }
}
