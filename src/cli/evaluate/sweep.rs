//! The cost-quality curve: the planner at every setting of its knob.
//!
//! Why it exists: one number of the policy, `review_cost_usd`, trades money for quality: the planner buys what is
//! cheapest per accepted image, looks included. It is turned in two ways: the same for every prompt, and so that each
//! prompt's choice is the one of most net worth (`P - λ C`, with an accepted image worth `1 / λ`). What it refuses to
//! know: printing.

use super::super::exit::Failure;
use super::market::{Market, usd};
use super::ratings::{Ratings, Row};
use crate::domain::quality::{Estimator, Heard};

/// Settings of each way, spaced evenly in logarithm.
const STEPS: u32 = 120;
const LEAST_USD: f64 = 0.000_5;
const MOST_USD: f64 = 20.0;

/// A setting, in dollars.
#[derive(Clone, Copy, Debug)]
pub(super) enum Knob {
    /// What a look costs.
    Review(f64),
    /// What an accepted image is worth.
    Worth(f64),
}

/// One setting of the knob and what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) knob: Knob,
    pub(super) cost: f64,
    pub(super) accept: f64,
    pub(super) saved: f64,
    pub(super) quality: f64,
}

/// What single models do.
pub(super) struct Baseline {
    /// The most accepted model.
    pub(super) best: usize,
    /// Acceptance of each model.
    pub(super) accepts: Vec<f64>,
}

impl Baseline {
    pub(super) fn of(test: &Ratings, market: &Market) -> Self {
        let accept = |arm: usize| {
            let judged: Vec<f64> = test.rows.iter().filter_map(|row| *row.accepts.get(arm)?).collect();
            if judged.is_empty() { 0.0 } else { judged.iter().sum::<f64>() / judged.len() as f64 }
        };
        let accepts: Vec<f64> = (0..market.names().len()).map(accept).collect();
        let better = |a: &usize, b: &usize| {
            let of = |arm: &usize| accepts.get(*arm).copied().unwrap_or_default();
            of(a).total_cmp(&of(b)).then(market.price(*b).total_cmp(&market.price(*a)))
        };
        let best = (0..accepts.len()).max_by(better).unwrap_or_default();
        Self { best, accepts }
    }

    pub(super) fn accept(&self) -> f64 {
        self.accepts.get(self.best).copied().unwrap_or_default()
    }

    /// The largest saving at `quality` by throwing dice between two models: what routing must beat.
    pub(super) fn mixing(&self, market: &Market, quality: f64) -> f64 {
        let wanted = quality * self.accept();
        let arms = || self.accepts.iter().copied().enumerate();
        let mut least = market.price(self.best);
        for (good, high) in arms().filter(|(_, accept)| *accept >= wanted - 1e-12) {
            least = least.min(market.price(good));
            for (poor, low) in arms().filter(|(_, accept)| *accept < wanted) {
                let share = ((wanted - low) / (high - low)).clamp(0.0, 1.0);
                least = least.min(share * market.price(good) + (1.0 - share) * market.price(poor));
            }
        }
        1.0 - least / market.price(self.best)
    }

    /// A point from sums over `prompts`.
    pub(super) fn point(&self, market: &Market, knob: Knob, cost: f64, accept: f64) -> Point {
        let quality = if self.accept() > 0.0 { accept / self.accept() } else { 0.0 };
        Point { knob, cost, accept, saved: 1.0 - cost / market.price(self.best), quality }
    }
}

/// The estimator after every rating of these rows.
pub(super) fn learn<'r>(mut estimator: Estimator, rows: impl Iterator<Item = &'r Row>) -> Estimator {
    for row in rows {
        for (arm, accepts) in (0u16..).zip(&row.accepts) {
            if let Some(accepts) = accepts {
                estimator.hear(heard(row, arm, *accepts));
            }
        }
    }
    estimator
}

/// A rating as a verdict.
pub(super) fn heard(row: &Row, arm: u16, accepts: f64) -> Heard<'_> {
    Heard {
        arm,
        task: 0,
        category: Some(row.reading.category),
        signs: &row.reading.signs,
        accepted: accepts >= 0.5,
        weight: 1.0,
    }
}

/// The curve of the planner with the estimator that `learned` gives for a row.
pub(super) fn sweep<'e>(
    test: &Ratings,
    market: &Market,
    learned: impl Fn(&Row) -> &'e Estimator,
) -> Result<Vec<Point>, Failure> {
    let baseline = Baseline::of(test, market);
    let knobs = knobs();
    let mut sums = vec![(0.0, 0.0); knobs.len()];
    let mut judged = 0.0;
    for row in test.rows.iter().filter(|row| row.accepts.iter().any(Option::is_some)) {
        let estimator = learned(row);
        let view = market.view(row, |arm| estimator.believe(arm, 0, Some(row.reading.category), &row.reading.signs));
        let mut request = market.request(row)?;
        judged += 1.0;
        for (knob, (cost, accept)) in knobs.iter().zip(&mut sums) {
            request.terms.review_cost = match *knob {
                Knob::Review(dollars) => usd(dollars),
                Knob::Worth(dollars) => market.review_cost(row, &view, dollars),
            };
            let Some(arm) = market.choose(&request, &view) else {
                return Err(Failure::usage("the planner found no plan for a prompt that was judged"));
            };
            *cost += market.price(arm);
            *accept += row.accepts.get(arm).copied().flatten().unwrap_or_default();
        }
    }
    let point =
        |(knob, (cost, accept)): (&Knob, (f64, f64))| baseline.point(market, *knob, cost / judged, accept / judged);
    Ok(knobs.iter().zip(sums).map(point).collect())
}

/// The largest saving on the curve at `quality` or more; `None` when it is not reached.
pub(super) fn saved_at(curve: &[Point], quality: f64) -> Option<f64> {
    let reached = curve.iter().filter(|point| point.quality >= quality - 1e-9);
    reached.map(|point| point.saved).max_by(f64::total_cmp)
}

fn knobs() -> Vec<Knob> {
    let ratio = (MOST_USD / LEAST_USD).ln();
    let dollars = |step: u32| LEAST_USD * (ratio * f64::from(step) / f64::from(STEPS - 1)).exp();
    let reviews = std::iter::once(0.0).chain((0..STEPS).map(dollars)).map(Knob::Review);
    reviews.chain((0..STEPS).map(dollars).map(Knob::Worth)).collect()
}
