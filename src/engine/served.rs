//! What goes into the engine and what comes out, without a word of HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::image::{Format, Size};
use crate::domain::ledger::{Attempt, MoneyState};
use crate::domain::money::Money;
use crate::domain::plan::explain::StepLine;
use crate::domain::request::Ask;

/// A request as the door hands it in.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The parsed body.
    pub ask: Ask,
    /// The caller's key, as sent; the engine authenticates it.
    pub key: Option<Arc<str>>,
    /// The id that every trace of the request carries.
    pub request_id: Arc<str>,
    /// `Idempotency-Key`, unquoted.
    pub idempotency_key: Option<Arc<str>>,
    /// What tells a repeat from a new ask.
    pub repeat: Repeat,
    /// `Tollgate-Share: never`.
    pub share_never: bool,
    /// Unknown fields and other things worth a warning.
    pub warnings: Vec<String>,
    /// When it arrived, for deadlines.
    pub arrived: Instant,
    /// When it arrived, for the books.
    pub received: Timestamp,
}

/// What tells a repeat from a new ask, beside the ask itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeat {
    /// The route's name: an idempotency key holds on one route.
    pub route: &'static str,
    /// How often the client has tried before, where it says so (`x-stainless-retry-count`).
    pub count: Option<u32>,
    /// Whether it must be able to go on after a crash: each picture is kept as soon as it is bought.
    pub durable: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Served {
    /// `gen_…`.
    pub id: Arc<str>,
    /// When the generation began.
    pub created: Timestamp,
    /// The pictures.
    pub images: Vec<ServedImage>,
    /// The model that generated.
    pub model: Arc<str>,
    /// The task's name.
    pub task: Arc<str>,
    /// The steps that were run.
    pub steps: Vec<StepLine>,
    /// The rule that decided, if one.
    pub rule: Option<Arc<str>>,
    /// What the planner expected.
    pub expected: Expected,
    /// What this caller pays: zero unless fresh.
    pub cost: Money,
    /// Whether any money is left in doubt.
    pub state: MoneyState,
    /// The purchase's attempts.
    pub attempts: Vec<Attempt>,
    /// Who paid.
    pub how: How,
    /// Where the answer differs from the ask.
    pub adjustments: Vec<String>,
    /// What the caller should know.
    pub warnings: Vec<String>,
    /// Policy digest.
    pub policy: Arc<str>,
    /// Where the time went.
    pub timings: Timings,
}

/// One picture of an answer.
#[derive(Clone, Debug)]
pub struct ServedImage {
    /// Lower-case hex.
    pub sha256: Arc<str>,
    /// Its format.
    pub format: Format,
    /// Its pixels.
    pub size: Size,
    /// The seed that made it, when the provider takes or names one.
    pub seed: Option<u64>,
    /// The encoded picture.
    pub bytes: Bytes,
}

/// What the planner expected of the plan that ran.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Acceptance, 0 to 1.
    pub accept: f64,
    /// Cost.
    pub cost: Money,
    /// Median latency.
    pub latency: Duration,
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Bought for this request.
    Fresh,
    /// Shared a running flight.
    Joined,
    /// From what was bought before.
    Replayed,
}

impl How {
    /// The name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Joined => "joined",
            Self::Replayed => "replayed",
        }
    }
}

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From arrival to answer.
    pub total: Duration,
    /// Waiting for providers.
    pub provider: Duration,
    /// Ours: the difference.
    pub gateway: Duration,
}
