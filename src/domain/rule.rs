//! The terms of a request: floor, caps and preferences, each with who set it.
//!
//! Why it exists: EXPLAIN must be able to say why a plan was dropped and where that is written. What it refuses to
//! know: how a rule's condition is evaluated (`policy/condition.rs`).

use std::sync::Arc;
use std::time::Duration;

use super::catalog::{ModelIx, Place};
use super::money::Money;
use super::plan::cost::Retries;

/// Who set a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The request itself.
    Request,
    /// The policy, at this place.
    Policy(Place),
}

impl Source {
    /// The place in the policy, if it was the policy.
    pub const fn place(&self) -> Option<&Place> {
        match self {
            Self::Policy(place) => Some(place),
            Self::Request => None,
        }
    }
}

/// A value with who set it.
#[derive(Clone, Debug, PartialEq)]
pub struct Term<T> {
    /// The value.
    pub value: T,
    /// Who set it.
    pub source: Source,
}

/// What a request's plans must keep to.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The least lower bound of acceptance, 0 to 1.
    pub floor: Term<f64>,
    /// The tier whose floor it is, if one.
    pub tier: Option<Arc<str>>,
    /// The most that the request may cost.
    pub max_cost: Option<Term<Money>>,
    /// From arrival to answer.
    pub deadline: Term<Duration>,
    /// When set, no other model may be used.
    pub only: Option<Term<Vec<ModelIx>>>,
    /// Models that may not be used.
    pub never: Option<Term<Vec<ModelIx>>>,
    /// Whether a model without negative prompts may be used when one is given; declared as an adjustment.
    pub drop_negative_prompt: bool,
    /// Whether a refusal by one provider's moderation may be taken to the next provider.
    pub moderated_next: bool,
    /// What showing one image to a person costs (`h` of the score).
    pub review_cost: Money,
    /// What a second of waiting for a limit costs; `None` when only what nothing else can do is waited for.
    pub wait_value: Option<Money>,
    /// How often a person asks again for one prompt, and how alike those tries are.
    pub retries: Retries,
    /// When identical requests share one purchase.
    pub share: Share,
    /// Whether the planner may prefer what it knows too little of.
    pub explore: Explore,
    /// The rule that decided, by id.
    pub rule: Option<Arc<str>>,
}

/// When identical requests in flight share one purchase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Share {
    /// Whenever the fingerprints are equal.
    #[default]
    Identical,
    /// Only when the request gives a seed.
    Seeded,
    /// Never.
    Never,
}

/// How the planner learns what it knows too little of. Nothing is explored before the first verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Explore {
    /// Not at all: the mean decides.
    Off,
    /// The optimistic end of what is believed decides (Bayes-UCB).
    #[default]
    Optimistic,
    /// A draw from what is believed decides (Thompson): for many replicas or slow raters.
    Sampled,
}

impl Explore {
    /// The name in policies and stored decisions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optimistic => "optimistic",
            Self::Sampled => "sampled",
        }
    }
}
