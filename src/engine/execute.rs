//! Runs a plan: the visible loop over its steps.
//!
//! Why it exists: buying is a loop with money in it, and a reader must see the loop. Each turn: breaker and quota give
//! leave, the reservation is written, the calls go out together, each reply is billed, and [`decide`] says what next.
//! What it refuses to know: wires (dialects) and sockets (transport).

use std::time::Duration;

use futures_util::future::join_all;
use jiff::civil::Date;
use tokio::time::{Instant, sleep_until};

use super::Engine;
use super::account::Times;
use super::admit::course;
use super::buy::{Bought, Unit};
use super::draft::{Draft, Made, Make, Way};
use super::finish;
use super::hold::Reservation;
use super::world::Bound;
use crate::domain::catalog::{Dialect, Model, ModelIx, Provider};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::image::{Format, Size};
use crate::domain::plan::explain::Judged;
use crate::domain::plan::{Candidate, Placed, Planned};
use crate::domain::refusal::{Doubt, Refusal};
use crate::domain::request::{Fit, GenerationRequest};
use crate::domain::retry::{Decision, Situation, decide, graver, signal};
use crate::policy::Snapshot;
use crate::telemetry::{clock, trace};

/// One request's way through its plans.
pub(super) struct Run<'a> {
    pub(super) engine: &'a Engine,
    pub(super) snapshot: &'a Snapshot,
    pub(super) bound: &'a Bound,
    pub(super) request: &'a GenerationRequest,
    pub(super) hold: &'a mut Reservation,
    pub(super) today: Date,
    pub(super) deadline: Instant,
    /// Where the time goes.
    pub(super) times: Times,
    /// Every picture of a generator so far, which a later plan may use.
    pub(super) drafts: Vec<Draft>,
    /// Whether each picture is kept as soon as it is bought.
    pub(super) durable: bool,
    /// What a provider's moderation said.
    pub(super) moderated: Option<String>,
    /// When the first plan began.
    pub(super) begun: Instant,
    /// How long the present plan is worth waiting for, from then.
    pub(super) worth: Option<Duration>,
    /// The shortest wait of a limit that denied.
    pub(super) denied: Option<Duration>,
    /// How the checks of the plan that ran went, one for each of its stages that was checked.
    pub(super) judged: Vec<Judged>,
    /// Why a plan's next stage was not bought.
    pub(super) cut: Option<&'static str>,
}

/// Why a plan ended without its pictures.
#[derive(Debug)]
pub(super) enum Ended {
    /// Another plan may do it.
    NextPlan,
    /// No plan may.
    Stop,
    /// Nothing can be bought now.
    Refused(Refusal),
}

impl Run<'_> {
    /// Tries the feasible plans in order until one delivers, the cap is reached or the time is up.
    pub(super) async fn through(&mut self, planned: &Planned) -> Result<Made, Refusal> {
        let mut way = Way::default();
        let mut last = None;
        let plans: Vec<&Candidate> = planned.feasible().collect();
        for (at, candidate) in plans.iter().enumerate() {
            if !self.affords(candidate) || self.has_failed(candidate) || Instant::now() >= self.deadline {
                continue;
            }
            let has_next = plans.iter().skip(at + 1).any(|next| self.affords(next));
            self.worth = planned.worth_waiting(at, self.request.terms.wait_value, self.request.ask.n);
            self.hold.set_out(course(candidate, &self.snapshot.catalog));
            let ended = self.candidate(candidate, has_next, &mut way).await;
            last = Some(**candidate);
            match ended {
                Err(Ended::NextPlan) => {}
                Err(Ended::Refused(refusal)) if way.images.is_empty() => return Err(refusal),
                Ok(()) | Err(Ended::Refused(_) | Ended::Stop) => break,
            }
        }
        match last {
            Some(candidate) => self.conclude(&candidate, way).await,
            None => Err(self.refusal()),
        }
    }

    /// Whether this plan still fits the cap beside what was spent or is in doubt.
    fn affords(&self, candidate: &Candidate) -> bool {
        let cap = self.request.terms.max_cost.as_ref();
        let capped = cap.is_none_or(|cap| self.hold.exposure() + candidate.quote.worst <= cap.value);
        let blocked = self.hold.exhausted().is_some();
        capped && (!blocked || self.hold.may_afford(&candidate.ahead(&self.snapshot.catalog)))
    }

    /// One plan for every picture that is still missing.
    async fn candidate(&mut self, candidate: &Candidate, has_next: bool, way: &mut Way) -> Result<(), Ended> {
        let missing = self.missing(way);
        let first = Make::first(candidate);
        self.judged.clear();
        let generated = self.generate(first, &missing, has_next).await;
        let (drafts, checked) = match &candidate.check {
            None => (self.matching(first, &missing), Ok(())),
            Some(check) => Box::pin(self.checked(candidate, check, &missing, has_next)).await,
        };
        let enlarged = match candidate.upscale {
            None => Ok(drafts),
            Some((upscaler, size)) => self.upscale(upscaler, size, drafts, has_next).await,
        };
        let begun = Instant::now();
        let finished = match &enlarged {
            Ok(drafts) => trace::room("finish", self.finish(candidate, drafts, way)).await,
            Err(_) => Ok(()),
        };
        self.times.encode += begun.elapsed();
        finished?;
        generated.and(checked).and(enlarged.map(drop))
    }

    /// Buys the pictures of a stage that no earlier plan has left.
    pub(super) async fn generate(&mut self, make: Make, missing: &[u8], has_next: bool) -> Result<(), Ended> {
        let have = self.matching(make, missing);
        let lacks =
            |index: u8| usize::from(make.copies).saturating_sub(have.iter().filter(|d| d.index == index).count());
        let mut wanted: Vec<u8> = missing.iter().flat_map(|&index| vec![index; lacks(index)]).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let Some(model) = self.snapshot.catalog.model(make.model) else { return Err(Ended::NextPlan) };
        let alone = self.request.ask.seed.is_some() || make.copies > 1;
        let per_call = if alone { 1 } else { usize::from(model.max_images.max(1)) };
        let mut units = Vec::new();
        while !wanted.is_empty() {
            let rest = wanted.split_off(per_call.min(wanted.len()));
            units.push(self.generate_unit(model, make.native, std::mem::replace(&mut wanted, rest)));
        }
        let (bought, end) = self.buy(make.model, units, has_next).await;
        for Bought { index, artifact } in bought {
            let number = self.drafts.len();
            self.drafts.push(Draft { number, ..Draft::new(index, make.model, artifact) });
        }
        end
    }

    fn generate_unit(&self, model: &Model, native: Placed, indices: Vec<u8>) -> Unit {
        let single = indices.first().copied().filter(|_| indices.len() == 1);
        let seed = single.filter(|_| model.seed).map(|index| self.engine.seed(self.request.ask.seed, index, model));
        Unit { indices, input: None, size: native.size, listed: native.listed, seed }
    }

    /// Pictures of this stage's generator and size.
    pub(super) fn matching(&self, make: Make, missing: &[u8]) -> Vec<Draft> {
        let fits = |draft: &&Draft| {
            let same = draft.model == make.model && draft.artifact.asked == make.native.size;
            same && missing.contains(&draft.index) && !(make.again && draft.failed())
        };
        self.drafts.iter().filter(fits).cloned().collect()
    }

    /// Enlarges every draft: by calls, or in this process when the upscaler is local.
    async fn upscale(
        &mut self,
        upscaler: ModelIx,
        size: Size,
        drafts: Vec<Draft>,
        has_next: bool,
    ) -> Result<Vec<Draft>, Ended> {
        let catalog = &self.snapshot.catalog;
        let Some(model) = catalog.model(upscaler) else { return Err(Ended::NextPlan) };
        let local = catalog.provider(model.provider).is_some_and(|provider| provider.dialect == Dialect::Local);
        if local {
            return join_all(drafts.into_iter().map(|draft| finish::enlarge(draft, size)))
                .await
                .into_iter()
                .collect::<Result<_, _>>()
                .map_err(|_| Ended::NextPlan);
        }
        let (mut enlarged, drafts) = self.enlarged_before(upscaler, size, drafts);
        let units = drafts.iter().map(|draft| {
            let seed = draft.artifact.seed.filter(|_| model.seed);
            Unit { indices: vec![draft.index], input: Some(draft.artifact.clone()), size, listed: None, seed }
        });
        let (bought, end) = self.buy(upscaler, units.collect(), has_next).await;
        end?;
        // The seed of the answer is the draft's: the upscaler's own names nothing that a caller could ask for.
        enlarged.extend(bought.into_iter().filter_map(|Bought { index, artifact }| {
            let draft = drafts.iter().find(|draft| draft.index == index)?.clone();
            Some(draft.enlarged(artifact))
        }));
        Ok(enlarged)
    }

    /// Fits, encodes, hashes and stores every picture.
    pub(super) async fn finish(&self, candidate: &Candidate, drafts: &[Draft], way: &mut Way) -> Result<(), Ended> {
        let ask = &self.request.ask;
        let to = (ask.fit == Fit::Exact).then_some(ask.size);
        let stored = join_all(drafts.iter().map(|draft| {
            let images = &*self.engine.images;
            async move { (draft, finish::store(images, &draft.artifact, to, ask.output_format).await) }
        }));
        let mut finished = 0;
        for (draft, outcome) in stored.await {
            match outcome {
                Ok((mut image, notes)) => {
                    if let Some(base) = ask.seed {
                        image.seed = Some(u64::from(base) + u64::from(draft.index));
                    }
                    way.adjustments.extend(notes);
                    way.images.push((draft.index, draft.model, image));
                    finished += 1;
                }
                Err(detail) => {
                    tracing::warn!(detail, plan = ?candidate.model, "a bought picture could not be finished");
                }
            }
        }
        if finished < drafts.len() { Err(Ended::NextPlan) } else { Ok(()) }
    }

    /// Buys these units of one model, trying again as far as the table of faults allows.
    async fn buy(&mut self, ix: ModelIx, mut units: Vec<Unit>, has_next: bool) -> (Vec<Bought>, Result<(), Ended>) {
        let mut bought = Vec::new();
        let catalog = &self.snapshot.catalog;
        let Some((model, provider)) = catalog.model(ix).and_then(|m| Some((m, catalog.provider(m.provider)?))) else {
            return (bought, Err(Ended::NextPlan));
        };
        let mut tries = 0;
        while !units.is_empty() {
            tries += 1;
            let fault = match self.turn(ix, model, provider, &mut units, has_next, &mut bought).await {
                Ok(None) => break,
                Ok(Some(fault)) => fault,
                Err(ended) => return (bought, Err(ended)),
            };
            if let Err(ended) = self.after(&fault, model, tries, has_next).await {
                return (bought, Err(ended));
            }
        }
        (bought, Ok(()))
    }

    /// One turn: leave, tickets, calls, bills. Leaves the failed units; gives the gravest fault.
    async fn turn(
        &mut self,
        ix: ModelIx,
        model: &Model,
        provider: &Provider,
        units: &mut Vec<Unit>,
        has_next: bool,
        bought: &mut Vec<Bought>,
    ) -> Result<Option<Fault>, Ended> {
        let asked = Instant::now();
        let permits = self.leave(ix, model, provider, units, has_next).await;
        self.times.quota += asked.elapsed();
        let permits = permits?;
        let intents: Vec<_> = units.iter().map(|unit| self.intent(ix, model, provider, unit)).collect();
        let tickets = match self.hold.dispatch(&intents).await {
            Ok(tickets) => tickets,
            Err(refusal) => {
                self.bound.withdraw(ix, model);
                // A cheaper plan, or another provider's, may fit the budget.
                let exhausted = matches!(refusal, Refusal::BudgetExhausted(_));
                return Err(if exhausted { Ended::NextPlan } else { Ended::Refused(refusal) });
            }
        };
        let begun = Instant::now();
        let calls = units.iter().zip(&tickets).map(|(unit, ticket)| self.call(ix, model, provider, unit, ticket));
        let outcomes = join_all(calls).await;
        self.times.provider += begun.elapsed();
        drop(permits);
        let mut failed = Vec::new();
        let mut gravest: Option<Fault> = None;
        for ((unit, ticket), outcome) in units.drain(..).zip(tickets).zip(outcomes) {
            let (bill, result) = self.settle(ix, model, &unit, outcome);
            self.hold.bill(&ticket, bill);
            match result {
                Ok(pictures) => {
                    if self.durable {
                        let trace = self.trace(ix, model, &unit);
                        self.engine.leave_pictures(&self.hold.id(), ticket.seq(), trace, &pictures).await;
                    }
                    bought.extend(pictures);
                }
                Err(fault) => {
                    gravest = Some(graver(gravest, fault));
                    failed.push(unit);
                }
            }
        }
        *units = failed;
        Ok(gravest)
    }

    /// What the table of faults says now; waits when it says "again".
    async fn after(&mut self, fault: &Fault, model: &Model, tries: u32, has_next: bool) -> Result<(), Ended> {
        if fault.class == Class::Moderate {
            self.moderated = Some(fault.detail.clone());
        }
        let mut situation = Situation {
            tries,
            left: self.deadline.saturating_duration_since(Instant::now()),
            budget: true,
            moderated_next: self.request.terms.moderated_next,
            jitter: self.engine.jitter(),
        };
        let mut decision = decide(fault, situation, has_next);
        let mut word = if matches!(decision, Decision::Again(_)) { "sent" } else { "unsafe" };
        if word == "sent" && !self.bound.may_retry(model) {
            situation.budget = false;
            (decision, word) = (decide(fault, situation, has_next), "no_budget");
        }
        let provider = self.snapshot.catalog.provider(model.provider);
        self.engine.telemetry.retry(provider.map_or("", |provider| &provider.name), word);
        match decision {
            Decision::Again(wait) => {
                sleep_until(Instant::now() + wait).await;
                Ok(())
            }
            Decision::NextPlan => Err(Ended::NextPlan),
            Decision::Stop => Err(Ended::Stop),
        }
    }

    /// What is answered when no plan delivered.
    pub(super) fn refusal(&self) -> Refusal {
        let attempts = self.hold.attempts().to_vec();
        if let Some(detail) = &self.moderated {
            return Refusal::ContentRefused { detail: detail.clone(), attempts };
        }
        if let Some(exhausted) = self.hold.exhausted().filter(|_| attempts.is_empty()) {
            return Refusal::BudgetExhausted(exhausted.clone());
        }
        let doubtful = attempts.iter().any(|attempt| attempt.billed == Billed::Unknown);
        if Instant::now() >= self.deadline {
            let outcome = if doubtful { Doubt::Ambiguous } else { Doubt::NotStarted };
            return Refusal::DeadlineExceeded { outcome, attempts };
        }
        match self.denied {
            Some(retry_after) if attempts.is_empty() => Refusal::QuotaExhausted { retry_after },
            _ => Refusal::ProvidersFailed(attempts),
        }
    }

    /// The deadline of one call: the request's, or sooner when the model is far beyond its usual time.
    pub(super) fn call_deadline(&self, ix: ModelIx) -> Instant {
        let patience = self.bound.latency(ix).p95.saturating_mul(6).max(Duration::from_secs(30));
        self.deadline.min(Instant::now() + patience)
    }

    /// Wall time.
    pub(super) fn now() -> jiff::Timestamp {
        clock::now()
    }

    /// Tells the breaker and the latency estimate of a call's end.
    pub(super) fn hear(&self, ix: ModelIx, model: &Model, outcome: Result<Duration, &Fault>) {
        let (told, took) = match outcome {
            Ok(took) => (crate::domain::breaker::Signal::Success, Some(took)),
            Err(fault) => (signal(fault), None),
        };
        self.bound.hear(ix, model, told, took, Self::now());
    }
}

/// A fault of ours, before anything was sent.
pub(super) fn ours(detail: impl Into<String>) -> Fault {
    Fault::new(Class::Reject, Blame::Ourselves, Billed::No, detail)
}

/// A format that the model can send, the asked one if it can.
pub(super) fn format_of(model: &Model, asked: Format) -> Format {
    if model.formats.contains(&asked) { asked } else { model.formats.first().copied().unwrap_or_default() }
}
