//! Plans with a verifier in them: cascades, and drafts of which it picks one.
//!
//! Why it exists: every pair and triple of models with every verifier would be tens of thousands of plans, of which a
//! handful can be the best. It picks the stages from the plain candidates that are there already: the cheapest for each
//! accepted image in front, and behind the check also the likeliest to be accepted. The picks depend on what models can
//! do and cost, never on what the request may spend: with more money no plan is lost. What it refuses to know: whether
//! the plans may run (`filter.rs`).

use jiff::civil::Date;

use super::super::catalog::{Catalog, Latency};
use super::super::money::Money;
use super::super::quality::Posterior;
use super::super::quote::{Quote, quote};
use super::super::quoted;
use super::super::request::{DataPolicy, GenerationRequest};
use super::super::verify::{Kind, Verifier, VerifierIx};
use super::cost::{self, Rates, Stage};
use super::enumerate::{RESIZE, kept, plus, score};
use super::{Candidate, Check, MAX_OTHERWISE, Otherwise, View, filter};

/// Stages that are tried in front of a check.
const FRONT: usize = 4;
/// Stages that are tried behind it: by price for each accepted image, and by acceptance alone.
const BEHIND: (usize, usize) = (3, 2);
/// Cascades of two stages that are kept for each verifier.
const KEPT: usize = 6;
/// Enlarging plans whose drafts are checked, and how many drafts at once.
const ENLARGED: usize = 2;
const DRAFTS: [u8; 2] = [2, 4];

/// `P(B good | A bad) / P(B good)` of two models before it is measured: .49 to .88 over seven public pairs, mean .72.
/// Source: routing notes 3.5 and 4.5.
const LIFT: f64 = 0.75;

/// Adds the plans with a check to the plain candidates.
pub(super) fn extend(
    candidates: &mut Vec<Candidate>,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
    today: Date,
) {
    // Who pins a model has judged it: it is asked once, as said.
    if request.pinned.is_some() || catalog.verifiers.is_empty() {
        return;
    }
    let verifiers: Vec<Looker<'_>> = lookers(request, catalog, view).collect();
    if verifiers.is_empty() {
        return;
    }
    let fits = |candidate: &Candidate| filter::fits_a_stage(candidate, request, catalog, view, today);
    let plain: Vec<&Candidate> = candidates.iter().filter(|one| one.upscale.is_none() && fits(one)).collect();
    let enlarged = cheapest_enlarged(candidates, fits);
    let mut more = Vec::new();
    for looker in &verifiers {
        let builder = Builder { request, looker };
        builder.cascades(&plain, &mut more);
        builder.drafts(&enlarged, catalog, view, today, &mut more);
    }
    candidates.extend(more);
}

/// The enlarging plans that are best for each accepted image. There may be hundreds: one pass, and only those that would
/// be among the best are looked at more closely.
fn cheapest_enlarged(candidates: &[Candidate], fits: impl Fn(&Candidate) -> bool) -> Vec<&Candidate> {
    let mut best: Vec<&Candidate> = Vec::with_capacity(ENLARGED + 1);
    for candidate in candidates.iter().filter(|one| one.upscale.is_some()) {
        let at = best.partition_point(|held| held.score <= candidate.score);
        if at < ENLARGED && fits(candidate) {
            best.insert(at, candidate);
            best.truncate(ENLARGED);
        }
    }
    best
}

/// A verifier that is used for this request.
struct Looker<'a> {
    ix: VerifierIx,
    verifier: &'a Verifier,
    rates: Rates,
    latency: Latency,
}

fn lookers<'a>(
    request: &'a GenerationRequest,
    catalog: &'a Catalog,
    view: &'a View,
) -> impl Iterator<Item = Looker<'a>> {
    let applies = move |verifier: &Verifier| {
        let may_see = verifier.local || request.ask.data_policy == DataPolicy::Any;
        may_see && (!matches!(verifier.kind, Kind::Text { .. }) || quoted::any(request.ask.prompt.as_str()))
    };
    (0u16..).map(VerifierIx).zip(&catalog.verifiers).filter_map(move |(ix, verifier)| {
        let rates = verifier.rates(request.task).filter(|_| applies(verifier))?;
        let seen = view.verifiers.get(usize::from(ix.0));
        Some(Looker { ix, verifier, rates, latency: seen.map_or(verifier.latency, |seen| seen.latency) })
    })
}

struct Builder<'a> {
    request: &'a GenerationRequest,
    looker: &'a Looker<'a>,
}

impl Builder<'_> {
    fn cascades(&self, plain: &[&Candidate], out: &mut Vec<Candidate>) {
        let mut order = plain.to_vec();
        order.sort_by(|a, b| a.score.total_cmp(&b.score));
        let (front, mut behind): (Vec<_>, Vec<_>) =
            (order.iter().take(FRONT).copied().collect(), order.iter().take(BEHIND.0).copied().collect());
        order.sort_by(|a, b| b.accept.mean().total_cmp(&a.accept.mean()));
        behind.extend(order.iter().take(BEHIND.1));
        behind.dedup_by(|a, b| std::ptr::eq(*a, *b));
        let mut pairs: Vec<(Candidate, [&Candidate; 2])> = Vec::with_capacity(front.len() * behind.len());
        for first in &front {
            for second in &behind {
                let known = pairs.iter().any(|(_, [a, b])| std::ptr::eq(*a, *first) && std::ptr::eq(*b, *second));
                if !known && self.is_sensible(first, second) {
                    pairs.push((self.cascade(first, &[second]), [first, second]));
                }
            }
        }
        pairs.sort_by(|(a, _), (b, _)| a.score.total_cmp(&b.score));
        let likeliest = pairs.iter().skip(KEPT).max_by(|(a, _), (b, _)| a.accept.mean().total_cmp(&b.accept.mean()));
        out.extend(likeliest.map(|(cascade, _)| *cascade));
        if let Some((_, [first, second])) = pairs.first() {
            let longer =
                behind.iter().filter(|third| self.is_sensible(second, third) && self.is_sensible(first, third));
            let best = longer.map(|third| self.cascade(first, &[second, third]));
            out.extend(best.min_by(|a, b| a.score.total_cmp(&b.score)));
        }
        out.extend(pairs.iter().take(KEPT).map(|(cascade, _)| *cascade));
    }

    /// Not the dearer and worse behind the cheaper and better, and no seed twice with one model.
    fn is_sensible(&self, first: &Candidate, second: &Candidate) -> bool {
        if first.model == second.model {
            return self.request.ask.seed.is_none();
        }
        let dearer_first = first.quote.expected >= second.quote.expected;
        !(dearer_first && first.accept.mean() <= second.accept.mean())
    }

    /// One cascade: `first`, and what is made in turn of what fails.
    fn cascade(&self, first: &Candidate, rest: &[&Candidate]) -> Candidate {
        let n = f64::from(self.request.ask.n.max(1));
        let stages: Vec<&Candidate> = std::iter::once(first).chain(rest.iter().copied()).collect();
        let way = self.way(&stages, n);
        let looker = self.looker;
        let look = Quote { expected: looker.verifier.price, worst: looker.verifier.price };
        let looks = look.times(i64::from(self.request.ask.n));
        let (mut quote, mut latency) = (Quote::default(), Latency::default());
        let mut otherwise = [None; MAX_OTHERWISE];
        let mut slots = otherwise.iter_mut();
        for (at, (stage, chance)) in stages.iter().zip([1.0, way.second, way.third]).enumerate() {
            // A request waits for the slowest of its pictures.
            let any = 1.0 - (1.0 - chance).powf(n);
            quote = quote.then(expected_share(stage.quote, chance));
            latency = plus(latency, expected_time(stage.latency, any));
            if at < rest.len() {
                quote = quote.then(expected_share(looks, chance));
                latency = plus(latency, expected_time(looker.latency, any));
            }
            if at > 0
                && let Some(slot) = slots.next()
            {
                let Candidate { model, native, resize, quote, .. } = **stage;
                *slot = Some(Otherwise { model, native, resize, quote, chance });
            }
        }
        let accept = believed(way.cost.accept, &stages);
        // The last stage is shown unchecked.
        let looks = looks.worst.times(i64::try_from(rest.len()).unwrap_or(i64::MAX));
        let check = Some(Check { verifier: looker.ix, looks, otherwise });
        Candidate { check, quote, accept, latency, score: score(self.request, quote, accept), ..*first }
    }

    fn way(&self, stages: &[&Candidate], n: f64) -> cost::Cascade {
        let correlation = self.request.terms.retries.correlation;
        let mut before = None;
        let costs: Vec<Stage> = stages
            .iter()
            .map(|stage| {
                let accept = stage.accept.mean();
                // The second try of a model, after a failure, of the beta-binomial; else another model's, as measured.
                let kept = if before == Some(stage.model) { 1.0 - correlation } else { LIFT };
                before = Some(stage.model);
                Stage { each: stage.quote.expected.micros() as f64 / n, accept, after_bad: accept * kept }
            })
            .collect();
        cost::cascade(&costs, self.looker.rates, self.looker.verifier.price.micros() as f64)
    }

    /// Several drafts at once before the best enlarging plans: a verifier picks, and only the pick is enlarged.
    fn drafts(&self, enlarged: &[&Candidate], catalog: &Catalog, view: &View, today: Date, out: &mut Vec<Candidate>) {
        // A seed names one draft.
        if self.request.ask.seed.is_some() {
            return;
        }
        for plan in enlarged {
            out.extend(DRAFTS.iter().filter_map(|k| self.drafted(plan, *k, catalog, view, today)));
        }
    }

    fn drafted(&self, plan: &Candidate, k: u8, catalog: &Catalog, view: &View, today: Date) -> Option<Candidate> {
        let (upscaler, output) = plan.upscale?;
        let seen = view.models.get(usize::from(plan.model.0))?;
        let up_seen = view.models.get(usize::from(upscaler.0))?;
        let reach = catalog.model(upscaler)?.reach()?;
        let images = i64::from(self.request.ask.n);
        let side = output.width.min(self.request.ask.size.width);
        let keeps = kept(reach.keeps, f64::from(side) / f64::from(plan.native.size.width.max(1)));
        let prompt_bytes = self.request.ask.prompt.as_str().len();
        let model = catalog.model(plan.model)?;
        let draft = quote(model, plan.native.size, 1, prompt_bytes, seen.latency, today)?;
        let look = self.looker.verifier.price.times(images * i64::from(k));
        let extra = draft.times(images * (i64::from(k) - 1));
        let quote = plan.quote.then(extra).then(Quote { expected: look, worst: look });
        let correlation = self.request.terms.retries.correlation;
        let check = (self.looker.rates, self.looker.verifier.price.micros() as f64);
        let each = draft.expected.micros() as f64;
        let picked = cost::checked_drafts(each, seen.accept.mean(), correlation, k, check, (0.0, 1.0));
        let accept = believed(picked.accept, &[plan]).weakened(keeps);
        let mut latency = plus(plus(seen.latency, self.looker.latency), up_seen.latency);
        if plan.resize.is_some() {
            latency = plus(latency, Latency { p50: RESIZE, p95: RESIZE });
        }
        Some(Candidate {
            drafts: k,
            calls: self.request.ask.n.saturating_mul(k),
            check: Some(Check { verifier: self.looker.ix, looks: look, otherwise: [None; MAX_OTHERWISE] }),
            quote,
            accept,
            latency,
            score: score(self.request, quote, accept),
            ..*plan
        })
    }
}

/// What a stage costs that is bought with this chance: its share is expected, all of it is the worst.
fn expected_share(quote: Quote, chance: f64) -> Quote {
    Quote { expected: share(quote.expected, chance), worst: quote.worst }
}

/// A share of an amount, rounded up to a micro-dollar.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a chance of 0 to 1 in millionths")]
fn share(amount: Money, chance: f64) -> Money {
    amount.scaled_up((chance.clamp(0.0, 1.0) * 1e6).round() as u64, 1_000_000)
}

/// The usual time by its chance; the time that nineteen of twenty keep within is the whole of it.
fn expected_time(latency: Latency, chance: f64) -> Latency {
    Latency { p50: latency.p50.mul_f64(chance.clamp(0.0, 1.0)), p95: latency.p95 }
}

/// The acceptance of a plan that follows from its stages' is believed as little as the least known of them.
fn believed(accept: f64, stages: &[&Candidate]) -> Posterior {
    let weight = stages.iter().map(|one| one.accept.alpha + one.accept.beta).fold(f64::INFINITY, f64::min);
    let verdicts = stages.iter().map(|one| one.accept.verdicts).fold(f64::INFINITY, f64::min);
    // What is hoped of a plan is hoped of each of its stages.
    let lift = stages.iter().map(|one| one.accept.lift).fold(f64::INFINITY, f64::min);
    Posterior { alpha: weight * accept, beta: weight * (1.0 - accept), verdicts, lift }
}
