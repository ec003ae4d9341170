//! Plans that wait for a limit: how long, at what price, and until when it is worth it.
//!
//! Why it exists: a provider without room now has room later, and its plan may still be the better buy. A wait is priced
//! like the rest of the plan (`wait_value_usd_per_s`), so that ranking decides between waiting and the next provider, and
//! EXPLAIN says which. What it refuses to know: how limits are counted; a gate says how long.

use std::time::Duration;

use super::super::catalog::{Catalog, Latency, ModelIx};
use super::super::money::Money;
use super::super::quote::seconds;
use super::super::request::GenerationRequest;
use super::explain::{Why, secs};
use super::{Candidate, Gate, Planned, View};

/// How long a plan waits: for its generator, and for its upscaler as long as the draft does not take.
pub(super) fn of(candidate: &Candidate, view: &View) -> Duration {
    let seen = |ix: ModelIx| view.models.get(usize::from(ix.0));
    let gate = |ix: ModelIx| match seen(ix).map(|seen| seen.gate) {
        Some(Gate::Spent(wait)) => wait,
        _ => Duration::ZERO,
    };
    // In a second pass the picture is there, and nothing generates.
    let generates = candidate.calls > 0 || candidate.upscale.is_none();
    let begun = if generates { gate(candidate.model) } else { Duration::ZERO };
    let drafts = seen(candidate.model).filter(|_| generates).map_or(Latency::default(), |seen| seen.latency);
    let upscaler = candidate.upscale.map_or(Duration::ZERO, |(ix, _)| gate(ix));
    begun + upscaler.saturating_sub(begun + drafts.p50)
}

/// Gives every candidate its wait, and its score the price of it.
pub(super) fn price(candidates: &mut [Candidate], request: &GenerationRequest, view: &View) {
    for candidate in candidates {
        candidate.wait = of(candidate, view);
        candidate.wait_cost = request.terms.wait_value.map_or(Money::ZERO, |value| seconds(value, candidate.wait));
        candidate.score += surcharge(candidate, request);
    }
}

/// What the wait adds to the score of one image.
fn surcharge(candidate: &Candidate, request: &GenerationRequest) -> f64 {
    let each = candidate.wait_cost.micros() as f64 / f64::from(request.ask.n.max(1));
    each / candidate.accept.hoped().max(1e-6)
}

impl Planned {
    /// How long the candidate at `rank` may wait for a limit before the next one is the better buy; `None` when there is
    /// no next one. A wait without a price is never worth a plan that could begin.
    pub fn worth_waiting(&self, rank: usize, wait_value: Option<Money>, images: u8) -> Option<Duration> {
        let at = |rank: usize| self.ranked.get(rank).and_then(|&at| self.candidates.get(at as usize));
        let (this, next) = (at(rank)?, at(rank + 1)?);
        let per_second = wait_value.filter(|value| *value > Money::ZERO)?.micros() as f64;
        let saved = (next.score - this.score).max(0.0) * this.accept.hoped() * f64::from(images.max(1));
        Some(this.wait + Duration::try_from_secs_f64(saved / per_second).unwrap_or(Duration::MAX / 4))
    }
}

/// Why a plan is passed over that would be the cheapest if it need not wait; `None` when it would not be.
pub(super) fn passed_over(
    candidate: &Candidate,
    best: Option<&Candidate>,
    request: &GenerationRequest,
    catalog: &Catalog,
) -> Option<Why> {
    let without = candidate.score - surcharge(candidate, request);
    let by_its_wait = !candidate.wait.is_zero() && best.is_some_and(|best| without < best.score);
    by_its_wait.then(|| {
        let room = format!("its limit has room in {}", secs(candidate.wait));
        let text = if request.terms.wait_value.is_some() {
            format!("{room}, and waiting would cost ${}, more than it saves", candidate.wait_cost)
        } else {
            format!("{room}, and waiting has no price (`wait_value_usd_per_s`)")
        };
        let provider = catalog.model(candidate.model).and_then(|model| catalog.provider(model.provider));
        Why { code: "quota_spent", text, place: provider.map(|provider| provider.place.clone()) }
    })
}
