//! How every provider stands at this moment, for the admin plane.
//!
//! Why it exists: an operator sees what the planner sees. What it refuses to know: JSON.

use std::sync::Arc;

use super::Engine;
use super::world::Bound;
use crate::domain::breaker::State;
use crate::domain::catalog::{Latency, Model, ModelIx, TaskIx};
use crate::domain::image::Size;
use crate::domain::money::Money;
use crate::domain::quality::Posterior;
use crate::domain::quote::quote;
use crate::policy::Snapshot;
use crate::state::Draw;
use crate::state::limits::{Counting, Left};
use crate::telemetry::clock;

/// The size by which prices are compared.
const MEGAPIXEL: Size = Size::new(1024, 1024);

/// A provider at this moment.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub name: Arc<str>,
    /// Why it is off; `None` when on.
    pub off: Option<Arc<str>>,
    /// `closed`, `half_open` or `open`.
    pub breaker: &'static str,
    /// Each limit, with what is left.
    pub quota: Vec<Left>,
    /// Its models.
    pub models: Vec<ModelStanding>,
}

/// A model at this moment.
#[derive(Clone, Debug)]
pub struct ModelStanding {
    /// Its id.
    pub id: Arc<str>,
    /// Why it is not used; `None` when it may be.
    pub off: Option<String>,
    /// `closed`, `half_open` or `open`.
    pub breaker: &'static str,
    /// Each limit of its own, with what is left.
    pub quota: Vec<Left>,
    /// Measured, or the policy's guess.
    pub latency: Latency,
    /// What one picture of a megapixel is expected to cost; `None` without a price.
    pub price: Option<Money>,
    /// One for each task; empty for upscalers.
    pub accept: Vec<Acceptance>,
}

/// Acceptance of a model for a task.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The task's name.
    pub task: Arc<str>,
    /// What is believed.
    pub posterior: Posterior,
}

impl Engine {
    /// Every provider of the policy, in its order.
    pub fn standings(&self) -> Vec<Standing> {
        let (snapshot, now) = (self.snapshot(), clock::now());
        let bound = self.world.bind(&snapshot);
        let catalog = &snapshot.catalog;
        let standing = |(ix, provider): (_, &crate::domain::catalog::Provider)| {
            let ours = catalog.models().filter(|(_, model)| model.provider == ix);
            let draw = Draw { owner: &provider.name, limits: &provider.limits };
            Standing {
                name: provider.name.clone(),
                off: provider.off.clone(),
                breaker: word(bound.provider_breaker(usize::from(ix.0), now)),
                quota: self.limits.left(&draw, now),
                models: ours.map(|(ix, model)| self.model_standing(ix, model, &snapshot, &bound)).collect(),
            }
        };
        catalog.providers().map(standing).collect()
    }

    /// Who counts what limits allow.
    pub fn counting(&self) -> Counting {
        self.limits.counting()
    }

    fn model_standing(&self, ix: ModelIx, model: &Model, snapshot: &Snapshot, bound: &Bound) -> ModelStanding {
        let retired = model.retired.filter(|day| *day <= clock::today()).map(|day| format!("retired on {day}"));
        let off = model.off.as_deref().map(str::to_owned);
        let accept = |(at, task): (u16, &crate::domain::catalog::Task)| Acceptance {
            task: task.name.clone(),
            posterior: self.learner.of_task(snapshot, ix, model, TaskIx(at)),
        };
        let generates = model.sizes().is_some();
        ModelStanding {
            id: model.id.clone(),
            off: off.or(retired),
            quota: self.limits.left(&Draw { owner: &model.id, limits: &model.limits }, clock::now()),
            breaker: word(bound.model_breaker(ix, clock::now())),
            latency: bound.latency(ix),
            price: quote(model, MEGAPIXEL, 1, 0, bound.latency(ix), clock::today()).map(|quote| quote.expected),
            accept: (0u16..).zip(&snapshot.catalog.tasks).filter(|_| generates).map(accept).collect(),
        }
    }

    /// Whether the engine can serve: at least one provider that generates is on.
    pub fn ready(&self) -> bool {
        !self.snapshot().is_empty_handed()
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::HalfOpen => "half_open",
        State::Open(_) => "open",
    }
}
