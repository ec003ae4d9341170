//! What went wrong with one attempt: who is to blame, whether to retry, and whether it cost money.
//!
//! Why it exists: every later decision (same model again, next plan, breaker, books) is a table over these three
//! answers. What it refuses to know: status codes and wire formats; dialects translate into it.

use std::fmt;
use std::time::Duration;

/// The failure of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of failure.
    pub class: Class,
    /// Whose doing it was.
    pub blame: Blame,
    /// Whether the provider charged for it.
    pub billed: Billed,
    /// How long the provider asked us to stay away.
    pub retry_after: Option<Duration>,
    /// One sentence for a person; never a secret, never a whole body.
    pub detail: String,
}

impl Fault {
    /// A fault with no wait hint.
    pub fn new(class: Class, blame: Blame, billed: Billed, detail: impl Into<String>) -> Self {
        Self { class, blame, billed, retry_after: None, detail: detail.into() }
    }

    /// The same fault with the provider's wait hint.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class.name(), self.detail)
    }
}

impl std::error::Error for Fault {}

/// The kind of failure; see the table in `domain::retry` for what follows from each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A success by status whose content is not what was promised.
    Garbled,
    /// The provider's moderation refused the prompt or the picture.
    Moderate,
    /// The account has no credit.
    OutOfCredit,
    /// The request is not one that this model takes.
    Reject,
    /// Too many calls; the provider asks to wait.
    Throttle,
    /// No answer in time.
    TimeOut,
    /// The credential is missing, wrong or not allowed.
    Unauthorize,
    /// The provider is down, overloaded or unreachable.
    Unavailable,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Garbled,
        Self::Moderate,
        Self::OutOfCredit,
        Self::Reject,
        Self::Throttle,
        Self::TimeOut,
        Self::Unauthorize,
        Self::Unavailable,
    ];

    /// The name in receipts, metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Garbled => "garbled",
            Self::Moderate => "moderated",
            Self::OutOfCredit => "out_of_credit",
            Self::Reject => "rejected",
            Self::Throttle => "throttled",
            Self::TimeOut => "timed_out",
            Self::Unauthorize => "unauthorized",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whose doing a failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// What the caller asked for.
    Caller,
    /// Our policy, credential or code.
    Ourselves,
    /// The provider, or the way to it.
    Provider,
}

/// Whether the provider charged for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Billed {
    /// Certainly not.
    No,
    /// It may have: the money stays held until someone knows.
    Unknown,
    /// Certainly, or by the provider's own statement.
    Yes,
}

impl Billed {
    /// The name in answers: `no`, `unknown` or `yes`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Yes => "yes",
        }
    }
}
