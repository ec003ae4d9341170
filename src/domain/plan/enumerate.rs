//! Lists every way to make the asked image.
//!
//! Why it exists: the space of plans in one place. Kinds: generate; generate and resize; draft, upscale and resize; and
//! with a verifier among them (`checked.rs`). What it refuses to know: which of them may run (`filter.rs`).

use std::time::Duration;

use jiff::civil::Date;

use super::super::catalog::{Catalog, Enlarge, Latency, Model, ModelIx, Reach, Sizes};
use super::super::image::Size;
use super::super::money::Money;
use super::super::quality::Posterior;
use super::super::quote::{Quote, quote};
use super::super::request::{Fit, GenerationRequest};
use super::size::{Placed, draft, place};
use super::{Candidate, ModelView, Reason, View, cost};

/// Time for a local resize: milliseconds against a provider's seconds.
pub(super) const RESIZE: Duration = Duration::from_millis(40);

struct Enumerator<'a> {
    request: &'a GenerationRequest,
    view: &'a View,
    today: Date,
    upscalers: Vec<(ModelIx, &'a Model, &'a Reach)>,
    out: Vec<Candidate>,
}

pub(super) fn candidates(request: &GenerationRequest, catalog: &Catalog, view: &View, today: Date) -> Vec<Candidate> {
    let upscalers: Vec<_> = catalog.models().filter_map(|(ix, model)| Some((ix, model, model.reach()?))).collect();
    let generators = catalog.models.len() - upscalers.len();
    let out = Vec::with_capacity(generators * (1 + upscalers.len()));
    let mut enumerator = Enumerator { request, view, today, upscalers, out };
    for (ix, model) in catalog.models() {
        if let Some(sizes) = model.sizes() {
            enumerator.generator(ix, model, sizes);
        }
    }
    enumerator.out
}

/// A generator at one size: the start of a plan.
#[derive(Clone, Copy)]
struct Draft {
    ix: ModelIx,
    native: Placed,
    calls: u8,
    quote: Quote,
    seen: ModelView,
}

impl Enumerator<'_> {
    fn generator(&mut self, ix: ModelIx, model: &Model, sizes: &Sizes) {
        let Some(&seen) = self.view.models.get(usize::from(ix.0)) else {
            return;
        };
        let asked = self.request.ask.size;
        let Some(native) = place(sizes, asked) else {
            self.out.push(unreachable(ix, asked, seen, Reason::Size));
            return;
        };
        match self.draft(ix, model, native, seen) {
            None => self.out.push(unreachable(ix, native.size, seen, Reason::UnknownPrice)),
            Some(draft) => self.direct(draft),
        }
        for at in 0..self.upscalers.len() {
            self.enlarged(ix, model, sizes, native, seen, at);
        }
    }

    /// Prices the generator's calls at `native`.
    fn draft(&self, ix: ModelIx, model: &Model, native: Placed, seen: ModelView) -> Option<Draft> {
        let ask = &self.request.ask;
        // A seed names one image: n images of a seed are n calls with the seeds that follow it.
        let per_call = if ask.seed.is_some() { 1 } else { model.max_images.max(1).min(ask.n) };
        let calls = ask.n.div_ceil(per_call);
        let prompt_bytes = ask.prompt.as_str().len() + ask.negative_prompt.as_deref().map_or(0, str::len);
        let one = |images| quote(model, native.size, images, prompt_bytes, seen.latency, self.today);
        let last = ask.n - per_call * (calls - 1);
        let whole = one(per_call)?.times(i64::from(calls - 1)).then(one(last)?);
        Some(Draft { ix, native, calls, quote: whole, seen })
    }

    /// The model alone, and the local resize where its size is not the asked one. A draft smaller than asked is not
    /// offered here: enlarging is an upscaler's plan, with its own loss.
    fn direct(&mut self, draft: Draft) {
        let asked = self.request.ask.size;
        let exact = draft.native.size == asked;
        let resize = (!exact && self.request.ask.fit == Fit::Exact).then_some(asked);
        let reason = (resize.is_some() && !draft.native.size.covers(asked)).then_some(Reason::Size);
        let mut latency = draft.seen.latency;
        if resize.is_some() {
            latency = plus(latency, Latency { p50: RESIZE, p95: RESIZE });
        }
        self.push(draft, None, resize, draft.quote, draft.seen.accept, latency, reason);
    }

    /// A draft at the smallest size from which this upscaler reaches the asked one, where that is smaller than what
    /// the model would make directly; or at the model's own size, where that does not cover the asked one.
    fn enlarged(&mut self, ix: ModelIx, model: &Model, sizes: &Sizes, native: Placed, seen: ModelView, at: usize) {
        let asked = self.request.ask.size;
        let Some(&(up_ix, upscaler, reach)) = self.upscalers.get(at) else {
            return;
        };
        let Some(&up_seen) = self.view.models.get(usize::from(up_ix.0)) else {
            return;
        };
        let start = if native.size.covers(asked) {
            let factor = match reach.output {
                Enlarge::Factor(factor) | Enlarge::Free(factor) => factor,
                Enlarge::ToPixels(pixels) => (pixels as f64 / asked.pixels().max(1) as f64).sqrt().max(2.0),
            };
            match draft(sizes, asked, factor) {
                Some(small) if small.size.pixels() < native.size.pixels() => small,
                _ => return,
            }
        } else {
            native
        };
        let Some(output) = enlarge(reach, start.size, asked) else {
            return;
        };
        if !output.covers(asked) {
            return;
        }
        let Some(draft) = self.draft(ix, model, start, seen) else {
            return;
        };
        let images = i64::from(self.request.ask.n);
        let prompt_bytes = self.request.ask.prompt.as_str().len();
        let Some(up) = quote(upscaler, output, 1, prompt_bytes, up_seen.latency, self.today) else {
            return;
        };
        let resize = (output != asked && self.request.ask.fit == Fit::Exact).then_some(asked);
        let factor = f64::from(output.width.min(asked.width)) / f64::from(start.size.width.max(1));
        let accept = draft.seen.accept.weakened(kept(reach.keeps, factor));
        let mut latency = plus(draft.seen.latency, up_seen.latency);
        if resize.is_some() {
            latency = plus(latency, Latency { p50: RESIZE, p95: RESIZE });
        }
        let whole = draft.quote.then(up.times(images));
        self.push(draft, Some((up_ix, output)), resize, whole, accept, latency, None);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one candidate, named at the single place that makes it"
    )]
    fn push(
        &mut self,
        draft: Draft,
        upscale: Option<(ModelIx, Size)>,
        resize: Option<Size>,
        quote: Quote,
        accept: Posterior,
        latency: Latency,
        reason: Option<Reason>,
    ) {
        let score = score(self.request, quote, accept);
        let (model, native, calls) = (draft.ix, draft.native, draft.calls);
        let (drafts, check) = (1, None);
        self.out.push(Candidate {
            model,
            native,
            upscale,
            resize,
            calls,
            drafts,
            check,
            quote,
            accept,
            latency,
            wait: Duration::ZERO,
            wait_cost: Money::ZERO,
            score,
            reason,
        });
    }
}

fn unreachable(model: ModelIx, size: Size, seen: ModelView, reason: Reason) -> Candidate {
    Candidate {
        model,
        native: Placed { size, listed: None },
        upscale: None,
        resize: None,
        calls: 0,
        drafts: 1,
        check: None,
        quote: Quote::default(),
        accept: seen.accept,
        latency: seen.latency,
        wait: Duration::ZERO,
        wait_cost: Money::ZERO,
        score: f64::INFINITY,
        reason: Some(reason),
    }
}

/// `J` of one image of the request, in micro-dollars, with as many tries as its terms say.
pub(super) fn score(request: &GenerationRequest, quote: Quote, accept: Posterior) -> f64 {
    let each = quote.expected.micros() as f64 / f64::from(request.ask.n.max(1));
    let review = request.terms.review_cost.micros() as f64;
    cost::direct(accept.hoped(), request.terms.retries, each).score(review)
}

/// The size that an upscaler gives of `input` when `asked` is wanted; `None` when it does not take the input.
pub(super) fn enlarge(reach: &Reach, input: Size, asked: Size) -> Option<Size> {
    let pixels = input.pixels();
    let takes = pixels >= reach.min_input_pixels
        && pixels <= reach.max_input_pixels
        && input.width.max(input.height) <= reach.max_input_side;
    if !takes {
        return None;
    }
    let cover =
        (f64::from(asked.width) / f64::from(input.width)).max(f64::from(asked.height) / f64::from(input.height));
    let factor = match reach.output {
        Enlarge::Factor(factor) => factor,
        Enlarge::ToPixels(most) => (most as f64 / pixels as f64).sqrt(),
        Enlarge::Free(most) => cover.min(most),
    };
    let output = input.scaled(factor);
    let room = (reach.max_output_pixels as f64 / output.pixels().max(1) as f64).sqrt();
    let fitted = if room < 1.0 { input.scaled(factor * room * 0.9999) } else { output };
    // Rounding may lose a pixel of the asked side.
    let near = Size::new(
        fitted.width.max(asked.width.min(fitted.width + 1)),
        fitted.height.max(asked.height.min(fitted.height + 1)),
    );
    (factor > 1.0).then_some(near)
}

/// `keeps` is stated at twice the side; each further doubling loses as much again.
pub(super) fn kept(keeps: f64, factor: f64) -> f64 {
    keeps.powf(factor.max(1.0).log2())
}

pub(super) fn plus(a: Latency, b: Latency) -> Latency {
    Latency { p50: a.p50 + b.p50, p95: a.p95 + b.p95 }
}
