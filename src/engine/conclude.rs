//! The end of a purchase: books closed, answer assembled, receipt written.
//!
//! Why it exists: metrics, log line, ledger row and answer are made of the same attempts, here and once. What it refuses
//! to know: how the pictures came about.

use std::time::Duration;

use tokio::time::Instant;

use super::account::{self, Times, Weighed};
use super::draft::Made;
use super::hold::{End, Reservation};
use super::served::{Expected, How, Inbound, Served, Timings};
use super::{Engine, Landed, Order, replay};
use crate::domain::ledger::{Attempt, Sums};
use crate::domain::plan::explain::{Judged, StepLine, steps};
use crate::domain::refusal::Refusal;
use crate::policy::Snapshot;
use crate::telemetry::{Outcome, Receipt, trace};

impl Engine {
    /// Closes the books and writes the receipt.
    pub(super) async fn conclude(
        &self,
        order: Box<Order>,
        hold: Reservation,
        made: Result<Made, Refusal>,
        times: Times,
        weighed: &Weighed,
    ) -> Landed {
        let (id, provider_time) = (hold.id(), times.provider);
        let ran = made.as_ref().ok().map(|made| made.candidate);
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
        // A picture may be approved later, and is then finished with its own seed.
        let kept = answer.is_ok() || order.claim.is_some();
        let end = End { answer: kept.then(|| replay::answer(&answer)).flatten(), ..end };
        let (attempts, ledger_time) = hold.close(end).await;
        if let Ok(served) = &answer {
            self.shown(&id, &order, &served.model);
        }
        self.tried(&order, answer.as_ref());
        if let Ok(served) = &mut answer {
            let total = order.inbound.arrived.elapsed();
            served.timings = Timings { total, provider: provider_time, gateway: total.saturating_sub(provider_time) };
        }
        let mut receipt = fill(blank_receipt(&order.inbound, &order.snapshot), &order);
        let sums = Sums::of(&attempts);
        (receipt.cost, receipt.ambiguous) = (sums.settled, sums.ambiguous);
        (receipt.attempts, receipt.provider, receipt.generation) = (attempts, provider_time, Some(id));
        receipt.stages =
            vec![("policy", times.planning), ("ledger", ledger_time), ("quota", times.quota), ("encode", times.encode)];
        receipt.reasons.clone_from(&weighed.reasons);
        if let Some(ran) = ran {
            (receipt.shape, receipt.avoided) = (Some(account::shape(&ran)), weighed.saved(&ran));
        }
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
        trace::note("tollgate.outcome", || receipt.outcome.name());
        trace::note("tollgate.model", || &*receipt.model);
        trace::note("tollgate.cost_usd", || trace::Note::Text(receipt.cost.to_string()));
        self.telemetry.receipt(&receipt);
        answer
    }
}

fn assemble(order: &Order, hold: &Reservation, made: Made, provider_time: Duration) -> Served {
    let Made { candidate, images, model, mut adjustments, warnings: said, judged } = made;
    let catalog = &order.snapshot.catalog;
    let model = catalog.model(model);
    // The maker of an approved draft may have left the policy.
    let gone = order.given.as_ref();
    let ask = &order.request.ask;
    if ask.negative_prompt.is_some() && model.is_some_and(|model| !model.negative_prompt) {
        adjustments.push(format!("negative prompt dropped: {} takes none", model.map_or("", |model| &model.id)));
    }
    let mut warnings = order.inbound.warnings.clone();
    warnings.extend(said);
    if images.len() < usize::from(ask.n) {
        warnings.push(format!("{} of {} images: the others failed, see the attempts", images.len(), ask.n));
    }
    let attempts: Vec<Attempt> = hold.attempts().to_vec();
    let sums = Sums::of(&attempts);
    Served {
        id: hold.id(),
        created: order.inbound.received,
        images,
        model: model
            .map(|model| model.id.clone())
            .or_else(|| gone.map(|given| given.maker.clone()))
            .unwrap_or_default(),
        task: catalog.task(order.request.task).map(|task| task.name.clone()).unwrap_or_default(),
        steps: with_verdicts(steps(&candidate, catalog), judged),
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

/// The steps with how each check went: the checks of a plan stand one within the other's branch.
fn with_verdicts(mut steps: Vec<StepLine>, judged: Vec<Judged>) -> Vec<StepLine> {
    let mut judged = judged.into_iter();
    let mut here = Some(&mut steps);
    while let Some(check) = here.and_then(|steps| steps.iter_mut().find(|step| step.op == "verify")) {
        check.judged = judged.next();
        here = Some(&mut check.otherwise);
    }
    steps
}

/// The answer of a flight, as its followers get it: they pay nothing.
pub(super) fn joined(served: Served) -> Served {
    Served { how: How::Joined, cost: crate::domain::money::Money::ZERO, ..served }
}

pub(super) fn blank_receipt(inbound: &Inbound, snapshot: &Snapshot) -> Receipt {
    let blank = Receipt::blank(&inbound.request_id, &snapshot.digest);
    Receipt { prompt: inbound.ask.prompt.as_str().into(), ..blank }
}

pub(super) fn fill(mut receipt: Receipt, order: &Order) -> Receipt {
    let catalog = &order.snapshot.catalog;
    receipt.key = order.tenant.clone();
    receipt.task = catalog.task(order.request.task).map(|task| task.name.clone()).unwrap_or_default();
    receipt.rule.clone_from(&order.request.terms.rule);
    receipt
}
