//! Learning as it goes: one pass, a verdict on the chosen model only.
//!
//! Why it exists: a gateway never sees what the models that it did not buy would have made. What it refuses to know:
//! how the estimator explores; it plans on its upper bounds, as the live gateway does.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::super::exit::Failure;
use super::market::{Market, usd};
use super::ratings::Ratings;
use super::sweep::{Baseline, Knob, Point, heard};
use crate::domain::quality::Estimator;

/// Dollars that an accepted image is worth: utility is accept minus two a dollar.
const DOLLAR: f64 = 2.0;
/// What a look costs: where `(c + h) / p` is least at half a dollar, `p / 2 - c` is greatest; at a typical acceptance of
/// .78 and price of $0.04 that is this much.
const REVIEW_USD: f64 = 0.35;
/// Verdicts at which the curve is read.
const READ_AT: [usize; 8] = [25, 50, 100, 200, 400, 800, 1_600, 3_200];

/// The mean of every pass.
pub(super) struct Online {
    pub(super) seeds: u64,
    pub(super) whole: Point,
    pub(super) utility: f64,
    pub(super) curve: Vec<Reading>,
}

/// What a pass had come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) verdicts: usize,
    pub(super) cost: f64,
    pub(super) accept: f64,
}

impl Reading {
    /// Accept minus two a dollar.
    pub(super) fn utility(&self) -> f64 {
        self.accept - DOLLAR * self.cost
    }
}

/// One pass for each seed, from 1.
pub(super) fn passes(
    test: &Ratings,
    market: &Market,
    fresh: &Estimator,
    baseline: &Baseline,
    seeds: u64,
) -> Result<Online, Failure> {
    let mut curve: Vec<Reading> = Vec::new();
    for seed in 1..=seeds {
        let pass = pass(test, market, fresh.clone(), seed)?;
        curve.resize(pass.len(), Reading::default());
        for (sum, reading) in curve.iter_mut().zip(pass) {
            sum.verdicts = reading.verdicts;
            sum.cost += reading.cost / seeds as f64;
            sum.accept += reading.accept / seeds as f64;
        }
    }
    let last = curve.last().copied().unwrap_or_default();
    let whole = baseline.point(market, Knob::Review(REVIEW_USD), last.cost, last.accept);
    Ok(Online { seeds, whole, utility: last.utility(), curve })
}

/// Means over the verdicts so far, at each reading and at the end.
fn pass(test: &Ratings, market: &Market, mut estimator: Estimator, seed: u64) -> Result<Vec<Reading>, Failure> {
    let mut rows: Vec<_> = test.rows.iter().filter(|row| row.accepts.iter().any(Option::is_some)).collect();
    rows.shuffle(&mut StdRng::seed_from_u64(seed));
    let (mut cost, mut accept, mut readings) = (0.0, 0.0, Vec::new());
    for (at, row) in (1usize..).zip(&rows) {
        let (category, signs) = (Some(row.reading.category), &row.reading.signs);
        let view = market.view(row, |arm| estimator.believe(arm, 0, category, signs).optimistic(0.0));
        let mut request = market.request(row)?;
        request.terms.review_cost = usd(REVIEW_USD);
        let Some(arm) = market.choose(&request, &view) else {
            return Err(Failure::usage("the planner found no plan for a prompt that was judged"));
        };
        let said = row.accepts.get(arm).copied().flatten().unwrap_or_default();
        cost += market.price(arm);
        accept += said;
        estimator.hear(heard(row, u16::try_from(arm).unwrap_or(u16::MAX), said));
        if READ_AT.contains(&at) || at == rows.len() {
            readings.push(Reading { verdicts: at, cost: cost / at as f64, accept: accept / at as f64 });
        }
    }
    Ok(readings)
}
