//! The query planner: enumerate, filter, rank, explain.
//!
//! Why it exists: this is the product. A request says how good the image must be; [`plan`] lists every way to make it,
//! drops those that miss a term and ranks the rest by expected cost per accepted image, `J = (C + H) / P` (routing
//! notes 4.5: C what the plan costs, H what showing it costs, P the probability of acceptance). What it refuses to
//! know: who asks, and how a plan is run. The result is a pure function of request, catalog, view and date; EXPLAIN
//! ([`explain`]) renders that result and decides nothing.
//! To add a kind of plan: its cost in `cost.rs`, a branch in `enumerate.rs` or, for plans with a check in them, in
//! `checked.rs`. To add a filter: a [`Reason`] and its test in `filter.rs`.

mod checked;
pub mod cost;
mod enumerate;
pub mod explain;
mod filter;
mod reason;
mod second;
mod share;
mod size;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;

use super::budget::Budget;
use super::catalog::{Catalog, Latency, ModelIx};
use super::image::Size;
use super::money::Money;
use super::quality::Posterior;
use super::quote::Quote;
use super::request::GenerationRequest;
use super::verify::VerifierIx;

pub use second::Approved;
pub use size::Placed;

/// What is known of the world at this moment, by model index.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// One for each model of the catalog, in its order.
    pub models: Vec<ModelView>,
    /// One for each verifier of the catalog, in its order; one that is missing here is there and as the policy says.
    pub verifiers: Vec<VerifierView>,
    /// What the budgets of the request have left, where that was looked up: admission has the last word.
    pub budgets: Vec<BudgetView>,
}

/// What is known of one verifier at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierView {
    /// Why it cannot judge now, in one clause; `None` when it can.
    pub absent: Option<&'static str>,
    /// Measured latency, or the policy's guess.
    pub latency: Latency,
}

/// A budget that the request falls under.
#[derive(Clone, Debug)]
pub struct BudgetView {
    /// The budget.
    pub budget: Arc<Budget>,
    /// What it has left.
    pub left: Money,
}

/// What is known of one model at this moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelView {
    /// Whether a call could be sent now.
    pub gate: Gate,
    /// Measured latency, or the policy's guess.
    pub latency: Latency,
    /// Acceptance for the request's task; meaningless for upscalers.
    pub accept: Posterior,
}

/// Whether a call to a model could be sent now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    #[default]
    Open,
    /// The breaker refuses for this long.
    Broken(Duration),
    /// A limit has no room for this long; a draw made now may be booked for then.
    Spent(Duration),
}

/// One way to make the image.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The model that generates.
    pub model: ModelIx,
    /// The size at which it generates.
    pub native: Placed,
    /// The upscaler and the size that it gives.
    pub upscale: Option<(ModelIx, Size)>,
    /// The local resize or crop at the end, to this size.
    pub resize: Option<Size>,
    /// Calls of the generator: more than one when it makes fewer images a call than asked; none when the picture is
    /// given, as in a second pass.
    pub calls: u8,
    /// Drafts made at once for each picture, of which the check picks one; 1 in all other plans.
    pub drafts: u8,
    /// What looks at the generator's pictures, and what is made instead of those that fail.
    pub check: Option<Check>,
    /// Price of the whole plan.
    pub quote: Quote,
    /// Acceptance of the final image.
    pub accept: Posterior,
    /// Latency of the whole plan, once it begins.
    pub latency: Latency,
    /// How long it waits for a limit before it begins.
    pub wait: Duration,
    /// What that wait costs.
    pub wait_cost: Money,
    /// `J`: expected micro-dollars per accepted image, the wait included; lower is better.
    pub score: f64,
    /// Why it may not run; `None` when it may.
    pub reason: Option<Reason>,
}

/// A verifier within a plan, and the stages behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Check {
    /// Who looks.
    pub verifier: VerifierIx,
    /// What its looks cost at most, all of them.
    pub looks: Money,
    /// What is made, in turn, instead of a picture that fails. Each stage's pictures are checked too, but the last's.
    pub otherwise: [Option<Otherwise>; MAX_OTHERWISE],
}

impl Check {
    /// The stages behind the check, in order.
    pub fn stages(&self) -> impl Iterator<Item = &Otherwise> + Clone {
        self.otherwise.iter().flatten()
    }
}

/// The most stages behind a check.
pub const MAX_OTHERWISE: usize = 2;

/// A generator that is asked when a check failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Otherwise {
    /// The model that generates.
    pub model: ModelIx,
    /// The size at which it generates.
    pub native: Placed,
    /// The local resize or crop at the end, to this size.
    pub resize: Option<Size>,
    /// Price of all the request's pictures.
    pub quote: Quote,
    /// The probability that a picture gets here.
    pub chance: f64,
}

/// Why a candidate may not run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The breaker refuses for this long.
    BreakerOpen(Duration),
    /// The worst price is above what this budget of the view has left.
    BudgetExhausted(u16),
    /// The provider is not marked local, and the request stays on the premises.
    DataPolicy,
    /// p95 latency is beyond the deadline.
    Deadline,
    /// The lower bound of acceptance is below the floor.
    Floor,
    /// The model sends none of the formats that we can serve.
    Format,
    /// The provider is kept for requests that stay on the premises.
    KeptOnPrem,
    /// The worst price is above the cap.
    MaxCost,
    /// The model takes no negative prompt, and the policy does not drop it.
    NegativePrompt,
    /// The request pins another model.
    NotPinned,
    /// The policy's terms name other models, or exclude this one.
    NotAllowed,
    /// The policy switches the model off.
    ModelOff,
    /// The prompt is longer than the model takes.
    PromptTooLong,
    /// The provider is off.
    ProviderOff,
    /// A limit has no room for this long.
    QuotaSpent(Duration),
    /// The provider no longer serves the model.
    Retired(Date),
    /// The model takes no seed, and the request gives one.
    Seed,
    /// No size of the model comes near the asked one.
    Size,
    /// The answer would need an adjustment, and the request is strict.
    Strict,
    /// The policy has no price for it.
    UnknownPrice,
    /// The upscaler is off, retired or broken.
    UpscalerUnavailable,
    /// The upscaler wants the prompt again, and it was not kept.
    NoPrompt,
    /// The verifier cannot judge now.
    VerifierAbsent,
}

/// Every candidate, and the order of those that may run.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// In the catalog's order.
    pub candidates: Vec<Candidate>,
    /// Indices of those without a reason against, cheapest per accepted image first.
    pub ranked: Vec<u32>,
}

impl Planned {
    /// The candidates that may run, best first.
    pub fn feasible(&self) -> impl Iterator<Item = &Candidate> {
        self.ranked.iter().filter_map(|&at| self.candidates.get(at as usize))
    }

    /// The best candidate.
    pub fn best(&self) -> Option<&Candidate> {
        self.feasible().next()
    }

    /// Has the candidates that may run tried by their worst price, the lowest first.
    pub fn cheapest_first(&mut self) {
        let worst = |at: &u32| self.candidates.get(*at as usize).map(|candidate| candidate.quote.worst);
        self.ranked.sort_by_key(worst);
    }

    /// The shortest wait after which a candidate dropped only for a limit could run.
    pub fn shortest_quota_wait(&self) -> Option<Duration> {
        self.candidates
            .iter()
            .filter_map(|candidate| match candidate.reason {
                Some(Reason::QuotaSpent(wait)) => Some(wait),
                _ => None,
            })
            .min()
    }
}

/// Plans `request`: every candidate with its numbers, and the feasible ones ranked by score, then latency, then name. A
/// plan whose provider has no room now takes part with its wait and what that costs (`wait_value_usd_per_s`).
pub fn plan(request: &GenerationRequest, catalog: &Catalog, view: &View, today: Date) -> Planned {
    if let Some(approved) = request.approved {
        return ranked(second::candidates(approved, request, catalog, view, today), request, catalog, view);
    }
    let mut candidates = enumerate::candidates(request, catalog, view, today);
    checked::extend(&mut candidates, request, catalog, view, today);
    for candidate in &mut candidates {
        if candidate.reason.is_none() {
            candidate.reason = filter::reason(candidate, request, catalog, view, today);
        }
    }
    ranked(candidates, request, catalog, view)
}

fn ranked(mut candidates: Vec<Candidate>, request: &GenerationRequest, catalog: &Catalog, view: &View) -> Planned {
    wait::price(&mut candidates, request, view);
    let ranked = rank(&candidates, catalog, request.terms.wait_value.is_some());
    Planned { candidates, ranked }
}

/// A wait that has no price is worse than any plan that need not wait.
fn rank(candidates: &[Candidate], catalog: &Catalog, wait_has_price: bool) -> Vec<u32> {
    let waits = |candidate: &Candidate| !wait_has_price && !candidate.wait.is_zero();
    let name = |ix: ModelIx| catalog.model(ix).map(|model| &*model.id);
    let mut ranked: Vec<(u32, &Candidate)> = (0u32..).zip(candidates).filter(|(_, c)| c.reason.is_none()).collect();
    ranked.sort_unstable_by(|(_, a), (_, b)| {
        waits(a)
            .cmp(&waits(b))
            .then_with(|| a.score.total_cmp(&b.score))
            .then_with(|| a.latency.p50.cmp(&b.latency.p50))
            .then_with(|| name(a.model).cmp(&name(b.model)))
            .then_with(|| a.upscale.map(|(ix, _)| name(ix)).cmp(&b.upscale.map(|(ix, _)| name(ix))))
            .then_with(|| a.check.is_some().cmp(&b.check.is_some()))
    });
    ranked.into_iter().map(|(at, _)| at).collect()
}
