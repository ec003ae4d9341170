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
use super::super::verify::VerifierIx;
use super::{BudgetView, Candidate, Gate, Otherwise, Planned, Reason, View, wait};

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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepLine {
    /// `generate`, `verify`, `upscale` or `resize`.
    pub op: &'static str,
    /// The model's id; `None` for a check and a resize.
    pub model: Option<Arc<str>>,
    /// The size after the step.
    pub size: Size,
    /// Pictures that it makes at once for each one asked, where that is more than one.
    pub drafts: Option<u8>,
    /// For a check: the verifier's name.
    pub verifier: Option<Arc<str>>,
    /// For a check that was made: how it went.
    pub judged: Option<Judged>,
    /// For a check: what is done instead of the rest when a picture fails.
    pub otherwise: Vec<StepLine>,
}

/// How a check of an answered plan went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Pictures that passed.
    pub passed: u32,
    /// Pictures that failed.
    pub failed: u32,
    /// What was seen in each that was looked at, in order.
    pub seen: Vec<String>,
}

/// The steps of a candidate.
pub fn steps(candidate: &Candidate, catalog: &Catalog) -> Vec<StepLine> {
    let id = |ix| catalog.model(ix).map(|model| model.id.clone());
    let mut steps = Vec::new();
    // In a second pass the picture is given.
    if candidate.calls > 0 || candidate.upscale.is_none() {
        let drafts = (candidate.drafts > 1).then_some(candidate.drafts);
        let size = candidate.native.size;
        steps.push(StepLine { op: "generate", model: id(candidate.model), size, drafts, ..StepLine::default() });
    }
    if let Some(check) = &candidate.check {
        let stages: Vec<&Otherwise> = check.stages().collect();
        let otherwise = branch(&stages, check.verifier, catalog);
        steps.push(verify(check.verifier, candidate.native.size, otherwise, catalog));
    }
    if let Some((ix, size)) = candidate.upscale {
        steps.push(StepLine { op: "upscale", model: id(ix), size, ..StepLine::default() });
    }
    steps.extend(candidate.resize.map(resize));
    steps
}

fn verify(ix: VerifierIx, size: Size, otherwise: Vec<StepLine>, catalog: &Catalog) -> StepLine {
    let verifier = catalog.verifier(ix).map(|verifier| verifier.name.clone());
    StepLine { op: "verify", size, verifier, otherwise, ..StepLine::default() }
}

fn resize(size: Size) -> StepLine {
    StepLine { op: "resize", size, ..StepLine::default() }
}

/// What is done when a picture fails, to the end.
fn branch(stages: &[&Otherwise], verifier: VerifierIx, catalog: &Catalog) -> Vec<StepLine> {
    let Some((stage, rest)) = stages.split_first() else { return Vec::new() };
    let model = catalog.model(stage.model).map(|model| model.id.clone());
    let mut steps = vec![StepLine { op: "generate", model, size: stage.native.size, ..StepLine::default() }];
    if !rest.is_empty() {
        steps.push(verify(verifier, stage.native.size, branch(rest, verifier, catalog), catalog));
    }
    steps.extend(stage.resize.map(resize));
    steps
}

/// Steps in words: `a/cheap → verify text, else b/dear → resize`.
pub fn words(steps: &[StepLine]) -> String {
    let step = |step: &StepLine| {
        let name = step.model.as_deref().unwrap_or(step.op);
        match (&step.verifier, step.otherwise.as_slice()) {
            (Some(verifier), []) => format!("verify {verifier}"),
            (Some(verifier), otherwise) => {
                // The branch ends as the plan does; its resize goes without saying.
                let made: Vec<StepLine> = otherwise.iter().filter(|step| step.op != "resize").cloned().collect();
                format!("verify {verifier}, else {}", words(&made))
            }
            _ => step.drafts.map_or_else(|| name.to_owned(), |drafts| format!("{drafts} x {name}")),
        }
    };
    steps.iter().map(step).collect::<Vec<_>>().join(" → ")
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
    // In a second pass only the upscaler is asked.
    let asked = candidate.upscale.filter(|_| candidate.calls == 0).map_or(candidate.model, |(ix, _)| ix);
    let gate = view.models.get(usize::from(asked.0)).map_or(Gate::Open, |view| view.gate);
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
        return wait::passed_over(candidate, best, request, catalog).unwrap_or_else(|| Why {
            code: "dearer",
            text: dearer(candidate, best),
            place: None,
        });
    };
    let terms = &request.terms;
    let model = catalog.model(candidate.model);
    let provider = model.and_then(|model| catalog.provider(model.provider));
    let model_place = model.map(|model| model.place.clone());
    let provider_place = provider.map(|provider| provider.place.clone());
    let upscaler_place = candidate.upscale.and_then(|(ix, _)| catalog.model(ix)).map(|model| model.place.clone());
    let (text, place) = match reason {
        Reason::BreakerOpen(wait) => (format!("the breaker is open for {}", secs(wait)), provider_place),
        Reason::BudgetExhausted(at) => budget_exhausted(candidate, catalog, view.budgets.get(usize::from(at))),
        Reason::DataPolicy => ("the provider is not marked local".to_owned(), provider_place),
        Reason::Deadline => (deadline(candidate, &terms.deadline), term_place(&terms.deadline)),
        Reason::Floor => (floor(candidate, &terms.floor), term_place(&terms.floor)),
        Reason::Format => ("it sends no format that can be served".to_owned(), model_place),
        Reason::KeptOnPrem => (KEPT_ON_PREM.to_owned(), provider_place),
        Reason::MaxCost => max_cost(candidate, terms.max_cost.as_ref()),
        Reason::ModelOff => (model.and_then(|model| model.off.clone()).unwrap_or_default().to_string(), model_place),
        Reason::NegativePrompt => ("it takes no negative prompt".to_owned(), model_place),
        Reason::NoPrompt => (NO_PROMPT.to_owned(), upscaler_place),
        Reason::NotAllowed => {
            let by = terms.never.as_ref().or(terms.only.as_ref());
            ("the policy keeps this request to other models".to_owned(), by.and_then(term_place))
        }
        Reason::NotPinned => ("the request pins another model".to_owned(), None),
        Reason::PromptTooLong => ("the prompt is longer than it takes".to_owned(), model_place),
        Reason::ProviderOff => {
            (provider.and_then(|provider| provider.off.clone()).unwrap_or_default().to_string(), provider_place)
        }
        Reason::QuotaSpent(wait) => (format!("its limit has room in {}", secs(wait)), provider_place),
        Reason::Retired(day) => (format!("retired by its provider on {day}"), model_place),
        Reason::Seed => ("it takes no seed".to_owned(), model_place),
        Reason::Size => (format!("it cannot reach {}", request.ask.size), model_place),
        Reason::Strict => ("it would need an adjustment, and the request is strict".to_owned(), None),
        Reason::UnknownPrice => ("the policy has no price for it".to_owned(), model_place),
        Reason::UpscalerUnavailable => ("its upscaler is off, retired, broken or spent".to_owned(), upscaler_place),
        Reason::VerifierAbsent => verifier_absent(candidate, catalog, view),
    };
    Why { code: reason.code(), text, place }
}

const KEPT_ON_PREM: &str = "its provider is kept for requests with `data_policy: on-prem`";
const NO_PROMPT: &str =
    "it wants the prompt again, and the prompt was not kept (`log.prompts` in the settings keeps it)";

fn budget_exhausted(candidate: &Candidate, catalog: &Catalog, budget: Option<&BudgetView>) -> (String, Option<Place>) {
    let Some(BudgetView { budget, left }) = budget else { return Default::default() };
    let share = candidate.ahead(catalog).share(&budget.scope);
    let text = format!("may cost ${share}, and the budget `{}` has ${left} left", budget.name);
    (text, Some(budget.place.clone()))
}

fn max_cost(candidate: &Candidate, cap: Option<&Term<Money>>) -> (String, Option<Place>) {
    let text = cap.map(|cap| format!("may cost ${}, above the cap of ${}", candidate.quote.worst, cap.value));
    (text.unwrap_or_default(), cap.and_then(term_place))
}

fn verifier_absent(candidate: &Candidate, catalog: &Catalog, view: &View) -> (String, Option<Place>) {
    let ix = candidate.check.map(|check| check.verifier).unwrap_or_default();
    let verifier = catalog.verifier(ix);
    let why = view.verifiers.get(usize::from(ix.0)).and_then(|seen| seen.absent).unwrap_or("it does not answer");
    let name = verifier.map_or("", |verifier| &verifier.name);
    (format!("its verifier `{name}` is not there: {why}"), verifier.map(|one| one.place.clone()))
}

fn dearer(candidate: &Candidate, best: Option<&Candidate>) -> String {
    let (mine, best) = (score_money(candidate.score), best.map_or(Money::ZERO, |best| score_money(best.score)));
    if mine == best {
        "as cheap per accepted image, but slower or later by name".to_owned()
    } else {
        // Scores are estimates: a hundredth of a cent says what they know.
        let more = mine.less(best).micros();
        format!(
            "${} more for each accepted image",
            Money::from_micros((more.saturating_add(99) / 100).saturating_mul(100))
        )
    }
}

fn floor(candidate: &Candidate, floor: &Term<f64>) -> String {
    format!(
        "sure of {:.2} only (expected {:.2}), and the floor is {:.2}",
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

pub(super) fn secs(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
