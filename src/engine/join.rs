//! The rooms that cost nothing: who asks, what for, and whether it is bought or being bought already.
//!
//! Why it exists: whoever repeats an ask, from wherever, is led to the one purchase of it: a flight in this process, one
//! on another replica, or an answer in the ledger. All of it comes before money and limits. What it refuses to know: how
//! a flight is flown.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::admit::normalise;
use super::conclude::{blank_receipt, fill, joined};
use super::draft::Draft;
use super::kept;
use super::replay::{Free, Identity, Scope, told};
use super::served::{How, Inbound};
use super::tasks::{Purchase, Tasks};
use super::{Engine, Landed, Order};
use crate::domain::refusal::{Doubt, Refusal};
use crate::policy::Snapshot;
use crate::state::flights::board::{self, Ask, Lease, Met};
use crate::state::flights::{Joined, Landing, Lead, Seat};
use crate::telemetry::{Receipt, trace};

/// How long a refusal that would be the same again is given without asking again.
const NEGATIVE: Duration = Duration::from_secs(15);
/// A leader's last step after its deadline: to write what came.
const SLACK: Duration = Duration::from_secs(5);

/// How a request may be answered.
pub(super) enum Way {
    /// It is answered.
    Landed(Box<Landed>),
    /// A flight of this process will answer it.
    Follow(Landing<Landed>),
    /// It is bought.
    Lead(Purchase<Landed>),
}

/// Leave to send, asked once before the first call of a purchase.
#[derive(Clone)]
pub(crate) struct Departure {
    /// None for a call that nobody shares.
    lead: Option<Arc<Lead<Landed>>>,
    lease: Option<Arc<Lease>>,
    bound: Instant,
}

impl Departure {
    /// Of a call that nobody shares.
    pub(crate) fn alone(arrived: Instant) -> Self {
        Self { lead: None, lease: None, bound: arrived }
    }

    /// From here on the purchase goes to its end. Refused when every caller has left, or another replica leads.
    pub(crate) async fn depart(&self) -> Result<(), Refusal> {
        if let Some(lead) = &self.lead {
            lead.depart().map_err(|_| late(Doubt::NotStarted))?;
        }
        let bound = (self.bound + SLACK).saturating_duration_since(Instant::now());
        match &self.lease {
            Some(lease) if !lease.depart(bound).await => Err(late(Doubt::NotStarted)),
            _ => Ok(()),
        }
    }

    fn is_lost(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.is_lost())
    }
}

const fn late(outcome: Doubt) -> Refusal {
    Refusal::DeadlineExceeded { outcome, attempts: Vec::new() }
}

/// Gives a lead back when its flight is called off.
struct GivenBack {
    lease: Arc<Lease>,
    tasks: Tasks,
}

impl Drop for GivenBack {
    fn drop(&mut self) {
        if !self.lease.is_over() && tokio::runtime::Handle::try_current().is_ok() {
            let lease = Arc::clone(&self.lease);
            self.tasks.spawn(async move { lease.release().await });
        }
    }
}

impl Order {
    /// Takes up what an earlier purchase left: the plan must then be one of the model that made it.
    fn resume(&mut self, free: Free) {
        let catalog = &self.snapshot.catalog;
        let generated = |draft: &Draft| catalog.model(draft.model).is_some_and(|model| model.sizes().is_some());
        let found = free.drafts.iter().find(|draft| generated(draft)).map(|draft| draft.model);
        if let Some(model) = found.filter(|_| self.given.is_none()) {
            self.request.pinned = Some(model);
        }
        // A second pass begins with the draft that was approved; what that was enlarged to is bought already.
        let kept = free.drafts.into_iter().filter(|draft| self.given.is_none() || !generated(draft)).collect();
        (self.claim, self.drafts) = (free.claim, kept);
    }
}

impl Engine {
    /// The same, sharing its flights with the other replicas at `board`.
    #[must_use]
    pub fn among(mut self, board: Arc<dyn board::Board>) -> Self {
        self.board = Some(board);
        self
    }

    /// Serves a request of a caller who is known.
    pub(super) async fn serve_as(self: &Arc<Self>, tenant: Arc<str>, inbound: Inbound) -> Landed {
        let house = self.snapshots.current();
        let snapshot = self.planner_of(&house, &tenant);
        let mut receipt = blank_receipt(&inbound, &snapshot);
        let arrived = inbound.arrived;
        let way = match self.enter((snapshot, house), tenant, inbound, &mut receipt) {
            Ok(way) => way,
            Err(refusal) => return self.reported(Err(refusal), receipt, arrived),
        };
        self.arrive(way, receipt, arrived).await
    }

    /// Leads a request to its purchase: planned by the first policy, with the keys and budgets of the second.
    fn enter(
        self: &Arc<Self>,
        (snapshot, house): (Arc<Snapshot>, Arc<Snapshot>),
        tenant: Arc<str>,
        inbound: Inbound,
        receipt: &mut Receipt,
    ) -> Result<Way, Refusal> {
        receipt.key = tenant.clone();
        let request = normalise(&snapshot, &tenant, &inbound)?;
        receipt.task = snapshot.catalog.task(request.task).map(|task| task.name.clone()).unwrap_or_default();
        receipt.rule.clone_from(&request.terms.rule);
        let identity = Identity::of(&snapshot, &tenant, &inbound, &request);
        let departure = Departure::alone(inbound.arrived);
        let order = Box::new(Order {
            snapshot,
            house,
            usual: None,
            tenant,
            request,
            kind: OnceLock::new(),
            inbound,
            claim: None,
            departure,
            drafts: Vec::new(),
            given: None,
        });
        self.board(order, identity)
    }

    /// Leads an order to its purchase: whoever asks the same flies together.
    pub(super) fn board(self: &Arc<Self>, mut order: Box<Order>, identity: Identity) -> Result<Way, Refusal> {
        let (lead, seat) = match identity.flight {
            None => self.flights.alone(identity.print),
            Some(flight) if !identity.joins => self.flights.begin(flight, identity.print),
            Some(flight) => match self.flights.join(flight, identity.print) {
                Joined::Lead(lead, seat) => (lead, seat),
                Joined::Follow(landing) => {
                    self.telemetry.idempotency("joined");
                    return Ok(Way::Follow(landing));
                }
                Joined::Landed(landed) => return Ok(Way::Landed(Box::new(landed.map(joined)))),
                Joined::Other => {
                    self.telemetry.idempotency("mismatch");
                    return Err(Refusal::IdempotencyKeyReused);
                }
            },
        };
        let lead = Arc::new(lead);
        order.departure = Departure { lead: Some(Arc::clone(&lead)), lease: None, bound: order.deadline() };
        Ok(Way::Lead(self.launch(lead, seat, order, identity)))
    }

    /// Begins the purchase: a caller that hangs up strands nobody, since it then goes on by itself.
    fn launch(
        self: &Arc<Self>,
        lead: Arc<Lead<Landed>>,
        seat: Seat<Landed>,
        order: Box<Order>,
        identity: Identity,
    ) -> Purchase<Landed> {
        let engine = Arc::clone(self);
        let flown = Arc::clone(&lead);
        let work = async move {
            // It outgrows what a task should carry along by itself.
            let landed = Box::pin(engine.answer(order, &identity)).await;
            let remember = landed.as_ref().err().filter(|refusal| kept::lasts(refusal)).map(|_| NEGATIVE);
            flown.land(landed.clone(), remember);
            landed
        };
        self.tasks.begin(trace::carried(work), lead, seat)
    }

    /// What the ledger has, else what is bought.
    async fn answer(self: &Arc<Self>, mut order: Box<Order>, identity: &Identity) -> Landed {
        let Some(scope) = &identity.scope else { return Box::pin(self.fly(order, identity)).await };
        match trace::room("recall", Box::pin(self.recall(&order.snapshot, scope, order.deadline()))).await {
            Ok(free) => {
                self.telemetry.idempotency("new");
                order.resume(free);
                Box::pin(self.fly(order, identity)).await
            }
            Err(landed) => {
                let reused = matches!(landed, Err(Refusal::IdempotencyKeyReused));
                self.telemetry.idempotency(if reused { "mismatch" } else { "replayed" });
                self.retell(&order, landed)
            }
        }
    }

    /// Flies, unless another replica does or has.
    async fn fly(self: &Arc<Self>, order: Box<Order>, identity: &Identity) -> Landed {
        if let (Some(board), Some(flight)) = (&self.board, identity.flight.filter(|_| identity.joins)) {
            let ask = Ask {
                key: format!("{}{}", flight.hex(), identity.print.hex()),
                owner: self.name.clone(),
                replay: identity.scope.is_some_and(|scope| !scope.is_fresh()),
                take_over: order.snapshot.defaults.buy_again,
            };
            return Box::pin(self.fly_among(board, ask, order, identity)).await;
        }
        self.telemetry.flight("leader");
        self.buy(order, identity.scope.as_ref()).await
    }

    async fn fly_among(
        self: &Arc<Self>,
        board: &Arc<dyn board::Board>,
        ask: Ask,
        mut order: Box<Order>,
        identity: &Identity,
    ) -> Landed {
        loop {
            match board::meet(board, &ask, order.deadline()).await {
                Met::Alone => {
                    self.telemetry.flight("solo");
                    return self.buy(order, identity.scope.as_ref()).await;
                }
                Met::Doubt => return self.retell(&order, Err(late(Doubt::Ambiguous))),
                Met::Late => return self.retell(&order, Err(late(Doubt::NotStarted))),
                Met::Landed(text) => {
                    self.telemetry.flight("remote_follower");
                    if let Some(landed) = self.restore(&text, Some(How::Joined), None).await {
                        return self.retell(&order, landed);
                    }
                    // A result that only its own caller can read: this ask goes its own way.
                    return self.buy(order, identity.scope.as_ref()).await;
                }
                Met::Lead(lease) => {
                    self.telemetry.flight("leader");
                    if lease.took_over {
                        self.telemetry.flight_takeover();
                    }
                    let lease = Arc::new(lease);
                    self.tasks.spawn(lease.heart());
                    order.departure.lease = Some(Arc::clone(&lease));
                    let _given_back = GivenBack { lease: Arc::clone(&lease), tasks: self.tasks.clone() };
                    let again = order.clone();
                    let landed = self.buy(order, identity.scope.as_ref()).await;
                    if again.departure.is_lost()
                        && matches!(&landed, Err(refusal) if *refusal == late(Doubt::NotStarted))
                    {
                        order = again;
                        continue;
                    }
                    self.tell(&lease, &landed).await;
                    return landed;
                }
            }
        }
    }

    /// Leaves the result for the other replicas.
    async fn tell(&self, lease: &Lease, landed: &Landed) {
        match kept::keep(landed) {
            Some(text) if !lease.finish(&text).await => {
                self.telemetry.flight_duplicate();
                let id = landed.as_ref().map_or("", |served| &served.id);
                tracing::warn!(id, "bought twice: the lease was lost while this purchase was under way");
            }
            Some(_) => {}
            None => lease.release().await,
        }
    }

    /// Buys; when another process took the claim in the meantime, its purchase is waited for.
    async fn buy(self: &Arc<Self>, order: Box<Order>, scope: Option<&Scope>) -> Landed {
        let Some(scope) = scope else { return self.generate(order).await };
        loop {
            let landed = self.generate(order.clone()).await;
            if !matches!(landed, Err(Refusal::IdempotencyKeyReused)) {
                return landed;
            }
            match self.recall(&order.snapshot, scope, order.deadline()).await {
                Err(theirs) => return told(theirs, &order.inbound),
                // Theirs came to nothing, so the claim is free again.
                Ok(_) if Instant::now() < order.deadline() => {}
                Ok(_) => return landed,
            }
        }
    }

    /// Gives an answer that was bought for another.
    fn retell(&self, order: &Order, landed: Landed) -> Landed {
        let receipt = fill(blank_receipt(&order.inbound, &order.snapshot), order);
        self.reported(told(landed, &order.inbound), receipt, order.inbound.arrived)
    }
}
