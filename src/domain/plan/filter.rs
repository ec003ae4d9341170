//! Drops the candidates that may not run, each for the first reason that holds.
//!
//! Why it exists: every exclusion is one line here and one sentence in EXPLAIN. Order: what cannot change by waiting
//! (capability, policy) before what can (breaker, limits). To add one: a [`Reason`], a line here, a sentence there.

use jiff::civil::Date;

use super::super::catalog::{Catalog, Model, ModelIx, Provider};
use super::super::request::{DataPolicy, GenerationRequest};
use super::super::verify::VerifierIx;
use super::{BudgetView, Candidate, Gate, Reason, View, wait};

pub(super) fn reason(
    candidate: &Candidate,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
    today: Date,
) -> Option<Reason> {
    let model = catalog.model(candidate.model)?;
    standing(candidate.model, model, request, catalog, today)
        .or_else(|| capability(model, request))
        .or_else(|| terms(candidate, request))
        .or_else(|| upscaler(candidate, request, catalog, view, today))
        .or_else(|| candidate.check.and_then(|check| verifier(check.verifier, view)))
        .or_else(|| strictness(candidate, model, request))
        .or_else(|| gate(candidate, request, view))
        .or_else(|| budget(candidate, catalog, view))
}

/// Whether a plain candidate could be a stage of another plan: everything that holds whatever the request may spend.
/// Money, time and floor are the whole plan's.
pub(super) fn fits_a_stage(
    candidate: &Candidate,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
    today: Date,
) -> bool {
    let Some(model) = catalog.model(candidate.model) else { return false };
    let against = candidate
        .reason
        .or_else(|| standing(candidate.model, model, request, catalog, today))
        .or_else(|| capability(model, request))
        .or_else(|| upscaler(candidate, request, catalog, view, today))
        .or_else(|| strictness(candidate, model, request))
        .or_else(|| gate(candidate, request, view));
    against.is_none()
}

/// Why an enlargement of a given picture may not run.
pub(super) fn second(
    candidate: &Candidate,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
    today: Date,
) -> Option<Reason> {
    upscaler(candidate, request, catalog, view, today).or_else(|| terms(candidate, request))
}

fn verifier(ix: VerifierIx, view: &View) -> Option<Reason> {
    let seen = view.verifiers.get(usize::from(ix.0))?;
    seen.absent.map(|_| Reason::VerifierAbsent)
}

/// Whether the model may be used at all.
fn standing(ix: ModelIx, model: &Model, request: &GenerationRequest, catalog: &Catalog, today: Date) -> Option<Reason> {
    let provider = catalog.provider(model.provider)?;
    let terms = &request.terms;
    let outside = terms.only.as_ref().is_some_and(|only| !only.value.contains(&ix));
    let excluded = terms.never.as_ref().is_some_and(|never| never.value.contains(&ix));
    if request.pinned.is_some_and(|pinned| pinned != ix) {
        Some(Reason::NotPinned)
    } else if let Some(day) = model.retired.filter(|day| *day <= today) {
        Some(Reason::Retired(day))
    } else if model.off.is_some() {
        Some(Reason::ModelOff)
    } else if provider.off.is_some() {
        Some(Reason::ProviderOff)
    } else if outside || excluded {
        Some(Reason::NotAllowed)
    } else if request.ask.data_policy == DataPolicy::OnPrem && !provider.local {
        Some(Reason::DataPolicy)
    } else if kept_from(provider, request) {
        Some(Reason::KeptOnPrem)
    } else {
        None
    }
}

/// Whether the provider is kept for requests that stay on the premises, and this is none.
fn kept_from(provider: &Provider, request: &GenerationRequest) -> bool {
    provider.only_on_prem && request.ask.data_policy == DataPolicy::Any && request.pinned.is_none()
}

/// Whether the model can do what is asked.
fn capability(model: &Model, request: &GenerationRequest) -> Option<Reason> {
    let ask = &request.ask;
    let too_long = |most: u32| ask.prompt.as_str().chars().count() > most as usize;
    if ask.seed.is_some() && !model.seed {
        Some(Reason::Seed)
    } else if ask.negative_prompt.is_some() && !model.negative_prompt && !request.terms.drop_negative_prompt {
        Some(Reason::NegativePrompt)
    } else if model.formats.is_empty() {
        Some(Reason::Format)
    } else if model.max_prompt_chars.is_some_and(too_long) {
        Some(Reason::PromptTooLong)
    } else {
        None
    }
}

/// Floor, deadline and cap. A pinned model is the caller's own judgement of quality: its floor is not tested, its
/// money and time are.
fn terms(candidate: &Candidate, request: &GenerationRequest) -> Option<Reason> {
    let terms = &request.terms;
    if request.pinned.is_none() && candidate.accept.lower() < terms.floor.value {
        Some(Reason::Floor)
    } else if candidate.latency.p95 > terms.deadline.value {
        Some(Reason::Deadline)
    } else if terms.max_cost.as_ref().is_some_and(|cap| candidate.quote.worst > cap.value) {
        Some(Reason::MaxCost)
    } else {
        None
    }
}

fn upscaler(
    candidate: &Candidate,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
    today: Date,
) -> Option<Reason> {
    let (ix, _) = candidate.upscale?;
    let model = catalog.model(ix)?;
    let provider = catalog.provider(model.provider)?;
    let gone = model.off.is_some() || provider.off.is_some() || model.retired.is_some_and(|day| day <= today);
    let excluded = request.terms.never.as_ref().is_some_and(|never| never.value.contains(&ix));
    if request.ask.data_policy == DataPolicy::OnPrem && !provider.local {
        Some(Reason::DataPolicy)
    } else if kept_from(provider, request) {
        Some(Reason::KeptOnPrem)
    } else if gone || excluded || !conducts(ix, view) {
        Some(Reason::UpscalerUnavailable)
    } else {
        None
    }
}

/// A strict request takes no resize and no dropped negative prompt.
fn strictness(candidate: &Candidate, model: &Model, request: &GenerationRequest) -> Option<Reason> {
    let ask = &request.ask;
    let dropped = ask.negative_prompt.is_some() && !model.negative_prompt;
    let other_size = candidate.resize.is_some() || (candidate.upscale.is_none() && candidate.native.size != ask.size);
    (ask.strict && (dropped || other_size)).then_some(Reason::Strict)
}

/// The first budget that has less left than what it counts of the plan may cost.
fn budget(candidate: &Candidate, catalog: &Catalog, view: &View) -> Option<Reason> {
    let mut short = (0u16..).zip(&view.budgets).filter(|(_, budget)| candidate.quote.worst > budget.left);
    let blocks = |budget: &BudgetView| candidate.ahead(catalog).share(&budget.budget.scope) > budget.left;
    short.find(|(_, budget)| blocks(budget)).map(|(at, _)| Reason::BudgetExhausted(at))
}

/// A wait for a limit is a reason only when the plan would then miss the deadline.
fn gate(candidate: &Candidate, request: &GenerationRequest, view: &View) -> Option<Reason> {
    match view.models.get(usize::from(candidate.model.0))?.gate {
        Gate::Open => None,
        Gate::Broken(wait) => Some(Reason::BreakerOpen(wait)),
        Gate::Spent(_) => {
            let wait = wait::of(candidate, view);
            let late = wait + candidate.latency.p95 > request.terms.deadline.value;
            late.then_some(Reason::QuotaSpent(wait))
        }
    }
}

/// Whether an upscaler could be called: by the time that the draft is there, a limit has mostly room again.
fn conducts(ix: ModelIx, view: &View) -> bool {
    !matches!(view.models.get(usize::from(ix.0)).map(|seen| seen.gate), Some(Gate::Broken(_)))
}
