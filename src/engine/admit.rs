//! Who asks, what for, and the reservation of the plan that answers.
//!
//! Why it exists: the checks between the door and the money. What it refuses to know: wires and prices.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::hold::{Course, Reservation};
use super::{Engine, Inbound, Order, new_id};
use crate::domain::catalog::Catalog;
use crate::domain::fingerprint::{sha256, sha256_hex};
use crate::domain::ledger::Opening;
use crate::domain::money::Money;
use crate::domain::plan::Candidate;
use crate::domain::plan::explain::{steps, words};
use crate::domain::refusal::Refusal;
use crate::domain::request::GenerationRequest;
use crate::policy::{Snapshot, Unresolved};

/// The tenant of callers when no keys are configured.
pub(super) const NO_KEY: &str = "-";

/// The name of the caller's key. Every configured key is compared, each in constant time.
pub(super) fn authenticate(snapshot: &Snapshot, key: Option<&str>) -> Result<Arc<str>, Refusal> {
    if snapshot.keys.is_empty() {
        return Ok(NO_KEY.into());
    }
    let key = key.ok_or_else(|| Refusal::Unauthenticated("send the key as `Authorization: Bearer KEY`".to_owned()))?;
    let hash = sha256(key.as_bytes());
    let mut found = None;
    for row in &snapshot.keys {
        if bool::from(row.sha256.ct_eq(&hash)) {
            found = Some(row.name.clone());
        }
    }
    found.ok_or_else(|| Refusal::Unauthenticated("the key is not known".to_owned()))
}

pub(super) fn normalise(snapshot: &Snapshot, tenant: &str, inbound: &Inbound) -> Result<GenerationRequest, Refusal> {
    let key = if tenant == NO_KEY { "" } else { tenant };
    let resolved = snapshot.resolve(inbound.ask.clone(), key);
    resolved.map_err(|Unresolved { pointer, detail }| Refusal::InvalidRequest { pointer, detail })
}

impl Engine {
    /// The reservation of a request, empty so far; it is written with its first calls, before they leave.
    pub(super) fn admit(&self, order: &Order, decision: Option<String>) -> Reservation {
        let (request, snapshot, inbound) = (&order.request, &order.snapshot, &order.inbound);
        let task = snapshot.catalog.task(request.task).map(|task| task.name.clone()).unwrap_or_default();
        let prompt = request.ask.prompt.as_str();
        let given = order.given.as_ref();
        let purse = order.purse();
        let opening = Opening {
            id: new_id("gen_"),
            created: inbound.received,
            key: order.tenant.clone(),
            task,
            model: Arc::default(),
            plan: String::new(),
            rule: request.terms.rule.clone(),
            policy: snapshot.digest.clone(),
            prompt_sha256: given.map_or_else(|| sha256_hex(prompt.as_bytes()), |given| given.prompt_sha256.clone()),
            prompt: (self.keep_prompts && given.is_none_or(|given| given.prompt_is_kept)).then(|| prompt.to_owned()),
            metadata: request.ask.metadata.clone(),
            expected_cost: Money::ZERO,
            expected_accept: 0.0,
            reserved: Money::ZERO,
            claim: order.claim.clone(),
            attempts: Vec::new(),
            earmarks: Vec::new(),
            decision,
        };
        Reservation::new(
            Arc::clone(&self.ledger),
            Arc::clone(&self.telemetry),
            opening,
            purse,
            inbound.arrived,
            order.departure.clone(),
        )
    }
}

/// A plan as the books and the budgets see it.
pub(super) fn course(candidate: &Candidate, catalog: &Catalog) -> Course {
    Course {
        model: catalog.model(candidate.model).map(|model| model.id.clone()).unwrap_or_default(),
        words: words(&steps(candidate, catalog)),
        expected_cost: candidate.quote.expected,
        expected_accept: candidate.accept.mean(),
        ahead: candidate.ahead(catalog),
    }
}
