//! What a plan and its run say of themselves, for the receipt.
//!
//! Why it exists: metrics of the planner are counted from the planner's own output, and the time of each room from the
//! run. What it refuses to know: which metric becomes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::money::Money;
use crate::domain::plan::{Candidate, Planned};

/// Where the time of a purchase went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// Planning.
    pub(super) planning: Duration,
    /// With at least one call to a provider under way.
    pub(super) provider: Duration,
    /// Waiting for breakers and limits.
    pub(super) quota: Duration,
    /// Decoding, fitting, encoding, hashing and storing pictures.
    pub(super) encode: Duration,
}

/// What the planner weighed.
#[derive(Clone, Debug, Default)]
pub(super) struct Weighed {
    /// How many candidates got each verdict: `chosen`, `dearer`, or a reason's code.
    pub(super) reasons: Vec<(&'static str, u64)>,
    /// The expected price of the feasible plan with the highest expected acceptance: what "always the best" would pay.
    best: Money,
}

impl Weighed {
    pub(super) fn of(planned: &Planned) -> Self {
        let mut reasons = BTreeMap::new();
        for candidate in &planned.candidates {
            *reasons.entry(candidate.reason.map_or("dearer", |reason| reason.code())).or_insert(0) += 1;
        }
        if planned.best().is_some() {
            reasons.entry("dearer").and_modify(|dearer| *dearer -= 1);
            reasons.insert("chosen", 1);
        }
        let finest = planned.feasible().max_by(|a, b| a.accept.mean().total_cmp(&b.accept.mean()));
        Self { reasons: reasons.into_iter().collect(), best: finest.map(|c| c.quote.expected).unwrap_or_default() }
    }

    /// What `ran` was expected to cost less than always the best.
    pub(super) fn saved(&self, ran: &Candidate) -> Money {
        self.best.less(ran.quote.expected)
    }
}

/// The kind of plan.
pub(super) const fn shape(candidate: &Candidate) -> &'static str {
    match candidate {
        Candidate { check: Some(_), .. } => "verified",
        Candidate { drafts: 2.., .. } => "drafted",
        Candidate { upscale: Some(_), .. } => "upscaled",
        Candidate { .. } => "single",
    }
}
