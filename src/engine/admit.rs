//! Who asks, what for, and the reservation of the plan that answers.
//!
//! Why it exists: the checks between the door and the money. What it refuses to know: wires and prices.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::hold::Reservation;
use super::{Engine, Inbound, Order};
use crate::domain::fingerprint::{sha256, sha256_hex};
use crate::domain::ledger::Opening;
use crate::domain::plan::explain::steps;
use crate::domain::plan::{Candidate, Planned};
use crate::domain::refusal::Refusal;
use crate::domain::request::GenerationRequest;
use crate::policy::{Snapshot, Unresolved};

/// The tenant of callers when no keys are configured.
const NO_KEY: &str = "-";

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
    /// The reservation of a plan; it is written with its first calls, before they leave.
    pub(super) fn admit(&self, order: &Order, planned: &Planned) -> Reservation {
        let (request, snapshot, inbound) = (&order.request, &order.snapshot, &order.inbound);
        let catalog = &snapshot.catalog;
        let best = planned.best();
        let prompt = request.ask.prompt.as_str();
        let words = |candidate: &Candidate| {
            let steps = steps(candidate, catalog);
            let names: Vec<_> = steps.iter().map(|step| step.model.as_deref().unwrap_or(step.op)).collect();
            names.join(" → ")
        };
        let opening = Opening {
            id: format!("gen_{}", uuid::Uuid::now_v7().simple()).into(),
            created: inbound.received,
            key: order.tenant.clone(),
            task: catalog.task(request.task).map(|task| task.name.clone()).unwrap_or_default(),
            model: best.and_then(|best| catalog.model(best.model)).map(|m| m.id.clone()).unwrap_or_default(),
            plan: best.map(words).unwrap_or_default(),
            rule: request.terms.rule.clone(),
            policy: snapshot.digest.clone(),
            prompt_sha256: sha256_hex(prompt.as_bytes()),
            prompt: self.keep_prompts.then(|| prompt.to_owned()),
            metadata: request.ask.metadata.clone(),
            expected_cost: best.map(|best| best.quote.expected).unwrap_or_default(),
            expected_accept: best.map_or(0.0, |best| best.accept.mean()),
            reserved: best.map(|best| best.quote.worst).unwrap_or_default(),
            claim: order.claim.clone(),
            attempts: Vec::new(),
        };
        Reservation::new(Arc::clone(&self.ledger), Arc::clone(&self.telemetry), opening, inbound.arrived, order.departure.clone())
    }
}
