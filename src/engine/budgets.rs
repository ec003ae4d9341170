//! Budgets on the way of a request, and how they stand.
//!
//! Why it exists: what a request is told about money caps, what it is offered when one is reached, and what an operator
//! sees of them. What it refuses to know: whether an amount fits; the ledger decides that in its own transaction.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Engine, Order};
use crate::domain::budget::{Account, Budget, EACH, Exhausted, OnExhausted, Payer, Purse, Total, day_end, forecast};
use crate::domain::money::Money;
use crate::domain::plan::BudgetView;
use crate::domain::refusal::Refusal;
use crate::domain::request::{Ask, GenerationRequest};
use crate::domain::rule::{Source, Term};
use crate::policy::Snapshot;
use crate::state::LedgerFault;
use crate::telemetry::clock;

/// A budget at this moment.
#[derive(Clone, Debug)]
pub struct BudgetStanding {
    /// Its name; of one that each key has for itself, with the key: `each/ann`.
    pub name: Arc<str>,
    /// The budget.
    pub budget: Arc<Budget>,
    /// What was spent and is held.
    pub total: Total,
    /// What is left under the cap.
    pub left: Money,
    /// When it begins anew; `None` when never.
    pub resets: Option<Timestamp>,
    /// What will be spent when the day ends, at the mean rate of the period so far.
    pub forecast: Option<Money>,
}

impl Engine {
    /// Has the ledger count its accounts again when the policy has changed: what was bought while a budget was not there
    /// is found. Free of cost without budgets.
    pub(super) async fn in_force(&self, snapshot: &Snapshot) -> Result<(), Refusal> {
        if snapshot.budgets.is_empty() {
            return Ok(());
        }
        let mut counted = self.counted.lock().await;
        if counted.as_ref() == Some(&snapshot.digest) {
            return Ok(());
        }
        self.ledger.recount().await.map_err(|fault| {
            self.telemetry.ledger_error(super::hold::word(&fault));
            Refusal::LedgerUnavailable
        })?;
        *counted = Some(snapshot.digest.clone());
        Ok(())
    }

    /// The budgets of a request with what they have left; none when that cannot be read now.
    pub(super) async fn left(&self, purse: &Purse) -> Vec<BudgetView> {
        if purse.is_empty() {
            return Vec::new();
        }
        let accounts = purse.lines().map(|(account, _)| Arc::clone(account)).collect();
        let totals = self.ledger.totals(accounts).await.unwrap_or_default();
        let view = |((_, budget), total): (&(_, Arc<Budget>), Total)| BudgetView {
            budget: Arc::clone(budget),
            left: budget.cap.less(total.exposure()),
        };
        purse.lines().zip(totals).map(view).collect()
    }

    /// Every budget of the policy, in its order; one that each key has for itself once for each key.
    pub async fn budgets(&self) -> Result<Vec<BudgetStanding>, LedgerFault> {
        type Line = (Arc<str>, Arc<Budget>, Arc<Account>);
        let (snapshot, now) = (self.snapshot(), clock::now());
        let mut lines: Vec<Line> = Vec::new();
        for budget in &snapshot.budgets {
            if budget.scope.key.as_deref() == Some(EACH) {
                lines.extend(snapshot.keys.iter().map(|key| {
                    let name = format!("{}/{}", budget.name, key.name).into();
                    (name, Arc::clone(budget), Arc::new(Account::of(budget, &key.name, now)))
                }));
            } else {
                lines.push((budget.name.clone(), Arc::clone(budget), Arc::new(Account::of(budget, "", now))));
            }
        }
        let totals = self.ledger.totals(lines.iter().map(|(_, _, account)| Arc::clone(account)).collect()).await?;
        let standing = |((name, budget, account), total): (Line, Total)| {
            let left = budget.cap.less(total.exposure());
            let forecast = forecast(total, &account, now, day_end(now));
            BudgetStanding { name, budget, total, left, resets: account.until, forecast }
        };
        Ok(lines.into_iter().zip(totals).map(standing).collect())
    }
}

/// The budgets of the house that a request of this task falls under.
pub(super) fn purse(house: &Snapshot, tenant: &str, task: &str, ask: &Ask, now: Timestamp) -> Purse {
    if house.budgets.is_empty() {
        return Purse::default();
    }
    Purse::of(&house.budgets, &Payer { key: tenant, task, metadata: &ask.metadata }, now)
}

/// The same request within what a budget has left: at the floor of its tier instead of a higher one. `None` when the
/// budget refuses.
pub(super) fn downgraded(
    request: &GenerationRequest,
    snapshot: &Snapshot,
    full: &Exhausted,
) -> Option<GenerationRequest> {
    if full.budget.on_exhausted != OnExhausted::Downgrade || full.left == Money::ZERO {
        return None;
    }
    let mut request = request.clone();
    let terms = &mut request.terms;
    let tier = terms.tier.as_ref().or(snapshot.defaults.quality.tier.as_ref()).and_then(|name| snapshot.tier(name));
    let usual = &snapshot.defaults.quality;
    let (floor, place) = tier.map_or((usual.value, &usual.place), |tier| (tier.quality, &tier.place));
    if floor < terms.floor.value {
        terms.floor = Term { value: floor, source: Source::Policy(place.clone()) };
    }
    if terms.max_cost.as_ref().is_none_or(|cap| cap.value > full.left) {
        terms.max_cost = Some(Term { value: full.left, source: Source::Policy(full.budget.place.clone()) });
    }
    Some(request)
}

/// What an answer says of a downgrade.
pub(super) fn declared(full: &Exhausted) -> String {
    format!(
        "the budget `{}` had ${} left: bought the cheapest plan above the tier's floor",
        full.budget.name, full.left
    )
}

impl Order {
    /// The budgets that it falls under.
    pub(super) fn purse(&self) -> Purse {
        let task = self.snapshot.catalog.task(self.request.task).map(|task| &*task.name).unwrap_or_default();
        purse(&self.house, &self.tenant, task, &self.request.ask, self.inbound.received)
    }
}
