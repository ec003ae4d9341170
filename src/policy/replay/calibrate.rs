//! What a floor costs: the same requests, planned at every floor.
//!
//! Why it exists: a floor is a number that somebody made up, until it is read in dollars: "0.80 → 0.75 would save $X a
//! day and touch Y % of prompts". Only requests that take their floor from the policy move; a caller's own number is
//! the caller's. What it refuses to know: files and plots.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Again, Logged, words};
use crate::domain::catalog::Catalog;
use crate::domain::money::Money;
use crate::domain::plan::Candidate;
use crate::domain::rule::Source;
use crate::policy::Snapshot;

/// One floor, in dollars and acceptance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The floor, 0 to 1.
    pub floor: f64,
    /// Expected price of all requests that have a plan.
    pub cost: Money,
    /// Their expected acceptance, 0 to 1.
    pub accept: f64,
    /// Requests whose plan differs from the one at the present floor.
    pub touched: usize,
    /// Requests without a plan.
    pub refused: usize,
}

/// The frontier of one tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontier {
    /// The tier, or `default`.
    pub tier: String,
    /// Its floor in the policy.
    pub present: f64,
    /// Requests that take it.
    pub requests: usize,
    /// From the lowest floor to the highest.
    pub points: Vec<Point>,
}

/// Steps of a hundredth are finer than anybody's verdicts.
const STEP: f64 = 0.05;

/// The frontiers of the tiers that `log`'s requests take their floor from, under `snapshot`.
pub fn calibrate(log: &[Logged], snapshot: &Snapshot) -> Vec<Frontier> {
    let mut tiers: BTreeMap<String, (f64, Vec<Again>)> = BTreeMap::new();
    for row in log {
        let Some(again) = row.situation.as_ref().and_then(|seen| Again::new(row, seen, snapshot).ok()) else {
            continue;
        };
        let terms = &again.request.terms;
        if terms.floor.source != Source::Request {
            let tier = terms.tier.as_deref().unwrap_or("default").to_owned();
            let present = terms.floor.value;
            tiers.entry(tier).or_insert_with(|| (present, Vec::new())).1.push(again);
        }
    }
    tiers.into_iter().map(|(tier, (present, requests))| frontier(tier, present, requests, &snapshot.catalog)).collect()
}

impl Frontier {
    /// The point at the present floor.
    pub fn now(&self) -> Option<&Point> {
        self.points.iter().find(|point| (point.floor - self.present).abs() < 1e-9)
    }
}

fn frontier(tier: String, present: f64, mut requests: Vec<Again>, catalog: &Catalog) -> Frontier {
    let mut floors: Vec<f64> = std::iter::once(present).chain((1..20).map(|step| f64::from(step) * STEP)).collect();
    floors.sort_by(f64::total_cmp);
    floors.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    let mut points: Vec<Point> = floors.iter().map(|&floor| Point { floor, ..Point::default() }).collect();
    for again in &mut requests {
        let now = at(again, catalog, present);
        for point in &mut points {
            let then = at(again, catalog, point.floor);
            let name = |found: &Option<Candidate>| found.as_ref().map(|found| words(found, catalog));
            point.touched += usize::from(name(&now) != name(&then));
            match then {
                None => point.refused += 1,
                Some(then) => {
                    point.cost += then.quote.expected;
                    point.accept += then.accept.mean();
                }
            }
        }
    }
    for point in &mut points {
        point.accept /= requests.len().saturating_sub(point.refused).max(1) as f64;
    }
    Frontier { tier, present, requests: requests.len(), points }
}

/// The best plan at `floor`.
fn at(again: &mut Again, catalog: &Catalog, floor: f64) -> Option<Candidate> {
    again.request.terms.floor.value = floor;
    again.plan(catalog).best().copied()
}

/// Days that a log spans, at least a minute of one, so that a rate can be told.
pub fn days(log: &[Logged]) -> f64 {
    let times = || log.iter().map(|row| row.created);
    let span = times()
        .max()
        .zip(times().min())
        .map_or(Duration::ZERO, |(last, first)| last.duration_since(first).unsigned_abs());
    (span.as_secs_f64() / 86_400.0).max(60.0 / 86_400.0)
}
