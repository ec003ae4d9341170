//! EXPLAIN: a plan's candidates in words and numbers that a person reads.
//!
//! Why it exists: the answer of `/plan`, the reasons of `no_plan` and the table of `explain` are one rendering of the
//! planner's own result. What it refuses to know: JSON and terminals; they print these strings.

use std::sync::Arc;
use std::time::Duration;

use super::super::catalog::{Catalog, Place};
use super::super::image::Size;
use super::super::money::Money;
use super::super::request::GenerationRequest;
use super::super::rule::{Source, Term};
use super::{Candidate, Gate, Planned, Reason, View};

/// A whole plan, explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The task, by name.
    pub task: Arc<str>,
    /// The tier, if one set the floor.
    pub tier: Option<Arc<str>>,
    /// The rule that decided, by id.
    pub rule: Option<Arc<str>>,
    /// The floor, 0 to 1.
    pub floor: f64,
    /// Ranked ones first, then those with a reason against, cheapest first.
    pub lines: Vec<Line>,
}

/// One candidate, explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whether it is the plan that would run.
    pub chosen: bool,
    /// The generating model's id.
    pub model: Arc<str>,
    /// What is done, in order.
    pub steps: Vec<StepLine>,
    /// Expected acceptance, 0 to 1.
    pub accept: f64,
    /// Lower and upper 90 % bounds of it.
    pub accept_interval: (f64, f64),
    /// Human verdicts behind it.
    pub verdicts: f64,
    /// Expected cost.
    pub cost: Money,
    /// What would be reserved.
    pub worst_cost: Money,
    /// Expected cost per accepted image.
    pub per_accepted: Money,
    /// Median latency.
    pub latency: Duration,
    /// 95th percentile of latency.
    pub latency_p95: Duration,
    /// `open`, or why no call could be sent now.
    pub breaker: &'static str,
    /// `ok`, or `spent` when a limit has no room now.
    pub quota: &'static str,
    /// How long it would wait for a limit.
    pub wait: Duration,
    /// Why it was not chosen; `None` for the chosen one.
    pub reason: Option<Why>,
}

/// Why a candidate was not chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// A short, stable code.
    pub code: &'static str,
    /// One sentence.
    pub text: String,
    /// The place in the policy that decides it.
    pub place: Option<Place>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct StepLine {
    /// `generate`, `upscale` or `resize`.
    pub op: &'static str,
    /// The model's id; `None` for a resize.
    pub model: Option<Arc<str>>,
    /// The size after the step.
    pub size: Size,
}

/// The steps of a candidate.
pub fn steps(candidate: &Candidate, catalog: &Catalog) -> Vec<StepLine> {
    let id = |ix| catalog.model(ix).map(|model| model.id.clone());
    let mut steps = vec![StepLine { op: "generate", model: id(candidate.model), size: candidate.native.size }];
    if let Some((ix, size)) = candidate.upscale {
        steps.push(StepLine { op: "upscale", model: id(ix), size });
    }
    if let Some(size) = candidate.resize {
        steps.push(StepLine { op: "resize", model: None, size });
    }
    steps
}

/// Renders `planned`.
pub fn explain(planned: &Planned, request: &GenerationRequest, catalog: &Catalog, view: &View) -> Explained {
    let mut order: Vec<&Candidate> = planned.feasible().collect();
    let mut dropped: Vec<&Candidate> = planned.candidates.iter().filter(|c| c.reason.is_some()).collect();
    dropped.sort_by(|a, b| a.score.total_cmp(&b.score));
    order.extend(dropped);
    let best = planned.best();
    let lines = order.iter().enumerate().map(|(at, candidate)| {
        let chosen = at == 0 && best.is_some();
        line(candidate, chosen, best, request, catalog, view)
    });
    Explained {
        task: catalog.task(request.task).map(|task| task.name.clone()).unwrap_or_default(),
        tier: request.terms.tier.clone(),
        rule: request.terms.rule.clone(),
        floor: request.terms.floor.value,
        lines: lines.collect(),
    }
}

fn line(
    candidate: &Candidate,
    chosen: bool,
    best: Option<&Candidate>,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
) -> Line {
    let model = catalog.model(candidate.model);
    let gate = view.models.get(usize::from(candidate.model.0)).map_or(Gate::Open, |view| view.gate);
    Line {
        chosen,
        model: model.map(|model| model.id.clone()).unwrap_or_default(),
        steps: steps(candidate, catalog),
        accept: candidate.accept.mean(),
        accept_interval: (candidate.accept.lower(), candidate.accept.upper()),
        verdicts: candidate.accept.verdicts,
        cost: candidate.quote.expected,
        worst_cost: candidate.quote.worst,
        per_accepted: score_money(candidate.score),
        latency: candidate.latency.p50,
        latency_p95: candidate.latency.p95,
        breaker: if matches!(gate, Gate::Broken(_)) { "open" } else { "closed" },
        quota: if matches!(gate, Gate::Spent(_)) { "spent" } else { "ok" },
        wait: candidate.wait,
        reason: if chosen { None } else { Some(why(candidate, best, request, catalog, view)) },
    }
}

/// The score as money, rounded to a micro-dollar.
#[expect(clippy::cast_possible_truncation, reason = "saturates far above any price")]
fn score_money(score: f64) -> Money {
    Money::from_micros(score.round() as i64)
}

fn why(
    candidate: &Candidate,
    best: Option<&Candidate>,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
) -> Why {
    let Some(reason) = candidate.reason else {
        return passed_over(candidate, best, request, catalog);
    };
    let terms = &request.terms;
    let model = catalog.model(candidate.model);
    let provider = model.and_then(|model| catalog.provider(model.provider));
    let model_place = model.map(|model| model.place.clone());
    let provider_place = provider.map(|provider| provider.place.clone());
    let (code, text, place) = match reason {
        Reason::BreakerOpen(wait) => {
            ("breaker_open", format!("the breaker is open for {}", secs(wait)), provider_place)
        }
        Reason::BudgetExhausted(at) => {
            let budget = view.budgets.get(usize::from(at));
            let text = budget.map(|budget| {
                let (name, left) = (&budget.budget.name, budget.left);
                format!("may cost ${}, and the budget `{name}` has ${left} left", candidate.quote.worst)
            });
            let place = budget.map(|budget| budget.budget.place.clone());
            ("budget_exhausted", text.unwrap_or_default(), place)
        }
        Reason::DataPolicy => ("data_policy", "the provider is not marked local".to_owned(), provider_place),
        Reason::Deadline => ("deadline", deadline(candidate, &terms.deadline), term_place(&terms.deadline)),
        Reason::Floor => ("floor", floor(candidate, &terms.floor), term_place(&terms.floor)),
        Reason::Format => ("format", "it sends no format that can be served".to_owned(), model_place),
        Reason::MaxCost => {
            let cap = terms.max_cost.as_ref();
            let text = cap.map(|cap| format!("may cost ${}, above the cap of ${}", candidate.quote.worst, cap.value));
            ("max_cost", text.unwrap_or_default(), cap.and_then(term_place))
        }
        Reason::KeptOnPrem => {
            let text = "its provider is kept for requests with `data_policy: on-prem`";
            ("kept_on_prem", text.to_owned(), provider_place)
        }
        Reason::ModelOff => {
            let off = model.and_then(|model| model.off.clone()).unwrap_or_default();
            ("model_off", off.to_string(), model_place)
        }
        Reason::NegativePrompt => ("negative_prompt", "it takes no negative prompt".to_owned(), model_place),
        Reason::NotAllowed => {
            let by = terms.never.as_ref().or(terms.only.as_ref());
            ("not_allowed", "the policy keeps this request to other models".to_owned(), by.and_then(term_place))
        }
        Reason::NotPinned => ("not_pinned", "the request pins another model".to_owned(), None),
        Reason::PromptTooLong => ("prompt_too_long", "the prompt is longer than it takes".to_owned(), model_place),
        Reason::ProviderOff => {
            let off = provider.and_then(|provider| provider.off.clone()).unwrap_or_default();
            ("provider_off", off.to_string(), provider_place)
        }
        Reason::QuotaSpent(wait) => ("quota_spent", format!("its limit has room in {}", secs(wait)), provider_place),
        Reason::Retired(day) => ("retired", format!("retired by its provider on {day}"), model_place),
        Reason::Seed => ("seed", "it takes no seed".to_owned(), model_place),
        Reason::Size => ("size", format!("it cannot reach {}", request.ask.size), model_place),
        Reason::Strict => ("strict", "it would need an adjustment, and the request is strict".to_owned(), None),
        Reason::UnknownPrice => ("unknown_price", "the policy has no price for it".to_owned(), model_place),
        Reason::UpscalerUnavailable => {
            let upscaler = candidate.upscale.and_then(|(ix, _)| catalog.model(ix));
            let place = upscaler.map(|model| model.place.clone());
            ("upscaler_unavailable", "its upscaler is off, retired, broken or spent".to_owned(), place)
        }
    };
    Why { code, text, place }
}

/// Why a plan that may run is not the one that would: dearer, or dearer by its wait for a limit.
fn passed_over(candidate: &Candidate, best: Option<&Candidate>, request: &GenerationRequest, catalog: &Catalog) -> Why {
    let without = candidate.score - candidate.wait_cost.micros() as f64 / candidate.accept.mean().max(1e-6);
    let by_its_wait = !candidate.wait.is_zero() && best.is_some_and(|best| without < best.score);
    if !by_its_wait {
        return Why { code: "dearer", text: dearer(candidate, best), place: None };
    }
    let room = format!("its limit has room in {}", secs(candidate.wait));
    let text = if request.terms.wait_value.is_some() {
        format!("{room}, and waiting would cost ${}, more than it saves", candidate.wait_cost)
    } else {
        format!("{room}, and waiting has no price (`wait_value_usd_per_s`)")
    };
    let provider = catalog.model(candidate.model).and_then(|model| catalog.provider(model.provider));
    Why { code: "quota_spent", text, place: provider.map(|provider| provider.place.clone()) }
}

fn dearer(candidate: &Candidate, best: Option<&Candidate>) -> String {
    let (mine, best) = (score_money(candidate.score), best.map_or(Money::ZERO, |best| score_money(best.score)));
    if mine == best {
        "as cheap per accepted image, but slower or later by name".to_owned()
    } else {
        format!("${mine} per accepted image, ${} more", mine.less(best))
    }
}

fn floor(candidate: &Candidate, floor: &Term<f64>) -> String {
    format!(
        "accepted with at least {:.2} (expected {:.2}), below the floor of {:.2}",
        candidate.accept.lower(),
        candidate.accept.mean(),
        floor.value
    )
}

fn deadline(candidate: &Candidate, deadline: &Term<Duration>) -> String {
    format!("takes up to {}, beyond the deadline of {}", secs(candidate.latency.p95), secs(deadline.value))
}

fn term_place<T>(term: &Term<T>) -> Option<Place> {
    match &term.source {
        Source::Policy(place) => Some(place.clone()),
        Source::Request => None,
    }
}

fn secs(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
