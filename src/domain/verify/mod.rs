//! Verifiers: what looks at a bought picture before a person does, and how far it is to be believed.
//!
//! Why it exists: a cheap model with a check behind it can be cheaper for each accepted image than a dear one. None of
//! them is trusted: the planner counts with each one's measured rates, both of them. What it refuses to know: processes
//! and sockets (`state`, `transport`), pixels of encoded pictures (`provider::local`). The judgements themselves are
//! pure: [`structure`] on a grid of grey, [`text`] on what was read.
//! To add a verifier: a [`Kind`], its judgement here, its row in `policy/raw/verifier.rs`, its arm in
//! `engine/verify.rs`.

pub mod likeness;
pub mod structure;
pub mod text;

use std::sync::Arc;
use std::time::Duration;

use super::catalog::{Latency, Place, TaskIx};
use super::money::Money;
use super::plan::cost::Rates;

/// Whom paid looks are booked under, as it were their provider; budgets cap them by this name.
pub const PAYEE: &str = "verifier";

/// Index into [`Catalog::verifiers`](super::catalog::Catalog::verifiers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifierIx(pub u16);

/// A verifier of the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Verifier {
    /// Its name in answers and in EXPLAIN.
    pub name: Arc<str>,
    /// What it looks at.
    pub kind: Kind,
    /// The price of one look at one picture.
    pub price: Money,
    /// How long a look takes, before anything was measured.
    pub latency: Latency,
    /// How it judges, for each task of the catalog, in its order; `None` where it is not used.
    pub rates: Vec<Option<Rates>>,
    /// Whether pictures and prompts that must stay on the premises may be shown to it.
    pub local: bool,
    /// Where the policy says so.
    pub place: Place,
}

impl Verifier {
    /// Its rates for a task, where it is used for that.
    pub fn rates(&self, task: TaskIx) -> Option<Rates> {
        self.rates.get(usize::from(task.0)).copied().flatten()
    }
}

/// What a verifier looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The picture as such: not blank, not flat, not blurred away, not the same as another of its request.
    Structure,
    /// The text that the prompt quotes, read back: the most of its characters, 0 to 1, that may be wrong.
    Text {
        /// The greatest character error rate that passes.
        most_wrong: f64,
    },
    /// A scorer of the user's: the least score, 0 to 1, that passes.
    Http {
        /// The least score that passes.
        least_score: f64,
    },
}

impl Kind {
    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Text { .. } => "text",
            Self::Http { .. } => "http",
        }
    }
}

/// What a verifier says of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it passes.
    pub passed: bool,
    /// What was seen, in one clause.
    pub seen: String,
}

/// The longest that a look may take when its usual time is `usual`: far beyond it, it is of no use.
pub fn patience(usual: Latency) -> Duration {
    usual.p95.saturating_mul(4).max(Duration::from_secs(2))
}
