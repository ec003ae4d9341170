//! The one account of a request: every request ends in exactly one.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ledger::Attempt;
use crate::domain::money::Money;

/// How a request was served, or why it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Bought for this request.
    Fresh,
    /// Shared a flight.
    Joined,
    /// Answered from what was bought before.
    Replayed,
    /// Refused, by the refusal's code.
    Refused(&'static str),
}

impl Outcome {
    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Joined => "joined",
            Self::Replayed => "replayed",
            Self::Refused(code) => code,
        }
    }
}

/// What happened to one request.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The request's id, as in `x-request-id`.
    pub request_id: Arc<str>,
    /// The generation's id, when one was opened.
    pub generation: Option<Arc<str>>,
    /// The caller's key by name; `-` when no keys are configured.
    pub key: Arc<str>,
    /// The task's name; empty when refused before classification.
    pub task: Arc<str>,
    /// The model that made the image; empty when none did.
    pub model: Arc<str>,
    /// The rule that decided, if one.
    pub rule: Option<Arc<str>>,
    /// Policy digest.
    pub policy: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Paid for this request: zero unless fresh.
    pub cost: Money,
    /// Left in doubt.
    pub ambiguous: Money,
    /// What a joined or replayed answer would have cost; for a bought one, what the feasible plan with the highest
    /// expected acceptance was expected to cost more.
    pub avoided: Money,
    /// The shape of the plan that ran: `single`, `upscaled`, `verified`, `drafted`.
    pub shape: Option<&'static str>,
    /// How many candidate plans EXPLAIN gives each verdict: `chosen`, or a reason's code.
    pub reasons: Vec<(&'static str, u64)>,
    /// Every attempt of this request; empty for joined and replayed.
    pub attempts: Vec<Attempt>,
    /// Images answered, with their format names and bytes.
    pub images: Vec<(&'static str, u64)>,
    /// From arrival to answer.
    pub total: Duration,
    /// Of which waiting for providers.
    pub provider: Duration,
    /// Time of each of our own stages, by name.
    pub stages: Vec<(&'static str, Duration)>,
    /// The prompt, for logs that are told to keep it.
    pub prompt: Arc<str>,
}

impl Receipt {
    /// Of a request of which nothing is known yet but its id and the policy in force.
    pub fn blank(request_id: &Arc<str>, policy: &Arc<str>) -> Self {
        Self {
            request_id: Arc::clone(request_id),
            generation: None,
            key: "-".into(),
            task: Arc::default(),
            model: Arc::default(),
            rule: None,
            policy: Arc::clone(policy),
            outcome: Outcome::Fresh,
            cost: Money::ZERO,
            ambiguous: Money::ZERO,
            avoided: Money::ZERO,
            shape: None,
            reasons: Vec::new(),
            attempts: Vec::new(),
            images: Vec::new(),
            total: Duration::ZERO,
            provider: Duration::ZERO,
            stages: Vec::new(),
            prompt: Arc::default(),
        }
    }
}
