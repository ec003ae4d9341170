//! One plan of now: the world seen, what was learned of it, the planner, and a note of how it was decided.
//!
//! Why it exists: a purchase, EXPLAIN and the note for a replay must see the same world. What it refuses to know: how a
//! plan is run.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

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

impl Engine {
    /// How the plan came about, for the books, as JSON.
    pub(super) fn decision(&self, order: &Order, planned: &Planned, view: &View) -> String {
        let (snapshot, request) = (&order.snapshot, &order.request);
        let guess = snapshot.guess(request.task);
        let mut dice = StdRng::seed_from_u64(self.dice().random());
        let situation = Note::of(request, &snapshot.catalog, view, (&guess, &snapshot.lacking), clock::today());
        let choice = Choice::of(&snapshot.catalog, request, order.kind(), planned, &mut dice);
        let decision = with_members_of(json(&situation), &json(&choice));
        match &order.usual {
            Some(usual) => {
                with_members_of(decision, &serde_json::json!({"trial": usual.note(order.on_trial())}).to_string())
            }
            None => decision,
        }
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

/// An object with the members of another one behind its own; neither is empty. To flatten them into one would write each
/// member by way of a map, at twice the cost.
fn with_members_of(mut object: String, other: &str) -> String {
    object.truncate(object.len().saturating_sub(1));
    object.push(',');
    object.push_str(other.strip_prefix('{').unwrap_or_default());
    object
}

/// What is kept of a decision has words for keys and finite numbers: there is nothing in it that JSON could not say.
fn json(what: &impl serde::Serialize) -> String {
    serde_json::to_string(what).unwrap_or_default()
}
