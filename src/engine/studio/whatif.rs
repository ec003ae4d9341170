//! What another floor would have bought: the newest requests of a task, planned again at every floor.
//!
//! Why it exists: a floor is chosen by what it costs and brings on one's own requests, not in the abstract. The planner
//! is asked once for each kind of request, without a floor; a floor then only cuts the head of its order. What it
//! refuses to know: what was really accepted (the posteriors know).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Viewer, blank};
use crate::domain::image::Size;
use crate::domain::money::Money;
use crate::domain::plan::{Candidate, Planned};
use crate::domain::refusal::Refusal;
use crate::domain::request::{Ask, MAX_IMAGES, MAX_SIDE, MIN_SIDE};
use crate::engine::Engine;
use crate::state::studio::sums::{self, Asked};

/// Requests of a task that are planned again.
const NEWEST: u32 = 400;
/// Kinds of requests that are planned again: sizes, numbers and metadata repeat.
const KINDS: usize = 64;
/// Floors, in hundredths.
const FLOORS: std::ops::RangeInclusive<u8> = 20..=95;

/// The answer at every floor.
#[derive(Clone, Debug, Default)]
pub struct WhatIf {
    /// Requests that stand behind it; zero when the task has none yet and one usual request stands in.
    pub requests: u64,
    /// From the lowest floor to the highest.
    pub points: Vec<Point>,
}

/// What one floor would buy.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// The floor in hundredths.
    pub floor: u8,
    /// The share of requests that some plan meets, 0 to 1.
    pub met: f64,
    /// Expected cost of one picture, over those.
    pub cost: Money,
    /// Expected acceptance, over those.
    pub accept: f64,
    /// Expected cost of one accepted picture with the looks at it, over those.
    pub per_accepted: Money,
    /// The share of each model, 0 to 1, the largest first.
    pub mix: Vec<(Arc<str>, f64)>,
}

impl Engine {
    /// What each floor would buy for the newest requests of `task`; `None` when the policy has no such task.
    pub async fn what_if(&self, viewer: &Viewer, task: &str) -> Result<Option<WhatIf>, Refusal> {
        let snapshot = self.snapshots.current();
        let Some(ix) = snapshot.catalog.find_task(task) else { return Ok(None) };
        let asked = self.read(sums::asked(&*self.ledger, &viewer.owner, task, NEWEST).await)?;
        let requests = asked.len() as u64;
        let mut kinds: BTreeMap<Asked, u32> = BTreeMap::new();
        for asked in asked {
            *kinds.entry(asked).or_default() += 1;
        }
        if kinds.is_empty() {
            kinds.insert(Asked { key: String::new(), metadata: BTreeMap::new(), size: None, images: 1 }, 1);
        }
        let planned = kinds.into_iter().take(KINDS).filter_map(|(kind, weight)| {
            let key = if kind.key == "-" { String::new() } else { kind.key.clone() };
            let ask = ask(kind, task)?;
            let images = ask.n;
            Some(Kind { planned: self.planned_without_floor(&snapshot, ask, ix, &key)?, images, weight })
        });
        let planned: Vec<Kind> = planned.collect();
        let name = |candidate: &Candidate| snapshot.catalog.model(candidate.model).map(|model| model.id.clone());
        let points = FLOORS.map(|floor| point(floor, &planned, name)).collect();
        Ok(Some(WhatIf { requests, points }))
    }
}

/// A kind of request with every plan for it.
struct Kind {
    planned: Planned,
    images: u8,
    weight: u32,
}

fn ask(kind: Asked, task: &str) -> Option<Ask> {
    let side = |side: u32| side.clamp(MIN_SIDE, MAX_SIDE);
    let usual = blank()?;
    Some(Ask {
        size: kind.size.map_or(usual.size, |(width, height)| Size::new(side(width), side(height))),
        n: u8::try_from(kind.images).unwrap_or(MAX_IMAGES).clamp(1, MAX_IMAGES),
        task: Some(task.to_owned()),
        metadata: kind.metadata,
        ..usual
    })
}

fn point(floor: u8, kinds: &[Kind], name: impl Fn(&Candidate) -> Option<Arc<str>>) -> Point {
    let least = f64::from(floor) / 100.0;
    let (mut all, mut met, mut cost, mut accept, mut score) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut mix: BTreeMap<Arc<str>, f64> = BTreeMap::new();
    for Kind { planned, images, weight } in kinds {
        let weight = f64::from(*weight);
        all += weight;
        let Some(best) = planned.feasible().find(|candidate| candidate.accept.lower() >= least) else { continue };
        met += weight;
        cost += weight * best.quote.expected.micros() as f64 / f64::from((*images).max(1));
        accept += weight * best.accept.mean();
        score += weight * best.score;
        *mix.entry(name(best).unwrap_or_default()).or_default() += weight;
    }
    let mut mix: Vec<(Arc<str>, f64)> = mix.into_iter().map(|(model, weight)| (model, weight / all)).collect();
    mix.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mean = |sum: f64| if met > 0.0 { sum / met } else { 0.0 };
    Point {
        floor,
        met: if all > 0.0 { met / all } else { 0.0 },
        cost: whole(mean(cost)),
        accept: mean(accept),
        per_accepted: whole(mean(score)),
        mix,
    }
}

/// An expectation as money, to the micro-dollar.
#[expect(clippy::cast_possible_truncation, reason = "saturates far above any price")]
fn whole(micros: f64) -> Money {
    Money::from_micros(micros.round() as i64)
}
