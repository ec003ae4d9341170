//! One plan of now: the world seen, what was learned of it, the planner, and a note of how it was decided.
//!
//! Why it exists: a purchase, EXPLAIN and the note for a replay must see the same world. What it refuses to know: how a
//! plan is run.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::Value;

use super::admit::{authenticate, normalise};
use super::learn::Choice;
use super::{Engine, Inbound, Order, budgets, world};
use crate::domain::decision::note::Note;
use crate::domain::plan::explain::{Explained, explain};
use crate::domain::plan::{Planned, View, plan};
use crate::domain::refusal::Refusal;
use crate::domain::request::GenerationRequest;
use crate::domain::rule::Explore;
use crate::policy::Snapshot;
use crate::telemetry::clock;

/// How a plan came about.
#[derive(Serialize)]
struct Decision<'a> {
    #[serde(flatten)]
    situation: Note<'a>,
    #[serde(flatten)]
    choice: Choice<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Value>,
}

impl Engine {
    /// How the plan came about, for the books, as JSON.
    pub(super) fn decision(&self, order: &Order, planned: &Planned, view: &View) -> String {
        let (snapshot, request) = (&order.snapshot, &order.request);
        let guess = snapshot.guess(request.task);
        let mut dice = StdRng::seed_from_u64(self.dice().random());
        let decision = Decision {
            situation: Note::of(request, &snapshot.catalog, view, (&guess, &snapshot.lacking), clock::today()),
            choice: Choice::of(&snapshot.catalog, request, order.kind(), planned, &mut dice),
            trial: order.usual.as_ref().map(|usual| usual.note(order.on_trial())),
        };
        // Its keys are words and its numbers finite: there is nothing that JSON could not say.
        serde_json::to_string(&decision).unwrap_or_default()
    }

    pub(super) fn plan_now(
        &self,
        snapshot: &Snapshot,
        bound: &world::Bound,
        request: &GenerationRequest,
    ) -> (Planned, View) {
        let view = self.view_now(snapshot, bound, request);
        (plan(request, &snapshot.catalog, &view, clock::today()), view)
    }

    /// The world of this moment, with what was learned of it.
    fn view_now(&self, snapshot: &Snapshot, bound: &world::Bound, request: &GenerationRequest) -> View {
        let mut view = self.world.view(bound, snapshot, request, clock::now());
        let sampled = request.terms.explore == Explore::Sampled;
        let mut dice = sampled.then(|| StdRng::seed_from_u64(self.dice().random()));
        let dice = dice.as_mut().map(|dice| -> &mut dyn rand::Rng { dice });
        self.learner_of(snapshot).inform(&mut view, snapshot, request, dice);
        view
    }

    /// What `serve` would do, and why; buys nothing.
    pub async fn explain(&self, inbound: &Inbound) -> Result<Explained, Refusal> {
        let house = self.snapshots.current();
        let tenant = authenticate(&house, inbound.key.as_deref())?;
        let snapshot = self.planner_of(&house, &tenant);
        let request = normalise(&snapshot, &tenant, inbound)?;
        let bound = self.world.bind(&snapshot);
        let mut view = self.view_now(&snapshot, &bound, &request);
        let task = snapshot.catalog.task(request.task).map(|task| &*task.name).unwrap_or_default();
        view.budgets = self.left(&budgets::purse(&house, &tenant, task, &request.ask, clock::now())).await;
        let planned = plan(&request, &snapshot.catalog, &view, clock::today());
        Ok(explain(&planned, &request, &snapshot.catalog, &view))
    }
}
