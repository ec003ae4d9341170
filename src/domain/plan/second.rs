//! The second pass: an approved draft, enlarged.
//!
//! Why it exists: a person said yes to a picture, so nothing is generated again; what is left to plan is who enlarges
//! it, and at what price it is still accepted. What it refuses to know: where the draft is kept.

use jiff::civil::Date;

use super::super::catalog::{Catalog, Latency, ModelIx};
use super::super::image::Size;
use super::super::money::Money;
use super::super::quality::{Posterior, Prior};
use super::super::quote::quote;
use super::super::request::{Fit, GenerationRequest};
use super::enumerate::{RESIZE, enlarge, kept, plus, score};
use super::{Candidate, Placed, Reason, View, filter};

/// A draft that a person approved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Approved {
    /// The model that made it.
    pub model: ModelIx,
    /// Its pixels.
    pub size: Size,
    /// Whether its prompt is known as text: some upscalers want it again.
    pub has_prompt: bool,
}

/// An upscaler's `keeps` is believed as the policy's acceptances are by default: like this many verdicts.
const WEIGHT: f64 = 20.0;

/// The ways to enlarge `approved` to the request's size, a candidate for each upscaler, with their reasons.
pub(super) fn candidates(
    approved: Approved,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
    today: Date,
) -> Vec<Candidate> {
    let upscalers = catalog.models().filter(|(_, model)| model.reach().is_some());
    upscalers.filter_map(|(ix, _)| candidate(approved, ix, request, catalog, view, today)).collect()
}

fn candidate(
    approved: Approved,
    ix: ModelIx,
    request: &GenerationRequest,
    catalog: &Catalog,
    view: &View,
    today: Date,
) -> Option<Candidate> {
    let model = catalog.model(ix)?;
    let reach = model.reach()?;
    let seen = view.models.get(usize::from(ix.0))?;
    let asked = request.ask.size;
    let reached = enlarge(reach, approved.size, asked).filter(|output| output.covers(asked));
    let output = reached.unwrap_or(approved.size);
    let price = quote(model, output, 1, request.ask.prompt.as_str().len(), seen.latency, today);
    let resize = (output != asked && request.ask.fit == Fit::Exact).then_some(asked);
    let factor = f64::from(output.width.min(asked.width)) / f64::from(approved.size.width.max(1));
    let accept = Posterior::new(Prior { mean: kept(reach.keeps, factor), weight: WEIGHT }, 0.0, 0.0);
    let local = if resize.is_some() { RESIZE } else { std::time::Duration::ZERO };
    let whole = price.unwrap_or_default();
    let mut candidate = Candidate {
        model: approved.model,
        native: Placed { size: approved.size, listed: None },
        upscale: Some((ix, output)),
        resize,
        calls: 0,
        drafts: 1,
        check: None,
        quote: whole,
        accept,
        latency: plus(seen.latency, Latency { p50: local, p95: local }),
        wait: std::time::Duration::ZERO,
        wait_cost: Money::ZERO,
        score: score(request, whole, accept),
        reason: None,
    };
    candidate.reason = if reached.is_none() {
        Some(Reason::Size)
    } else if price.is_none() {
        Some(Reason::UnknownPrice)
    } else if reach.needs_prompt && !approved.has_prompt {
        Some(Reason::NoPrompt)
    } else {
        filter::second(&candidate, request, catalog, view, today)
    };
    Some(candidate)
}
