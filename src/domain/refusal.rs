//! Every way in which a request can end without an image: one closed list.
//!
//! Why it exists: rooms refuse in the domain's words; only `server/problem.rs` knows status codes. To add a refusal:
//! a variant here, then the compiler names the places.

use std::sync::Arc;
use std::time::Duration;

use super::budget::Exhausted;
use super::ledger::Attempt;
use super::plan::explain::Explained;

/// Why there is no image.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// A cap on money would be passed; nothing was sent.
    BudgetExhausted(Exhausted),
    /// The prompt or the picture was refused by a provider's moderation.
    ContentRefused {
        /// What the provider said.
        detail: String,
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// No answer before the deadline.
    DeadlineExceeded {
        /// Whether a paid call may be under way.
        outcome: Doubt,
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// The key may not do this.
    Forbidden(String),
    /// The idempotency key came before with another body.
    IdempotencyKeyReused,
    /// A failure of ours.
    Internal,
    /// The body or a header is not acceptable.
    InvalidRequest {
        /// JSON pointer of the field, or `header:Name`.
        pointer: String,
        /// What is wrong, and what would be right.
        detail: String,
    },
    /// Money cannot be reserved just now.
    LedgerUnavailable,
    /// No such route or id.
    NotFound(String),
    /// No plan fits; every candidate says why.
    NoPlan(Arc<Explained>),
    /// Too much is under way.
    Overloaded,
    /// Every plan was tried or skipped.
    ProvidersFailed(Vec<Attempt>),
    /// Every plan that fits waits for a provider's limit.
    QuotaExhausted {
        /// Until the first limit has room.
        retry_after: Duration,
    },
    /// The caller's own limits have no room.
    RateLimited {
        /// Until they have.
        retry_after: Duration,
    },
    /// The body did not arrive in time.
    SlowRequest,
    /// The body is longer than this many bytes.
    TooLarge(u64),
    /// No key, or an unknown one.
    Unauthenticated(String),
    /// A body that is not JSON.
    UnsupportedMediaType(String),
}

/// What is known of a request that ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// A paid call may have been made.
    Ambiguous,
    /// Nothing was bought.
    NotStarted,
}

impl Doubt {
    /// The name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::NotStarted => "not_started",
        }
    }
}

impl Refusal {
    /// The code in answers, metrics and the ledger.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BudgetExhausted(_) => "budget_exhausted",
            Self::ContentRefused { .. } => "content_refused",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::Forbidden(_) => "forbidden",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::Internal => "internal",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::NoPlan(_) => "no_plan",
            Self::NotFound(_) => "not_found",
            Self::Overloaded => "overloaded",
            Self::ProvidersFailed(_) => "providers_failed",
            Self::QuotaExhausted { .. } => "quota_exhausted",
            Self::RateLimited { .. } => "rate_limited",
            Self::SlowRequest => "slow_request",
            Self::TooLarge(_) => "too_large",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::UnsupportedMediaType(_) => "unsupported_media_type",
        }
    }

    /// What was tried, where anything was.
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::ContentRefused { attempts, .. }
            | Self::DeadlineExceeded { attempts, .. }
            | Self::ProvidersFailed(attempts) => attempts,
            _ => &[],
        }
    }
}
