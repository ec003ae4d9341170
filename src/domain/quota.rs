//! A provider's limits as the policy states them.
//!
//! Why it exists: one description of a limit that every implementation of the `Limits` port enforces alike, by the
//! generic cell rate algorithm (GCRA). What it refuses to know: Redis, governor, clocks.

use std::sync::Arc;
use std::time::Duration;

/// One limit, in the provider's native unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name within the provider, e.g. `rate`.
    pub name: Arc<str>,
    /// What it counts.
    pub unit: LimitUnit,
    /// Units allowed per `per`.
    pub units: u32,
    /// The window; zero for [`LimitUnit::InFlight`].
    pub per: Duration,
    /// Units that may be drawn at once.
    pub burst: u32,
}

impl Limit {
    /// What a call that makes `images` images draws from this limit.
    pub const fn cost(&self, images: u8) -> u32 {
        match self.unit {
            LimitUnit::Images => images as u32,
            LimitUnit::InFlight | LimitUnit::Requests => 1,
        }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitUnit {
    /// Images made.
    Images,
    /// Calls that run at the same moment.
    InFlight,
    /// Calls begun.
    Requests,
}

impl LimitUnit {
    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::InFlight => "in_flight",
            Self::Requests => "requests",
        }
    }
}
