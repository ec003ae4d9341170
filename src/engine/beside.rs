//! A request under two policies: the one that serves it, and the other one beside it.
//!
//! Why it exists: a policy on trial is told by its decisions on real requests, and judged by what the policy in force
//! expected of the same ones. The second decision is pure, sees the world of the first, and buys nothing; in the shadow
//! it is made while the answer is already on its way. What it refuses to know: who is among the few, and when a trial
//! stops (`trial.rs`). To add an outcome that a policy answers for: an arm of [`fails`].

use std::sync::Arc;

use super::admit::NO_KEY;
use super::learn::Learner;
use super::trial::{Trial, TrialStanding, Usual};
use super::{Engine, Order, Served, authenticate};
use crate::domain::canary::Ended;
use crate::domain::catalog::Catalog;
use crate::domain::money::Money;
use crate::domain::plan::explain::{steps, words};
use crate::domain::plan::{Candidate, ModelView, Planned, View, plan};
use crate::domain::refusal::Refusal;
use crate::domain::request::Ask;
use crate::policy::watch::Cause;
use crate::policy::{ReloadReport, Snapshot, Snapshots};
use crate::state::trials::{self, Stopped};
use crate::state::{Ledger, LedgerFault};
use crate::telemetry::clock;

impl Order {
    /// Whether another policy than the one in force plans it.
    pub(super) fn on_trial(&self) -> bool {
        !Arc::ptr_eq(&self.snapshot, &self.house)
    }
}

impl Engine {
    /// The same, with a policy on trial.
    #[must_use]
    pub fn trying(mut self, trial: Trial) -> Self {
        self.trial = Some(Arc::new(trial));
        self
    }

    /// How the trial stands; `None` when nothing is tried.
    pub fn trial(&self) -> Option<TrialStanding> {
        Some(self.trial.as_ref()?.standing(&self.snapshot()))
    }

    /// The policy on trial, hot.
    pub fn candidates(&self) -> Option<Arc<Snapshots>> {
        Some(Arc::clone(self.trial.as_ref()?.snapshots()))
    }

    /// Reads the files of the policy on trial again; `None` when nothing is tried.
    pub async fn reload_trial(&self) -> Option<Arc<ReloadReport>> {
        Some(self.trial.as_ref()?.snapshots().reload(Cause::Asked).await)
    }

    /// The policy that plans for the caller with this key.
    pub fn snapshot_for(&self, key: Option<&str>) -> Arc<Snapshot> {
        let house = self.snapshot();
        match authenticate(&house, key) {
            Ok(tenant) => self.planner_of(&house, &tenant),
            Err(_) => house,
        }
    }

    /// The policy that plans for this caller: the one in force, but for a few.
    pub(super) fn planner_of(&self, house: &Arc<Snapshot>, tenant: &str) -> Arc<Snapshot> {
        let trial = self.trial.as_ref().and_then(|trial| trial.takes(house, tenant));
        trial.unwrap_or_else(|| Arc::clone(house))
    }

    /// Who learns by the numbers of this policy.
    pub(super) fn learner_of(&self, snapshot: &Snapshot) -> &Learner {
        let tried = |trial: &&Arc<Trial>| {
            trial.snapshots().current().digest == snapshot.digest && self.snapshot().digest != snapshot.digest
        };
        self.trial.as_ref().filter(tried).map_or(&self.learner, |trial| &trial.learner)
    }

    /// An image was shown: every policy waits for its verdict.
    pub(super) fn shown(&self, id: &Arc<str>, order: &Order, model: &str) {
        self.learner.shown(Arc::clone(id), &self.snapshot(), order.kind(), model, clock::now());
        if let Some(trial) = &self.trial
            && let Some(candidate) = trial.candidate(&order.house)
        {
            trial.learner.shown(Arc::clone(id), &candidate, order.kind(), model, clock::now());
        }
    }

    /// Has the other policy decide too. What the policy in force expects of the request is known at once; the decision of
    /// the one on trial is made beside the answer, and only counted.
    pub(super) fn decide_beside(&self, order: &Order, planned: &Planned, view: &View) -> Option<Usual> {
        let trial = self.trial.as_ref()?;
        // A picture that is there already leaves nothing to choose.
        if order.given.is_some() || !order.drafts.is_empty() {
            return None;
        }
        let catalog = &order.snapshot.catalog;
        if order.on_trial() {
            let theirs = beside(&order.request.ask, &order.tenant, (catalog, view), &order.house, &self.learner)?;
            let (agreement, delta) = compare((&theirs, &order.house.catalog), (planned, catalog));
            self.telemetry.shadow(agreement, delta);
            return usual(&order.snapshot, &theirs, order.request.ask.n);
        }
        let candidate = trial.candidate(&order.house)?;
        let serving = trial.serving(&order.house);
        self.decide_in_the_shadow(trial, &candidate, order, planned, view);
        usual(serving?.as_ref(), planned, order.request.ask.n)
    }

    fn decide_in_the_shadow(
        &self,
        trial: &Arc<Trial>,
        candidate: &Arc<Snapshot>,
        order: &Order,
        planned: &Planned,
        view: &View,
    ) {
        let (trial, candidate, telemetry) = (Arc::clone(trial), Arc::clone(candidate), Arc::clone(&self.telemetry));
        let (house, tenant, ask) = (Arc::clone(&order.house), Arc::clone(&order.tenant), order.request.ask.clone());
        let (planned, view) = (planned.clone(), view.clone());
        self.tasks.spawn(async move {
            let theirs = beside(&ask, &tenant, (&house.catalog, &view), &candidate, &trial.learner);
            let theirs = theirs.unwrap_or_default();
            let (agreement, delta) = compare((&planned, &house.catalog), (&theirs, &candidate.catalog));
            telemetry.shadow(agreement, delta);
        });
    }

    /// Tells the trial how a request ended.
    pub(super) fn tried(&self, order: &Order, landed: Result<&Served, &Refusal>) {
        let (Some(trial), Some(usual)) = (&self.trial, &order.usual) else { return };
        let each = match landed {
            Err(refusal) if !fails(refusal) => return,
            Err(_) => None,
            Ok(served) => i64::try_from(served.images.len().max(1))
                .ok()
                .map(|images| Money::from_micros(served.cost.micros() / images)),
        };
        let ended = Ended { failed: landed.is_err(), each, usual: usual.each };
        if let Some(stopped) = trial.hear(&order.house, usual, order.on_trial(), ended) {
            self.keep_stop(stopped);
        }
    }

    /// Keeps a stop where the other gateways find it.
    pub(super) fn keep_stop(&self, stopped: Stopped) {
        let ledger: Arc<dyn Ledger> = Arc::clone(&self.ledger);
        self.tasks.spawn(async move {
            if let Err(fault) = trials::stop(&*ledger, &stopped).await {
                tracing::error!(%fault, "the stop of the policy on trial holds here, and could not be kept");
            }
        });
    }

    /// Looks whether the policy on trial was stopped, before a restart or at another gateway.
    pub(super) async fn recall_stop(&self) -> Result<(), LedgerFault> {
        let house = self.snapshot();
        let Some((trial, candidate)) = self.trial.as_ref().and_then(|trial| Some((trial, trial.serving(&house)?)))
        else {
            return Ok(());
        };
        if let Some(stopped) = trials::stopped(&*self.ledger, &candidate.digest).await? {
            trial.stop(&house, stopped);
        }
        Ok(())
    }
}

/// What `other` would do with this ask, in the world that the serving policy saw; `None` when the ask names what it does
/// not have.
fn beside(
    ask: &Ask,
    tenant: &str,
    (catalog, seen): (&Catalog, &View),
    other: &Snapshot,
    learner: &Learner,
) -> Option<Planned> {
    let key = if tenant == NO_KEY { "" } else { tenant };
    let request = other.resolve(ask.clone(), key).ok()?;
    let mut view = other.guess(request.task);
    for (model, slot) in other.catalog.models.iter().zip(&mut view.models) {
        let same = catalog.find_model(&model.id).and_then(|(ix, _)| seen.models.get(usize::from(ix.0)));
        if let Some(same) = same {
            *slot = ModelView { accept: slot.accept, ..*same };
        }
    }
    learner.inform(&mut view, other, &request, None);
    Some(plan(&request, &other.catalog, &view, clock::today()))
}

/// What the policy in force expects of an image of this plan; `None` when it has none, and the request tells nothing.
fn usual(candidate: &Snapshot, in_force: &Planned, images: u8) -> Option<Usual> {
    let best = in_force.best()?;
    let each = Money::from_micros(best.quote.expected.micros() / i64::from(images.max(1)));
    Some(Usual { candidate: candidate.digest.clone(), each, accept: best.accept.mean() })
}

/// Whether the two policies do the same, and what the one on trial expects to pay more.
fn compare(in_force: (&Planned, &Catalog), candidate: (&Planned, &Catalog)) -> (&'static str, Money) {
    let (mine, theirs) = match (in_force.0.best(), candidate.0.best()) {
        (Some(mine), Some(theirs)) => (mine, theirs),
        (None, None) => return ("same", Money::ZERO),
        (Some(_), None) => return ("refused", Money::ZERO),
        (None, Some(_)) => return ("served", Money::ZERO),
    };
    let name = |one: &Candidate, catalog: &Catalog| catalog.model(one.model).map(|model| model.id.clone());
    let told = |one: &Candidate, catalog: &Catalog| words(&steps(one, catalog));
    let agreement = if told(mine, in_force.1) == told(theirs, candidate.1) {
        "same"
    } else if name(mine, in_force.1) == name(theirs, candidate.1) {
        "other_plan"
    } else {
        "other_model"
    };
    (agreement, theirs.quote.expected - mine.quote.expected)
}

/// Whether a policy answers for this refusal: plans, providers and time are its choice; callers, their money and what
/// they may not see are not.
const fn fails(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::DeadlineExceeded { .. }
        | Refusal::NoPlan(_)
        | Refusal::ProvidersFailed(_)
        | Refusal::QuotaExhausted { .. } => true,
        Refusal::BudgetExhausted(_)
        | Refusal::ContentRefused { .. }
        | Refusal::Forbidden(_)
        | Refusal::IdempotencyKeyReused
        | Refusal::Internal
        | Refusal::InvalidRequest { .. }
        | Refusal::LedgerUnavailable
        | Refusal::NotFound(_)
        | Refusal::Overloaded
        | Refusal::RateLimited { .. }
        | Refusal::SlowRequest
        | Refusal::TooLarge(_)
        | Refusal::Unauthenticated(_)
        | Refusal::UnsupportedMediaType(_) => false,
    }
}
