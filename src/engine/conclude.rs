//! The end of a purchase: books closed, answer assembled, receipt written.
//!
//! Why it exists: metrics, log line, ledger row and answer are made of the same attempts, here and once. What it refuses
//! to know: how the pictures came about.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::execute::Made;
use super::hold::{End, Reservation};
use super::served::{Expected, How, Inbound, Served, Timings};
use super::{Engine, Landed, Order, replay};
use crate::domain::ledger::{Attempt, Sums};
use crate::domain::money::Money;
use crate::domain::plan::explain::steps;
use crate::domain::refusal::Refusal;
use crate::policy::Snapshot;
use crate::telemetry::{Outcome, Receipt, clock};

impl Engine {
    /// Closes the books and writes the receipt.
    pub(super) async fn conclude(
        &self,
        order: Order,
        hold: Reservation,
        made: Result<Made, Refusal>,
        provider_time: Duration,
        planning: Duration,
    ) -> Landed {
        let id = hold.id();
        let mut answer = made.map(|made| assemble(&order, &hold, made, provider_time));
        let end = match &answer {
            Err(refusal) => End { outcome: refusal.code(), ..End::default() },
            Ok(served) => End {
                outcome: "succeeded",
                model: served.model.clone(),
                images: served.images.iter().map(|i| format!("{}.{}", i.sha256, i.format.name())).collect(),
                ..End::default()
            },
        };
        let end = End { answer: order.claim.as_ref().and_then(|_| replay::answer(&answer)), ..end };
        let (attempts, ledger_time) = hold.close(end).await;
        if let Ok(served) = &answer {
            self.learner.shown(Arc::clone(&id), &order.snapshot, &order.request, &served.model, clock::now());
        }
        if let Ok(served) = &mut answer {
            let total = order.inbound.arrived.elapsed();
            served.timings = Timings { total, provider: provider_time, gateway: total.saturating_sub(provider_time) };
        }
        let mut receipt = fill(blank_receipt(&order.inbound, &order.snapshot), &order);
        let sums = Sums::of(&attempts);
        (receipt.cost, receipt.ambiguous) = (sums.settled, sums.ambiguous);
        (receipt.attempts, receipt.provider, receipt.generation) = (attempts, provider_time, Some(id));
        receipt.stages = vec![("policy", planning), ("ledger", ledger_time)];
        self.reported(answer, receipt, order.inbound.arrived)
    }

    /// Every request passes here exactly once.
    pub(super) fn reported(&self, answer: Landed, mut receipt: Receipt, arrived: Instant) -> Landed {
        receipt.total = arrived.elapsed();
        match &answer {
            Err(refusal) => receipt.outcome = Outcome::Refused(refusal.code()),
            Ok(served) => {
                receipt.outcome = match served.how {
                    How::Fresh => Outcome::Fresh,
                    How::Joined => Outcome::Joined,
                    How::Replayed => Outcome::Replayed,
                };
                receipt.model = served.model.clone();
                receipt.images = served.images.iter().map(|i| (i.format.name(), i.bytes.len() as u64)).collect();
                if served.how != How::Fresh {
                    receipt.avoided = replay::worth(&served.attempts);
                }
            }
        }
        self.telemetry.receipt(&receipt);
        answer
    }
}

fn assemble(order: &Order, hold: &Reservation, made: Made, provider_time: Duration) -> Served {
    let Made { candidate, images, mut adjustments } = made;
    let catalog = &order.snapshot.catalog;
    let model = catalog.model(candidate.model);
    let ask = &order.request.ask;
    if ask.negative_prompt.is_some() && model.is_some_and(|model| !model.negative_prompt) {
        adjustments.push(format!("negative prompt dropped: {} takes none", model.map_or("", |model| &model.id)));
    }
    let mut warnings = order.inbound.warnings.clone();
    if images.len() < usize::from(ask.n) {
        warnings.push(format!("{} of {} images: the others failed, see the attempts", images.len(), ask.n));
    }
    let attempts: Vec<Attempt> = hold.attempts().to_vec();
    let sums = Sums::of(&attempts);
    Served {
        id: hold.id(),
        created: order.inbound.received,
        images,
        model: model.map(|model| model.id.clone()).unwrap_or_default(),
        task: catalog.task(order.request.task).map(|task| task.name.clone()).unwrap_or_default(),
        steps: steps(&candidate, catalog),
        rule: order.request.terms.rule.clone(),
        expected: Expected {
            accept: candidate.accept.mean(),
            cost: candidate.quote.expected,
            latency: candidate.latency.p50,
        },
        cost: sums.settled,
        state: sums.state(),
        attempts,
        how: How::Fresh,
        adjustments,
        warnings,
        policy: order.snapshot.digest.clone(),
        timings: Timings { provider: provider_time, ..Timings::default() },
    }
}

/// The answer of a flight, as its followers get it: they pay nothing.
pub(super) fn joined(served: Served) -> Served {
    Served { how: How::Joined, cost: crate::domain::money::Money::ZERO, ..served }
}

pub(super) fn blank_receipt(inbound: &Inbound, snapshot: &Snapshot) -> Receipt {
    Receipt {
        request_id: inbound.request_id.clone(),
        generation: None,
        key: "-".into(),
        task: Arc::default(),
        model: Arc::default(),
        rule: None,
        policy: snapshot.digest.clone(),
        outcome: Outcome::Fresh,
        cost: Money::ZERO,
        ambiguous: Money::ZERO,
        avoided: Money::ZERO,
        attempts: Vec::new(),
        images: Vec::new(),
        total: Duration::ZERO,
        provider: Duration::ZERO,
        stages: Vec::new(),
        prompt: inbound.ask.prompt.as_str().into(),
    }
}

pub(super) fn fill(mut receipt: Receipt, order: &Order) -> Receipt {
    let catalog = &order.snapshot.catalog;
    receipt.key = order.tenant.clone();
    receipt.task = catalog.task(order.request.task).map(|task| task.name.clone()).unwrap_or_default();
    receipt.rule.clone_from(&order.request.terms.rule);
    receipt
}
