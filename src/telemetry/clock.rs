//! The wall clock: the one place that reads it.

use jiff::Timestamp;

/// Now, for the books and for dates in the policy. Durations are measured by `tokio::time::Instant` instead.
#[expect(clippy::disallowed_methods, reason = "this is where wall time enters")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The UTC day, for prices and retirements.
pub fn today() -> jiff::civil::Date {
    now().to_zoned(jiff::tz::TimeZone::UTC).date()
}
